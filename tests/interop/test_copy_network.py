"""`tomo copy` to and from drives behind a network: a real SFTP server (sshfs) and a real SMB server (Samba, through
smbnetfs, which tells no sizes and keeps no times). Servers die in the middle of a file and come back."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from copies import ROOT_USER, make_tree, noise, same_trees, sums_agree, until
from support import BIN, run, tomo

SFTP_SERVER = "/usr/lib/openssh/sftp-server"


class Sftp:
    """The server on one end of a pair of sockets, sshfs on the other."""

    def __init__(self, folder):
        self.beneath, self.mount = folder / "served", folder / "drive"
        self.drive = self.mount
        self.beneath.mkdir(), self.mount.mkdir()

    def up(self):
        ours, theirs = socket.socketpair()
        self.server = subprocess.Popen([SFTP_SERVER], stdin=theirs, stdout=theirs)
        args = ["sshfs", "-f", "-o", "passive,dcache_timeout=1", f":{self.beneath}", self.mount]
        self.client = subprocess.Popen(args, stdin=ours, stdout=ours, stderr=subprocess.PIPE, text=True)
        ours.close(), theirs.close()
        while not os.path.ismount(self.mount):
            if self.client.poll() is not None:
                pytest.skip(f"mounting with FUSE is not possible here: {self.client.stderr.read().strip()}")
            time.sleep(0.02)

    def dies(self):
        self.server.kill()
        self.server.wait(timeout=20)
        # What the system does where a connection is gone for long: the mount goes.
        subprocess.run(["umount", "-l", self.mount], capture_output=True)
        self.client.wait(timeout=20)

    down = dies


class Smb:
    """Samba on the local machine only, and smbnetfs on it; both keep their files in the test's folder."""

    def __init__(self, folder):
        self.beneath, self.mount, self.home = folder / "served", folder / "drive", folder / "smb"
        self.drive = self.mount / "127.0.0.1/share"
        self.client = self.server = None
        for d in (self.beneath, self.mount, self.home / ".smb"):
            d.mkdir(parents=True)
        self.settings = self.home / ".smb/smb.conf"
        places = ("private dir", "state directory", "cache directory", "lock directory", "pid directory")
        self.settings.write_text(
            "[global]\nserver role = standalone server\nmap to guest = Bad User\nguest account = root\nload printers = no\n"
            "disable spoolss = yes\nbind interfaces only = yes\ninterfaces = lo\nsmb ports = 445\nlog level = 0\n"
            + "".join(f"{p} = {self.home}\n" for p in places)
            + f"log file = {self.home}/log\n[share]\npath = {self.beneath}\nread only = no\nguest ok = yes\nforce user = root\n"
        )
        for name in ("smbnetfs.conf", "smbnetfs.auth", "smbnetfs.host"):
            (self.home / ".smb" / name).touch(mode=0o600)

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", 445)) == 0

    def serve(self):
        args = ["smbd", "--foreground", "--no-process-group", "-s", self.settings]
        self.server = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.time() + 20
        while not self.answers():
            if self.server.poll() is not None or time.time() > end:
                pytest.skip("Samba does not start here")
            time.sleep(0.05)

    def up(self):
        if self.client is None and self.answers():
            pytest.skip("another SMB server is running here")
        self.serve()
        if self.client is None:
            home = {**os.environ, "HOME": str(self.home)}
            args = ["smbnetfs", "-f", self.mount]
            self.client = subprocess.Popen(args, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        end = time.time() + 20
        while not self.takes_files():
            if self.client.poll() is not None or time.time() > end:
                pytest.skip("mounting an SMB share with FUSE is not possible here")
            time.sleep(0.1)

    def takes_files(self):
        """It connects again only some time after the server is back."""
        try:
            (self.drive / "up").write_bytes(b"")
            (self.drive / "up").unlink()
            return True
        except OSError:
            return False

    def dies(self):
        # One process per connection, each of which would go on by itself.
        os.killpg(self.server.pid, 9)
        self.server.wait(timeout=20)

    def down(self):
        if self.client:
            subprocess.run(["umount", "-l", self.mount], capture_output=True)
            self.client.wait(timeout=20)
        if self.server and self.server.poll() is None:
            self.dies()


KINDS = {"sftp": (Sftp, ["sshfs", SFTP_SERVER]), "smb": (Smb, ["smbd", "smbnetfs"])}


@pytest.fixture(params=KINDS)
def share(request, tmp_path):
    kind, tools = KINDS[request.param]
    for t in tools:
        if not shutil.which(t):
            pytest.skip(f"needs {t} (Debian's sshfs and openssh-sftp-server, samba and smbnetfs)")
    if not ROOT_USER:
        pytest.skip("mounting and serving need root")
    share = kind(tmp_path)
    try:
        share.up()
        yield share
    finally:
        share.down()


def fresh(share, name):
    """A folder of that name, made at the server and seen through the network."""
    (share.beneath / name).mkdir()
    seen = share.drive / name
    for _ in range(200):
        if seen.is_dir():
            return seen
        time.sleep(0.1)
    raise AssertionError(f"{seen} is not seen")


def test_there_and_back_and_verified(share, tmp_path):
    src = make_tree(tmp_path / "src")
    # SMB has Windows' rules for names.
    for odd in ("back\\slash", "line\nend", "cr\rin", os.fsdecode(b"latin\xe9")):
        (src / odd).unlink()
    disk = fresh(share, "to")
    said = tomo("copy", src, disk, timeout=120).stdout
    assert "Safe to leave" in said and "unplug" not in said, said
    same_trees(src, share.beneath / "to/src")
    sums_agree(share.beneath / "to")
    tomo("copy", "--verify", disk, timeout=120)
    # Again: nothing is copied, whether times were kept there or not.
    again = json.loads(tomo("copy", src, disk, "--json", timeout=120).stdout)
    assert [t["copied_files"] for t in again["targets"]] == [0] and again["failed"] == []
    home = tmp_path / "home"
    home.mkdir()
    tomo("copy", disk / "src", home, timeout=120)
    same_trees(src, home / "src")


def test_a_drive_that_tells_no_sizes_is_not_full(share, tmp_path):
    told = os.statvfs(share.drive).f_blocks > 0
    seen = tomo("disks", share.drive).stdout
    assert ("not told" in seen.split("serial")[0]) != told and "full" not in seen, seen
    (tmp_path / "x.vol").write_bytes(noise(1, 100_000))
    plan = json.loads(tomo("copy", tmp_path / "x.vol", fresh(share, "plan"), "--dry-run", "--json").stdout)
    assert plan["verdict"] != "refuse"
    assert any("not told" in f["text"] for f in plan["findings"]) != told
    done = run("estimate", "--nx", 64, "--nz", 64, "--onto", share.drive)
    assert done.returncode == (0 if told else 2) and ("--disk" in done.stderr) != told, done.stderr
    tomo("estimate", "--nx", 64, "--nz", 64, "--onto", share.drive, "--disk", "4TB")
    now = json.loads(tomo("estimate", "--now", tmp_path, "--onto", share.drive, "--json").stdout)
    assert [(d["available"] is not None) for d in now["disks"]] == [told]


def test_the_server_dies_in_the_middle_of_a_file(share, tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    (src / "a.tif").write_bytes(noise(1, 50_000))
    (src / "large.vol").write_bytes(noise(2, 24 << 20))
    disk = fresh(share, "to")
    args = [BIN / "tomo", "copy", src, disk, "--limit", "8M", "--retries", "0", "--json"]
    p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    part = share.beneath / "to/src/large.vol.tomo-part"
    until(p, lambda: part.exists() and part.stat().st_size > 4 << 20)
    share.dies()
    out, err = p.communicate(timeout=120)
    assert p.returncode == 2 and "panicked" not in err, err
    assert not (share.beneath / "to/src/large.vol").exists()
    failed = {f["path"] for f in json.loads(out)["failed"]}
    assert str(src / "large.vol") in failed
    # The small one may have been on its way, too: where nothing is said of it, it is there.
    if str(src / "a.tif") not in failed:
        assert (share.beneath / "to/src/a.tif").read_bytes() == noise(1, 50_000)
    share.up()
    tomo("copy", src, disk, timeout=120)
    same_trees(src, share.beneath / "to/src")
    sums_agree(share.beneath / "to")


def test_following_a_server_that_comes_back(share, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    exp = fresh(share, "exp")
    (share.beneath / "exp/a.nxs").write_bytes(noise(1, 200_000))
    heard = tmp_path / "heard"
    with heard.open("w") as says:
        args = ["copy", exp, disk, "--follow", "--settle", "0.5", "--every", "0.3", "--json"]
        p = subprocess.Popen([BIN / "tomo", *map(str, args)], stdout=subprocess.PIPE, stderr=says, text=True)
    until(p, (disk / "exp/a.nxs").exists)
    share.dies()
    until(p, lambda: "went away: waiting" in heard.read_text())
    (share.beneath / "exp/b.nxs").write_bytes(noise(2, 300_000))
    share.up()
    until(p, (disk / "exp/b.nxs").exists)
    time.sleep(1)
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=120)
    assert p.returncode == 0, heard.read_text()
    report = json.loads(out)
    assert report["waiting_for"] == [] and report["failed"] == [] and report["copied_files"] == 2
    same_trees(share.beneath / "exp", disk / "exp")
    sums_agree(disk)


def test_a_follow_whose_source_stays_away_is_no_good_end(share, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    exp = fresh(share, "exp")
    (share.beneath / "exp/a.nxs").write_bytes(noise(1, 200_000))
    args = ["copy", exp, disk, "--follow", "--settle", "0.5", "--every", "0.3", "--until-idle", "6", "--json"]
    p = subprocess.Popen([BIN / "tomo", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(p, (disk / "exp/a.nxs").exists)
    share.dies()
    out, err = p.communicate(timeout=120)
    assert p.returncode == 2, err
    report = json.loads(out)
    assert not report["finalised"] and report["waiting_for"] == [str(exp)]
    sums_agree(disk)
