"""HDF5 against h5py with hdf5plugin: every filter this field uses, links, virtual datasets, and what must be refused."""

import json

import h5py
import hdf5plugin
import numpy as np
import pytest
from support import FLOATS, INTEGERS, ours_reads, ours_writes, refused, run, same, tomo, volume

TYPES = [*INTEGERS, "float16", *FLOATS]
FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "gzip-shuffle": {"compression": "gzip", "shuffle": True},
    "gzip-fletcher": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "lz4": hdf5plugin.LZ4(),
    "zstd": hdf5plugin.Zstd(),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle-lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "blosc-lz4": hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE),
    "blosc-lz4-bit": hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc-zstd": hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.NOSHUFFLE),
    "blosc-zlib": hdf5plugin.Blosc(cname="zlib"),
}
CHUNKS = {"frame": (1, 37, 45), "brick": (2, 16, 20), "sinogram": (3, 1, 45)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
def test_we_read_every_type(tmp_path, dtype, order):
    a = volume(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["data"] = a.astype(a.dtype.newbyteorder(order))
    same(ours_reads(f"{tmp_path}/a.h5:/data", tmp_path), a)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("name", [n for n in FILTERS if n != "none"])
def test_we_read_every_filter(tmp_path, name, chunks, dtype):
    a = volume(dtype, (5, 37, 45))
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("data", data=a, chunks=CHUNKS[chunks], **FILTERS[name])
    same(ours_reads(f"{tmp_path}/a.h5:/data", tmp_path), a)


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("maxshape", [None, (None, 37, 45), (None, None, None)])
def test_we_read_every_chunk_index(tmp_path, libver, maxshape):
    a = volume("uint16", (70, 37, 45))
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as f:
        f.create_dataset("data", data=a, chunks=(1, 37, 45), maxshape=maxshape, compression="gzip")
    same(ours_reads(f"{tmp_path}/a.h5:/data", tmp_path), a)


def test_chunks_never_written_have_the_fill_value(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        d = f.create_dataset("data", (4, 5, 7), "uint16", chunks=(1, 5, 7), fillvalue=9)
        d[1] = 3
        a = d[...]
    same(ours_reads(f"{tmp_path}/a.h5:/data", tmp_path), a)


@pytest.mark.parametrize("link", ["soft", "external"])
def test_we_follow_links(tmp_path, link):
    a = volume("uint16")
    with h5py.File(tmp_path / "data.h5", "w") as f:
        f["real/data"] = a
        f["data"] = h5py.SoftLink("/real/data")
    with h5py.File(tmp_path / "master.h5", "w") as f:
        f["data"] = h5py.ExternalLink("data.h5", "/real/data")
    name = "data.h5" if link == "soft" else "master.h5"
    same(ours_reads(f"{tmp_path}/{name}:/data", tmp_path), a)


def test_a_dangling_link_is_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "master.h5", "w") as f:
        f["data"] = h5py.ExternalLink("gone.h5", "/real/data")
    assert "gone.h5" in refused("convert", f"{tmp_path}/master.h5:/data", tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def virtual(folder, frames=6, per_file=2):
    """A virtual dataset over several files, the way detectors write it."""
    a = volume("uint16", (frames, 5, 7))
    layout = h5py.VirtualLayout(a.shape, a.dtype)
    for i in range(0, frames, per_file):
        with h5py.File(folder / f"part{i}.h5", "w") as f:
            f["data"] = a[i : i + per_file]
        layout[i : i + per_file] = h5py.VirtualSource(f"part{i}.h5", "data", (per_file, 5, 7))
    with h5py.File(folder / "master.h5", "w", libver="latest") as f:
        f.create_virtual_dataset("data", layout)
    return a


def test_we_read_virtual_datasets(tmp_path):
    a = virtual(tmp_path)
    same(ours_reads(f"{tmp_path}/master.h5:/data", tmp_path), a)


def test_a_missing_virtual_source_is_refused_not_zero(tmp_path):
    virtual(tmp_path)
    (tmp_path / "part2.h5").unlink()
    with h5py.File(tmp_path / "master.h5") as f:  # the trap: the library itself says nothing
        assert (f["data"][2:4] == 0).all()
    assert "part2.h5" in refused("convert", f"{tmp_path}/master.h5:/data", tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()
    assert "part2.h5" in "".join((run("info", tmp_path / "master.h5", "--tree")).stdout)


@pytest.mark.parametrize("name,maker", [("blosc2", hdf5plugin.Blosc2), ("sz3", hdf5plugin.SZ3)])
def test_a_filter_we_lack_is_named_with_its_number(tmp_path, name, maker):
    a = volume("float32", (2, 32, 32), seed=3)
    a[~np.isfinite(a)] = 0
    made = maker()
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("data", data=a, chunks=(1, 32, 32), **made)
        number = f["data"].id.get_create_plist().get_filter(0)[0]
    message = refused("convert", f"{tmp_path}/a.h5:/data", tmp_path / "out.npy")
    assert str(number) in message, message
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("compression", ["none", "deflate"])
@pytest.mark.parametrize("dtype", TYPES)
def test_h5py_reads_what_we_write(tmp_path, dtype, compression):
    a = volume(dtype, (5, 37, 45))
    out = ours_writes(a, tmp_path / "out.h5", "--compression", compression)
    with h5py.File(out) as f:
        path = default_data(f)
        same(f[path][...], a)
        assert (f[path].compression == "gzip") == (compression == "deflate")
    same(ours_reads(out, tmp_path), a)


def default_data(f):
    """Follows NeXus's @default and @signal, as silx, DAWN and h5web do."""
    node = f
    while isinstance(node, h5py.Group) and "signal" not in node.attrs:
        node = node[node.attrs["default"]]
    assert node.attrs["NX_class"] == "NXdata"
    return f"{node.name}/{node.attrs['signal']}"


def test_h5py_reads_our_nxtomo_scan(tmp_path):
    tomo("simulate", tmp_path / "scan.nx", "--layout", "nxtomo", "--size", "32", "--projections", "24", "--quiet")
    with h5py.File(tmp_path / "scan.nx") as f:
        entries = [k for k in f if f[k].attrs.get("NX_class") in ("NXentry", b"NXentry")]
        assert len(entries) == 1
        entry = f[entries[0]]
        keys = entry["instrument/detector/image_key"][...]
        data = entry["instrument/detector/data"]
        angles = entry["sample/rotation_angle"]
        assert len(keys) == len(data) == len(angles)
        assert (keys == 0).sum() == 24 and (keys == 1).any() and (keys == 2).any()
        flats, darks = data[keys == 1].mean(), data[keys == 2].mean()
        assert darks < data[keys == 0].mean() < flats


def test_we_recognise_a_scan_h5py_wrote(tmp_path):
    a = np.random.default_rng(2).integers(100, 1000, (10, 6, 8)).astype("uint16")
    key = np.array([2, 1, 0, 0, 0, 0, 0, 0, 1, 2], dtype="uint8")
    with h5py.File(tmp_path / "scan.nxs", "w") as f:
        e = f.create_group("entry")
        e.attrs["NX_class"] = "NXentry"
        e["definition"] = "NXtomo"
        d = e.create_group("instrument/detector")
        e["instrument"].attrs["NX_class"] = "NXinstrument"
        d.attrs["NX_class"] = "NXdetector"
        d["data"], d["image_key"] = a, key
        d["x_pixel_size"] = d["y_pixel_size"] = 6.5e-6
        d["x_pixel_size"].attrs["units"] = d["y_pixel_size"].attrs["units"] = "m"
        s = e.create_group("sample")
        s.attrs["NX_class"] = "NXsample"
        s["rotation_angle"] = np.linspace(0, 180, 10)
        s["rotation_angle"].attrs["units"] = "degree"
    same(ours_reads(tmp_path / "scan.nxs", tmp_path), a[key == 0])
    told = json.loads(tomo("info", tmp_path / "scan.nxs", "--json").stdout)
    assert "6.5" in json.dumps(told), told
