"""Copying, summing and recording beside `cp -r && sync` and `rsync -a` with sha256sum of both sides.

    scripts/bench copying [--size MB] [--small N] [--rounds N] [--folder DIR] [--target DISK]

Every program copies the same files to the same disk, in turn, several rounds in rotated order; each round drops the caches
where that is allowed (root), so that sources are read from the disk. What counts as done is on the disk: cp ends with sync,
rsync with sync and two sha256sum runs, ours with its own flush. The medians and their ratios are printed.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

BIN = pathlib.Path(os.environ["TOMOKIT_BIN"]) / "tomo"


def cold():
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        pass


def shell(command, cwd):
    subprocess.run(["bash", "-euc", command], cwd=cwd, check=True, stdout=subprocess.DEVNULL)


WAYS = {
    "cp -r && sync": lambda d: shell("cp -r src out/ && sync", d),
    "tomo copy --read-back no": lambda d: shell(f"{BIN} copy src out --read-back no --quiet", d),
    "tomo copy (read back)": lambda d: shell(f"{BIN} copy src out --quiet", d),
    "rsync -a, sha256sum twice": lambda d: shell(
        "rsync -a src out && sync && (cd src && find . -type f -print0 | xargs -0 sha256sum) > a"
        " && (cd out/src && find . -type f -print0 | xargs -0 sha256sum) > b", d),
}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--size", type=int, default=1500, help="MB in large files")
    a.add_argument("--small", type=int, default=2000, help="files of 40 kB")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--folder", default=None)
    a.add_argument("--target", default=None, help="a folder on the disk to copy to; else beside the source")
    a.add_argument("--only", default="", help="large or small")
    o = a.parse_args()
    for kind in ("large", "small"):
        if o.only not in ("", kind):
            continue
        with tempfile.TemporaryDirectory(dir=o.folder) as d:
            d = pathlib.Path(d)
            os.environ["TOMOKIT_LEDGER"] = str(d / "ledger.sqlite")  # written as always, but not the user's own
            src = d / "src"
            src.mkdir()
            if kind == "large":
                block = os.urandom(50_000_000)
                for i in range(3):
                    with open(src / f"{i}.vol", "wb") as f:
                        for _ in range(max(1, o.size * 1_000_000 // 3 // len(block))):
                            f.write(block)
            else:
                for i in range(o.small):
                    p = src / f"{i // 500:03}" / f"{i:06}.tif"
                    p.parent.mkdir(exist_ok=True)
                    p.write_bytes(os.urandom(40_000))
            total = sum(p.stat().st_size for p in src.rglob("*") if p.is_file())
            for p in src.rglob("*"):  # older than what counts as "perhaps still changing"
                os.utime(p, (time.time() - 100,) * 2)
            times = {w: [] for w in WAYS if "rsync" not in w or shutil.which("rsync")}
            names = list(times)
            for r in range(o.rounds):
                for w in names[r % len(names):] + names[:r % len(names)]:
                    out = pathlib.Path(o.target or d) / f"out-{os.getpid()}"
                    out.mkdir()
                    (d / "out").unlink(missing_ok=True)
                    (d / "out").symlink_to(out)
                    cold()
                    t = time.perf_counter()
                    WAYS[w](d)
                    times[w].append(time.perf_counter() - t)
                    shutil.rmtree(out)
            median = {w: statistics.median(t) for w, t in times.items()}
            print(f"{kind}: {total / 1e6:.0f} MB in {sum(1 for p in src.rglob('*') if p.is_file())} files")
            for w, t in median.items():
                print(f"  {w:28} {t:7.2f} s  {total / 1e6 / t:7.0f} MB/s   {['%.2f' % x for x in times[w]]}")
            print(f"  record : cp     = {median['tomo copy --read-back no'] / median['cp -r && sync']:.2f}  (wanted: at most 1.05)")
            if "rsync -a, sha256sum twice" in median:
                rsync = median["rsync -a, sha256sum twice"]
                print(f"  rsync  : record = {rsync / median['tomo copy --read-back no']:.2f}  (wanted: at least 1.8)")
                print(f"  rsync  : verify = {rsync / median['tomo copy (read back)']:.2f}")
            print(json.dumps({"kind": kind, **times}))


main()
