"""What every test of this folder uses: running our program, test volumes, exact comparison.

The rule of the folder: an array goes through our program and through somebody else's reader or writer, and numpy
compares. Equality means equal type, shape and bytes: NaN payloads and negative zeros count.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# Tests keep a ledger of their own, never the user's.
os.environ["TOMOKIT_LEDGER"] = os.path.join(tempfile.mkdtemp(prefix="tomokit-ledger-"), "ledger.sqlite")
BIN = Path(os.environ.get("TOMOKIT_BIN", ROOT / "target" / "debug")).resolve()
FULL = bool(os.environ.get("TOMOKIT_FULL"))

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float32", "float64"]


def run(*args, cwd=None, timeout=300):
    """Runs `tomo ARGS` and returns the finished process, whatever its exit code."""
    command = [str(BIN / "tomo"), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


def tomo(*args, **how):
    """Runs `tomo ARGS`, which must succeed."""
    done = run(*args, **how)
    assert done.returncode == 0, f"tomo {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}"
    return done


def refused(*args, **how):
    """Runs `tomo ARGS`, which must refuse: exit code 2 and a message, no crash. Returns the message."""
    done = run(*args, **how)
    assert "panicked" not in done.stderr, done.stderr
    assert done.returncode == 2, f"tomo {' '.join(map(str, args))}: exit {done.returncode}, not 2\n{done.stderr}"
    assert done.stderr.strip(), "refused without a word"
    return done.stderr


def volume(dtype, shape=(3, 5, 7), seed=1):
    """A small volume with every extreme of its type in it. No dimension is a multiple of another."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if dtype.kind == "f":
        a = rng.normal(size=shape).astype(dtype)
        odd = [np.nan, np.inf, -np.inf, -0.0, np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal]
    else:
        a = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, size=shape, dtype=dtype, endpoint=True)
        odd = [np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1]
    a.reshape(-1)[: len(odd)] = np.array(odd, dtype=dtype)
    return a


def same(found, wanted):
    """Equal type, shape and bytes. A stack of one may have lost or gained its first axis."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.ndim != wanted.ndim and 1 in (found.shape[0], wanted.shape[0]):
        found, wanted = np.atleast_3d(np.squeeze(found)), np.atleast_3d(np.squeeze(wanted))
    native = found.dtype.newbyteorder("="), wanted.dtype.newbyteorder("=")
    assert native[0] == native[1], f"type {native[0]}, not {native[1]}"
    assert found.shape == wanted.shape, f"shape {found.shape}, not {wanted.shape}"
    a = np.ascontiguousarray(found.astype(native[0]))
    b = np.ascontiguousarray(wanted.astype(native[1]))
    if a.tobytes() != b.tobytes():
        bad = (a.view(np.uint8) != b.view(np.uint8)).any(axis=None)
        where = np.argwhere((a != b) & ~((a != a) & (b != b)))
        raise AssertionError(f"{len(where)} of {a.size} values differ (bytes: {bad}), first at {where[:3].tolist()}")


def ours_reads(path, folder, *options):
    """The array our program sees under `path`: converted to .npy, loaded by numpy."""
    out = Path(folder) / "seen-by-us.npy"
    tomo("convert", path, out, "--overwrite", "--quiet", *options)
    return np.load(out)


def ours_writes(array, out, *options):
    """Lets our program write `array` (given to it as headerless bytes) under `out`."""
    out = Path(out)
    source = out.parent / f"given-to-us-{out.name}.bin"
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    source.write_bytes(array.tobytes())
    dims = "x".join(str(n) for n in reversed(array.shape))
    tomo("convert", source, out, "--format", "raw", "--dims", dims, "--dtype", array.dtype.name, "--quiet", *options)
    source.unlink()
    return out
