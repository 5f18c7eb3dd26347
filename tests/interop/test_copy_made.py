"""Volumes made smaller on the way to the disk, when the disk, the run or the source does not stay as it was."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from copies import ROOT_USER, events, noise, start
from support import run, tomo


def volume(path, seed=3, shape=(6, 40, 50)):
    data = np.random.default_rng(seed).normal(size=shape).astype("<f4")
    data.tofile(path)
    z, y, x = shape
    path.with_name(path.name + ".info").write_text(f"NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\n")
    return path


@pytest.fixture
def places(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    volume(src / "v.vol")
    return src, disk


def copied(*args):
    done = run("copy", *args, "--json")
    report = json.loads(done.stdout)
    return done.returncode, sum(t["copied_files"] for t in report["targets"])


def whole(path, dtype, data):
    data.astype(dtype).tofile(path)
    z, y, x = data.shape
    kind = f"DATA_TYPE = {dtype}\nBYTEORDER = LOWBYTEFIRST\n"
    path.with_name(path.name + ".info").write_text(f"NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\n{kind}")


@pytest.mark.parametrize("how", [["--recad"], ["--recad", "16"], ["--tiff"]])
def test_whole_numbers_are_copied_as_they_are(places, how):
    src, disk = places
    data = np.random.default_rng(5).integers(0, 30000, (6, 40, 50))
    for dtype in ("uint16", "int16"):
        whole(src / f"{dtype}.vol", dtype, data)
    tomo("copy", src, disk, *how)
    for dtype in ("uint16", "int16"):
        assert (disk / f"src/{dtype}.vol").read_bytes() == (src / f"{dtype}.vol").read_bytes()
    assert not (disk / "src/v.vol").exists()


def test_a_scale_of_others_that_cuts_most_off_is_said(places, tmp_path):
    src, disk = places
    lock = tmp_path / "lock.json"
    tomo("recad", src / "v.vol", "-o", tmp_path / "first.raw", "--lock", lock)
    other = volume(src / "z.vol", seed=4)
    (np.fromfile(other, "<f4") + 30).astype("<f4").tofile(other)
    done = tomo("copy", src, disk, "--recad", "--lock", lock)
    (line,) = [line for line in done.stderr.splitlines() if "z.vol" in line and "lie beyond" in line]
    assert "v.vol" not in line and "100.0 %" in line, done.stderr
    done = tomo("recad", other, "-o", tmp_path / "z.raw", "--lock", lock)
    assert "lie beyond" in done.stderr
    assert "lie beyond" not in tomo("recad", src / "v.vol", "-o", tmp_path / "v.raw", "--lock", lock).stderr


@pytest.mark.parametrize("how, first", [("--recad", "v.raw"), ("--tiff", "v_8bit/v_8bit_0003.tif")])
def test_what_was_made_and_is_gone_or_damaged_is_made_again(places, how, first):
    src, disk = places
    tomo("copy", src, disk, how)
    made = sorted(p for p in disk.rglob("*") if p.is_file())
    lost = disk / "src" / first
    if not lost.exists():
        lost = sorted((disk / "src/v_8bit").iterdir())[3]
    whole = lost.read_bytes()
    assert copied(src, disk, how) == (0, 0)
    lost.unlink()
    assert run("copy", "--verify", disk).returncode == 1
    code, n = copied(src, disk, how)
    assert code == 0 and n > 0 and lost.read_bytes() == whole
    assert sorted(p for p in disk.rglob("*") if p.is_file()) == made
    tomo("copy", "--verify", disk)
    # Another time says nothing: it is read.
    os.utime(lost, (1e9, 1e9))
    assert copied(src, disk, how) == (0, 0)
    # Damaged, with the time it had: noted, then made anew.
    stat = lost.stat()
    lost.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    os.utime(lost, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run("copy", "--verify", "--record", disk).returncode == 1
    code, n = copied(src, disk, how)
    assert code == 0 and n > 0 and lost.read_bytes() == whole
    # Changed by somebody: told and left.
    lost.write_bytes(b"mine" * 9)
    done = run("copy", src, disk, how)
    assert done.returncode == 1 and "changed on the target" in done.stdout + done.stderr, done
    assert lost.read_bytes() == b"mine" * 9
    edited = bytes([whole[0] ^ 1]) + whole[1:]
    lost.write_bytes(edited)
    os.utime(lost, (1e9, 1e9))
    done = run("copy", src, disk, how)
    assert done.returncode == 1 and "--overwrite" in done.stderr, done
    assert lost.read_bytes() == edited
    tomo("copy", src, disk, how, "--overwrite")
    assert lost.read_bytes() == whole
    tomo("copy", "--verify", disk)


def test_what_was_never_read_back_is_read_and_not_made_again(places):
    src, disk = places
    tomo("copy", src, disk, "--recad", "--read-back", "no")
    before = (disk / "src/v.raw").stat().st_mtime_ns
    assert copied(src, disk, "--recad", "--read-back", "no") == (0, 0)
    assert copied(src, disk, "--recad") == (0, 0)
    assert (disk / "src/v.raw").stat().st_mtime_ns == before
    state = {e["path"] for e in events(disk) if e["event"] == "verified"}
    assert "src/v.raw" in state and "src/v.raw.recad.json" in state


@pytest.mark.parametrize("how", ["--recad", "--tiff"])
def test_killed_while_it_is_made(tmp_path, how):
    """At any moment, also between the final names and the record; the same command goes on, and nothing of others is replaced."""
    src = tmp_path / "src"
    src.mkdir()
    volume(src / "v.vol", shape=(24, 160, 160))
    rng = np.random.default_rng(11)
    took = None
    for i in range(14):
        disk = tmp_path / f"disk{i}"
        disk.mkdir()
        begin = time.monotonic()
        p = start(["copy", src, disk, how], tmp_path)
        if took is None:
            assert p.wait() == 0
            took = time.monotonic() - begin
            continue
        time.sleep(took * rng.uniform(0.3, 1.05))
        p.send_signal(signal.SIGKILL)
        p.wait()
        tomo("copy", src, disk, how)
        tomo("copy", "--verify", disk)
        tomo("compare", src / "v.vol", disk / ("src/v.raw" if how == "--recad" else "src/v_8bit"))


def test_an_unfinished_run_owns_only_what_it_made(places):
    src, disk = places
    tomo("copy", src, disk, "--recad")
    record = disk / "tomo-copy.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if '"event":"making"' in line)
    # As a kill between the receipt's final name and the record leaves it.
    record.write_text("".join(lines[: at + 1]))
    (disk / "SHA256SUMS").unlink()
    receipt = disk / "src/v.raw.recad.json"
    told = json.loads(receipt.read_text())
    size = told["input"]["bytes"]
    told["input"] |= {"path": "/elsewhere/v.vol", "bytes": size + 4}
    receipt.write_text(json.dumps(told))
    done = run("copy", src, disk, "--recad")
    assert done.returncode == 2 and "exists already" in done.stderr, done
    # The same volume, named from another folder.
    told["input"]["bytes"] = size
    receipt.write_text(json.dumps(told))
    tomo("copy", src, disk, "--recad")
    tomo("copy", "--verify", disk)


def test_one_grey_scale_for_all_also_for_those_that_are_there(places):
    src, disk = places
    tomo("copy", src, disk, "--recad")
    volume(src / "w.vol", seed=4)
    lock = src.parent / "lock.json"
    tomo("copy", src, disk, "--recad", "--lock", lock)
    limits = [json.loads((disk / f"src/{n}.raw.recad.json").read_text())["limits"] for n in "vw"]
    assert limits[0]["low"] == limits[1]["low"] and limits[0]["high"] == limits[1]["high"]
    assert copied(src, disk, "--recad", "--lock", lock) == (0, 0)
    lock.write_text('{"limits": {"low": -1, "high": 1}}')
    tomo("copy", src, disk, "--recad", "--lock", lock)
    assert json.loads((disk / "src/v.raw.recad.json").read_text())["limits"]["low"] == -1


def test_what_is_no_volume_of_32_bits_is_copied_as_it_is(places):
    src, disk = places
    (src / "grey.vol").write_bytes(noise(1, 10 * 12 * 14))
    (src / "grey.vol.info").write_text("NUM_X = 14\nNUM_Y = 12\nNUM_Z = 10\n")
    (src / "odd.vol").write_bytes(noise(2, 999))
    done = run("copy", src, disk, "--recad")
    assert done.returncode == 0 and "1 file: cannot be read as volumes: copied as they are" in done.stderr + done.stdout, done
    for name in ("grey.vol", "odd.vol"):
        assert (disk / "src" / name).read_bytes() == (src / name).read_bytes()
    assert (disk / "src/v.raw").exists() and not (disk / "src/v.vol").exists()


def test_what_could_not_be_made_is_missing(places):
    src, disk = places
    np.full((4, 20, 20), 3, "<f4").tofile(src / "flat.vol")
    (src / "flat.vol.info").write_text("NUM_X = 20\nNUM_Y = 20\nNUM_Z = 4\n")
    assert run("copy", src, disk, "--recad").returncode == 2
    done = run("copy", "--verify", disk)
    assert done.returncode == 1 and "1 files of the last copy to here did not arrive" in done.stdout, done.stdout


@pytest.mark.skipif(not ROOT_USER, reason="needs another user to be")
def test_a_folder_that_cannot_be_read_is_missing(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    (src / "closed").mkdir(parents=True), disk.mkdir()
    (src / "a").write_bytes(b"1"), (src / "closed/b").write_bytes(b"2")
    (src / "closed").chmod(0o700)
    for p in (tmp_path, *tmp_path.parents[:3]):
        if p.stat().st_uid == 0 and p != p.parent and "pytest" in str(p):
            p.chmod(0o755)
    os.chown(disk, 65534, 65534)
    me = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*me, "ls", src], capture_output=True).returncode or subprocess.run([*me, "ls", src / "closed"], capture_output=True).returncode == 0:
        pytest.skip("another user sees too little or too much here")
    from support import BIN

    done = subprocess.run([*me, BIN / "tomo", "copy", src, disk, "--no-ledger"], capture_output=True, text=True)
    if "denied" in done.stderr and not (disk / "src").exists():
        pytest.skip("another user cannot run the program here")
    assert done.returncode == 2, done
    check = run("copy", "--verify", disk)
    assert check.returncode == 1 and "did not arrive" in check.stdout


def test_a_source_that_is_replaced_while_it_is_read(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a").write_bytes(noise(1, 3_000_000)), (src / "z").write_bytes(b"last")
    new = noise(2, 3_000_000)
    p = start(["copy", src, disk, "--limit", "1M"], tmp_path)
    part = disk / "src/a.tomo-part"
    while not part.exists() and p.poll() is None:
        time.sleep(0.01)
    (tmp_path / "new").write_bytes(new)
    os.rename(tmp_path / "new", src / "a")
    assert p.wait() == 0
    assert (disk / "src/a").read_bytes() == new
    tomo("copy", "--verify", disk)


def test_a_source_that_is_moved_away_while_it_is_read(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    data = noise(1, 3_000_000)
    (src / "a").write_bytes(data)
    p = start(["copy", src, disk, "--limit", "1M"], tmp_path)
    part = disk / "src/a.tomo-part"
    while not part.exists() and p.poll() is None:
        time.sleep(0.01)
    os.rename(src / "a", tmp_path / "archived")
    assert p.wait() == 0
    assert (disk / "src/a").read_bytes() == data
    tomo("copy", "--verify", disk)


def test_a_bag_stays_a_bag(tmp_path):
    src, bag, plain = tmp_path / "src", tmp_path / "bag", tmp_path / "plain"
    src.mkdir(), bag.mkdir(), plain.mkdir()
    (src / "a").write_bytes(b"1")
    tomo("copy", src, bag, "--bag"), tomo("copy", src, plain)
    for disk, how, word in ((bag, [], "this folder is a bag"), (plain, ["--bag"], "no bag")):
        done = run("copy", src, disk, *how)
        assert done.returncode == 1 and word in done.stdout, done
    tomo("copy", src, bag, "--bag"), tomo("copy", src, plain), tomo("copy", "--verify", bag)
    for name in ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"):
        whole = (bag / name).read_bytes()
        (bag / name).write_bytes(whole + b"\n# more\n")
        check = run("copy", "--verify", bag)
        if name != "tagmanifest-sha256.txt":  # nothing holds the sum of that one; a line more says nothing of others
            assert check.returncode == 1 and name in check.stdout, (name, check.stdout)
        (bag / name).unlink()
        check = run("copy", "--verify", bag)
        assert check.returncode == 1 and name in check.stdout, (name, check.stdout)
        (bag / name).write_bytes(whole)
    # A bag of somebody else, copied like any other folder's files.
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    tomo("copy", f"{bag}/", theirs, "--exclude", "tomo-*", "--exclude", "SHA256SUMS")
    tomo("copy", "--verify", theirs)
