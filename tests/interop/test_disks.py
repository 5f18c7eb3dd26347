"""`tomo disks`, `tomo ledger`, `tomo estimate` against the system's own tools, Python's sqlite3, csv and XML parser."""

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from support import refused, run, tomo


def disks(*folders, **env):
    return json.loads(tomo("disks", "--json", *folders).stdout)["disks"]


# --- disks -------------------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_statvfs(tmp_path):
    (d,) = disks(tmp_path)
    s = os.statvfs(tmp_path)
    assert d["total"] == s.f_blocks * s.f_frsize and d["cluster"] == s.f_frsize
    assert abs(d["available"] - s.f_bavail * s.f_frsize) < 1 << 30
    assert Path(os.path.realpath(tmp_path)).is_relative_to(d["mount_point"])


KINDS = {
    "ntfs": (["mkntfs", "-F", "-Q", "-L", "DISK é"], ["ntfs-3g"], "NTFS", "fuse"),
    "exfat": (["mkfs.exfat", "-L", "USBé1"], ["mount.exfat-fuse"], "exFAT", "fuse"),
    "ext4": (["mkfs.ext4", "-q", "-L", "data"], ["mount"], "ext4", "kernel"),
}


@pytest.fixture(params=KINDS)
def volume(request, tmp_path):
    """An image with a real file system on a loop device, mounted in a folder with a blank in its name."""
    make, mount, name, driver = KINDS[request.param]
    for tool in (make[0], mount[0], "losetup", "umount"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if not os.path.exists("/dev/fuse") or os.getuid() != 0:
        pytest.skip("mounting needs root and FUSE")
    image, folder = tmp_path / "image", tmp_path / "a disk"
    folder.mkdir()
    image.touch()
    os.truncate(image, 64 << 20)
    loop = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if loop.returncode:
        pytest.skip(f"no loop device: {loop.stderr.strip()}")
    loop = loop.stdout.strip()
    try:
        subprocess.run([*make, loop], check=True, capture_output=True)
        done = subprocess.run([*mount, loop, folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{mount[0]} fails here: {done.stderr.strip()}")
        try:
            yield folder, loop, name, driver, make[-1]
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


def test_real_file_systems_are_told_apart_behind_fuse(volume):
    folder, loop, name, driver, label = volume
    (d,) = disks(folder)
    assert (d["fs"], d["driver"], d["device"], d["mount_point"]) == (name, driver, loop, str(folder))
    said = subprocess.run(["blkid", "-p", "-o", "export", loop], capture_output=True, text=True).stdout
    known = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert d["serial"] == known["UUID"]
    assert d["label"] == label
    s = os.statvfs(folder)
    assert (d["total"], d["cluster"]) == (s.f_blocks * s.f_frsize, s.f_frsize)
    assert str(folder) in [e["mount_point"] for e in disks()]
    # Measured, and nothing left behind.
    before = sorted(os.listdir(folder))
    (d,) = json.loads(tomo("disks", "--json", folder, "--probe", "--probe-size", "8M").stdout)["disks"]
    assert d["speed"]["write_per_s"] > 1e5 and (driver == "kernel" or d["speed"]["read_from_cache"])
    assert sorted(os.listdir(folder)) == before
    if name == "exFAT":
        assert any("exFAT" in w for w in d["warnings"])


def test_the_room_on_a_formatted_disk_is_what_mkntfs_leaves(tmp_path):
    for tool in ("mkntfs", "ntfs-3g", "losetup"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    if os.getuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("mounting needs root and FUSE")
    sold = 500_000_000_000
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    image.touch()
    os.truncate(image, sold)
    loop = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if loop.returncode:
        pytest.skip(f"no loop device: {loop.stderr.strip()}")
    loop = loop.stdout.strip()
    try:
        subprocess.run(["mkntfs", "-F", "-Q", loop], check=True, capture_output=True)
        if subprocess.run(["ntfs-3g", loop, folder], capture_output=True).returncode:
            pytest.skip("ntfs-3g fails here")
        s = os.statvfs(folder)
        subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)
    told = json.loads(tomo("estimate", "--nx", 64, "--nz", 64, "--disk", "500GB", "--json").stdout)["disks"][0]["room"]
    assert abs(told - s.f_bavail * s.f_frsize) < 0.001 * sold


# --- ledger ------------------------------------------------------------------------------------------------------------


def sums(folder, files):
    """Files and the list of their sums, as sha256sum writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = b""
    for name, content in files.items():
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content)
        escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        lines += (b"\\" if escaped != name else b"") + hashlib.sha256(content).hexdigest().encode() + b"  " + escaped + b"\n"
    (folder / "SHA256SUMS").write_bytes(lines)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True)


HOSTILE = {
    b"s1/a.nxs": b"raw",
    b"s1/\xff\xfe.vol": b"no text",
    b"s2/line\nend \\ back.raw": b"x",
    "s2/é漢 ' \" ; -- %_.tif".encode(): b"yy",
    b"s2/=1+1,b": b"zzz",
}


def test_pythons_sqlite_reads_the_ledger(tmp_path):
    sums(tmp_path / "disk", HOSTILE)
    ledger = tmp_path / "ledger.sqlite"
    tomo("ledger", "rebuild", tmp_path / "disk", "--ledger", ledger)
    with sqlite3.connect(ledger) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT path, bytes, sha256, scan, verified FROM copies").fetchall()
    found = {p if isinstance(p, bytes) else p.encode(): (n, s, scan, v) for p, n, s, scan, v in rows}
    top = os.fsencode(os.path.relpath(tmp_path / "disk", disks(tmp_path)[0]["mount_point"])) + b"/"
    for name, content in HOSTILE.items():
        scan = name.split(b"/")[0].decode()
        assert found[top + name] == (len(content), hashlib.sha256(content).hexdigest(), scan, None)
    assert len(rows) == len(HOSTILE)
    scans = json.loads(tomo("ledger", "scans", "--json", "--ledger", ledger).stdout)
    assert [(s["scan"], s["files"], s["copies"]) for s in scans] == [("s1", 2, 0), ("s2", 3, 0)]
    # The CSV of everything, by Python's parser.
    table = tmp_path / "l.csv"
    tomo("ledger", "export", table, "--ledger", ledger)
    with open(table, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert {r["sha256"] for r in rows} == {hashlib.sha256(c).hexdigest() for c in HOSTILE.values()}
    assert any(r["path"].endswith("line\nend \\ back.raw") for r in rows)
    page = tmp_path / "l.html"
    tomo("ledger", "export", page, "--ledger", ledger)
    ET.fromstring(page.read_text(encoding="utf-8").split("\n", 1)[1])
    assert run("ledger", "find", "漢", "--ledger", ledger).returncode == 0
    assert run("ledger", "find", "nothing such", "--ledger", ledger).returncode == 1
    found = run("ledger", "missing", "--copies", "1", "--json", "--ledger", ledger)
    assert found.returncode == 1 and len(json.loads(found.stdout)) == len(HOSTILE)
    refused("ledger", "export", table, "--ledger", ledger)


def test_a_locked_ledger_is_waited_for_and_a_damaged_one_rebuilt(tmp_path):
    disk, ledger = tmp_path / "disk", tmp_path / "ledger.sqlite"
    sums(disk, HOSTILE)
    tomo("ledger", "rebuild", disk, "--ledger", ledger)
    other = sqlite3.connect(ledger, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # Reading goes on, writing says who is in the way.
    tomo("ledger", "--ledger", ledger)
    assert "another program is writing" in refused("ledger", "rebuild", disk, "--ledger", ledger)
    other.execute("ROLLBACK")
    other.close()
    content = bytearray(ledger.read_bytes())
    content[:2000] = b"\xa5" * 2000
    ledger.write_bytes(content)
    said = refused("ledger", "--ledger", ledger)
    assert "damaged" in said and "rebuild" in said
    done = tomo("ledger", "rebuild", disk, "--ledger", ledger)
    kept = [p for p in tmp_path.iterdir() if ".damaged-" in p.name]
    assert len(kept) == 1 and kept[0].read_bytes() == bytes(content) and kept[0].name in done.stderr
    assert f"{len(HOSTILE)} files" in done.stdout
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (a)")
    assert "another program" in refused("ledger", "--ledger", foreign)
    assert "no ledger" in refused("ledger", "--ledger", tmp_path / "none.sqlite")


def test_copies_are_found_again(tmp_path):
    """From tomo copy's own record: scans, sources, verifications; nothing waits any more."""
    data, usb, ledger = tmp_path / "exp", tmp_path / "usb", tmp_path / "ledger.sqlite"
    usb.mkdir()
    for name in ("s1/a.nxs", "s1/slices/0.tif", "s2/b é.vol"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(name.encode() * 100)
    tomo("copy", "exp", "usb", cwd=tmp_path)
    # Without a ledger the record on the disk answers.
    n = json.loads(tomo("estimate", "--now", data, "--ledger", ledger, "--onto", usb, "--json").stdout)
    assert n["records_found"] and n["waiting_files"] == 0 and not ledger.exists()
    # What copy entered by itself is what rebuilding finds.
    by_copy = json.loads(tomo("ledger", "find", tmp_path.name, "--json").stdout)
    tomo("ledger", "rebuild", usb, "--ledger", ledger)
    assert by_copy == json.loads(tomo("ledger", "find", tmp_path.name, "--json", "--ledger", ledger).stdout)
    with sqlite3.connect(ledger) as db:
        rows = db.execute("SELECT sha256, scan, source, verified FROM copies ORDER BY source").fetchall()
    wanted = sorted(str(p) for p in data.rglob("*") if p.is_file())
    assert [r[2] for r in rows] == wanted
    assert [r[0] for r in rows] == [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in wanted]
    assert [r[1] for r in rows] == ["s1", "s1", "s2"] and all(r[3] for r in rows)
    n = json.loads(tomo("estimate", "--now", data, "--ledger", ledger, "--onto", usb, "--json").stdout)
    assert (n["files"], n["waiting_files"], n["twice_bytes"]) == (3, 0, 0)
    assert run("ledger", "missing", data, "--copies", "1", "--ledger", ledger).returncode == 0
    assert run("ledger", "missing", data, "--copies", "2", "--ledger", ledger).returncode == 1


def test_what_waits_is_what_no_disk_holds(tmp_path):
    """estimate --now against a ledger written by hand, as any program could."""
    data, ledger = tmp_path / "exp", tmp_path / "ledger.sqlite"
    for name, n in [("s1/a", 1000), ("s1/b", 2000), ("s2/c", 4000)]:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"\1" * n)
    sums(tmp_path / "disk", {b"x": b"x"})
    tomo("ledger", "rebuild", tmp_path / "disk", "--ledger", ledger)
    with sqlite3.connect(ledger) as db:
        row = ("exp/s1/a", 1000, "0" * 64, "s1", str(data / "s1/a"), os.stat(data / "s1/a").st_mtime_ns, 1, 2, "device")
        db.execute("INSERT INTO copies SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM disks", row)
    n = json.loads(tomo("estimate", "--now", data, "--ledger", ledger, "--onto", tmp_path, "--json").stdout)
    assert (n["files"], n["bytes"], n["waiting_files"], n["waiting_bytes"]) == (3, 7000, 2, 6000)
    assert n["today_bytes"] == 7000 and n["disks"][0]["full_in_hours"] > 0
    done = run("ledger", "missing", data, "--copies", "1", "--ledger", ledger)
    assert done.returncode == 1 and "2 files" in done.stderr
    os.utime(data / "s1/a", (1, 1))
    n = json.loads(tomo("estimate", "--now", data, "--ledger", ledger, "--onto", tmp_path, "--json").stdout)
    assert n["waiting_files"] == 3, "changed since it was copied"


# --- estimate ----------------------------------------------------------------------------------------------------------


def test_an_estimate_from_a_scan_is_its_size_on_disk(tmp_path):
    tomo("simulate", tmp_path / "s", "--size", 40, "--rows", 6, "--projections", 30)
    e = json.loads(tomo("estimate", tmp_path / "s", "--scans", 7, "--json").stdout)
    on_disk = sum(f.stat().st_size for f in (tmp_path / "s").iterdir() if f.suffix in (".nxs", ".h5"))
    s = e["samples"][0]
    assert 0.9 * on_disk <= s["per_scan"]["raw"] <= 1.1 * on_disk
    assert s["volume"] == [40, 40, 6] and s["per_scan"]["volumes"] == 4 * 40 * 40 * 6
    assert e["total_bytes"] == 7 * s["per_scan_bytes"]
    tomo("recon", tmp_path / "s", "-o", tmp_path / "v.vol", "--quiet")
    assert (tmp_path / "v.vol").stat().st_size == s["per_scan"]["volumes"]
    # An extended field: as wide as what recon writes.
    tomo("simulate", tmp_path / "x", "--extended", "--size", 48, "--rows", 4)
    s = json.loads(tomo("estimate", tmp_path / "x", "--json").stdout)["samples"][0]
    tomo("recon", tmp_path / "x", "-o", tmp_path / "x.vol", "--quiet")
    assert (tmp_path / "x.vol").stat().st_size == s["per_scan"]["volumes"]


def test_plans_tables_and_pages(tmp_path):
    for name in ("plan.toml", "plan.csv"):
        plan = tmp_path / name
        tomo("estimate", "--init", plan)
        assert "exists" in refused("estimate", "--init", plan)
        out = [f"--csv={plan}.out.csv", f"--html={plan}.html", f"--plot={plan}.png"]
        e = json.loads(tomo("estimate", plan, "--days", 3, "--json", *out).stdout)
        with open(f"{plan}.out.csv", newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        assert sum(int(r["total_bytes"]) for r in rows[:-1]) == int(rows[-1]["total_bytes"]) == e["total_bytes"]
        for r in rows[:-1]:
            nx, nz = int(r["cols"]), int(r["rows"])
            assert int(r["raw_bytes"]) == 2 * nx * nz * (int(r["projections"]) + int(r["references"]))
            voxels = int(r["volume_x"]) * int(r["volume_y"]) * int(r["volume_z"])
            assert int(r["volume_bytes"]) == 4 * voxels * int(r["volumes"])
        page = Path(f"{plan}.html").read_text(encoding="utf-8")
        tree = ET.fromstring(page.split("\n", 1)[1])
        assert tree.find(".//{http://www.w3.org/2000/svg}svg") is not None
        assert "src=" not in page and "<script" not in page and "<link" not in page
        assert Path(f"{plan}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert "exists" in refused("estimate", plan, f"--csv={plan}.out.csv")


def test_random_plans_agree_with_the_formulae(tmp_path):
    rng = np.random.default_rng(5)
    for _ in range(20):
        nx, nz, n, refs, scans, vols = (int(v) for v in rng.integers(1, [5000, 3000, 9000, 300, 500, 4]))
        overlap = int(rng.integers(0, nx))
        extended = bool(rng.integers(0, 2))
        more = ["--extended", "--overlap", overlap] if extended else []
        args = ["--nx", nx, "--nz", nz, "--projections", n, "--references", refs, "--scans", scans, "--volumes", vols]
        e = json.loads(tomo("estimate", *args, *more, "--copies", "8,16", "--days", 2, "--rate", 60, "--json").stdout)
        width = 2 * nx - overlap if extended else nx
        want = scans * (2 * nx * nz * (n + refs) + vols * width * width * nz * (4 + 1 + 2))
        assert e["total_bytes"] == want
        c = e["copying"][0]
        assert abs(c["hours"] - want / 60e6 / 3600) <= 1e-9 * c["hours"]
        assert c["keeps_up"] == (want / 2 <= 60e6 * 86400)


def test_names_that_are_no_text_and_names_with_brackets(tmp_path, monkeypatch):
    monkeypatch.setenv("TOMOKIT_LEDGER", str(tmp_path / "ledger.sqlite"))
    src, disk = tmp_path / "src", tmp_path / "disk"
    (src / "scan").mkdir(parents=True), disk.mkdir()
    for name in (b"bad\xff.x", b"[brackets].x", b"plain.x"):
        (src / "scan" / os.fsdecode(name)).write_bytes(name)
    tomo("copy", src, disk)
    assert run("ledger", "missing", src, "--copies", "1").returncode == 0
    for pattern, n in [("bad", 1), ("[brackets]", 1), ("*/scan/[bp]*", 2), ("*.x", 3), ("[xyz]", 0)]:
        done = run("ledger", "find", pattern, "--json")
        assert len(json.loads(done.stdout)) == n, (pattern, done.stdout)


def test_an_output_of_an_estimate_has_its_own_name(tmp_path):
    (tmp_path / "v.vol").write_bytes(b"precious")
    for option in ("--csv", "--html"):
        refused("estimate", "--camera", "dimax", "--projections", "100", option, tmp_path / "v.vol", "--overwrite")
    assert (tmp_path / "v.vol").read_bytes() == b"precious"
