"""TIFF against tifffile (with imagecodecs) and SimpleITK."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from support import FLOATS, ours_reads, ours_writes, refused, run, same, tomo, volume

TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", *FLOATS]


def put(path, a, **how):
    tifffile.imwrite(path, a, photometric="minisblack", metadata=None, **how)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
def test_we_read_every_type(tmp_path, dtype, order, bigtiff):
    a = volume(dtype)
    put(tmp_path / "a.tif", a, byteorder=order, bigtiff=bigtiff)
    same(ours_reads(tmp_path / "a.tif", tmp_path), a)


COMPRESSED = [
    (codec, dtype, layout, predictor)
    for codec, dtype, layout, predictor in itertools.product(
        ["zlib", "lzw", "zstd", "packbits", None], ["uint8", "uint16", "float32"], ["one strip", "strips", "tiles"], [None, True]
    )
    if not (predictor and codec in (None, "packbits"))
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("codec,dtype,layout,predictor", COMPRESSED)
def test_we_read_every_compression(tmp_path, codec, dtype, layout, predictor, order):
    a = volume(dtype, (2, 37, 45))
    how = {"one strip": {}, "strips": {"rowsperstrip": 8}, "tiles": {"tile": (16, 32)}}[layout]
    put(tmp_path / "a.tif", a, compression=codec, predictor=predictor, byteorder=order, **how)
    same(ours_reads(tmp_path / "a.tif", tmp_path), a)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_we_read_imagej_stacks(tmp_path, dtype):
    a = volume(dtype, (6, 5, 7))
    # ImageJ's own layout: big-endian, one IFD, all slices in one run
    tifffile.imwrite(tmp_path / "ij.tif", a, imagej=True, metadata={"axes": "ZYX", "spacing": 2.5, "unit": "um"})
    same(ours_reads(tmp_path / "ij.tif", tmp_path), a)


@pytest.mark.parametrize("pattern", ["s{}.tif", "s_{:04}.tiff", "{:06}_slice.TIF"])
def test_we_read_series_in_number_order(tmp_path, pattern):
    a = volume("uint16", (12, 5, 7))
    folder = tmp_path / "slices"
    folder.mkdir()
    for i in reversed(range(12)):
        put(folder / pattern.format(i), a[i])
    same(ours_reads(folder, tmp_path), a)


def test_a_gap_in_a_series_is_reported(tmp_path):
    a = volume("uint16", (5, 5, 7))
    folder = tmp_path / "slices"
    folder.mkdir()
    for i in (0, 1, 3, 4):
        put(folder / f"s{i:04}.tif", a[i])
    done = run("info", folder)
    assert "2" in done.stdout + done.stderr and "missing" in (done.stdout + done.stderr).lower(), done


@pytest.mark.parametrize("dtype", TYPES)
def test_tifffile_reads_our_series(tmp_path, dtype):
    a = volume(dtype)
    out = ours_writes(a, tmp_path / "slices", "--to", "tiff")
    files = sorted(out.iterdir())
    assert len(files) == len(a)
    same(np.stack([tifffile.imread(f) for f in files]), a)


@pytest.mark.parametrize("compression", ["none", "deflate", "zstd"])
@pytest.mark.parametrize("variant", ["series", "multipage", "bigtiff"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tifffile_reads_our_variants(tmp_path, dtype, variant, compression):
    a = volume(dtype, (3, 37, 45))
    name = "slices" if variant == "series" else "out.tif"
    out = ours_writes(a, tmp_path / name, "--to", "tiff", "--variant", variant, "--compression", compression)
    found = np.stack([tifffile.imread(f) for f in sorted(out.iterdir())]) if out.is_dir() else tifffile.imread(out)
    same(found, a)
    if not out.is_dir():
        with tifffile.TiffFile(out) as t:
            assert t.is_bigtiff == (variant == "bigtiff")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tifffile_sees_an_imagej_stack(tmp_path, dtype):
    a = volume(dtype)
    out = ours_writes(a, tmp_path / "out.tif", "--variant", "imagej")
    with tifffile.TiffFile(out) as t:
        assert t.is_imagej
        assert t.series[0].axes == "ZYX"
        same(t.asarray(), a)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_simpleitk_reads_our_series(tmp_path, dtype):
    a = volume(dtype)
    out = ours_writes(a, tmp_path / "slices", "--to", "tiff")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in sorted(out.iterdir())])
    same(sitk.GetArrayFromImage(reader.Execute()), a)


def test_the_voxel_size_travels(tmp_path):
    a = volume("float32")
    image = sitk.GetImageFromArray(a)
    image.SetSpacing((0.00325, 0.00325, 0.00325))  # MetaImage counts in mm: 3.25 µm
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    tomo("convert", tmp_path / "a.mhd", tmp_path / "out.tif", "--variant", "imagej", "--quiet")
    with tifffile.TiffFile(tmp_path / "out.tif") as t:
        tags = t.pages[0].tags
        pixels, unit = tags["XResolution"].value
        per_unit = pixels / unit
        scale = {1: 1.0, 2: 25400.0, 3: 10000.0}[int(tags["ResolutionUnit"].value)]  # µm in one unit; ImageJ: own unit
        if int(tags["ResolutionUnit"].value) == 1:
            assert t.imagej_metadata["unit"] in ("um", "µm", "\\u00B5m", "micron"), t.imagej_metadata
            assert t.imagej_metadata["spacing"] == pytest.approx(3.25, rel=1e-5)
        assert scale / per_unit == pytest.approx(3.25, rel=1e-5)


def test_a_compression_we_lack_is_named(tmp_path):
    put(tmp_path / "a.tif", volume("uint16", (2, 16, 16)), compression="lzma")
    message = refused("convert", tmp_path / "a.tif", tmp_path / "out.npy")
    assert "34925" in message or "lzma" in message.lower(), message
    assert not (tmp_path / "out.npy").exists()
