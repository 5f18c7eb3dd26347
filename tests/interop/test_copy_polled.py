"""`tomo copy --follow` where the system reports no changes, as on network drives: a pass-through file system (bindfs) whose
files are changed beneath it. Files are found by looking, and a source that is unmounted and mounted again is waited for."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from copies import ROOT_USER, noise, same_trees, sums_agree
from support import BIN, tomo


class Drive:
    """`beneath` is the server's disk, `mount` what this machine sees of it."""

    def __init__(self, folder):
        self.beneath, self.mount = folder / "beneath", folder / "src"
        self.beneath.mkdir(), self.mount.mkdir()

    def up(self):
        self.server = subprocess.Popen(["bindfs", "-f", self.beneath, self.mount], stderr=subprocess.PIPE, text=True)
        while not os.path.ismount(self.mount):
            if self.server.poll() is not None:
                pytest.skip(f"mounting with FUSE is not possible here: {self.server.stderr.read().strip()}")
            time.sleep(0.02)

    def down(self):
        subprocess.run(["umount", "-l", self.mount], capture_output=True)
        self.server.wait(timeout=20)

    def dies(self):
        self.server.kill()
        self.server.wait(timeout=20)


@pytest.fixture
def drive(tmp_path):
    if not shutil.which("bindfs"):
        pytest.skip("needs Debian's bindfs")
    if not ROOT_USER:
        pytest.skip("mounting needs root")
    drive = Drive(tmp_path)
    drive.up()
    yield drive
    drive.down()


class Changes:
    """Changes that the system reports of a folder (inotify)."""

    def __init__(self, folder):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK)
        assert self.libc.inotify_add_watch(self.fd, os.fsencode(folder), 0x3CE) >= 0

    def any(self):
        try:
            return len(os.read(self.fd, 1 << 16)) > 0
        except BlockingIOError:
            return False


def follow(src, disk, *more, says=subprocess.PIPE):
    args = ["copy", src, disk, "--follow", "--settle", "0.6", "--every", "0.3", *more]
    return subprocess.Popen([BIN / "tomo", *map(str, args)], stdout=subprocess.PIPE, stderr=says, text=True)


def told(p, file, text, times, seconds=60):
    """Waits until the follow has said `text` so often: a round in the making may flush for long before the next look."""
    end = time.time() + seconds
    while time.time() < end and p.poll() is None:
        if file.read_text().count(text) >= times:
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} was not said {times} times: {p.poll()} {file.read_text()}")


def arrives(p, path, data, seconds=30):
    end = time.time() + seconds
    while time.time() < end and p.poll() is None:
        if path.exists() and path.read_bytes() == data:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not arrive: {p.poll()}")


def test_follow_finds_by_looking_what_nobody_reports(drive, tmp_path):
    disk, top = tmp_path / "disk", drive.beneath
    disk.mkdir()
    (top / "first.vol").write_bytes(noise(1, 100_000))
    (top / "gone.tif").write_bytes(noise(2, 1000))
    heard, control = Changes(drive.mount), Changes(top)
    p = follow(drive.mount, disk, "--until-idle", "6", "--json")
    arrives(p, disk / "src/first.vol", noise(1, 100_000))
    (top / "reported").write_bytes(b"")
    (top / "reported").unlink()
    time.sleep(0.3)
    assert control.any() and not heard.any(), "the system reports changes here: this test shows nothing"
    # a new folder, a file that grows for longer than it takes to settle, one rewritten at the same length, one removed
    (top / "new/deeper").mkdir(parents=True)
    (top / "new/deeper/second.tif").write_bytes(noise(3, 30_000))
    grown = b""
    for i in range(12):
        grown += noise(100 + i, 10_000)
        (top / "growing.raw").write_bytes(grown)
        assert not (disk / "src/growing.raw").exists(), "copied while it grew"
        time.sleep(0.2)
    (top / "gone.tif").unlink()
    arrives(p, disk / "src/new/deeper/second.tif", noise(3, 30_000))
    arrives(p, disk / "src/growing.raw", grown)
    (top / "first.vol").write_bytes(noise(4, 100_000))
    arrives(p, disk / "src/first.vol", noise(4, 100_000))
    (top / "new").rename(top / "renamed")
    arrives(p, disk / "src/renamed/deeper/second.tif", noise(3, 30_000))
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0, err
    report = json.loads(out)
    assert report["finalised"] and report["safe_to_unplug"] and report["failed"] == [] and report["again"] >= 1
    # a copy is no mirror: what went at the source stays on the disk
    assert (disk / "src/gone.tif").read_bytes() == noise(2, 1000)
    (disk / "src/gone.tif").unlink()
    shutil.rmtree(disk / "src/new")
    same_trees(top, disk / "src")
    assert run_verify(disk) == ["src/gone.tif", "src/new/deeper/second.tif"]


def run_verify(disk):
    """Names that are missing on the disk; nothing else may be wrong."""
    done = subprocess.run([BIN / "tomo", "copy", "--verify", disk, "--json"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["changed"] == report["unreadable"] == report["extra"] == report["refused_lines"] == []
    return report["missing"]


@pytest.mark.parametrize("how", ["unmounted", "server gone"])
def test_follow_waits_for_a_drive_that_goes_away(drive, tmp_path, how):
    """An unmounted drive leaves an empty folder, one whose server died an error: neither is an experiment without files."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (drive.beneath / "a").write_bytes(noise(1, 10_000))
    heard = tmp_path / "heard"
    with heard.open("w") as says:
        p = follow(drive.mount, disk, says=says)
    arrives(p, disk / "src/a", noise(1, 10_000))
    for times, (name, data) in enumerate((("b", noise(2, 20_000)), ("c", noise(3, 30_000))), 1):
        if how == "unmounted":
            drive.down()
            assert os.listdir(drive.mount) == []
        else:
            drive.dies()
        (drive.beneath / name).write_bytes(data)
        told(p, heard, "went away: waiting", times)
        time.sleep(1.5)
        assert p.poll() is None and not (disk / "src" / name).exists()
        if how != "unmounted":
            drive.down()
        drive.up()
        arrives(p, disk / "src" / name, data)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    p.wait(timeout=30)
    err = heard.read_text()
    assert p.returncode == 0, err
    assert err.count("went away: waiting") == 2 and err.count("is back") == 2, err
    same_trees(drive.beneath, disk / "src")
    sums_agree(disk)
    tomo("copy", "--verify", disk)


def test_follow_a_drive_that_goes_away_mid_file(drive, tmp_path):
    """The file that was being read is read again when the drive is back, without anybody asking for it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    data = noise(5, 30 << 20)
    (drive.beneath / "large.vol").write_bytes(data)
    os.utime(drive.beneath / "large.vol", (1e9, 1e9))
    p = follow(drive.mount, disk, "--limit", "8M", "--retries", "0")
    end = time.time() + 20
    while time.time() < end and not (disk / "src/large.vol.tomo-part").exists():
        time.sleep(0.05)
    time.sleep(1)
    drive.dies()
    time.sleep(2.5)
    assert p.poll() is None and not (disk / "src/large.vol").exists()
    drive.down()
    drive.up()
    arrives(p, disk / "src/large.vol", data)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=30)
    assert p.returncode == 0, err
    sums_agree(disk)
