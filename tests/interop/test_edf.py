"""EDF against fabio, and against headers written by hand where fabio writes only one dialect."""

import bz2
import gzip

import fabio
import numpy as np
import pytest
from support import FLOATS, INTEGERS, ours_reads, ours_writes, refused, same, volume

NAMES = {
    "uint8": ["UnsignedByte", "Unsigned8"],
    "int8": ["SignedByte", "Signed8"],
    "uint16": ["UnsignedShort", "Unsigned16"],
    "int16": ["SignedShort", "Signed16"],
    "uint32": ["UnsignedInteger", "UnsignedLong", "Unsigned32"],
    "int32": ["SignedInteger", "SignedLong", "Signed32"],
    "uint64": ["Unsigned64"],
    "int64": ["Signed64"],
    "float32": ["FloatValue", "FLOATVALUE", "Float", "FLOAT", "FloatIEEE32", "Float32"],
    "float64": ["DoubleValue", "Double", "FloatIEEE64", "DoubleIEEE64"],
}


def block(array, type_name, order="<", block_size=512, extra=""):
    """One EDF frame (or 3-D block) with a header of our own."""
    body = array.astype(array.dtype.newbyteorder(order)).tobytes()
    word = "LowByteFirst" if order == "<" else "HighByteFirst"
    dims = "".join(f"Dim_{i + 1} = {n} ;\n" for i, n in enumerate(reversed(array.shape)))
    text = f"{{\nHeaderID = EH:000001:000000:000000 ;\nImage = 1 ;\nByteOrder = {word} ;\nDataType = {type_name} ;\n"
    text += f"{dims}Size = {len(body)} ;\n{extra}"
    pad = -(len(text) + 2) % block_size
    return (text + " " * pad + "}\n").encode() + body


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_we_read_what_fabio_writes(tmp_path, dtype):
    a = volume(dtype)
    image = fabio.edfimage.EdfImage(data=a[0], header={"Title": "round trip"})
    for frame in a[1:]:
        image.append_frame(data=frame)
    image.write(str(tmp_path / "multi.edf"))
    fabio.edfimage.EdfImage(data=a[1]).write(str(tmp_path / "single.edf"))
    same(ours_reads(tmp_path / "multi.edf", tmp_path), a)
    same(ours_reads(tmp_path / "single.edf", tmp_path), a[1:2])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype,name", [(d, n) for d, names in NAMES.items() for n in names])
def test_we_read_every_type_name(tmp_path, dtype, name, order):
    a = volume(dtype)[0]
    path = tmp_path / "a.edf"
    path.write_bytes(block(a, name, order))
    same(ours_reads(path, tmp_path), a[None])
    # the second opinion: the hand-written header means to fabio what it means to us
    if np.dtype(fabio.open(str(path)).data.dtype) == np.dtype(dtype):
        same(fabio.open(str(path)).data, a)


@pytest.mark.parametrize("suffix,pack", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_we_read_compressed_files(tmp_path, suffix, pack):
    a = volume("uint16")
    path = tmp_path / f"a.edf{suffix}"
    path.write_bytes(pack(b"".join(block(f, "UnsignedShort") for f in a)))
    same(ours_reads(path, tmp_path), a)
    same(np.stack([fabio.open(str(path)).get_frame(i).data for i in range(3)]), a)


@pytest.mark.parametrize("block_size", [1, 512, 1024, 4096])
def test_we_read_any_header_length(tmp_path, block_size):
    a = volume("float32")[0]
    path = tmp_path / "a.edf"
    path.write_bytes(block(a, "FloatValue", block_size=block_size))
    same(ours_reads(path, tmp_path), a[None])


def test_we_read_a_three_dimensional_block(tmp_path):
    a = volume("float32", (4, 5, 7))
    path = tmp_path / "a.edf"
    path.write_bytes(block(a, "FloatValue"))
    same(ours_reads(path, tmp_path), a)


def test_we_read_a_series_in_number_order(tmp_path):
    a = volume("uint16", (12, 5, 7))
    folder = tmp_path / "scan_"
    folder.mkdir()
    for i in reversed(range(12)):  # 2 comes before 10, whatever the order of creation
        fabio.edfimage.EdfImage(data=a[i]).write(str(folder / f"scan{i}.edf"))
    same(ours_reads(folder, tmp_path), a)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_fabio_reads_what_we_write(tmp_path, dtype):
    a = volume(dtype)
    out = ours_writes(a, tmp_path / "out.edf")
    files = sorted(out.glob("*.edf")) if out.is_dir() else [out]
    if len(files) == 1:
        image = fabio.open(str(files[0]))
        frames = [image.get_frame(i).data for i in range(image.nframes)]
    else:
        frames = [fabio.open(str(f)).data for f in files]
    same(np.stack(frames), a)
    for f in files:  # strict out: a header that readers assuming multiples of 512 bytes can skip
        head = f.read_bytes().index(b"}\n") + 2
        assert head % 512 == 0, f"header of {head} bytes"


def test_a_type_we_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "a.edf"
    path.write_bytes(block(volume("float64")[0], "QuadrupleValue"))
    assert "QuadrupleValue" in refused("convert", path, tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()
