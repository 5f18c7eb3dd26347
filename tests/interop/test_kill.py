"""kill -9 at any moment: what carries a final name is whole and right, and the next run completes."""

import json
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from support import BIN, FULL, run

SHAPE = (48, 256, 256)
MOMENTS = 20 if FULL else 5


def write_vol(path, v):
    path.write_bytes(v.tobytes())
    z, y, x = v.shape
    path.with_name(path.name + ".info").write_text(f"NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\nBYTEORDER = LOWBYTEFIRST\n")


def contents(path):
    """Bytes of a file, or the pixels of all files of a folder; receipts without what changes from run to run."""
    if path.is_dir():
        return {p.name: p.read_bytes()[-SHAPE[1] * SHAPE[2] :] for p in path.iterdir()}
    if path.name.endswith(".recad.json"):
        r = json.loads(path.read_text())
        del r["finished"], r["seconds"], r["output"], r["input"]["path"], r["input"]["modified"]
        r["limits"].pop("found")
        return r
    return path.read_bytes()


CASES = {
    "raw": (["recad", "a.vol", "-o", "out.raw"], "out.raw"),
    "remove input": (["recad", "a.vol", "-o", "out.raw", "--remove-input", "--plot", "out.png"], "out.raw"),
    "series and lock": (["recad", "a.vol", "-o", "out", "--to", "tiff", "--lock", "lock.json", "--verify"], "out"),
    "convert": (["convert", "a.vol", "out", "--to", "tiff"], "out"),
    "convert to raw": (["convert", "a.vol", "out.raw"], "out.raw"),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_moment(tmp_path, case):
    args, main = CASES[case]
    rng = random.Random(case)
    v = np.random.default_rng(6).normal(1, 0.2, SHAPE).astype("<f4")
    sound, work = tmp_path / "sound", tmp_path / "work"
    sound.mkdir()
    write_vol(sound / "a.vol", v)
    given = {p.name for p in sound.iterdir()}
    began = time.monotonic()
    done = run(*args, cwd=sound)
    whole = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    right = {p.name: contents(p) for p in sound.iterdir() if p.name not in given}
    completed = killed = tried = 0
    # Half of the moments fall into the last part of a run, where names are given.
    while killed < MOMENTS and tried < 4 * MOMENTS:
        tried += 1
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        write_vol(work / "a.vol", v)
        program = subprocess.Popen([BIN / "tomo", *args], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, whole) if tried % 2 else rng.uniform(0.7, 1.1) * whole)
        program.send_signal(signal.SIGKILL)
        killed += program.wait() == -signal.SIGKILL
        for path in work.iterdir():
            if path.name not in given and not path.name.endswith((".part", ".part.json")):
                assert contents(path) == right[path.name], f"{path.name} is wrong after a kill"
        finished = (work / main).exists() and ("recad" not in args or (work / f"{main}.recad.json").exists())
        if not (work / "a.vol").exists():
            assert finished and "--remove-input" in args, "the input went before the output was there"
            completed += 1
            continue
        began = time.monotonic()
        again = run(*args, *(["--overwrite"] if finished else []), cwd=work)
        whole = min(whole, time.monotonic() - began)
        assert again.returncode == 0, again.stderr
        completed += 1
        # A lock is written under a name of each process' own: only that may be left.
        names = {p.name for p in work.iterdir() if not p.name.startswith("lock.json.")} - given
        assert names == set(right), names
        for name in names:
            assert contents(work / name) == right[name], f"{name} is wrong in the second run"
    assert completed == tried and killed > 0, f"{killed} of {tried} runs were killed"


def test_killed_between_data_and_sidecars(tmp_path):
    """The data carry their final name, what describes them does not yet: what is there is whole, and the next run mends it."""
    v = np.random.default_rng(7).normal(1, 0.2, SHAPE).astype("<f4")
    sound, work = tmp_path / "sound", tmp_path / "work"
    sound.mkdir()
    write_vol(sound / "a.vol", v)
    given = {p.name for p in sound.iterdir()}
    assert run("convert", "a.vol", "out.raw", cwd=sound).returncode == 0
    right = {p.name: p.read_bytes() for p in sound.iterdir() if p.name not in given}
    assert right["out.raw"] == v.tobytes() and "out.raw.info" in right
    between = 0
    for _ in range(MOMENTS):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        write_vol(work / "a.vol", v)
        program = subprocess.Popen([BIN / "tomo", "convert", "a.vol", "out.raw", "--quiet"], cwd=work)
        while not (work / "out.raw").exists() and program.poll() is None:
            pass
        program.send_signal(signal.SIGKILL)
        program.wait()
        final = {p.name for p in work.iterdir() if not p.name.endswith((".part", ".part.json"))} - given
        for name in final:
            assert (work / name).read_bytes() == right[name], f"{name} is wrong after a kill"
        between += "out.raw.info" not in final
        refusal = run("convert", "a.vol", "out.raw", "--quiet", cwd=work)
        assert refusal.returncode == 2 and "out.raw" in refusal.stderr, "what has its final name is not replaced unasked"
        again = run("convert", "a.vol", "out.raw", "--overwrite", "--quiet", cwd=work)
        assert again.returncode == 0, again.stderr
        assert {p.name: p.read_bytes() for p in work.iterdir() if p.name not in given} == right
    assert between > 0, "no run was killed between data and sidecars"
