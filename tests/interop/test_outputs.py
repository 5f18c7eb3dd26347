"""What an output may not replace: the files its input's values lie in, however they are named; and inputs of which only a
part was read are not removed."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
from support import BIN, refused, run, tomo

V = np.random.default_rng(1).random((4, 64, 64), dtype=np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("src.h5", "w") as f:
        f["d"] = V
        f["angles"] = np.arange(4.0)
    return tmp_path


def linked():
    with h5py.File("ext.h5", "w") as f:
        f["d"] = h5py.ExternalLink("src.h5", "/d")
    layout = h5py.VirtualLayout(V.shape, "f4")
    layout[:] = h5py.VirtualSource("src.h5", "d", V.shape)
    with h5py.File("vds.h5", "w") as f:
        f.create_virtual_dataset("d", layout)
    V.tofile("src.bin")
    with h5py.File("raw.h5", "w") as f:
        f.create_dataset("d", V.shape, "f4", external=[("src.bin", 0, V.nbytes)])
    head = "{\nDim_1 = 64 ;\nDim_2 = 64 ;\nDim_3 = 4 ;\nDataType = FloatValue ;\nByteOrder = LowByteFirst ;\n"
    head += f"EDF_BinaryFileName = src.bin ;\nEDF_BinaryFilePosition = 0 ;\nEDF_BinaryFileSize = {V.nbytes} ;\n"
    with open("h.edf", "wb") as f:
        f.write((head + "}\n").encode())


def test_no_output_replaces_what_its_input_leads_to(folder):
    linked()
    before = {p: (folder / p).read_bytes() for p in ("src.h5", "src.bin")}
    for source, target in (("ext.h5", "src.h5"), ("vds.h5", "src.h5"), ("raw.h5", "src.bin"), ("h.edf", "src.bin")):
        to = ["--to", "raw"] if target.endswith("bin") else []
        for command in (["convert", source, target], ["recad", source, "-o", target, "--low", 0, "--high", 1]):
            said = refused(*command, *to, "--overwrite")
            assert "replace what it is made from" in said, (command, said)
        tomo("convert", source, "copy.npy", "--overwrite")
        assert np.array_equal(np.load("copy.npy").reshape(V.shape), V), source
    assert before == {p: (folder / p).read_bytes() for p in before}


def test_no_input_goes_of_which_a_part_was_not_read(folder):
    with tifffile.TiffWriter("pages.tif") as t:
        for _ in range(3):
            t.write(V[0][:16, :16], contiguous=False)
        for i in range(4):
            t.write(V[i], contiguous=False)
    with tifffile.TiffWriter("sub.tif") as t:
        for i in range(4):
            t.write(V[i], subifds=1, contiguous=False)
            t.write(V[i][::2, ::2], subfiletype=1, contiguous=False)
    tomo("convert", "src.h5:/d", "junk.edf")
    with open("junk.edf", "ab") as f:
        f.write(b"x" * 70_000)
    V.tofile("skip.vol")
    for name, more in (("pages.tif", []), ("sub.tif", []), ("junk.edf", []), ("skip.vol", ["--dims", "64x64x3", "--dtype", "float32", "--skip", 16384])):
        said = refused("recad", name, "-o", "out.raw", "--remove-input", "--low", 0, "--high", 1, *more)
        assert "not removed" in said, (name, said)
        assert (folder / name).exists() and not (folder / "out.raw").exists()


def test_voxels_keep_their_height(folder):
    with h5py.File("a.h5", "w") as f:
        f["d"] = V
    tomo("convert", "a.h5:/d", "a.tif")
    tifffile.imwrite("um.tif", V, imagej=True, resolution=(1 / 0.65, 1 / 0.65), metadata={"spacing": 1.3, "unit": "um", "axes": "ZYX"})
    for out in ("v.raw", "v.vol"):
        tomo("convert", "um.tif", out)
        tomo("convert", out, f"{out}.tif")
        with tifffile.TiffFile(f"{out}.tif") as t:
            assert abs(float(t.imagej_metadata["spacing"]) - 1.3) < 1e-6, out


def peak(*args):
    """Exit code and most memory of a run, MiB; started by a small process, whose own memory counts into it."""
    wait = "import os, subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=2); _, s, u = os.wait4(p.pid, 0); "
    wait += "print(os.waitstatus_to_exitcode(s), u.ru_maxrss / 1024)"
    done = subprocess.run([sys.executable, "-c", wait, BIN / "tomo", *map(str, args)], capture_output=True, text=True)
    code, most = done.stdout.split()
    return int(code), float(most)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
def test_a_chunk_counts_into_the_memory(folder):
    v = np.random.default_rng(1).integers(0, 1000, (100, 512, 512), dtype=np.uint16)
    for name, chunks in (("whole.h5", v.shape), ("tiles.h5", (100, 128, 128))):
        with h5py.File(name, "w") as f:
            f.create_dataset("d", data=v, chunks=chunks, compression="gzip", compression_opts=1)
    for command in (["recad", "whole.h5", "-o", "o.raw"], ["convert", "whole.h5", "o.raw"], ["compare", "tiles.h5", "whole.h5"], ["info", "--stats", "whole.h5"]):
        command += ["--overwrite"] if "o.raw" in command else []
        assert "chunk" in refused(*command, "--memory", "64M"), command
        code, most = peak(*command, "--memory", "256M")
        assert code == 0 and most < 256, (command, code, most)
    code, most = peak("recad", "tiles.h5", "-o", "o.raw", "--overwrite", "--memory", "128M")
    assert code == 0 and most < 128, most
    assert "not looked at" in (done := run("check", "whole.h5", "--memory", "64M")).stdout and done.returncode == 2


def test_all_stacks_of_a_file_are_checked(folder):
    """Where none of them is the one, each is looked at, and what is found says in which; tools that need one ask for it."""
    v = np.random.default_rng(2).normal(1, 0.1, (12, 80, 80)).astype("f4")
    hurt = v.copy()
    hurt[5] = 0
    for name, second in (("good.h5", v + 1), ("hurt.h5", hurt)):
        with h5py.File(name, "w") as f:
            f["a"], f["b"] = v, second
    done = run("check", "good.h5", "--json")
    item = json.loads(done.stdout)["items"][0]
    assert done.returncode == 0 and item["looked_at"] == 24 and item["bytes_read"] >= 2 * v.nbytes
    done = run("check", "hurt.h5", "--json")
    found = [f for f in json.loads(done.stdout)["items"][0]["findings"] if f["weight"] == "broken"]
    assert done.returncode == 1 and len(found) == 1 and found[0]["text"].startswith("/b: slice 5 "), found
    # Beside one that is named as the default too.
    with h5py.File("entries.h5", "w") as f:
        f.attrs["default"] = "one"
        for name, data in (("one", v), ("two", hurt)):
            e = f.create_group(name)
            e.attrs.update({"NX_class": "NXentry", "default": "data"})
            g = e.create_group("data")
            g.attrs.update({"NX_class": "NXdata", "signal": "data"})
            g["data"] = data
        f["one/again"] = f["one/data/data"]
    done = run("check", "entries.h5", "--json")
    item = json.loads(done.stdout)["items"][0]
    found = [f for f in item["findings"] if f["weight"] == "broken"]
    assert done.returncode == 1 and item["looked_at"] == 24 and len(found) == 1, found
    assert found[0]["text"].startswith("/two/data/data: slice 5 "), found
    said = refused("convert", "good.h5", "out.npy")
    assert "several datasets" in said and "--dataset /a" in said
