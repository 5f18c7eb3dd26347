"""What the tests of copies share: trees with every awkward thing in them, others' judgement of a copy, disks on image files."""

import json
import os
import random
import shutil
import subprocess
import time

import pytest
from support import BIN, run

MIB = 1 << 20
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0


def noise(seed, n):
    return random.Random(seed).randbytes(n)


def make_tree(top, large=6 << 20):
    """A tree with every awkward thing that ext4 holds: many small files, empty ones, odd names, old times."""
    files = {
        "a.vol": noise(1, 3_000_017), "b/empty": b"", "b/one": b"x", "b/block": noise(2, 1 << 20), "large.raw": noise(3, large),
        "with blank/größe 漢 😀.tif": b"unicode", "back\\slash": b"1", "line\nend": b"2", "cr\rin": b"3", "-dash": b"4",
        ".hidden": b"5", "b/deep/er/and/deeper/x": b"6",
    }
    files |= {f"many/{i:04}.tif": noise(i, 700 + i) for i in range(200)}
    for name, data in files.items():
        p = top / name
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(data)
    (top / os.fsdecode(b"latin\xe9")).write_bytes(b"7")
    (top / "nothing" / "in here").mkdir(parents=True)
    os.utime(top / "a.vol", ns=(0, 1_234_567_890_123_456_789))
    return top


def sums_agree(disk):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=disk, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def same_trees(a, b):
    done = subprocess.run(["diff", "-r", str(a), str(b)], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def events(disk):
    return [json.loads(line) for line in (disk / "tomo-copy.jsonl").read_text().splitlines()]


def start(args, cwd):
    return subprocess.Popen([BIN / "tomo", *map(str, args), "--quiet"], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def until(p, what, seconds=30):
    """Waits for something while a program runs."""
    end = time.time() + seconds
    while time.time() < end and p.poll() is None:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


# File systems on image files: what users' disks are.

MAKERS = {
    "ntfs": (["mkntfs", "-F", "-Q"], ["ntfs-3g", "-o", "big_writes"], "mkntfs", "ntfs-3g"),
    "exfat": (["mkfs.exfat"], ["mount.exfat-fuse"], "mkfs.exfat", "exfat-fuse and exfatprogs"),
    "ext4": (["mkfs.ext4", "-q", "-F"], ["mount"], "mkfs.ext4", "e2fsprogs"),
}


class Disk:
    """An image file, a loop device on it, a mount."""

    def __init__(self, folder, kind, size):
        self.kind, self.image, self.mount = kind, folder / f"{kind}.img", folder / f"{kind}-disk"
        self.loop = None
        self.mount.mkdir()
        subprocess.run(["truncate", "-s", size, self.image], check=True)
        make, _, _, _ = MAKERS[kind]
        subprocess.run([*make, self.image], check=True, capture_output=True)

    def up(self):
        done = subprocess.run(["losetup", "-f", "--show", self.image], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no loop devices here: {done.stderr.strip()}")
        self.loop = done.stdout.strip()
        done = subprocess.run([*MAKERS[self.kind][1], self.loop, self.mount], capture_output=True, text=True)
        if done.returncode != 0 or not os.path.ismount(self.mount):
            self.down()
            pytest.skip(f"mounting {self.kind} is not possible here: {done.stderr.strip()}")

    def down(self):
        for _ in range(50):
            if not os.path.ismount(self.mount) or subprocess.run(["umount", self.mount], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], capture_output=True)
            self.loop = None


def new_disk(folder, kind, size="96M"):
    if not ROOT_USER:
        pytest.skip("mounting image files needs root")
    if not all(shutil.which(c) for c in (MAKERS[kind][2], MAKERS[kind][1][0])):
        pytest.skip(f"needs Debian's {MAKERS[kind][3]}")
    disk = Disk(folder, kind, size)
    disk.up()
    return disk


def verify(disk, *more):
    """The exit code of a check of a disk, and what it says."""
    done = run("copy", "--verify", disk, "--json", *more)
    return done.returncode, json.loads(done.stdout)
