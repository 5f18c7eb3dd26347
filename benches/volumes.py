"""Volumes at the disk's speed: recad, compare and convert beside plain reads and writes, numpy, nabu and tifffile.

    scripts/bench volumes [--slices 1024] [--repeat 3] [--only recad,peers,compare,convert,memory] [--dir FOLDER]

Everything is made and measured in one run on files that are in the system's cache, but for the rows that say cold; every number
is the best of the repeats, from the start of a program to its end, outputs brought to the disk. A floor is the same number of bytes moved by
plain reads and writes of 1 MiB and one sync at the end: by one thread, as cat and dd do it, and by one per core.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

EDGE = 1024
MIB = 1 << 20
TOMO = Path(os.environ["TOMOKIT_BIN"]) / "tomo"
CORES = len(os.sched_getaffinity(0))


def make_volume(path, slices):
    """Waves and noise about 1 in a round field, zeros outside, with PyHST2's .info."""
    y, x = np.mgrid[:EDGE, :EDGE] - (EDGE - 1) / 2
    inside = x * x + y * y < (0.49 * EDGE) ** 2
    rng = np.random.default_rng(1)
    waves = (0.6 + 0.3 * np.sin(x / 50)).astype("f4")
    with open(path, "wb") as f:
        for z in range(slices):
            if z % 16 == 0:
                noise = rng.standard_normal((EDGE, EDGE), dtype="f4") * np.float32(0.15)
            f.write(np.where(inside, np.roll(waves, z, 0) + np.roll(noise, 37 * z, 1), np.float32(0)).tobytes())
    write_info(path, EDGE, EDGE, slices)


def write_info(path, x, y, z):
    text = f"NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\nvoxelSize = 1.0\nBYTEORDER = LOWBYTEFIRST\n"
    Path(f"{path}.info").write_text("! PyHST_SLAVE VOLUME INFO FILE\n" + text)


def read_plain(path, first, end):
    fd = os.open(path, os.O_RDONLY)
    block = bytearray(MIB)
    for at in range(first, end, MIB):
        os.preadv(fd, [block], at)
    os.close(fd)


def reads(path, threads):
    """All of a file in blocks of 1 MiB, by some threads that each take a part."""
    size = os.path.getsize(path)
    ends = [size // MIB * i // threads * MIB for i in range(threads)] + [size]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda i: read_plain(path, ends[i], ends[i + 1]), range(threads)))


def writes(path, size):
    """So many bytes in blocks of 1 MiB, synced."""
    block = np.random.default_rng(2).bytes(MIB)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(size // MIB):
        os.write(fd, block)
    os.fsync(fd)
    os.close(fd)


def remove(path):
    """A file, a folder, or what begins like one of them (sidecars)."""
    path = Path(path)
    for p in path.parent.glob(path.name + "*"):
        shutil.rmtree(p) if p.is_dir() else p.unlink()


def forget(*paths):
    """Takes files out of the system's cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def run_tomo(*args, code=0):
    done = subprocess.run([TOMO, *map(str, args), "--quiet"], stdin=subprocess.DEVNULL)
    assert done.returncode == code, f"tomo {args}: exit code {done.returncode}"


class Bench:
    def __init__(self, options):
        self.o = options
        self.rows = []

    def best(self, work, output=None):
        """Seconds of the fastest of the repeats; the output is removed before each."""
        times = []
        for _ in range(self.o.repeat):
            if output:
                remove(output)
                os.sync()
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return min(times)

    def tomo(self, *args, output=None, code=0):
        return self.best(lambda: run_tomo(*args, code=code), output)

    def cold(self, files, *works):
        """Seconds of the fastest of the repeats of each, one after the other in turn: the disk's rate changes by the minute."""
        times = [[] for _ in works]
        for _ in range(self.o.repeat):
            for work, t in zip(works, times):
                forget(*files)
                began = time.perf_counter()
                work()
                t.append(time.perf_counter() - began)
        return [min(t) for t in times]

    def row(self, what, seconds, against, their_seconds, target):
        ratio = their_seconds / seconds
        self.rows.append((what, seconds, against, their_seconds, ratio, target))
        print(f"{what}: {seconds:.2f} s; {against}: {their_seconds:.2f} s; ratio {ratio:.2f}, wanted {target}", flush=True)

    def table(self):
        print("\n| what | s | beside | s | ratio | wanted |\n|---|---|---|---|---|---|")
        for what, s, against, t, ratio, target in self.rows:
            print(f"| {what} | {s:.2f} | {against} | {t:.2f} | {ratio:.2f} | {target} |")


def recad(b, vol, folder):
    out = folder / "eight.raw"
    ours = b.tomo("recad", vol, "-o", out, output=out)
    with_sha = b.tomo("recad", vol, "-o", out, "--hash", "sha256", output=out)
    size = os.path.getsize(vol)

    def floor(threads):
        reads(vol, threads)
        reads(vol, threads)
        writes(folder / "plain", size // 4)

    one = b.best(lambda: floor(1), folder / "plain")
    b.row("recad, two passes, BLAKE3", ours, "plain reads twice and writes, one thread", one, "0.8")
    b.row("recad, two passes, BLAKE3", ours, f"the same, {CORES} threads", b.best(lambda: floor(CORES), folder / "plain"), "–")
    b.row("recad, two passes, SHA-256", with_sha, "plain, one thread", one, "–")
    remove(folder / "plain")

    def one_pass():
        reads(vol, 1)
        writes(folder / "plain", size // 4)

    known = b.tomo("recad", vol, "-o", out, "--one-pass", "--low", "0", "--high", "1.2", output=out)
    b.row("recad, one pass, BLAKE3", known, "plain reads once and writes, one thread", b.best(one_pass, folder / "plain"), "–")
    remove(folder / "plain")
    remove(out)


# The way of recad_multi_memmap: memory maps on both sides, blocks of slices handed to processes.


def memmaps(vol, out, shape):
    return np.memmap(vol, "<f4", "r", shape=shape), np.memmap(out, "u1", "r+", shape=shape)


def numpy_histogram(job):
    vol, out, shape, a, b = job
    return np.histogram(memmaps(vol, out, shape)[0][a:b], bins=65536, range=(-1, 3))[0]


def numpy_convert(job):
    vol, out, shape, a, b, low, high = job
    source, target = memmaps(vol, out, shape)
    target[a:b] = np.rint((np.clip(source[a:b], low, high) - low) * (255 / (high - low))).astype("u1")


def numpy_recad(vol, out, shape, step=16):
    with open(out, "wb") as f:
        f.truncate(int(np.prod(shape)))
    parts = [(a, min(a + step, shape[0])) for a in range(0, shape[0], step)]
    with multiprocessing.Pool(CORES) as pool:
        counts = sum(pool.imap_unordered(numpy_histogram, [(vol, out, shape, a, b) for a, b in parts]))
        below = np.cumsum(counts) / counts.sum()
        low, high = (-1 + 4 * np.searchsorted(below, q) / 65536 for q in (0.001, 0.999))
        list(pool.imap_unordered(numpy_convert, [(vol, out, shape, a, b, low, high) for a, b in parts]))
    with open(out, "rb+") as f:
        os.fsync(f.fileno())


def peers(b, vol, folder, slices):
    out, shape = folder / "eight.raw", (slices, EDGE, EDGE)
    ours = b.tomo("recad", vol, "-o", out, output=out)
    theirs = b.best(lambda: numpy_recad(vol, folder / "numpy.raw", shape), folder / "numpy.raw")
    b.row("recad, two passes", ours, f"numpy memmap, {CORES} processes, range known beforehand", theirs, "5")
    remove(out)
    remove(folder / "numpy.raw")
    # nabu-cast reads no .vol: both get the HDF5 file that nabu itself would have written.
    if (nabu := shutil.which("nabu-cast", path=Path(sys.executable).parent)) is None:
        print("nabu-cast is not there: left out")
        return
    import h5py

    h5, few = folder / "volume.h5", min(slices, b.o.nabu_slices)
    with h5py.File(h5, "w") as f:
        entry = f.create_group("entry0000/reconstruction/results")
        entry.create_dataset("data", data=np.memmap(vol, "<f4", "r", shape=shape)[:few])
    url = f"hdf5:volume:{folder}/cast.h5?path=entry0000/reconstruction"
    command = [nabu, f"hdf5:volume:{h5}?path=entry0000/reconstruction", "--output_volume", url, "--output-data-type", "uint8"]

    def cast():
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and (folder / "cast.h5").is_file(), done.stderr
        os.sync()

    once, b.o.repeat = b.o.repeat, 1
    theirs = b.best(cast, folder / "cast.h5")
    b.o.repeat = once
    ours = b.tomo("recad", f"{h5}:/entry0000/reconstruction/results/data", "-o", folder / "ours.h5", output=folder / "ours.h5")
    b.row(f"recad, HDF5 to HDF5, {few} slices", ours, "nabu-cast, the same file (once)", theirs, "5")
    for name in ("volume.h5", "cast.h5", "ours.h5"):
        remove(folder / name)


def compare(b, vol, folder):
    copy = folder / "copy.vol"
    shutil.copy(vol, copy)
    shutil.copy(f"{vol}.info", f"{copy}.info")
    eight, other, sixteen = folder / "eight.raw", folder / "other.raw", folder / "sixteen.raw"
    b.tomo("recad", vol, "-o", eight, output=eight)
    b.tomo("recad", vol, "-o", other, "--low", "-0.1", "--high", "1.3", output=other)
    b.tomo("recad", vol, "-o", sixteen, "--bits", "16", output=sixteen)
    for what, one, two in (
        ("two equal volumes", vol, copy),
        ("a volume and its 8 bits", vol, eight),
        ("a volume and its 16 bits", vol, sixteen),
        ("8 bits of two scales", eight, other),
        ("16 bits, the same file twice", sixteen, sixteen),
    ):
        ours = b.tomo("compare", one, two)

        def floor(threads):
            reads(one, threads)
            reads(two, threads)

        b.row(f"compare, {what}", ours, "reading both, one thread", b.best(lambda: floor(1)), "0.8")
        b.row(f"compare, {what}", ours, f"reading both, {CORES} threads", b.best(lambda: floor(CORES)), "–")
        ours, theirs = b.cold((one, two), lambda: run_tomo("compare", one, two), lambda: floor(1))
        b.row(f"compare, {what}, cold", ours, "reading both, one thread", theirs, "0.8")
    for path in (eight, other, sixteen):
        remove(path)
    a = np.memmap(copy, "<f4", "r+")
    for at in range(0, a.size, 1 << 24):
        a[at : at + (1 << 24)] *= np.float32(1.001)
    a.flush()
    del a
    ours = b.tomo("compare", vol, copy, code=1)
    b.row("compare, every voxel differs", ours, "reading both, one thread", b.best(lambda: (reads(vol, 1), reads(copy, 1))), "0.8")
    remove(copy)


def convert(b, vol, folder, slices):
    import tifffile

    out, size = folder / "series", os.path.getsize(vol)
    ours = b.tomo("convert", vol, out, "--to", "tiff", output=out)
    remove(out)
    target = folder / "cp"

    def cp(sync):
        subprocess.run(["cp", vol, target], check=True)
        if sync:
            subprocess.run(["sync", target], check=True)

    b.row("convert .vol to a TIFF series, synced", ours, "cp and sync", b.best(lambda: cp(True), target), "0.9")
    b.row("convert .vol to a TIFF series, synced", ours, "cp alone, nothing synced", b.best(lambda: cp(False), target), "–")
    remove(target)
    assert size == slices * EDGE * EDGE * 4

    def tifffiles(source, to, sync=None, **how):
        to.mkdir()
        for z, page in enumerate(source):
            tifffile.imwrite(to / f"s_{z:04}.tif", page, **how)
            if sync == "each":
                with open(to / f"s_{z:04}.tif", "rb+") as f:
                    os.fsync(f.fileno())
        if sync == "end":
            os.sync()

    source = np.memmap(vol, "<f4", "r", shape=(slices, EDGE, EDGE))
    for sync, what in (("end", "one sync at the end"), ("each", "each slice synced")):
        theirs = b.best(lambda: tifffiles(source, out, sync), out)
        b.row("convert .vol to a TIFF series, synced", ours, f"tifffile.imwrite per slice, {what}", theirs, "3")
    # Where the disk is no limit: in memory (no more slices than fit), and compressed.
    few = min(slices, 256)
    shm = Path("/dev/shm/tomokit-bench")
    if not shm.parent.is_dir() or shutil.disk_usage(shm.parent).free < 3 * few * EDGE * EDGE * 4:
        print("convert in memory: left out, no /dev/shm of that size")
        remove(out)
        return
    shm.mkdir(exist_ok=True)
    small, there = shm / "few.vol", shm / "series"
    source[:few].tofile(small)
    write_info(small, EDGE, EDGE, few)
    pages = np.memmap(small, "<f4", "r", shape=(few, EDGE, EDGE))
    for what, ours_how, their_how in (
        ("plain", [], {}),
        ("deflate", ["--compression", "deflate"], {"compression": "zlib"}),
    ):
        ours = b.tomo("convert", small, there, "--to", "tiff", *ours_how, output=there)
        theirs = b.best(lambda: tifffiles(pages, there, **their_how), there)
        b.row(f"convert {few} slices to a TIFF series in memory, {what}", ours, "tifffile.imwrite per slice", theirs, "3")
    del pages
    shutil.rmtree(shm)
    remove(out)


def memory(folder):
    """Peak memory of this program on sparse volumes of 40 GB (10 GB of 8 bits for the way back)."""
    edge, slices, limit = 2048, 2560, "1G"
    if shutil.disk_usage(folder).free < 25 << 30:
        print("memory: left out, the disk has less than 25 GB free")
        return
    for name, values in (("big.vol", 4), ("same.vol", 4), ("grey.raw", 1)):
        with open(folder / name, "wb") as f:
            f.truncate(edge * edge * slices * values)
            for z in (100, slices - 1):
                f.seek((z * edge + 1000) * edge * values)
                f.write(bytes(range(1, 201)) * values if values == 1 else np.linspace(1, 2, 200, dtype="f4").tobytes())
        write_info(folder / name, edge, edge, slices)
    with open(folder / "grey.raw.info", "a") as f:
        f.write("DATA_TYPE = uint8\nGREY_SLOPE = 0.01\nGREY_OFFSET = -1\n")
    print(f"\n| command, with --memory {limit} | size | peak memory, MiB | s |\n|---|---|---|---|")
    for args, size in (
        (["recad", "big.vol", "-o", "out.raw"], "43 GB"),
        (["compare", "big.vol", "same.vol"], "2 × 43 GB"),
        (["recad", "grey.raw", "--undo", "--bin", "2", "-o", "back.vol"], "11 GB"),
        (["convert", "big.vol", "part.npy", "--roi", "0:200,900:1100"], "43 GB"),
    ):
        began = time.perf_counter()
        pid = os.posix_spawn(TOMO, [str(TOMO), *args, "--memory", limit, "--quiet"], os.environ | {"PWD": str(folder)})
        _, status, used = os.wait4(pid, 0)
        assert status == 0, args
        print(f"| `tomo {' '.join(args)}` | {size} | {used.ru_maxrss >> 10} | {time.perf_counter() - began:.1f} |", flush=True)
        for name in ("out.raw", "back.vol", "part.npy"):
            remove(name)
    for name in ("big.vol", "same.vol", "grey.raw"):
        remove(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1024, help="slices of 4 MiB")
    parser.add_argument("--nabu-slices", type=int, default=256, help="at most so many of them for nabu")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="recad,peers,compare,convert,memory")
    parser.add_argument("--dir", type=Path, default=TOMO.parent.parent / "bench-volumes")
    o = parser.parse_args()
    wanted = o.only.split(",")
    o.dir.mkdir(parents=True, exist_ok=True)
    os.chdir(o.dir)
    b, vol = Bench(o), o.dir / f"volume{o.slices}.vol"
    if wanted != ["memory"]:
        if not vol.is_file() or os.path.getsize(vol) != o.slices * EDGE * EDGE * 4:
            make_volume(vol, o.slices)
        reads(vol, 1)
        print(f"{vol.name}: {os.path.getsize(vol) / 1e9:.2f} GB of float32, {CORES} cores, {platform.processor() or platform.machine()}")
    steps = {
        "recad": lambda: recad(b, vol, o.dir),
        "peers": lambda: peers(b, vol, o.dir, o.slices),
        "compare": lambda: compare(b, vol, o.dir),
        "convert": lambda: convert(b, vol, o.dir, o.slices),
    }
    for name in wanted:
        if name in steps:
            steps[name]()
    if b.rows:
        b.table()
    if "memory" in wanted:
        memory(o.dir)


if __name__ == "__main__":
    main()
