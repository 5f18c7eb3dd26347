"""Disks that are full, that fail while they are written, and that lie about what is on them."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from copies import MIB, ROOT_USER, events, make_tree, new_disk, noise, same_trees, start, sums_agree, verify
from support import refused, run, tomo


def small_disk(path, size="6m"):
    if not ROOT_USER or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not possible here")


def test_a_sealed_disk_stays_sealed(tmp_path):
    """The same command again, after an interruption too: what went to the second disk is not tried on the first again."""
    src, full, spare = tmp_path / "src", tmp_path / "full", tmp_path / "spare"
    src.mkdir(), full.mkdir(), spare.mkdir()
    small_disk(full)
    try:
        for i in range(10):
            (src / f"{i}.vol").write_bytes(noise(i, MIB))
        # small enough for the room that is left on the full disk
        (src / "z.par").write_bytes(b"last")
        args = ["copy", src, "--to", full, "--then", spare]
        p = start([*args, "--limit", "6M"], tmp_path)
        end = time.time() + 30
        while time.time() < end and not (spare / "src").exists():
            time.sleep(0.02)
        p.kill()
        p.wait()
        p.stderr.close()
        on_full = sorted(os.listdir(full / "src"))
        assert any(e["event"] == "sealed" for e in events(full)) and len(on_full) >= 3
        tomo(*args)
        for _ in range(2):
            out = json.loads(tomo(*args, "--json").stdout)
            assert out["failed"] == [] and sum(t["copied_files"] for t in out["targets"]) == 0, out
        assert sorted(os.listdir(full / "src")) == on_full
        assert sorted(os.listdir(full / "src") + os.listdir(spare / "src")) == sorted(os.listdir(src))
        sums_agree(full), sums_agree(spare)
    finally:
        subprocess.run(["umount", full], check=True)


def test_room_that_all_disks_together_do_not_have(tmp_path):
    """What further disks lack is said before the first byte, less what they hold; targets on one volume share its room."""
    src, one, two = tmp_path / "src", tmp_path / "one", tmp_path / "two"
    src.mkdir(), one.mkdir(), two.mkdir()
    for i in range(8):
        (src / f"{i}.vol").write_bytes(noise(i, MIB))
    small_disk(one, "4M"), small_disk(two, "4M")

    def together(*args):
        out = json.loads(run("copy", src, *args, "--dry-run", "--json").stdout)
        return [f["text"] for f in out["findings"] if "together" in f["text"] or "one volume" in f["text"]], out["verdict"]

    try:
        told, verdict = together("--to", one, "--then", two)
        assert len(told) == 1 and "not enough room on all disks together" in told[0] and verdict == "warn"
        assert together("--to", one, "--then", two, "--include", "[0-5].vol")[0] == []
        done = run("copy", src, "--to", one, "--then", two)
        assert done.returncode == 2 and "not enough room on all disks together" in done.stderr
        # a third disk takes the rest; what the second holds already is not asked of it
        rest = 8 - len(os.listdir(one / "src")) - len(os.listdir(two / "src"))
        third = tmp_path / "third"
        third.mkdir()
        small_disk(third, "4M")
        try:
            assert 0 < rest <= 3 and together("--to", one, "--then", two, "--then", third)[0] == []
            tomo("copy", src, "--to", one, "--then", two, "--then", third)
            assert sum(len(os.listdir(d / "src")) for d in (one, two, third)) == 8
            (third / "a").mkdir(), (third / "b").mkdir()
            pair = ["--to", third / "a", "--to", third / "b", "--include"]
            told, verdict = together(*pair, "0.vol")
            assert len(told) == 1 and "one volume" in told[0] and verdict == "refuse"
        finally:
            subprocess.run(["umount", third], check=True)
    finally:
        subprocess.run(["umount", one, two], check=True)


def driver_killed(disk):
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                line = open(f"/proc/{pid}/cmdline", "rb").read()
            except OSError:
                continue
            if str(disk.mount).encode() in line and line.split(b"\0")[0].rsplit(b"/")[-1] in (b"ntfs-3g", b"mount.exfat-fuse"):
                os.kill(int(pid), signal.SIGKILL)
                return
    pytest.fail("the driver was not found")


def device_shrunk(disk):
    with open(disk.image, "r+b") as f:
        f.truncate(8 << 20)
    subprocess.run(["losetup", "-c", disk.loop], check=True)


def device_read_only(disk):
    subprocess.run(["blockdev", "--setro", disk.loop], check=True)


@pytest.mark.parametrize("kind, how", [("ntfs", driver_killed), ("exfat", driver_killed), ("ntfs", device_shrunk),
                                       ("ext4", device_shrunk), ("ntfs", device_read_only)])
def test_a_disk_that_fails_while_it_is_written(tmp_path, kind, how):
    """Nothing that is on no disk is called good: the exit code is 2, the record names no file as verified that differs, and
    on a disk that came back the same command goes on."""
    disk = new_disk(tmp_path, kind)
    try:
        src = tmp_path / "src"
        src.mkdir()
        for i in range(40):
            (src / f"{i:02}.vol").write_bytes(noise(i, MIB))
        p = start(["copy", src, disk.mount, "--limit", "15M", "--retries", "1"], tmp_path)
        time.sleep(1.5)
        assert p.poll() is None, p.communicate()
        how(disk)
        _, err = p.communicate(timeout=120)
        assert p.returncode == 2 and b"panicked" not in err, err
        if how is not driver_killed:
            return
        subprocess.run(["umount", "-l", disk.mount], check=True)
        assert os.listdir(disk.mount) == [], "written to the disk below the mount point"
        subprocess.run(["losetup", "-d", disk.loop], capture_output=True)
        disk.loop = None
        disk.up()
        for e in events(disk.mount):
            if e["event"] == "verified":
                assert hashlib.sha256((disk.mount / e["path"]).read_bytes()).hexdigest() == e["sha256"]
        out = json.loads(tomo("copy", src, disk.mount, "--json").stdout)
        assert out["failed"] == [] and out["targets"][0]["recorded_verified"] == 40
        same_trees(src, disk.mount / "src")
        sums_agree(disk.mount)
    finally:
        if disk.loop:
            subprocess.run(["blockdev", "--setrw", disk.loop], capture_output=True)
        disk.down()


DIGEST = hashlib.sha256(b"secret").hexdigest()
OUTSIDE = ["../outside", "/etc/hostname", "src/../../outside", "hex:2e2e2f6f757473696465", "src//a.vol", "./", "a/./b"]


def hostile_record(names):
    lines = [json.dumps({"event": "session", "t": 1, "session": 1, "software": "x", "host": "", "sources": [], "target": "", "volume": None})]
    for name in names:
        common = {"path": name, "size": 6, "modified_ns": 0}
        lines.append(json.dumps({"event": "part", **common, "offset": 6, "state": "00" * 105, "blocks": {"bytes": 1, "crc32": "0" * 64}}))
        lines.append(json.dumps({"event": "file", **common, "sha256": DIGEST, "copied": 1, "session": 1, "source": "../x"}))
        lines.append(json.dumps({"event": "verified", "t": 1, "path": name, "sha256": DIGEST, "level": "remounted"}))
        lines.append(json.dumps({"event": "dropped", "t": 1, "path": name, "why": "x"}))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_in_a_record_lead_nowhere(tmp_path, name):
    """Each hostile name in every kind of event and in the list: checking the disk and going on with the copy touch nothing
    outside the two trees."""
    tree, outside = make_tree(tmp_path / "src", large=MIB), tmp_path / "outside"
    outside.write_bytes(b"secret")
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "tomo-copy.jsonl").write_text(hostile_record([name]))
    (disk / "SHA256SUMS").write_text(f"{DIGEST}  {name}\n")
    done = run("copy", "--verify", disk)
    assert done.returncode in (1, 2) and "secret" not in done.stdout and "panicked" not in done.stderr
    tomo("copy", tree, disk)
    same_trees(tree, disk / "src")
    sums_agree(disk)
    assert sorted(os.listdir(tmp_path)) == ["disk", "outside", "src"] and outside.read_bytes() == b"secret"
    assert name.encode() not in (disk / "SHA256SUMS").read_bytes()


def test_device_names_line_ends_and_bytes_come_back_as_they_were(tmp_path):
    """Names that are harmless here and awkward elsewhere, in record and list, checked and gone on with."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    names = [b"CON", b"nul.txt", b"COM1", b"a\r\nb", b"\n", b"\r", b"caf\xe9", b"\xff\xfe", b"hex:2e2e", b"a\\nb", b" ", b"-rf", b"..."]
    for n in names:
        (src / os.fsdecode(n)).write_bytes(n)
    tomo("copy", src, disk)
    same_trees(src, disk / "src")
    sums_agree(disk)
    rc, report = verify(disk)
    assert rc == 0 and report["good"] == len(names)
    again = json.loads(tomo("copy", src, disk, "--json").stdout)
    assert again["targets"][0]["skipped_files"] == len(names)
    (disk / "tomo-copy.jsonl").unlink()
    assert verify(disk)[1]["good"] == len(names)


def links(disk, outside):
    (disk / "src/a").unlink()
    os.symlink(outside, disk / "src/a")


def pipes(disk, _):
    (disk / "src/a").unlink()
    os.mkfifo(disk / "src/a")


def devices(disk, _):
    (disk / "src/a").unlink()
    os.symlink("/dev/zero", disk / "src/a")


def folders(disk, _):
    (disk / "src/a").unlink()
    (disk / "src/a").mkdir()


def linked_folder(disk, outside):
    (disk / "src/sub").rename(disk / "moved")
    os.symlink(outside.parent / "elsewhere", disk / "src/sub")


def linked_part(disk, outside):
    os.symlink(outside, disk / "src/new.vol.tomo-part")


def piped_part(disk, _):
    os.mkfifo(disk / "src/new.vol.tomo-part")


def linked_record(disk, outside):
    shutil.move(disk / "tomo-copy.jsonl", outside.parent / "record")
    os.symlink(outside.parent / "record", disk / "tomo-copy.jsonl")


@pytest.mark.parametrize("trap", [links, pipes, devices, folders, linked_folder, linked_part, piped_part, linked_record])
def test_traps_on_the_disk(tmp_path, trap):
    """Links, pipes and devices in the place of files: a check neither follows nor waits, and going on with the copy writes
    to none of them."""
    src, disk, outside, elsewhere = (tmp_path / n for n in ("src", "disk", "outside", "elsewhere"))
    src.mkdir(), disk.mkdir(), elsewhere.mkdir(), (src / "sub").mkdir()
    outside.write_bytes(b"secret")
    (src / "a").write_bytes(b"secret")
    (src / "sub/b").write_bytes(b"2")
    (elsewhere / "b").write_bytes(b"2")
    tomo("copy", src, disk)
    (src / "new.vol").write_bytes(noise(1, 100_000))
    trap(disk, outside)
    done = run("copy", "--verify", disk, timeout=30)
    found = trap in (links, pipes, devices, folders, linked_folder)
    assert done.returncode in ((1, 2) if found else (0, 1, 2)), done.stdout + done.stderr
    assert "panicked" not in done.stderr
    record = (tmp_path / "record").read_bytes() if trap is linked_record else b""
    done = run("copy", src, disk, "--overwrite", timeout=30)
    assert "panicked" not in done.stderr and done.returncode in (0, 1, 2)
    assert outside.read_bytes() == b"secret" and (elsewhere / "b").read_bytes() == b"2"
    assert sorted(os.listdir(elsewhere)) == ["b"]
    assert (tmp_path / "record").read_bytes() == record if record else True
    if trap in (linked_part, piped_part):
        assert done.returncode == 0, done.stderr
        assert (disk / "src/new.vol").read_bytes() == noise(1, 100_000) and not (disk / "src/new.vol").is_symlink()


def test_what_is_no_record_or_no_list_of_ours_stays(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a").write_bytes(b"a")
    mine = '{"scan":1,"note":"my acquisition log"}\n'
    (disk / "tomo-copy.jsonl").write_text(mine)
    for more in [], ["--dry-run"]:
        assert "no record of this program" in refused("copy", src, disk, *more)
    assert (disk / "tomo-copy.jsonl").read_text() == mine
    (disk / "tomo-copy.jsonl").unlink()
    os.mkfifo(disk / "hashdeep.txt")
    done = run("copy", src, disk, "--hashdeep", timeout=20)
    assert done.returncode != 0 and not (disk / "src").exists()
    (disk / "hashdeep.txt").unlink()
    # A list that lies elsewhere speaks of other files.
    (tmp_path / "o").mkdir()
    (tmp_path / "o/f").write_bytes(b"x")
    sums = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  f\n"
    (tmp_path / "list").write_text(sums)
    (tmp_path / "o/SHA256SUMS").symlink_to(tmp_path / "list")
    assert "a link" in refused("copy", "--verify", tmp_path / "o")
    (tmp_path / "o/SHA256SUMS").unlink()
    (tmp_path / "o/SHA256SUMS").write_text(sums)
    assert verify(tmp_path / "o")[0] == 0


def test_one_disk_does_not_lie_in_the_other(tmp_path):
    for folder in ("src", "disk/inner"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src/a").write_bytes(b"a")
    for one, other in ("disk", "disk/inner"), ("disk/inner", "disk"), ("disk", "disk/new"):
        for then in "--to", "--then":
            said = refused("copy", tmp_path / "src", "--to", tmp_path / one, then, tmp_path / other)
            assert "lies in the other" in said, said
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["inner"]
