"""Copies to disks, judged by others: `sha256sum -c`, `diff -r`, hashdeep, bagit; killed at any moment; on full, vanishing and
foreign disks."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from copies import ROOT_USER, events, make_tree, new_disk, noise, same_trees, start, sums_agree, until
from support import BIN, FULL, refused, run, tomo


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "src")


def test_a_copy_others_can_check(tree, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = json.loads(tomo("copy", tree, disk, "--json").stdout)
    same_trees(tree, disk / "src")
    sums_agree(disk)
    count = sum(len(f) for _, _, f in os.walk(tree))
    assert len((disk / "SHA256SUMS").read_bytes().splitlines()) == count
    target = done["targets"][0]
    assert target["copied_files"] == target["verified_files"] == count and target["safe_to_unplug"] and done["failed"] == []
    assert (disk / "src/a.vol").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert [p for p in disk.rglob("*.tomo-part")] == []
    assert "level" in tomo("copy", "--verify", disk).stdout
    # again: nothing to do, nothing read
    again = json.loads(tomo("copy", tree, disk, "--json").stdout)
    assert again["bytes_read"] == 0 and again["targets"][0]["skipped_files"] == count


def test_two_targets_from_one_reading(tree, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir(), b.mkdir()
    tomo("copy", tree, "--to", a, "--to", b, "--hashdeep")
    for disk in (a, b):
        same_trees(tree, disk / "src")
        sums_agree(disk)
        if shutil.which("hashdeep"):
            names = [n for n in (disk / "SHA256SUMS").read_bytes().splitlines() if not n.startswith(b"\\")]
            assert len(names) > 200
            found = subprocess.run(["hashdeep", "-r", "-l", "-c", "sha256", "src"], cwd=disk, capture_output=True).stdout.splitlines()
            ours = (disk / "hashdeep.txt").read_bytes().splitlines()
            rows = {r for r in found if r[:1].isdigit() and b"line" not in r and b"cr" not in r}
            assert rows <= set(ours) and len(rows) > 200


def test_bag(tree, tmp_path):
    (tree / "line\nend").unlink(), (tree / "cr\rin").unlink(), (tree / os.fsdecode(b"latin\xe9")).unlink()
    bag = tmp_path / "bag"
    bag.mkdir()
    tomo("copy", tree, bag, "--bag")
    same_trees(tree, bag / "data/src")
    tomo("copy", "--verify", bag)
    bagit = pytest.importorskip("bagit")
    bagit.Bag(str(bag)).validate()
    (bag / "data/src/b/one").write_bytes(b"y")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(bag)).validate()


def test_verify_finds_missing_changed_and_extra(tree, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    tomo("copy", tree, disk)
    big = disk / "src/large.raw"
    stat = big.stat()
    data = bytearray(big.read_bytes())
    data[4_000_000] ^= 1
    big.write_bytes(data)
    os.utime(big, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (disk / "src/b/one").unlink()
    (disk / "src/extra").write_bytes(b"?")
    (disk / "src/many/0007.tif").write_bytes(b"short")
    done = run("copy", "--verify", disk, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["missing"] == ["src/b/one"] and report["extra"] == ["src/extra"]
    assert sorted(c.split(":")[0] for c in report["changed"]) == ["src/large.raw", "src/many/0007.tif"]
    # sizes alone do not see the flipped bit
    quick = json.loads(run("copy", "--verify", "--sizes-only", disk, "--json").stdout)
    assert [c.split(":")[0] for c in quick["changed"]] == ["src/many/0007.tif"]
    # a plain list of sums is enough
    (disk / "tomo-copy.jsonl").unlink()
    report = json.loads(run("copy", "--verify", disk, "--json").stdout)
    assert report["missing"] == ["src/b/one"] and len(report["changed"]) == 2


def test_killed_at_any_moment(tmp_path):
    """kill -9 at random moments; the same command goes on. Nothing that differs is ever recorded as verified, and in the end
    everything is there. Part of the large file survives in at least one round."""
    rounds = 100 if FULL else 8
    tree = make_tree(tmp_path / "src", large=24 << 20)
    rng = random.Random(11)
    args = ["copy", tree, "disk", "--checkpoint", "2M", "--limit", "60M"]
    hits = resumed = 0
    for n in range(rounds):
        disk = tmp_path / "disk"
        disk.mkdir()
        for _ in range(rng.randint(1, 3)):
            p = start(args, tmp_path)
            time.sleep(rng.uniform(0.02, 0.75))
            p.send_signal(signal.SIGKILL)
            hits += p.wait() == -signal.SIGKILL
            p.stderr.close()
            if not (disk / "tomo-copy.jsonl").exists():
                continue
            for line in (disk / "tomo-copy.jsonl").read_bytes().split(b"\n")[:-1]:
                e = json.loads(line)
                if e["event"] == "verified" and not e["path"].startswith("hex:"):
                    assert hashlib.sha256((disk / e["path"]).read_bytes()).hexdigest() == e["sha256"]
        done = json.loads(tomo(*args, "--json", cwd=tmp_path).stdout)
        resumed += done["targets"][0]["resumed_bytes"]
        assert done["failed"] == [] and done["targets"][0]["recorded_verified"] == done["targets"][0]["recorded_files"]
        same_trees(tree, disk / "src")
        sums_agree(disk)
        assert list(disk.rglob("*.tomo-part")) == []
        shutil.rmtree(disk)
    assert hits >= rounds / 2, "no run was killed at work: make the tree larger"
    assert resumed > 0, "no large file was gone on with: make it larger"


def test_killed_before_the_first_event(tree, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("SHA256SUMS", "tomo-copy.jsonl", ".tomo-copy.lock"):
        (disk / name).write_bytes(b"")
    tomo("copy", tree, disk)
    same_trees(tree, disk / "src")
    sums_agree(disk)


def test_a_part_that_was_tampered_with_is_not_trusted(tmp_path):
    tree = make_tree(tmp_path / "src", large=24 << 20)
    disk = tmp_path / "disk"
    disk.mkdir()
    args = ["copy", tree, disk, "--checkpoint", "2M", "--limit", "40M", "--include", "large.raw"]
    for _ in range(20):
        p = start(args, tmp_path)
        time.sleep(0.45)
        p.kill()
        p.wait()
        part = disk / "src/large.raw.tomo-part"
        marks = [e for e in events(disk) if e["event"] == "part"] if (disk / "tomo-copy.jsonl").exists() else []
        if part.exists() and marks:
            break
    else:
        pytest.fail("the large file was never caught half-way")
    with open(part, "r+b") as f:
        f.seek(marks[-1]["offset"] - 10)
        f.write(b"tampered")
    done = json.loads(tomo("copy", tree, disk, "--include", "large.raw", "--json").stdout)
    assert done["targets"][0]["resumed_bytes"] == 0
    sums_agree(disk)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interruption(tree, tmp_path, sign):
    disk = tmp_path / "disk"
    disk.mkdir()
    p = start(["copy", tree, disk, "--limit", "4M"], tmp_path)
    time.sleep(0.7)
    p.send_signal(sign)
    _, err = p.communicate(timeout=20)
    assert p.returncode == 130 and b"panicked" not in err, err
    sums_agree(disk) if (disk / "SHA256SUMS").stat().st_size else None
    tomo("copy", tree, disk)
    same_trees(tree, disk / "src")


def test_one_lock_per_disk(tree, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    p = start(["copy", tree, disk, "--limit", "2M"], tmp_path)
    time.sleep(0.5)
    assert "another copy" in refused("copy", tree, disk)
    p.kill()
    p.wait()
    p.stderr.close()
    tomo("copy", tree, disk)


def test_what_is_there_already(tree, tmp_path):
    disk = tmp_path / "disk"
    shutil.copytree(tree, disk / "src")
    (disk / "src/b/one").write_bytes(b"y")
    done = run("copy", tree, disk, "--json")
    out = json.loads(done.stdout)
    assert done.returncode == 1 and [f["kind"] for f in out["failed"]] == ["differs"]
    assert (disk / "src/b/one").read_bytes() == b"y", "replaced unasked"
    assert out["targets"][0]["adopted_files"] > 200 and out["targets"][0]["copied_files"] == 0
    sums_agree(disk)
    tomo("copy", tree, disk, "--overwrite")
    same_trees(tree, disk / "src")
    sums_agree(disk)
    # a changed source is copied again; a file changed on the disk is not replaced unasked
    (tree / "b/one").write_bytes(b"changed at the source")
    tomo("copy", tree, disk)
    sums_agree(disk)
    same_trees(tree, disk / "src")
    (disk / "src/b/one").write_bytes(b"changed on the disk")
    assert run("copy", tree, disk).returncode == 1
    assert (disk / "src/b/one").read_bytes() == b"changed on the disk"


def test_bad_files_do_not_stop_the_others(tree, tmp_path):
    """A source that shrinks and grows all the time is never recorded; the rest arrives."""
    disk = tmp_path / "disk"
    disk.mkdir()
    growing = tree / "growing"
    growing.write_bytes(b"0")
    p = start(["copy", tree, disk, "--limit", "8M", "--retries", "1"], tmp_path)
    end = time.time() + 60
    n = 0
    while p.poll() is None and time.time() < end:
        n += 1
        growing.write_bytes(noise(n, 300_000 + n))
    p.communicate()
    files = {e["path"]: e["sha256"] for e in events(disk) if e["event"] == "file"}
    for path, digest in files.items():
        if not path.startswith("hex:"):
            assert hashlib.sha256((disk / path).read_bytes()).hexdigest() == digest
    assert "src/large.raw" in files
    tomo("copy", tree, disk)
    same_trees(tree, disk / "src")
    if not ROOT_USER:
        (tree / "locked").write_bytes(b"x")
        (tree / "locked").chmod(0)
        assert run("copy", tree, disk).returncode == 2


HOSTILE = ["../outside", "/etc/passwd", "src/../../outside", "a//b", "hex:2e2e2f78", "src/\x00", "."]


def test_hostile_records(tree, tmp_path):
    """A record that names things outside the disk, and links on the disk that lead there: nothing outside is read or
    written."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    disk = tmp_path / "disk"
    disk.mkdir()
    digest = hashlib.sha256(b"secret").hexdigest()
    lines = [json.dumps({"event": "session", "t": 1, "session": 1, "software": "x", "host": "", "sources": [], "target": "", "volume": None})]
    for name in HOSTILE:
        lines.append(json.dumps({"event": "file", "path": name, "size": 6, "modified_ns": 0, "sha256": digest, "copied": 1, "session": 1, "source": ""}))
    lines += ["[" * 5000, "\x00\x01", "{}"]
    (disk / "tomo-copy.jsonl").write_text("\n".join(lines) + "\n")
    (disk / "SHA256SUMS").write_text("".join(f"{digest}  {n}\n" for n in HOSTILE if "\x00" not in n))
    os.symlink(tmp_path, disk / "src")
    report = run("copy", "--verify", disk)
    assert report.returncode in (1, 2) and "secret" not in report.stdout + report.stderr
    done = run("copy", tree, disk)
    assert done.returncode == 2, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["disk", "outside", "src"] and outside.read_bytes() == b"secret"
    assert not (tmp_path / "a.vol").exists()
    os.unlink(disk / "src")
    tomo("copy", tree, disk)
    same_trees(tree, disk / "src")
    sums_agree(disk)


def test_hostile_names_to_a_windows_disk_are_refused_or_mapped(tmp_path, foreign_disk):
    kind, disk, _ = foreign_disk
    if kind == "ext4":
        pytest.skip("ext4 holds these names")
    src = tmp_path / "src"
    src.mkdir()
    names = ["a:b", "q?", "star*", "pipe|", 'quote"', "<x>", "CON", "nul.txt", "dot.", "blank ", "back\\slash", "tab\t",
             "Case", "case", "é" * 120, os.fsdecode(b"\xff\xfe")]
    for n in names:
        (src / n).write_bytes(n.encode("utf-8", "surrogateescape"))
    done = run("copy", src, disk)
    assert done.returncode == 1 and "REFUSED" in done.stdout and os.listdir(disk) in ([], ["lost+found"]), done.stdout + done.stderr
    out = json.loads(tomo("copy", src, disk, "--map-names", "--json").stdout)
    assert out["targets"][0]["copied_files"] == len(names)
    sums_agree(disk)
    found = os.listdir(disk / "src")
    assert len(found) == len({f.upper() for f in found}) == len(names)
    bad = set(':?*|"<>\\\t')
    assert all(not (set(f) & bad) and not f.endswith((".", " ")) for f in found), found
    originals = {e.get("original", e["path"]): e["path"] for e in events(disk) if e["event"] == "file"}
    assert (disk / originals["src/a:b"]).read_bytes() == b"a:b" and (disk / originals["src/case"]).read_bytes() == b"case"
    # the same command again: the same names
    again = json.loads(tomo("copy", src, disk, "--map-names", "--json").stdout)
    assert again["targets"][0]["skipped_files"] == len(names)


@pytest.fixture(params=["ntfs", "exfat", "ext4"])
def foreign_disk(request, tmp_path):
    disk = new_disk(tmp_path, request.param)
    yield request.param, disk.mount, disk
    disk.down()


LEVELS = {"ntfs": "device_flushed", "exfat": "device_flushed", "ext4": "file_flushed"}


def test_real_file_systems(tmp_path, foreign_disk):
    """Copy, resume, verify, remount and verify; then one byte of the image is changed under the file system."""
    kind, disk, device = foreign_disk
    src = tmp_path / "src"
    (src / "sub").mkdir(parents=True)
    marker = noise(99, 4096)
    (src / "a.vol").write_bytes(noise(1, 5_000_000) + marker + noise(2, 5_000_000))
    for i in range(50):
        (src / f"sub/{i}.tif").write_bytes(noise(i, 1000 * i))
    done = json.loads(tomo("copy", src, disk, "--json").stdout)
    target = done["targets"][0]
    assert target["verified_files"] == 51 and target["level"] == LEVELS[kind] and target["safe_to_unplug"], done
    same_trees(src, disk / "src")
    sums_agree(disk)
    assert json.loads(tomo("copy", src, disk, "--json").stdout)["bytes_read"] == 0, "time stamps came back too coarse"
    report = json.loads(tomo("copy", "--verify", disk, "--json").stdout)
    assert report["good"] == 51 and report["level"] == LEVELS[kind]
    device.down()
    device.up()
    report = json.loads(tomo("copy", "--verify", disk, "--json").stdout)
    assert report["good"] == 51 and report["level"] in (LEVELS[kind], "remounted")
    # The data are in memory now. One bit changes on the device, as a failing disk would do it: a reading that stays in
    # memory sees nothing, ours does.
    (disk / "src/a.vol").read_bytes()
    os.sync()
    image = device.image.read_bytes()
    at = image.find(marker)
    assert at > 0 and image.find(marker, at + 1) < 0
    with open(device.image, "r+b") as f:
        f.seek(at + 100)
        f.write(bytes([marker[100] ^ 1]))
        f.flush()
        os.fsync(f.fileno())
    done = run("copy", "--verify", disk, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and len(report["changed"]) == 1 and report["good"] == 50, report


def test_a_full_disk_mid_file(tmp_path, foreign_disk):
    """Refused beforehand; and when somebody else fills the disk meanwhile, the copy says so and leaves whole files only."""
    kind, disk, _ = foreign_disk
    src = tmp_path / "src"
    src.mkdir()
    for i in range(8):
        (src / f"{i}.vol").write_bytes(noise(i, 8 << 20))
    (src / "big.vol").write_bytes(noise(9, 48 << 20))
    done = run("copy", src, disk)
    assert done.returncode == 1 and "not enough room" in done.stdout, done.stdout
    (src / "big.vol").unlink()
    with open(disk / "other", "wb") as f:
        try:
            for _ in range(30):
                f.write(b"x" * (1 << 20))
                f.flush()
        except OSError:
            pass
    spare = tmp_path / "spare"
    spare.mkdir()
    done = run("copy", src, disk, "--then", spare, "--json", "--log", tmp_path / "log")
    out = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
    assert [len(t["stopped"] or "") > 0 for t in out["targets"]] == [True, False]
    sums_agree(disk), sums_agree(spare)
    names = sorted(os.listdir(disk / "src") + os.listdir(spare / "src"))
    assert names == sorted(os.listdir(src)) and len(os.listdir(disk / "src")) > 0
    assert any(e["event"] == "sealed" for e in events(disk))


def test_pulled_out_while_copying(tmp_path):
    """The disk is lazily unmounted in the middle: nothing lands on the disk below, and the same command goes on after it
    came back."""
    disk = new_disk(tmp_path, "ext4")
    try:
        src = tmp_path / "src"
        src.mkdir()
        for i in range(40):
            (src / f"{i:02}.vol").write_bytes(noise(i, 1 << 20))
        p = start(["copy", src, disk.mount, "--limit", "20M"], tmp_path)
        time.sleep(0.8)
        subprocess.run(["umount", "-l", disk.mount], check=True)
        _, err = p.communicate(timeout=60)
        assert p.returncode == 2 and b"went away" in err, err
        assert os.listdir(disk.mount) == [], "written to the disk below the mount point"
        subprocess.run(["losetup", "-d", disk.loop], capture_output=True)
        disk.loop = None
        disk.up()
        done = json.loads(tomo("copy", src, disk.mount, "--json").stdout)
        assert done["targets"][0]["skipped_files"] + done["targets"][0]["verified_files"] >= 40
        same_trees(src, disk.mount / "src")
        sums_agree(disk.mount)
    finally:
        disk.down()


def test_sparse_files(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    size = (64 << 30) if FULL else (1 << 30)
    with open(src / "sparse.vol", "wb") as f:
        f.truncate(size)
        f.seek(size // 2 + 12345)
        f.write(noise(1, 100_000))
    with open(src / "ends.vol", "wb") as f:
        f.write(noise(2, 5_000_000))
        f.truncate(40 << 20)
    disk = tmp_path / "disk"
    disk.mkdir()
    tomo("copy", src, disk, timeout=900)
    copy = disk / "src/sparse.vol"
    assert copy.stat().st_size == size and copy.stat().st_blocks * 512 < 10 << 20
    with open(copy, "rb") as f:
        f.seek(size // 2 + 12345)
        assert f.read(100_000) == noise(1, 100_000)
    assert (disk / "src/ends.vol").read_bytes() == (src / "ends.vol").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    tomo("copy", src, other, "--include", "ends.vol", "--sparse", "expand")
    assert (other / "src/ends.vol").stat().st_blocks * 512 >= 40 << 20


def test_follow(tmp_path):
    """A tree that grows and changes: half-written files, files open for writing, HDF5 marked as being written, a rewritten
    file; a disk that fills up and is followed by the next. In the end everything is there and good."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "first.vol").write_bytes(noise(1, 100_000))
    writing = bytearray(b"\x89HDF\r\n\x1a\n" + bytes([3, 8, 8, 1]) + bytes(16) + (4096).to_bytes(8, "little"))
    writing += bytes(4096 - len(writing))
    (src / "scan.h5").write_bytes(writing)
    (src / "big.vol").write_bytes(noise(5, 1000))
    (src / "big.vol.info").write_text("NUM_X = 100\nNUM_Y = 100\nNUM_Z = 10\n")
    (src / "x.part").write_bytes(b"unfinished")
    args = ["copy", src, disk, "--follow", "--settle", "0.6", "--every", "0.3", "--until-idle", "6", "--json"]
    p = subprocess.Popen([BIN / "tomo", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def arrives(name, data, seconds=20):
        end = time.time() + seconds
        while time.time() < end and p.poll() is None:
            if (disk / "src" / name).exists() and (disk / "src" / name).read_bytes() == data:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} did not arrive: {p.poll()}")

    arrives("first.vol", noise(1, 100_000))
    open_file = open(src / "open.tif", "wb")
    open_file.write(noise(2, 50_000))
    open_file.flush()
    (src / "new").mkdir()
    (src / "new/second.tif").write_bytes(noise(3, 30_000))
    arrives("new/second.tif", noise(3, 30_000))
    for name in ("scan.h5", "big.vol", "open.tif", "x.part"):
        assert not (disk / "src" / name).exists(), f"{name} was copied unfinished"
    open_file.write(noise(4, 50_000))
    open_file.close()
    writing[11] = 0
    (src / "scan.h5").write_bytes(writing)
    (src / "big.vol").write_bytes(noise(5, 400_000))
    (src / "first.vol").write_bytes(noise(6, 120_000))
    arrives("open.tif", noise(2, 50_000) + noise(4, 50_000))
    arrives("scan.h5", bytes(writing))
    arrives("big.vol", noise(5, 400_000))
    arrives("first.vol", noise(6, 120_000))
    (src / "x.part").rename(src / "x.done")
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0, err
    report = json.loads(out)
    assert report["finalised"] and report["safe_to_unplug"] and report["again"] >= 1 and report["failed"] == []
    same_trees(src, disk / "src")
    sums_agree(disk)
    tomo("copy", "--verify", disk)


def test_follow_survives_source_and_target_going_away(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a").write_bytes(noise(1, 10_000))
    args = ["copy", src, disk, "--follow", "--settle", "0.2", "--every", "0.2"]
    p = subprocess.Popen([BIN / "tomo", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    until(p, (disk / "src/a").exists)
    disk.rename(tmp_path / "away")
    (src / "b").write_bytes(noise(2, 10_000))
    time.sleep(1.2)
    assert p.poll() is None and not disk.exists()
    (tmp_path / "away").rename(disk)
    until(p, (disk / "src/b").exists)
    src.rename(tmp_path / "gone")
    time.sleep(0.8)
    assert p.poll() is None
    (tmp_path / "gone").rename(src)
    (src / "c").write_bytes(noise(3, 10_000))
    until(p, (disk / "src/c").exists)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=30)
    assert p.returncode == 0 and "went away" in err and "is back" in err, err
    tomo("copy", src, disk)
    same_trees(src, disk / "src")
    sums_agree(disk)


def test_follow_goes_on_with_the_next_disk(tmp_path):
    src, spare = tmp_path / "src", tmp_path / "spare"
    src.mkdir(), spare.mkdir()
    disk = tmp_path / "disk"
    disk.mkdir()
    if not ROOT_USER or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not possible here")
    try:
        for i in range(8):
            (src / f"{i}.tif").write_bytes(noise(i, 1 << 20))
        out = json.loads(tomo("copy", src, "--to", disk, "--then", spare, "--follow", "--settle", "0.2", "--every", "0.2", "--until-idle", "1.5", "--json").stdout)
        assert out["failed"] == [] and out["targets"] == [str(spare)] and out["sealed"] == [str(disk)]
        on_both = os.listdir(disk / "src") + os.listdir(spare / "src")
        assert sorted(on_both) == sorted(os.listdir(src)) and len(os.listdir(disk / "src")) >= 2
        sums_agree(disk), sums_agree(spare)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_volumes_made_smaller_on_the_way(tmp_path):
    import numpy as np
    from support import ours_writes

    src, a, b = tmp_path / "src", tmp_path / "a", tmp_path / "b"
    src.mkdir(), a.mkdir(), b.mkdir()
    vol = ours_writes(np.random.default_rng(3).normal(size=(6, 40, 50)).astype("float32"), src / "scan.vol")
    for f in src.glob("given-to-us*"):
        f.unlink()
    (src / "scan.par").write_text("x")
    tomo("recad", vol, "-o", tmp_path / "alone.raw")
    tomo("copy", src, "--to", a, "--to", b, "--recad")
    seconds = set()
    for disk in (a, b):
        assert (disk / "src/scan.raw").read_bytes() == (tmp_path / "alone.raw").read_bytes()
        assert (disk / "src/scan.par").exists() and not (disk / "src/scan.vol").exists()
        sums_agree(disk)
        tomo("copy", "--verify", disk)
        made = {e["path"]: e["made_by"] for e in events(disk) if e["event"] == "file" and "made_by" in e}
        assert "src/scan.raw" in made and "src/scan.raw.recad.json" in made
        receipt = json.loads((disk / "src/scan.raw.recad.json").read_text())
        assert receipt["input"]["voxels_sha256"] == hashlib.sha256(vol.read_bytes()).hexdigest()
        assert receipt["output"]["path"] == str(disk / "src/scan.raw")
        assert all(f.startswith(str(disk)) for f in receipt["output"]["files"])
        tomo("compare", vol, disk / "src/scan.raw")
        seconds.add(receipt["seconds"])
    assert len(seconds) == 1, "converted once for each disk"
    again = json.loads(tomo("copy", src, "--to", a, "--to", b, "--recad", "--json").stdout)
    assert [t["copied_files"] for t in again["targets"]] == [0, 0] and again["failed"] == []
    tomo("copy", src, a, "--tiff")
    assert len(list((a / "src/scan_8bit").glob("*.tif"))) == 6
    sums_agree(a)


@pytest.mark.skipif(not FULL, reason="a million files: only with TOMOKIT_FULL=1")
def test_a_million_small_files(tmp_path, monkeypatch):
    """Counts are right and memory stays small: copying, copying again, checking, and making the ledger anew."""
    monkeypatch.setenv("TOMOKIT_LEDGER", str(tmp_path / "ledger.sqlite"))
    src = tmp_path / "src"
    for d in range(1000):
        (src / f"{d:03}").mkdir(parents=True)
        for i in range(1000):
            (src / f"{d:03}/{i:03}").write_bytes(b"%d" % i)
    disk = tmp_path / "disk"
    disk.mkdir()

    def measured(*args):
        start = time.time()
        command = ["/usr/bin/time", "-f", "%M", BIN / "tomo", *args, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0, done.stderr[-2000:]
        memory = int(done.stderr.split()[-1])
        print(f"{args[:2]}: {memory / 1000:.0f} MB, {time.time() - start:.0f} s")
        assert memory < 300_000, "memory, kB"
        return json.loads(done.stdout)

    out = measured("copy", src, disk)
    assert out["targets"][0]["recorded_verified"] == 1_000_000
    out = measured("copy", src, disk)["targets"][0]
    assert (out["copied_files"], out["skipped_files"], out["recorded_verified"]) == (0, 1_000_000, 1_000_000)
    out = measured("copy", "--verify", disk)
    assert (out["good"], out["files"], out["extra"]) == (1_000_000, 1_000_000, [])
    out = measured("ledger", "rebuild", disk)["disks"][0]
    assert (out["files"], out["verified"], out["missing"]) == (1_000_000, 1_000_000, 0)


@pytest.mark.parametrize("kind", ["ntfs", "exfat"])
def test_another_spelling_of_what_is_there_is_refused(tmp_path, kind):
    """Copied at another time, from another folder: the disk itself would replace (exFAT) or hide (NTFS) one of the two."""
    disk = new_disk(tmp_path, kind)
    try:
        for folder, name in (("a", "Scan.nxs"), ("b", "scan.nxs")):
            (tmp_path / folder / "E").mkdir(parents=True)
            (tmp_path / folder / "E" / name).write_bytes(folder.encode() * 1000)
        tomo("copy", tmp_path / "a/E", disk.mount)
        for more in ((), ("--overwrite",), ("--follow", "--settle", "0", "--every", "0.2", "--until-idle", "1")):
            done = run("copy", tmp_path / "b/E", disk.mount, *more)
            assert done.returncode == 1, (more, done.stdout, done.stderr)
        done = run("copy", tmp_path / "b/E", disk.mount)
        assert "upper and lower case from what is there" in done.stdout, done.stdout
        assert [p.name for p in (disk.mount / "E").iterdir()] == ["Scan.nxs"]
        assert (disk.mount / "E/Scan.nxs").read_bytes() == b"a" * 1000
        # what is made on the way has a name of its own
        (tmp_path / "a/E/Slice.raw").write_bytes(b"of another volume")
        tomo("copy", tmp_path / "a/E", disk.mount)
        (tmp_path / "b/E/scan.nxs").unlink()
        (tmp_path / "b/E/slice.vol").write_bytes(noise(1, 4000).replace(b"\x7f", b"\x3f").replace(b"\xff", b"\xbf"))
        (tmp_path / "b/E/slice.vol.info").write_text("NUM_X = 10\nNUM_Y = 10\nNUM_Z = 10\n")
        done = run("copy", tmp_path / "b/E", disk.mount, "--recad", "8")
        assert done.returncode == 1 and "upper and lower case from what is there" in done.stdout, done.stdout
        assert (disk.mount / "E/Slice.raw").read_bytes() == b"of another volume"
        (tmp_path / "b/E/slice.vol").rename(tmp_path / "b/E/other.vol")
        (tmp_path / "b/E/slice.vol.info").rename(tmp_path / "b/E/other.vol.info")
        tomo("copy", tmp_path / "b/E", disk.mount, "--recad", "8")
        assert (disk.mount / "E/other.raw").stat().st_size == 1000
        tomo("copy", "--verify", disk.mount)
    finally:
        disk.down()


def test_a_source_that_is_a_link_and_one_that_is_no_file(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    assert "warn" not in tomo("copy", tmp_path / "link", tmp_path / "disk", "--dry-run").stdout
    tomo("copy", tmp_path / "link", tmp_path / "disk")
    same_trees(tree, tmp_path / "disk" / "link")
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refused("copy", tmp_path / "pipe", tmp_path / "disk")
