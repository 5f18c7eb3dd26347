"""Disks that go away and come back, or do not: what lies below a mount is no disk, and another disk is another one."""

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from copies import ROOT_USER, new_disk, noise, same_trees, start, sums_agree, until, verify
from support import BIN, run, tomo


@contextmanager
def following(*args):
    command = [BIN / "tomo", "copy", *args, "--follow", "--settle", "0.2", "--every", "0.2", "--json"]
    p = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield p
    finally:
        if p.poll() is None:
            p.kill()


def ended(p):
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=30)
    return p.returncode, json.loads(out), err


@pytest.fixture
def disks(tmp_path):
    """Two disks of which one at a time is mounted at the same place."""
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    one, two = new_disk(tmp_path / "one", "ext4", "32M"), new_disk(tmp_path / "two", "ext4", "32M")
    two.down()
    two.mount = one.mount
    yield one, two
    one.down(), two.down()


@pytest.mark.parametrize("below", [True, False])
def test_follow_waits_for_the_disk_it_began_with(disks, tmp_path, below):
    one, two = disks
    src, disk = tmp_path / "src", one.mount
    src.mkdir()
    (src / "a.bin").write_bytes(noise(1, 100_000))
    with following(src, disk) as p:
        until(p, (disk / "src/a.bin").exists)
        time.sleep(0.5)
        one.down()
        if not below:
            two.up()
        (src / "b.bin").write_bytes(noise(2, 100_000))
        time.sleep(1.5)
        assert p.poll() is None and not (disk / "src").exists(), "copied to what is no disk, or another one"
        if not below:
            two.down()
        one.up()
        until(p, (disk / "src/b.bin").exists)
        time.sleep(0.5)
        code, out, err = ended(p)
    assert code == 0 and out["safe_to_unplug"] and out["waiting_for"] == [] and "went away" in err and "is back" in err, err
    same_trees(src, disk / "src")
    sums_agree(disk)


def test_the_end_of_a_follow_says_what_is_not_on_the_disks(disks, tmp_path):
    one, _ = disks
    src, disk = tmp_path / "src", one.mount
    src.mkdir()
    (src / "a.bin").write_bytes(noise(1, 100_000))
    with following(src, disk) as p:
        until(p, (disk / "src/a.bin").exists)
        time.sleep(0.5)
        one.down()
        (src / "b.bin").write_bytes(noise(2, 100_000))
        time.sleep(1)
        code, out, _ = ended(p)
    assert code == 2 and out["waiting_for"] == [str(disk)] and out["unfinished"] == [str(src / "b.bin")], out
    assert out["unfinished_files"] == 1 and not out["finalised"] and os.listdir(disk) == []


def test_a_follow_interrupted_within_a_file(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a.bin").write_bytes(noise(1, 40_000_000))
    os.utime(src / "a.bin", (1_500_000_000, 1_500_000_000))
    with following(src, disk, "--limit", "4M") as p:
        until(p, (disk / "src/a.bin.tomo-part").exists)
        time.sleep(0.3)
        code, out, _ = ended(p)
    assert code == 130 and not out["safe_to_unplug"] and out["unfinished"] == [str(src / "a.bin")], out
    tomo("copy", src, disk)
    same_trees(src, disk / "src")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_what_fits_goes_on_after_an_interruption(disks, tmp_path, sign):
    """The room that the unfinished file takes is its own."""
    one, _ = disks
    src, disk = tmp_path / "src", one.mount
    src.mkdir()
    (src / "large.vol").write_bytes(noise(3, 18_000_000))
    (src / "small.txt").write_bytes(b"x")
    p = start(["copy", src, disk, "--limit", "20M"], tmp_path)
    until(p, lambda: (disk / "src/large.vol.tomo-part").exists() and (disk / "src/large.vol.tomo-part").stat().st_size > 0)
    p.send_signal(sign)
    p.wait(timeout=30)
    assert not (disk / "src/large.vol").exists()
    done = run("copy", src, disk)
    assert done.returncode == 0, done.stdout + done.stderr
    same_trees(src, disk / "src")
    sums_agree(disk)


@contextmanager
def held(path, seconds):
    """A file that can be neither renamed, replaced nor removed for a while, as a virus scanner, a viewer or a file server has
    it: something is mounted on it, itself."""
    if not ROOT_USER:
        pytest.skip("mounting needs root")
    path.touch()
    if subprocess.run(["mount", "--bind", path, path], capture_output=True).returncode:
        pytest.skip("mounting is not possible here")
    freed = threading.Timer(seconds, lambda: subprocess.run(["umount", path], check=True))
    freed.start()
    try:
        yield
    finally:
        freed.join()


def test_files_that_something_else_holds_for_a_moment(tmp_path):
    src, disk = tmp_path / "x.vol", tmp_path / "disk"
    disk.mkdir()
    src.write_bytes(noise(1, 64 * 64 * 4 * 4))
    with held(disk / ".read-back-test.tomo-part", 0.8):
        tomo("copy", src, disk)
    assert (disk / "x.vol").read_bytes() == src.read_bytes()
    out = tmp_path / "out.raw"
    with held(out, 0.8):
        tomo("convert", src, out, "--dims", "64x64x4", "--overwrite")
    assert out.read_bytes() == src.read_bytes()
    # For longer: it is said, and the next run brings it.
    more = tmp_path / "y.vol"
    more.write_bytes(noise(2, 5000))
    with held(disk / "y.vol.tomo-part", 6):
        done = run("copy", more, disk, "--retries", "0")
        assert done.returncode == 2 and "y.vol" in done.stderr and "busy" in done.stderr, done.stderr
        assert not (disk / "y.vol").exists()
    tomo("copy", more, disk)
    assert (disk / "y.vol").read_bytes() == more.read_bytes()
    sums_agree(disk)


def test_a_file_that_cannot_be_replaced_stays_ours(tmp_path):
    """A viewer has it open (on Windows nothing replaces it then): the next run does, without being told to overwrite."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in ("a", "b"):
        (src / n).write_bytes(noise(ord(n), 5000))
    tomo("copy", src, disk)
    (src / "a").write_bytes(noise(3, 6000))
    os.utime(src / "a", (1e9, 1e9))
    with held(disk / "src/a", 6):
        done = run("copy", src, disk, "--retries", "0")
        assert done.returncode == 2 and "src/a" in done.stderr and "busy" in done.stderr, done.stderr
        assert (disk / "src/a").read_bytes() == noise(ord("a"), 5000)
    # It is what it was, and known; the copy did not bring everything.
    code, report = verify(disk)
    assert code == 1 and report["good"] == 2 and report["extra"] == report["changed"] == [], report
    sums_agree(disk)
    out = json.loads(tomo("copy", src, disk, "--json").stdout)
    assert out["failed"] == [] and out["targets"][0]["copied_files"] == 1
    same_trees(src, disk / "src")
    sums_agree(disk)
