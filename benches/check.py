"""How fast `tomo check` reads a volume: beside `cat FILE > /dev/null`, cold and warm, in one run.

    scripts/bench check [--size 2048] [--slices 256] [--folder DIR] [--threads N] [--rounds 3]

The volume is float32 noise with structure inside a circle, 4.3 GB unless told otherwise; `cold` (the best of the rounds)
drops the file from the page cache first (posix_fadvise), which needs no rights.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path


def make(path, size, slices):
    """A volume like a reconstruction: exact zeros outside a circle, noise and slow structure inside."""
    import array
    import random

    # One slice of noise from the system's generator, shifted and scaled from slice to slice: no two are equal.
    rng = random.Random(1)
    noise = array.array("f", (rng.gauss(0.0, 1.0) for _ in range(size * 2)))
    rows = []
    for y in range(size):
        half = (size / 2) ** 2 - (y - size / 2 + 0.5) ** 2
        half = int(half**0.5) if half > 0 else 0
        rows.append((size // 2 - half, size // 2 + half))
    with open(path, "wb") as f:
        for z in range(slices):
            for y, (a, b) in enumerate(rows):
                at = (z * 7919 + y * 104729) % size
                row = array.array("f", bytes(4 * a)) + noise[at : at + b - a] + array.array("f", bytes(4 * (size - b)))
                f.write(row.tobytes())
    Path(f"{path}.info").write_text(f"NUM_X = {size}\nNUM_Y = {size}\nNUM_Z = {slices}\n")


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--size", type=int, default=2048)
    p.add_argument("--slices", type=int, default=256)
    p.add_argument("--folder", default=None)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    tomo = str(Path(os.environ["TOMOKIT_BIN"]) / "tomo")
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        path = f"{folder}/v.vol"
        make(path, a.size, a.slices)
        whole = {"32 bits": path}
        for bits in ("16", "8"):
            whole[f"{bits} bits"] = f"{folder}/v{bits}.raw"
            subprocess.run([tomo, "recad", path, "-o", whole[f"{bits} bits"], "--bits", bits, "--quiet"], check=True)
        print(f"{a.size} × {a.size} × {a.slices} voxels, {a.threads} threads")
        print("| | | cold, s | GB/s | warm, s | GB/s |\n|---|---|---|---|---|---|")
        every = [measure(a, tomo, kind, path) for kind, path in whole.items()]
        print("cold, every round:", *every, sep="\n")


def measure(a, tomo, kind, path):
    n = os.path.getsize(path)
    commands = {
        "`cat` to /dev/null": ["sh", "-c", f"cat {path} > /dev/null"],
        "`tomo check`": [tomo, "check", path, "--quiet", "--threads", str(a.threads)],
        "`tomo check --quick`": [tomo, "check", path, "--quick", "--quiet", "--threads", str(a.threads)],
    }
    cold = {name: [] for name in commands}
    # In turn, for the disk's rate changes from minute to minute.
    for _ in range(a.rounds):
        for name, command in commands.items():
            drop(path)
            cold[name].append(timed(command))
    timed(commands["`cat` to /dev/null"])
    for name, command in commands.items():
        least, warm = min(cold[name]), min(timed(command) for _ in range(3))
        rates = [f"{n / t / 1e9:.2f}" if "quick" not in name else "–" for t in (least, warm)]
        print(f"| {kind} | {name} | {least:.2f} | {rates[0]} | {warm:.2f} | {rates[1]} |")
    return f"{kind}: " + "; ".join(f"{name} {' '.join(f'{t:.2f}' for t in cold[name])}" for name in commands)


if __name__ == "__main__":
    main()
