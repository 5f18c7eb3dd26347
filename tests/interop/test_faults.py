"""What goes wrong at a beamline: full disks, read-only folders, Ctrl-C, truncated files. Each time: one clear message,
the right exit code, and nothing under the final name."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from support import BIN, ours_writes, refused, run, tomo, volume

ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """One small Flyscan scan for all tests of this file."""
    path = tmp_path_factory.mktemp("scan") / "scan"
    tomo("simulate", path, "--layout", "flyscan", "--size", "64", "--projections", "60", "--quiet")
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, full after that."""
    if not ROOT_USER:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def one_line(message):
    """What a person reads first: one line, which says it all; a hint may follow."""
    lines = [line for line in message.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 3, message
    return lines[0]


@pytest.mark.parametrize("name,options", [
    ("out.vol", []), ("out.raw", []), ("out.npy", []), ("out.h5", []), ("out.edf", []),
    ("out.tif", ["--variant", "multipage"]), ("out.tif", ["--variant", "bigtiff"]), ("out.tif", ["--variant", "imagej"]),
    ("series", ["--to", "tiff"]), ("series", ["--to", "png", "--window", "auto"]), ("series", ["--to", "edf"]),
])
def test_convert_onto_a_full_disk(tmp_path, small_disk, name, options):
    rng = np.random.default_rng(5)  # noise: no compression can make it fit
    vol = ours_writes(rng.normal(size=(16, 256, 256)).astype("float32"), tmp_path / "source.vol")
    message = refused("convert", vol, small_disk / name, "--quiet", *options)
    assert "No space left" in message or "disk is full" in message or "does not fit" in message, message
    one_line(message)
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize("fill", [0, 1 << 19, (1 << 20) - 8192])
def test_recon_onto_a_full_disk(scan, small_disk, fill):
    (small_disk / "other").write_bytes(b"x" * fill)
    message = refused("recon", scan, "-o", small_disk / "out.vol", "--quiet")  # 512 KiB, and a histogram of 8 MB
    assert "No space left" in message or "disk is full" in message or "does not fit" in message, message
    one_line(message)
    assert os.listdir(small_disk) == ["other"]


@pytest.mark.parametrize("out", ["out.vol", "out.raw"])
def test_a_disk_full_at_ninety_per_cent_and_then_resumed(scan, tmp_path, small_disk, out):
    """32 slices of 16 KiB; with --resume what was written stays, and goes on once there is room."""
    whole = tmp_path / out
    tomo("recon", scan, "-o", whole, "--quiet")
    filler = small_disk / "other"
    filler.write_bytes(b"x" * (1024 - 512 * 9 // 10 << 10))
    message = refused("recon", scan, "-o", small_disk / out, "--resume", "--quiet")
    assert "No space left" in message or "disk is full" in message, message
    assert "--resume" in message, message
    one_line(message)
    part = small_disk / f"{out}.part"
    assert sorted(os.listdir(small_disk)) == sorted(["other", part.name, f"{part.name}.json", f"{out}.recon.part.json"])
    kept = part.read_bytes()
    assert len(kept) >= 16 << 14 and len(kept) % (1 << 14) == 0 and whole.read_bytes().startswith(kept)
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=12m", str(small_disk)], check=True)
    done = json.loads(tomo("recon", scan, "-o", small_disk / out, "--resume", "--check", "--json").stdout)
    assert done["resumed"] == len(kept) >> 14 and done["bad_slices"]["checked"] == 32 and done["uncounted"] == 0
    assert (small_disk / out).read_bytes() == whole.read_bytes()
    assert (small_disk / f"{out}.info").read_bytes() == (tmp_path / f"{out}.info").read_bytes()
    assert not [f for f in os.listdir(small_disk) if ".part" in f]


def test_a_read_only_folder(scan, tmp_path):
    if not ROOT_USER:
        target = tmp_path / "locked"
        target.mkdir(mode=0o555)
        message = refused("recon", scan, "-o", target / "out.vol", "--quiet")
        assert "denied" in message
        return
    target = tmp_path / "locked"
    target.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(target)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        message = refused("recon", scan, "-o", target / "out.vol", "--quiet")
        assert "ead-only" in message
        one_line(message)
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_an_existing_output_is_refused_and_left_alone(scan, tmp_path):
    out = tmp_path / "out.vol"
    out.write_bytes(b"precious")
    assert "--overwrite" in refused("recon", scan, "-o", out, "--quiet")
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tool", ["convert", "recon"])
def test_interruption_leaves_nothing_under_the_final_name(tmp_path, tool, sign):
    """Interrupted at several moments; at least one must hit a run at work, and a run that won the race is whole."""
    source = tmp_path / "scan"
    tomo("simulate", source, "--layout", "flyscan", "--size", "256", "--projections", "400", "--quiet", timeout=600)
    if tool == "convert":
        args = ["convert", source, "out.tif", "--variant", "multipage", "--compression", "deflate"]
    else:
        args = ["recon", source, "-o", "out.vol"]
    hits = 0
    for wait in (0.02, 0.1, 0.3, 0.6, 1.0):
        folder = tmp_path / f"after{wait}"
        folder.mkdir()
        p = subprocess.Popen([BIN / "tomo", *args, "--quiet"], cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)
        time.sleep(wait)
        p.send_signal(sign)
        _, message = p.communicate(timeout=60)
        assert "panicked" not in message
        main = folder / args[-1] if tool == "recon" else folder / "out.tif"
        if p.returncode == 0:
            assert main.exists()
            break
        # before our handler is in place the system's own answer counts: killed by the signal, nothing written
        assert p.returncode in (130, -sign), message
        hits += p.returncode == 130
        # what --resume goes on with: the data so far, and a journal of how much of it is on the disk
        left = [f for f in os.listdir(folder) if not f.endswith((".part", ".part.json"))]
        assert left == [], left
        shutil.rmtree(folder)
    assert hits, "no run was interrupted at work: make the input larger"


@pytest.mark.parametrize("kind", ["vol", "mhd", "edf", "tif", "h5", "npy"])
def test_truncated_inputs(tmp_path, kind):
    """Cut anywhere, a file is refused. One exception, and not a silent one: where several whole frames remain and the cut
    lies between them, nothing says how many there were; then the whole ones may be taken, with a warning. Where the cut
    takes only padding behind the last byte that means something, nothing is lost."""
    a = volume("float32", (3, 21, 33))
    if kind == "mhd":
        whole = ours_writes(a, tmp_path / "a.raw")
        opened = next(tmp_path.glob("a*.mhd"))
    else:
        variant = {"tif": ["--variant", "multipage"], "edf": ["--variant", "multi"]}
        whole = opened = ours_writes(a, tmp_path / f"a.{kind}", *variant.get(kind, []))
    data = whole.read_bytes()
    step = max(1, len(data) // 40)
    positions = sorted({*range(0, len(data), step), 1, 2, 7, len(data) - 1})
    refusals = 0
    for n in positions:
        whole.write_bytes(data[:n])
        done = run("convert", opened, tmp_path / "out.npy")
        assert "panicked" not in done.stderr, f"cut at {n}: {done.stderr}"
        if done.returncode == 0 and kind in ("edf", "tif"):
            kept = np.load(tmp_path / "out.npy")
            assert "warning" in done.stderr or (len(kept) == len(a) and n > len(data) - 8), f"cut at {n}: {done.stderr}"
            assert 0 < len(kept) <= len(a) and kept.tobytes() == a[: len(kept)].tobytes(), f"cut at {n}"
            (tmp_path / "out.npy").unlink()
            continue
        assert done.returncode == 2, f"cut at {n}: exit {done.returncode} {done.stderr}"
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")], done.stderr
        assert not list(tmp_path.glob("out*")), f"cut at {n}"
        refusals += 1
    assert refusals > len(positions) * 2 / 3, f"only {refusals} of {len(positions)} refused"


def test_truncated_scans(tmp_path, scan):
    """A scan whose file was cut by a broken copy is refused, whichever file it was."""
    copy = tmp_path / "scan"
    shutil.copytree(scan, copy)
    nexus = sorted(copy.glob("*.nxs"))
    assert len(nexus) >= 3, list(copy.iterdir())
    for path in nexus:
        data = path.read_bytes()
        for part in (0.0, 0.01, 0.3, 0.7, 0.999):
            path.write_bytes(data[: int(len(data) * part)])
            refused("recon", copy, "-o", tmp_path / "out.vol", "--quiet")
            assert not list(tmp_path.glob("out*"))
        path.write_bytes(data)
    tomo("recon", copy, "-o", tmp_path / "out.vol", "--quiet")
