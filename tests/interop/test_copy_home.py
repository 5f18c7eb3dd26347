"""Copies after the copying: the disk at home, the damaged stretch, what somebody changed on it, the ledger."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
from copies import MIB, events, new_disk, noise, same_trees, start, sums_agree, verify
from support import BIN, FULL, refused, run, tomo


def flip(path, at):
    """One bit changes, the time does not."""
    stat = path.stat()
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_the_damaged_stretch_is_named(tmp_path):
    """Block sums come from a copy that was killed and gone on with, twice; a plain list of sums knows no stretches."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "big.vol").write_bytes(noise(1, 20 * MIB + 12345))
    (src / "small.vol").write_bytes(noise(2, 700_000))
    with open(src / "sparse.vol", "wb") as f:
        f.write(noise(3, 100))
        f.truncate(40 * MIB)
    args = ["copy", src, disk, "--checkpoint", "2M"]
    marks = 0
    for _ in range(2):
        p = start([*args, "--limit", "15M"], tmp_path)
        for _ in range(100):
            time.sleep(0.05)
            record = (disk / "tomo-copy.jsonl").read_text() if (disk / "tomo-copy.jsonl").exists() else ""
            if record.count('"event":"part"') >= marks + 2:
                break
        p.kill()
        p.wait()
        p.stderr.close()
        marks = (disk / "tomo-copy.jsonl").read_text().count('"event":"part"')
    out = json.loads(tomo(*args, "--json").stdout)
    assert marks >= 2 and out["targets"][0]["resumed_bytes"] > 0
    assert verify(disk)[0] == 0
    flip(disk / "src/big.vol", 3 * MIB)
    flip(disk / "src/big.vol", 4 * MIB + 5)
    flip(disk / "src/big.vol", 20 * MIB + 12344)
    flip(disk / "src/small.vol", 5)
    flip(disk / "src/sparse.vol", 30 * MIB)
    rc, report = verify(disk)
    assert rc == 1 and len(report["changed"]) == 3
    damage = {d["path"]: d for d in report["damage"]}
    assert damage["src/big.vol"]["bytes"] == [[3 * MIB, 5 * MIB], [20 * MIB, 20 * MIB + 12345]]
    assert (damage["src/big.vol"]["blocks"], damage["src/big.vol"]["of"]) == (3, 21)
    assert damage["src/sparse.vol"]["bytes"] == [[30 * MIB, 31 * MIB]] and "src/small.vol" not in damage
    text = run("copy", "--verify", disk).stdout
    assert f"bytes {3 * MIB} to {5 * MIB - 1}, {20 * MIB} to {20 * MIB + 12344} differ (3 of 21 blocks of 1 MiB)" in text, text
    # noted on the disk, the same copy command repairs it
    assert "repair" in text and json.loads(tomo("copy", src, disk, "--json").stdout)["targets"][0]["copied_files"] == 0
    before = (disk / "tomo-copy.jsonl").read_bytes()
    damaged = {n: (disk / "src" / n).read_bytes() for n in os.listdir(src)}
    assert verify(disk, "--record")[0] == 1
    assert json.loads(tomo("copy", src, disk, "--json").stdout)["targets"][0]["copied_files"] == 3
    assert verify(disk)[0] == 0
    same_trees(src, disk / "src")
    # a plain list of sums knows no blocks
    (disk / "src/small.vol").write_bytes(damaged["small.vol"])
    (disk / "src/big.vol").write_bytes(damaged["big.vol"])
    (disk / "tomo-copy.jsonl").unlink()
    rc, report = verify(disk)
    assert rc == 1 and "damage" not in report and len(report["changed"]) == 2 and b"crc32" in before


def test_large_files_go_past_the_cache(tmp_path):
    """On ext4 in whole blocks, with holes, an odd end, little memory, an interruption in the middle, and a disk that becomes
    full on the way."""
    disk, plain, src = new_disk(tmp_path, "ext4", "300M"), tmp_path / "plain", tmp_path / "src"
    try:
        src.mkdir(), plain.mkdir()
        (src / "a.vol").write_bytes(noise(1, 70 * MIB + 4097))
        with open(src / "holes.vol", "wb") as f:
            for at in (0, 30, 69):
                f.seek(at * MIB + 5)
                f.write(noise(at, 2 * MIB))
            f.truncate(90 * MIB)
        (src / "end.vol").write_bytes(noise(3, 64 * MIB))
        args = ["copy", src, "--to", disk.mount, "--to", plain, "--checkpoint", "8M", "--memory", "16M"]
        p = start([*args, "--limit", "60M"], tmp_path)
        end = time.time() + 30
        while time.time() < end and not ((disk.mount / "tomo-copy.jsonl").exists() and (disk.mount / "tomo-copy.jsonl").read_text().count('"part"') >= 2):
            time.sleep(0.05)
        p.kill()
        p.wait()
        p.stderr.close()
        out = json.loads(tomo(*args, "--json", "--log", tmp_path / "log").stdout)
        assert out["failed"] == [] and out["targets"][0]["resumed_bytes"] > 0
        assert "not past the cache" not in (tmp_path / "log").read_text()
        for d in (disk.mount, plain):
            same_trees(src, d / "src")
            sums_agree(d)
            assert verify(d)[0] == 0
        assert (disk.mount / "src/holes.vol").stat().st_blocks * 512 < 10 * MIB
        (src / "more.vol").write_bytes(noise(4, 100 * MIB))
        shutil.copyfile(src / "end.vol", disk.mount / "in the way")
        done = run("copy", src, disk.mount, "--then", plain, "--json")
        out = json.loads(done.stdout)
        assert done.returncode == 0 and out["failed"] == [] and out["targets"][0]["full"], done.stderr
        assert (plain / "src/more.vol").read_bytes() == (src / "more.vol").read_bytes()
        assert not list((disk.mount / "src").glob("more*"))
    finally:
        disk.down()


@pytest.fixture
def checker(tmp_path):
    """The program as it is put on disks: the small one where it was built, else this one under its name."""
    return BIN / ("tomo-verify" if (BIN / "tomo-verify").exists() else "tomo")


@pytest.mark.parametrize("bag", [False, True])
def test_the_disk_brings_its_checker(tmp_path, monkeypatch, checker, bag):
    _, rows = ledger_of(tmp_path, monkeypatch)
    src, disk, exe = tmp_path / "src", tmp_path / "disk", tmp_path / "tomo-verify.exe"
    src.mkdir(), disk.mkdir()
    (src / "a.vol").write_bytes(noise(1, 3_000_000))
    exe.write_bytes(b"MZ" + noise(2, 5000))
    args = ["copy", src, disk, f"--with-checker={checker}", f"--with-checker={exe}", *(["--bag"] if bag else [])]
    tomo(*args)
    home = disk / "check-this-disk"
    assert sorted(os.listdir(home)) == ["README.txt", "check.cmd", "tomo-verify", "tomo-verify.exe"]
    assert (home / "tomo-verify").read_bytes() == checker.read_bytes() and (home / "tomo-verify.exe").read_bytes() == exe.read_bytes()
    page = (home / "README.txt").read_bytes()
    assert b"tomo-verify" in page and b"\r\n" in page and all(len(line) < 125 for line in page.splitlines())
    if not bag:
        sums_agree(disk)
    rc, report = verify(disk)
    assert rc == 0 and report["extra"] == [] and report["files"] == 5
    # It is no data of anybody's.
    assert list(rows()) == [f"{'data/' if bag else ''}src/a.vol"]
    if bag:
        pytest.importorskip("bagit").Bag(str(disk)).validate()
    # by itself, from anywhere; as the page says
    for command, cwd in [([home / "tomo-verify"], "/"), (["check-this-disk/tomo-verify", "."], disk)]:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0 and "good" in done.stdout, done.stdout + done.stderr
    # again: nothing is put there a second time; a checker that went bad is
    before = (home / "tomo-verify").stat()
    assert json.loads(tomo(*args, "--json").stdout)["targets"][0]["copied_files"] == 0
    assert (home / "tomo-verify").stat().st_mtime_ns == before.st_mtime_ns
    flip(disk / ("data/src/a.vol" if bag else "src/a.vol"), 2_000_000)
    done = subprocess.run([home / "tomo-verify", "--json"], cwd="/", capture_output=True, text=True)
    assert done.returncode == 1 and len(json.loads(done.stdout)["changed"]) == 1


def test_what_is_no_checker_is_refused(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a").write_bytes(b"1")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert "no program" in refused("copy", src, disk, f"--with-checker={tmp_path / 'script'}")
    assert os.listdir(disk) == []
    # somebody's own folder of that name is left alone, and the copy is made all the same
    (disk / "check-this-disk").mkdir()
    (disk / "check-this-disk/README.txt").write_text("mine")
    done = run("copy", src, disk, "--with-checker")
    assert done.returncode == 2 and (disk / "check-this-disk/README.txt").read_text() == "mine", done.stderr
    assert (disk / "src/a").read_bytes() == b"1"


def ledger_of(tmp_path, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    monkeypatch.setenv("TOMOKIT_LEDGER", str(path))

    def rows():
        with sqlite3.connect(path) as db:
            rows = db.execute("SELECT path, verified, level FROM copies").fetchall()
        return {r[0].split("disk/", 1)[1]: r[1:] for r in rows}

    return path, rows


def test_the_ledger_hears_of_checks_and_of_interrupted_copies(tmp_path, monkeypatch):
    path, rows = ledger_of(tmp_path, monkeypatch)
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in ("a", "b", "c"):
        (src / n).write_bytes(noise(ord(n), 100_000))
    tomo("copy", src, disk, "--read-back", "no", "--no-ledger")
    assert not path.exists()
    tomo("copy", "--verify", disk)
    assert not path.exists(), "a check makes no ledger"
    other = tmp_path / "other"
    other.mkdir()
    (src / "d").write_bytes(noise(4, 20 * MIB))
    p = start(["copy", src, disk, "--limit", "5M"], tmp_path)
    time.sleep(1.5)
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=20)
    assert p.returncode == 130 and sorted(rows()) == ["src/a", "src/b", "src/c"]
    tomo("copy", src, disk, "--read-back", "no")
    tomo("copy", "--verify", disk)
    found = rows()
    assert sorted(found) == ["src/a", "src/b", "src/c", "src/d"] and all(v and level for v, level in found.values()), found
    flip(disk / "src/b", 500)
    (disk / "src/c").unlink()
    assert verify(disk)[0] == 1
    found = rows()
    assert sorted(found) == ["src/a", "src/b", "src/d"] and found["src/b"] == (None, None) and found["src/a"][0]


def test_damaged_lines_of_the_record(tmp_path):
    """They make a disk not good until what they told of is recorded again; no sum is lost on the way, and then they go."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in "abc":
        (src / n).write_bytes(noise(ord(n), 1000))
    tomo("copy", src, disk)
    record, sums = disk / "tomo-copy.jsonl", (disk / "SHA256SUMS").read_text()
    lines = record.read_text().splitlines()
    lost = next(i for i, line in enumerate(lines) if '"event":"file"' in line and "src/b" in line)
    lines[lost] = "#" + lines[lost][1:]
    record.write_text("\n".join(lines) + "\n")
    for more in [], ["--record"]:
        done = run("copy", "--verify", disk, *more)
        assert done.returncode == 1 and f"line {lost + 1}:" in done.stdout and "give the copy command again" in done.stdout
        assert (disk / "SHA256SUMS").read_text() == sums, "the only sum of src/b"
    tomo("copy", src, disk)
    done = run("copy", "--verify", disk)
    assert done.returncode == 1 and "only the record is damaged" in done.stdout
    (disk / "extra").write_bytes(b"may be what the lines told of")
    assert verify(disk, "--record")[0] == 1
    (disk / "extra").unlink()
    # Sizes alone are nothing to take lines out for.
    assert "--record" in refused("copy", "--verify", disk, "--record", "--sizes-only")
    code, report = verify(disk, "--record")
    assert code == 0 and report["refused_lines"] == [] and report["damaged_record_lines"] == 0 and report["good"] == 3
    assert [e["path"] for e in events(disk) if e["event"] == "file"].count("src/b") == 1
    assert verify(disk)[0] == 0
    sums_agree(disk), same_trees(src, disk / "src")
    again = json.loads(tomo("copy", src, disk, "--json").stdout)
    assert again["targets"][0]["skipped_files"] == 3


def test_what_somebody_changed_on_the_disk_is_not_verified_any_more(tmp_path, monkeypatch):
    """A copy that finds it leaves it alone, and the ledger no longer counts on it until it is as it was, or replaced."""
    path, rows = ledger_of(tmp_path, monkeypatch)
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in ("a", "b"):
        (src / n).write_bytes(noise(ord(n), 100_000))
    tomo("copy", src, disk)
    (disk / "src/b").write_bytes(noise(9, 100_000))
    os.utime(disk / "src/b", (2e9, 2e9))
    done = run("copy", src, disk)
    assert done.returncode == 1 and "changed on the target" in done.stderr, done.stderr
    assert rows()["src/b"] == (None, None) and rows()["src/a"][0]
    assert run("copy", src, disk).returncode == 1 and rows()["src/b"] == (None, None)
    assert (disk / "src/b").read_bytes() == noise(9, 100_000)
    tomo("copy", src, disk, "--overwrite")
    assert rows()["src/b"][0] and (disk / "src/b").read_bytes() == noise(ord("b"), 100_000)


def test_what_a_check_found_damaged_is_not_entered_as_verified_again(tmp_path, monkeypatch):
    """The check writes nothing on the disk, whose record goes on calling the file verified. The ledger knows better, until
    the file is copied anew or read again and good."""
    path, rows = ledger_of(tmp_path, monkeypatch)
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in ("a", "b"):
        (src / n).write_bytes(noise(ord(n), 100_000))
    tomo("copy", src, disk)
    assert all(v for v, _ in rows().values())
    flip(disk / "src/b", 500)
    record = (disk / "tomo-copy.jsonl").read_bytes()
    assert verify(disk)[0] == 1 and (disk / "tomo-copy.jsonl").read_bytes() == record
    assert rows()["src/b"] == (None, None)
    (src / "c").write_bytes(noise(3, 1000))
    tomo("copy", src, disk)
    found = rows()
    assert found["src/b"] == (None, None) and found["src/a"][0] and found["src/c"][0]
    tomo("ledger", "rebuild", disk, "--ledger", path)
    assert rows()["src/b"] == (None, None) and rows()["src/a"][0]
    # mended by hand, and found good
    flip(disk / "src/b", 500)
    assert verify(disk)[0] == 0 and rows()["src/b"][0]
    tomo("copy", src, disk)
    assert rows()["src/b"][0]
    # damaged, noted on the disk, and copied anew
    flip(disk / "src/b", 500)
    assert verify(disk)[0] == 1 and verify(disk, "--record")[0] == 1
    assert rows()["src/b"] == (None, None)
    tomo("copy", src, disk)
    assert rows()["src/b"][0]
    sums_agree(disk)
    # a ledger that was away while the damage was noted on the disk hears of it from there
    flip(disk / "src/a", 500)
    monkeypatch.setenv("TOMOKIT_LEDGER", str(tmp_path / "elsewhere.sqlite"))
    assert verify(disk, "--record")[0] == 1
    monkeypatch.setenv("TOMOKIT_LEDGER", str(path))
    assert rows()["src/a"][0]
    tomo("copy", src / "c", disk)
    assert rows()["src/a"] == (None, None)


def test_what_a_check_noted_is_copied_anew_of_any_length(tmp_path):
    """Cut, grown or with other contents: refused as changed, until a check has noted on the disk that it is damaged."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in ("cut", "grown", "other", "good"):
        (src / n).write_bytes(noise(len(n), 100_000))
    tomo("copy", src, disk)
    (disk / "src/cut").write_bytes((src / "cut").read_bytes()[:77])
    with open(disk / "src/grown", "ab") as f:
        f.write(b"more")
    flip(disk / "src/other", 500)
    said = run("copy", src, disk)
    assert said.returncode == 1 and "changed on the target" in said.stderr + said.stdout
    assert (disk / "src/cut").stat().st_size == 77
    said = run("copy", "--verify", disk)
    assert said.returncode == 1 and "after --verify --record, also what is changed" in said.stdout, said.stdout
    assert run("copy", src, disk).returncode == 1
    code, found = verify(disk, "--record")
    assert code == 1 and "77 bytes instead of 100000" in json.dumps(found), found
    tomo("copy", src, disk)
    for n in ("cut", "grown", "other", "good"):
        assert (disk / "src" / n).read_bytes() == (src / n).read_bytes()
    assert verify(disk)[0] == 0
    sums_agree(disk)


def test_a_disk_with_a_list_only_tells_what_was_read(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a").write_bytes(noise(1, 123_456))
    tomo("copy", src, disk)
    (disk / "tomo-copy.jsonl").unlink()
    code, found = verify(disk)
    assert code == 0 and '"bytes_read": 123456' in json.dumps(found), found


def test_following_tells_what_it_refused_and_leaves_nothing_out_at_the_end(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    (disk / "src").mkdir(parents=True), src.mkdir()
    (disk / "src/a").write_bytes(b"quite different")
    for n in ("a", "b", "c.tmp", "d.part", "e.partial"):
        (src / n).write_bytes(b"new " + n.encode())
        os.utime(src / n, (1.7e9, 1.7e9))
    quick = ("--follow", "--settle", "0", "--every", "0.2", "--until-idle", "1")
    done = run("copy", src, disk, *quick, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert [(f["path"].endswith("src/a"), f["kind"]) for f in found["failed"]] == [(True, "refused")], found
    assert (disk / "src/a").read_bytes() == b"quite different"
    assert sorted(p.name for p in (disk / "src").iterdir()) == ["a", "b", "c.tmp", "d.part", "e.partial"]
    # What belongs to another disk is left out, and it is said.
    (src / "x.tomo-part").write_bytes(b"")
    done = run("copy", src / "..", tmp_path.parent / "elsewhere", "--dry-run")
    assert "left behind by this program" in done.stdout, done.stdout


def test_a_source_is_no_copy_of_itself(tmp_path):
    disk = tmp_path / "disk"
    (disk / "exp").mkdir(parents=True)
    (disk / "exp/x").write_bytes(b"only one")
    assert "its own copy" in refused("copy", disk / "exp", disk)
    assert "its own copy" in refused("copy", disk / "exp/x", disk / "exp")
    assert sorted(p.name for p in disk.iterdir()) == ["exp"]
    spare = tmp_path / "spare"
    spare.mkdir()
    assert "twice" in refused("copy", disk / "exp", "--to", spare, "--then", spare)


def test_what_somebody_edited_on_the_disk_is_not_replaced(tmp_path):
    """Of the same length and another time: read, and left as it is. With its old time it is damage, and copied anew."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in ("edited", "touched", "damaged"):
        (src / n).write_bytes(noise(len(n), 100_000))
        os.utime(src / n, (1.7e9, 1.7e9))
    tomo("copy", src, disk, "--read-back", "no")
    with open(disk / "src/edited", "r+b") as f:
        f.write(b"HELLO")
    os.utime(disk / "src/touched")
    flip(disk / "src/damaged", 7)
    plan = run("copy", src, disk, "--dry-run")
    assert "of another time than they were copied with" in plan.stdout, plan.stdout
    for _ in range(2):
        done = run("copy", src, disk, "--json")
        found = json.loads(done.stdout)
        assert done.returncode == 1 and [f["kind"] for f in found["failed"]] == ["differs"], found
        assert (disk / "src/edited").read_bytes()[:5] == b"HELLO"
        assert (disk / "src/damaged").read_bytes() == (src / "damaged").read_bytes()
    tomo("copy", src, disk, "--overwrite")
    assert (disk / "src/edited").read_bytes() == (src / "edited").read_bytes()
    assert verify(disk)[0] == 0


def test_lists_of_other_programs_are_not_replaced(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "a").write_bytes(b"1")
    (src / "hashdeep.txt").write_bytes(b"mine")
    done = run("copy", src / "hashdeep.txt", disk, "--hashdeep")
    assert done.returncode == 1 and "this program's own files" in done.stdout, done.stdout
    (disk / "hashdeep.txt").write_bytes(b"theirs")
    done = run("copy", src / "a", disk, "--hashdeep")
    assert done.returncode == 1 and "did not make" in done.stdout, done.stdout
    assert (disk / "hashdeep.txt").read_bytes() == b"theirs"
    tomo("copy", src / "a", disk, "--hashdeep", "--overwrite")
    tomo("copy", src / "a", disk, "--hashdeep")
    bag = tmp_path / "bag"
    (bag / "data").mkdir(parents=True)
    (bag / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    (bag / "manifest-sha256.txt").write_text("theirs")
    assert "folder of its own" in refused("copy", src / "a", bag, "--bag")
    assert (bag / "manifest-sha256.txt").read_text() == "theirs"
    (src / "a%0Ab").write_bytes(b"2")
    done = run("copy", src, tmp_path / "new", "--bag")
    assert done.returncode == 1 and "line ends in a bag" in done.stdout and not (tmp_path / "new").exists(), done.stdout


def test_a_list_of_names_from_windows(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "y").write_bytes(b"1")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfy\r\ny\r\n./y\r\n")
    tomo("copy", src, disk, "--files-from", tmp_path / "list.txt")
    assert (disk / "src/y").read_bytes() == b"1"


def test_a_volume_made_smaller_takes_no_place_of_another_file(tmp_path):
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "x.vol").write_bytes(noise(1, 4 * 16 * 16 * 16))
    (src / "x.vol.info").write_text("NUM_X = 16\nNUM_Y = 16\nNUM_Z = 16\n")
    (src / "x.raw").write_bytes(b"something else")
    done = run("copy", src, disk, "--recad", "--overwrite", "--dry-run")
    assert done.returncode == 1 and "one would replace the other" in done.stdout, done.stdout
    assert run("copy", src, disk, "--recad", "--overwrite").returncode == 1 and not (disk / "src").exists()


@pytest.mark.skipif(not FULL, reason="a tree at work for three minutes: only with TOMOKIT_FULL=1")
def test_follow_a_busy_tree(tmp_path):
    """Hundreds of files that are written slowly, appended to, rewritten, renamed and removed while --follow copies: in the
    end the disk holds what the tree holds, and every file on it is what its record says."""
    rng = random.Random(5)
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    args = ["copy", src, disk, "--follow", "--settle", "1", "--every", "0.5", "--until-idle", "12", "--json"]
    p = subprocess.Popen([BIN / "tomo", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.time() + 180
    made = actions = 0
    gone = set()
    while time.time() < end and p.poll() is None:
        actions += 1
        files = [f for f in src.rglob("*") if f.is_file()]
        what = rng.random()
        if what < 0.6 or len(files) < 10:
            folder = src / f"{made // 100:02}"
            folder.mkdir(exist_ok=True)
            with open(folder / f"{made:04}.tif", "wb") as f:
                for _ in range(rng.randint(1, 6)):
                    f.write(rng.randbytes(rng.randint(1, 200_000)))
                    f.flush()
                    time.sleep(rng.uniform(0, 0.08))
            made += 1
        elif what < 0.75:
            with open(rng.choice(files), "ab") as f:
                f.write(rng.randbytes(5000))
        elif what < 0.9:
            rng.choice(files).write_bytes(rng.randbytes(rng.randint(0, 300_000)))
        elif what < 0.95:
            f = rng.choice(files)
            gone.add(f.relative_to(src))
            made += 1
            f.rename(f.with_name(f"{made:04}-renamed.tif"))
        else:
            f = rng.choice(files)
            gone.add(f.relative_to(src))
            f.unlink()
        time.sleep(rng.uniform(0, 0.05))
    out, err = p.communicate(timeout=120)
    assert p.returncode == 0, err
    report = json.loads(out)
    print(f"{actions} changes, {made} files made, {report['rounds']} rounds, {report['copied_files']} copies, {report['again']} again")
    assert report["finalised"] and report["failed"] == [] and report["rounds"] > 20 and report["again"] > 20
    for f in src.rglob("*"):
        if f.is_file():
            assert (disk / "src" / f.relative_to(src)).read_bytes() == f.read_bytes(), f
    # what was removed or renamed at the source after it was copied stays on the disk: a copy is no mirror
    extra = {f.relative_to(disk / "src") for f in (disk / "src").rglob("*") if f.is_file()} - {f.relative_to(src) for f in src.rglob("*") if f.is_file()}
    assert extra <= gone, extra - gone
    sums_agree(disk)
    tomo("copy", "--verify", disk)


def test_a_copy_that_did_not_end_is_not_good(tmp_path):
    """Killed, or with files that did not arrive: every file of the record is right, and the disk is not."""
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    for n in range(6):
        (src / f"f{n}").write_bytes(noise(n, 2_000_000))
    command = [str(BIN / "tomo"), "copy", str(src), str(disk), "--limit", "8M"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (disk / "src/f1").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    for left in disk.rglob("*.tomo-part"):
        left.unlink()
    code, report = verify(disk)
    assert code == 1 and "did not come to its end" in report["incomplete"] and report["missing"] == []
    tomo("copy", src, disk)
    assert verify(disk)[0] == 0 and "incomplete" not in verify(disk)[1]
    # What somebody else put there is not replaced: the file does not arrive.
    (src / "g").write_bytes(b"seven")
    (disk / "src/g").write_bytes(b"other")
    assert run("copy", src, disk).returncode in (1, 2)
    code, report = verify(disk)
    assert code == 1 and "1 files of the last copy" in report["incomplete"], report
    (disk / "src/g").unlink()
    tomo("copy", src, disk)
    assert verify(disk)[0] == 0


@pytest.mark.parametrize(
    "more",
    ["--dry-run", "--overwrite", "--include=*", "--files-from=l", "--bag", "--hashdeep", "--map-names", "--recad", "--probe"]
    + ["--second-hash", "--read-back=no", "--links=follow", "--limit=5M", "--order=oldest", "--retries=1", "--with-checker"],
)
def test_a_check_takes_no_options_of_a_copy(tmp_path, more):
    assert more.split("=")[0] in refused("copy", "--verify", tmp_path, more)


def test_the_ledger_is_not_exported_over_itself(tmp_path, monkeypatch):
    path, _ = ledger_of(tmp_path, monkeypatch)
    src, disk = tmp_path / "src", tmp_path / "disk"
    src.mkdir(), disk.mkdir()
    (src / "e\x1b[31mvil").write_bytes(b"a")
    tomo("copy", src, disk)
    table = tmp_path / "x.csv"
    shutil.copy(path, table)
    refused("ledger", "--ledger", table, "export", table, "--overwrite")
    assert "\x1b" not in tomo("ledger", "--ledger", table, "find", "vil").stdout
