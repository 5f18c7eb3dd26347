"""ImageJ itself (Debian's package, headless) opens the one-IFD stacks we write, also beyond 4 GB.

A small Java program asks ImageJ for single voxels; a virtual stack reads them straight from the file, so that a stack
larger than Java's memory does not matter. Slow: part of `scripts/test --full` only.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import FULL, ours_writes, tomo, volume

JAR = Path("/usr/share/java/ij.jar")
pytestmark = [
    pytest.mark.skipif(not FULL, reason="slow: run scripts/test --full"),
    pytest.mark.skipif(not (JAR.exists() and shutil.which("javac")), reason="Debian's packages imagej and default-jdk-headless are missing"),
]


def imagej(path, voxels, how="virtual"):
    """Lets ImageJ open `path`; returns [columns, rows, slices, bits] and the values at `voxels` (slice, row, column)."""
    command = ["java", "-Xmx2g", "-Djava.awt.headless=true", "-cp", JAR, Path(__file__).with_name("Voxels.java"), how, path]
    command += [n for v in voxels for n in v]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    sizes = [list(map(int, line[1:])) for line in lines if line[:1] == ["size"]]
    values = [float(line[1]) for line in lines if line[:1] == ["value"]]
    assert len(sizes) == 1 and len(values) == len(voxels), done.stdout + done.stderr
    return sizes[0], values


@pytest.mark.parametrize("how", ["whole", "virtual"])
@pytest.mark.parametrize("dtype,bits", [("uint8", 8), ("uint16", 16), ("float32", 32)])
def test_imagej_opens_our_stacks(tmp_path, dtype, bits, how):
    a = volume(dtype)
    out = ours_writes(a, tmp_path / "stack.tif", "--variant", "imagej")
    voxels = [(0, 4, 6), (1, 2, 3), (2, 0, 0), (2, 4, 6)]
    size, values = imagej(out, voxels, how)
    assert size == [7, 5, 3, bits]
    assert values == [float(a[v]) for v in voxels]


def test_imagej_opens_a_stack_beyond_four_gigabytes(tmp_path):
    columns, rows, slices = 2048, 2048, 1100  # uint8: 4.6 GB, past the 32-bit offsets of TIFF
    marks = {(0, 0, 0): 1, (1, 2, 3): 2, (1023, 2047, 2047): 3, (1024, 0, 0): 4, (1099, 2047, 2047): 5}
    source = tmp_path / "sparse.raw"
    with open(source, "wb") as f:  # a sparse file: the input costs no disk
        f.truncate(columns * rows * slices)
        for (z, y, x), value in marks.items():
            f.seek((z * rows + y) * columns + x)
            f.write(bytes([value]))
    out = tmp_path / "stack.tif"
    tomo("convert", source, out, "--format", "raw", "--dims", f"{columns}x{rows}x{slices}", "--dtype", "uint8",
         "--variant", "imagej", "--quiet", timeout=600)
    assert out.stat().st_size > 1 << 32
    try:
        voxels = [*marks, (1098, 2047, 2047)]
        size, values = imagej(out, voxels)
        assert size == [columns, rows, slices, 8]
        assert values == [*marks.values(), 0]
    finally:
        out.unlink()  # pytest keeps the folders of the last runs
