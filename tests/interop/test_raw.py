"""Headerless volumes and their sidecars (.vol, .raw, .mhd, .nhdr, .npy) against numpy, SimpleITK and pynrrd."""

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from support import FLOATS, INTEGERS, ours_reads, ours_writes, refused, same, tomo, volume

TYPES = INTEGERS + FLOATS


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", TYPES)
def test_we_read_headerless_bytes(tmp_path, dtype, order):
    a = volume(dtype)
    (tmp_path / "a.raw").write_bytes(a.astype(a.dtype.newbyteorder(order)).tobytes())
    how = ["--dims", "7x5x3", "--dtype", dtype, *(["--big-endian"] if order == "big" else [])]
    same(ours_reads(tmp_path / "a.raw", tmp_path, *how), a)


@pytest.mark.parametrize("name,dtype", [("a.vol", "float32"), *(("a.raw", d) for d in TYPES)])
def test_the_sidecars_we_write_open_in_itk_and_nrrd(tmp_path, name, dtype):
    a = volume(dtype)
    out = ours_writes(a, tmp_path / name)
    same(np.fromfile(out, a.dtype.newbyteorder("<")).reshape(a.shape), a)
    headers = sorted(p for p in tmp_path.iterdir() if p.suffix in (".mhd", ".nhdr"))
    assert [h.suffix for h in headers] == [".mhd", ".nhdr"], headers
    same(sitk.GetArrayFromImage(sitk.ReadImage(str(headers[0]))), a)
    same(sitk.GetArrayFromImage(sitk.ReadImage(str(headers[1]))), a)
    same(nrrd.read(str(headers[1]), index_order="C")[0], a)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("dtype", TYPES)
def test_we_read_what_itk_writes(tmp_path, dtype, suffix):
    a = volume(dtype)
    image = sitk.GetImageFromArray(a)
    image.SetSpacing((0.001, 0.002, 0.003))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    same(ours_reads(tmp_path / f"a{suffix}", tmp_path), a)
    told = tomo("info", tmp_path / f"a{suffix}").stdout
    assert "3" in told and "7" in told


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("dtype", TYPES)
def test_we_read_what_pynrrd_writes(tmp_path, dtype, endian):
    a = volume(dtype)
    # detached header, raw encoding; pynrrd writes native order, so the big-endian header is set by hand
    data = a.astype(a.dtype.newbyteorder(">")) if endian == "big" else a
    nrrd.write(str(tmp_path / "a.nhdr"), a, {"encoding": "raw"}, index_order="C", detached_header=True)
    header = (tmp_path / "a.nhdr").read_text()
    body = next(p for p in tmp_path.iterdir() if p.suffix != ".nhdr")
    body.write_bytes(data.tobytes())
    if np.dtype(dtype).itemsize > 1:
        assert "endian: little" in header
        (tmp_path / "a.nhdr").write_text(header.replace("endian: little", f"endian: {endian}"))
    same(nrrd.read(str(tmp_path / "a.nhdr"), index_order="C")[0], a)  # the header says what we think it says
    same(ours_reads(tmp_path / "a.nhdr", tmp_path), a)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", *FLOATS])
def test_numpy_loads_what_we_write(tmp_path, dtype):
    a = volume(dtype)
    found = np.load(ours_writes(a, tmp_path / "a.npy"))
    assert found.flags["C_CONTIGUOUS"]
    same(found, a)


def test_slices_and_boxes_are_numpy_slices(tmp_path):
    a = volume("float32", (11, 6, 9))
    vol = ours_writes(a, tmp_path / "a.vol")
    same(ours_reads(vol, tmp_path, "--slices", "2:9:3"), a[2:9:3])
    same(ours_reads(vol, tmp_path, "--slices", "4:5"), a[4:5])
    same(ours_reads(vol, tmp_path, "--axis", "y"), a.transpose(1, 0, 2))
    same(ours_reads(vol, tmp_path, "--axis", "x"), a.transpose(2, 0, 1))


def test_a_size_that_does_not_fit_is_refused_with_both_numbers(tmp_path):
    a = volume("float32")
    vol = ours_writes(a, tmp_path / "a.vol")
    for extra in tmp_path.glob("a.*hd*"):
        extra.unlink()
    vol.write_bytes(vol.read_bytes()[:-10])
    message = refused("convert", vol, tmp_path / "out.npy")
    assert "420" in message and "410" in message, message
    assert not (tmp_path / "out.npy").exists()
