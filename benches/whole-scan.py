"""A whole scan from disk to disk, beside plain copies of the same bytes on the same disk.

    scripts/bench whole-scan [--columns 1024] [--rows 1024] [--projections 1024] [--memory 2G] [--threads N]
                             [--folder target/whole-scan] [--rounds 2] [--keep] [--json FILE]

Simulates the scan once (NXtomo, 16 bit, contiguous), then in turn, the least of some rounds each: reads the raw bytes and
writes as many bytes as the volume has, synced, with no computing (the floor of any tool that does not overlap them), and
`tomo recon --explain` with the file cache of the scan dropped before (Linux). What limits is the larger of copying and
pure arithmetic; the last line extrapolates to as many rows as columns.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOMO = pathlib.Path(os.environ.get("TOMOKIT_BIN", ROOT / "target" / "release")) / "tomo"
BLOCK = 16 << 20


def forget(path):
    """Lets the system drop what it has cached of a file, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path):
    forget(path)
    start, block = time.perf_counter(), bytearray(BLOCK)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(block):
            pass
    return time.perf_counter() - start


def write(path, size):
    block = os.urandom(BLOCK)
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as f:
        for at in range(0, size, BLOCK):
            f.write(block[: min(BLOCK, size - at)])
        os.fsync(f.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def recon(scan, out, options):
    """Runs the tool: what it says, wall and CPU seconds, peak memory in bytes."""
    forget(scan)
    command = [TOMO, "recon", scan, "-o", out, "--explain", "--json", "--overwrite", *options]
    start = time.perf_counter()
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"tomo recon failed with {child.returncode}")
    return json.loads(said), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parse = argparse.ArgumentParser(prog="scripts/bench whole-scan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("columns", 1024), ("rows", 1024), ("projections", 1024), ("rounds", 2)]:
        parse.add_argument(f"--{name}", type=int, default=default)
    parse.add_argument("--memory", default="2G")
    parse.add_argument("--threads", type=int, default=os.cpu_count())
    parse.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "whole-scan")
    parse.add_argument("--keep", action="store_true", help="leave the simulated scan for the next time")
    parse.add_argument("--json", type=pathlib.Path)
    a = parse.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    scan = a.folder / f"scan-{a.columns}x{a.rows}x{a.projections}.nxs"
    if not scan.exists():
        sizes = ["--size", a.columns, "--rows", a.rows, "--projections", a.projections]
        subprocess.run([str(c) for c in [TOMO, "simulate", scan, "--layout", "nxtomo", *sizes, "--quiet"]], check=True)
    raw, volume = scan.stat().st_size, a.rows * a.columns * a.columns * 4
    reading = writing = float("inf")
    best = None
    for _ in range(a.rounds):
        reading, writing = min(reading, read(scan)), min(writing, write(a.folder / "copy.bin", volume))
        run = recon(scan, a.folder / "out.vol", ["--memory", a.memory, "--threads", a.threads])
        if best is None or run[0]["done"]["seconds"] < best[0]["done"]["seconds"]:
            best = run
        for file in a.folder.glob("*out.*"):
            file.unlink()
    said, wall, cpu, peak = best
    done, floor, plan = said["done"], said["floor"], said["plan"]
    copy = reading + writing
    seconds = done["seconds"]  # to the volume's final name, everything synced; without the measuring of --explain
    limit = max(copy, floor["compute_seconds"])
    print(f"`scripts/bench whole-scan {' '.join(sys.argv[1:])}`, {os.cpu_count()} cores, {datetime.date.today()}\n")
    print("| | seconds | rate |\n|---|---|---|")
    for what, s, size in [
        (f"plain read of {raw / 1e9:.2f} GB", reading, raw),
        (f"plain write of {volume / 1e9:.2f} GB, synced", writing, volume),
        ("both, one after the other", copy, raw + volume),
        (f"`tomo recon`, {a.threads} threads, --memory {a.memory}", seconds, raw + volume),
    ]:
        print(f"| {what} | {s:.2f} | {size / s / 1e6:.0f} MB/s |")
    print(f"| its pure arithmetic (measured by --explain) | {floor['compute_seconds']:.2f} | {a.rows / floor['compute_seconds']:.0f} slices/s |")
    busy = ", ".join(f"{k} {done[k + '_seconds']:.2f} s" for k in ("read", "compute", "write"))
    print(f"\n{seconds / copy:.2f} × the plain copies, {seconds / floor['compute_seconds']:.2f} × the arithmetic; "
          f"{seconds / limit:.2f} × the larger. Busy: {busy}; limited by {done['limited_by']}; CPU {cpu:.1f} s with the measuring.")
    print(f"Peak memory {peak / 2**20:.0f} MiB of {a.memory}; the plan said {plan['memory_bytes'] / 2**20:.0f} MiB in "
          f"{plan['bands']} bands of {plan['band_rows']} rows.")
    print(f"{a.columns} rows would take {seconds * a.columns / a.rows:.0f} s: {raw * a.columns / a.rows / 1e9:.1f} GB in, "
          f"{volume * a.columns / a.rows / 1e9:.1f} GB out.")
    if a.json:
        record = {"command": sys.argv[1:], "read": reading, "write": writing, "wall": wall, "cpu": cpu, "peak": peak, **said}
        a.json.write_text(json.dumps(record, indent=1) + "\n")
    if not a.keep:
        scan.unlink()


if __name__ == "__main__":
    main()
