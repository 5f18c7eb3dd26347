"""Milliseconds per slice and error of our reconstruction core beside other people's, in one run on the same cores.

    scripts/bench peers [--quick|--all] [--sizes 512,1024,2048] [--more 1,1.5] [--threads 1,2] [--only NAME,…] [--json FILE]

Every method runs alone in a process of its own, on the same sinogram (exact, see peers/data.py), with the ramp filter and
no window; plans are made before the clock runs. Time is the least of several rounds: of the CPU (all threads of the
process, little disturbed by what else the machine does) and of the wall. Errors are relative, rms over 300 voxels, against
the exact sum of the band-limited filtered projections in float64: once on the circle of twice the width that all of these
tools work on, once on eight times the width (nearly the infinite line). "after a fit" allows each method its own scale
and offset first. What takes longer than a minute per slice is left out unless --all is given, with --quick what takes longer than five seconds.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
sys.path.insert(0, str(HERE / "peers"))

VOXELS = 300
AXIS = 3.3  # columns right of the middle

# name: (kind, arguments, seconds per slice at 1024 x 1024 roughly, runs on several threads, says what it is)
METHODS = {
    "tomokit": ("ours", ["2e-4"], 0.01, True, "default, tolerance 2e-4"),
    "tomokit 1e-5": ("ours", ["1e-5"], 0.015, True, "tolerance 1e-5"),
    "tomokit 1e-3": ("ours", ["1e-3"], 0.01, True, "tolerance 1e-3"),
    "tomokit 1e-2": ("ours", ["1e-2"], 0.01, True, "tolerance 1e-2, still more accurate than linear interpolation"),
    "tomokit direct": ("ours", ["direct"], 0.1, True, "linear interpolation"),
    "finufft 1e-3": ("python", ["finufft", 1e-3], 0.06, True, "FBP made of FINUFFT type 1"),
    "finufft 1e-4": ("python", ["finufft", 1e-4], 0.07, True, ""),
    "tomoxide gridrec": ("tomoxide", ["gridrec"], 3.0, True, ""),
    "tomoxide fourierrec": ("tomoxide", ["fourierrec"], 0.5, True, ""),
    "tomoxide lprec": ("tomoxide", ["lprec"], 0.6, True, ""),
    "tomoxide fbp": ("tomoxide", ["fbp"], 6.0, True, ""),
    "algotom fbp": ("python", ["algotom"], 2.0, False, ""),
    "nabu": ("python", ["nabu"], 12.0, False, ""),
    "astra linear": ("python", ["astra", "linear"], 3.6, False, ""),
    "scikit-image": ("python", ["skimage"], 9.6, False, ""),
}


def tomoxide_geometry(method, n):
    """How tomoxide's slices lie, found by trying: upside down; where the axis is; half a column more for lprec."""
    y = n / 2 if method == "lprec" else n / 2 - 1
    return (n / 2, y), 0.5 if method == "lprec" else 0.0


def environment(threads):
    names = ["RAYON", "OMP", "NUMBA", "OPENBLAS", "MKL"]
    env = {**os.environ, **{f"{n}_NUM_THREADS": str(threads) for n in names}, "POCL_MAX_PTHREAD_COUNT": str(threads)}
    env["NUMBA_THREADING_LAYER"] = "workqueue"
    return env


def build(again):
    """Our runner and tomoxide's; answers their paths. Not `again`: as built before."""
    folder = TARGET / "bench-tomoxide"
    programs = {"tomoxide": str(folder / "release" / "peer-tomoxide")}
    if not again:
        found = [f for f in (TARGET / "release/deps").glob("peers-*") if f.suffix in ("", ".exe")]
        return {**programs, "ours": str(max(found, key=lambda f: f.stat().st_mtime))}
    said = subprocess.run(
        ["cargo", "bench", "--bench", "peers", "--no-run", "--locked", "--message-format=json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    built = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    ours = next(p["executable"] for p in built if p.get("executable") and p["target"]["name"] == "peers")
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "peers/tomoxide/Cargo.toml", "--target-dir", folder],
        check=True, stdout=subprocess.DEVNULL,
    )
    return {**programs, "ours": ours}


def one(arguments):
    """In a process of its own: times one Python peer and stores what it made."""
    import numpy as np

    import methods

    method, sino, n, k, axis, rounds, threads, out, *more = arguments
    sino = np.fromfile(sino, "f4").reshape(int(k), int(n))
    made = getattr(methods, method)(sino, float(axis), int(threads), *[float(m) if method == "finufft" else m for m in more])
    if int(rounds) > 1:
        made.run()
    wall = cpu = float("inf")
    for _ in range(int(rounds)):
        w, c = time.perf_counter(), time.process_time()
        slices = made.run()
        cpu = min(cpu, (time.process_time() - c) * 1e3 / made.slices)
        wall = min(wall, (time.perf_counter() - w) * 1e3 / made.slices)
    np.asarray(slices[0], "f4").tofile(out)
    print(json.dumps({"wall_ms": wall, "cpu_ms": cpu, "centre": made.centre, "axis": made.axis, "remark": made.remark}))


class Bench:
    """One run: the work folder, the programs, references made so far."""

    def __init__(self, folder, programs):
        self.folder, self.programs, self.references, self.sinos = pathlib.Path(folder), programs, {}, {}

    def sinogram(self, n, k, axis):
        import data

        key = (n, k, axis)
        if key not in self.sinos:
            self.sinos = {s: v for s, v in self.sinos.items() if s[:2] == key[:2]}
            self.sinos[key] = data.sinogram(n, k, axis)
        return self.sinos[key]

    def exact(self, n, k, axis, centre, pad):
        import data

        key = (n, k, axis, centre, pad)
        if key not in self.references:
            i, j = data.voxels(n, VOXELS)
            self.references[key] = data.exact(self.sinogram(n, k, axis), axis, j - centre[0], centre[1] - i, pad)
        return self.references[key]

    def measure(self, name, n, k, threads):
        import numpy as np

        import data

        kind, arguments, slow, _, says = METHODS[name]
        axis = (n - 1) / 2 + AXIS
        seconds = slow * (n / 1024) ** 2 * (k / 1024)
        rounds = max(1, min(7, int(4 / max(seconds, 1e-3))))
        sino, out = self.folder / "sino.raw", self.folder / "out.raw"
        self.sinogram(n, k, axis).tofile(sino)
        centre, offset, flip = ((n - 1) / 2, (n - 1) / 2), 0.0, False
        if kind == "python":
            rest = [sino, n, k, axis, rounds, threads, out]
            command = [sys.executable, __file__, "--one", arguments[0], *rest, *arguments[1:]]
        else:
            if kind == "tomoxide":
                (centre, offset), flip = tomoxide_geometry(arguments[0], n), True
            slices = 16 if kind == "ours" else (1 if seconds > 2 else 4)
            command = [self.programs[kind], arguments[0], sino, n, k, axis + offset, slices, rounds, out]
        done = subprocess.run([str(c) for c in command], env=environment(threads), capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            return {"name": name, "columns": n, "projections": k, "threads": threads, "failed": last[:200]}
        said = json.loads(done.stdout.splitlines()[-1])
        if kind == "python":
            axis, centre = said["axis"], (said["centre"], said["centre"])
        image = np.fromfile(out, "f4").reshape(n, n).astype(float)
        i, j = data.voxels(n, VOXELS)
        got = (np.flipud(image) if flip else image)[i, j]
        wanted = self.exact(n, k, axis, centre, 2)
        line = np.stack([got, np.ones_like(got)], axis=1)
        fit = line @ np.linalg.lstsq(line, wanted, rcond=None)[0]

        def relative(a, b):
            return float(np.linalg.norm(a - b) / np.linalg.norm(b))

        return {
            "name": name, "columns": n, "projections": k, "threads": threads,
            "cpu_ms": said["cpu_ms"], "wall_ms": said["wall_ms"], "rounds": rounds, "remark": said.get("remark") or says,
            "error": relative(got, wanted), "error_after_fit": relative(fit, wanted),
            "error_8": relative(got, self.exact(n, k, axis, centre, 8)),
        }  # fmt: skip


def table(results):
    lines = ["| columns × projections | method | threads | CPU ms | wall ms | ratio | error | after a fit | 8 × width |", "|---|---|---|---|---|---|---|---|---|"]
    for r in results:
        size = f"{r['columns']} × {r['projections']}"
        if "failed" in r:
            lines.append(f"| {size} | {r['name']} | {r['threads']} | {r['failed']} | | | | | |")
            continue
        ratio = f"{r['ratio']:.2f}" if r["ratio"] < 10 else f"{r['ratio']:.0f}"
        lines.append(
            f"| {size} | {r['name']} | {r['threads']} | {r['cpu_ms']:.4g} | {r['wall_ms']:.4g} | {ratio} | "
            f"{r['error']:.1e} | {r['error_after_fit']:.1e} | {r['error_8']:.1e} |"
        )
    return "\n".join(lines)


def machine():
    model = platform.processor() or platform.machine()
    try:
        info = pathlib.Path("/proc/cpuinfo").read_text()
        model = next(line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} × {model}, {platform.system()}"


def main():
    parse = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--quick", action="store_true")
    parse.add_argument("--all", action="store_true")
    parse.add_argument("--sizes", default="512,1024,2048")
    parse.add_argument("--more", default="1,1.5", help="projections per column")
    parse.add_argument("--threads", default="1,2")
    parse.add_argument("--only", help="names, separated by commas")
    parse.add_argument("--no-build", action="store_true", help="take the programs as they were built before")
    parse.add_argument("--json", type=pathlib.Path)
    a = parse.parse_args()
    names = a.only.split(",") if a.only else list(METHODS)
    if unknown := [n for n in names if n not in METHODS]:
        parse.error(f"unknown: {', '.join(unknown)}; known: {', '.join(METHODS)}")
    programs = build(not a.no_build)
    results = []
    with tempfile.TemporaryDirectory(dir=TARGET) as folder:
        bench = Bench(folder, programs)
        for n in map(int, a.sizes.split(",")):
            for k in [round(n * float(m)) for m in a.more.split(",")]:
                for threads in map(int, a.threads.split(",")):
                    ours = None
                    for name in names:
                        kind, _, slow, scales, _ = METHODS[name]
                        seconds = slow * (n / 1024) ** 2 * (k / 1024)
                        # On several threads: what runs on them, and is not hopelessly slow.
                        if seconds > (5 if a.quick else 60 if not a.all else 1e9) or (threads > 1 and (not scales or seconds > 10)):
                            continue
                        r = bench.measure(name, n, k, threads)
                        if "failed" not in r:
                            # On one thread by the CPU's clock, on several by the wall's.
                            t = r["cpu_ms"] if threads == 1 else r["wall_ms"]
                            ours = ours or t
                            r["ratio"] = t / ours
                        results.append(r)
                        print(table([r]).splitlines()[-1], file=sys.stderr, flush=True)
    print(f"`scripts/bench peers {' '.join(sys.argv[1:])}`, {machine()}, {datetime.date.today()}\n")
    print(table(results))
    if a.json:
        record = {"command": sys.argv[1:], "machine": machine(), "date": str(datetime.date.today()), "results": results}
        a.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
    else:
        main()
