"""`tomo check` of files that other programs wrote or changed."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from support import refused, run, tomo

ROWS, COLS, N = 48, 96, 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    size = ["--size", COLS, "--rows", ROWS, "--projections", N, "--photons", 2000]
    tomo("simulate", path, "--layout", "dxchange", *size)
    return path


def said(path):
    done = run("check", path, "--json")
    assert done.returncode in (0, 1), done.stderr
    (item,) = json.loads(done.stdout)["items"]
    return item["verdict"], [f["text"] for f in item["findings"] if f["weight"] != "remark"]


def test_a_whole_scan_is_good(whole):
    assert said(whole) == ("good", [])


def change(name, frames, how):
    def do(f):
        data = f["exchange"][name]
        for i in frames:
            data[i] = how(data[i].astype("i8")).clip(0, 65535).astype(data.dtype)

    return do


def half(frame):
    frame[: len(frame) // 2] = 0
    return frame


def fewer_angles(f):
    theta = f["exchange/theta"][:117]
    del f["exchange/theta"]
    f["exchange/theta"] = theta


def a_projection_among_the_flats(f):
    f["exchange/data_white"][1] = f["exchange/data"][7]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (change("data_white", [1], lambda v: v * 0), "frame 1 of the flats"),
        (change("data_white", [2], half), "frame 2 of the flats"),
        (change("data_white", [0], lambda v: v * 8 // 10), "is it a flat?"),
        (a_projection_among_the_flats, "is it a flat?"),
        (change("data_dark", [1], lambda v: v + 20_000), "is it a dark?"),
        (change("data", [50], lambda v: v * 2 // 3), "frame 50 is dim"),
        (change("data", range(50, 60), lambda v: v * 2 // 3), "frames 50-59 are dim"),
        (change("data", range(112, N), lambda v: v * 2 // 3), "frames 112-119 are dim"),
        (fewer_angles, "117 angles for 120 projections"),
    ],
)
def test_single_frames_of_a_scan(tmp_path, whole, harm, says):
    path = shutil.copy(whole, tmp_path / "s.h5")
    with h5py.File(path, "r+") as f:
        harm(f)
    verdict, why = said(path)
    assert verdict != "good" and any(says in w for w in why), why


def test_a_flash_is_no_dim_frame(tmp_path, whole):
    path = shutil.copy(whole, tmp_path / "s.h5")
    with h5py.File(path, "r+") as f:
        change("data", [50], lambda v: v * 3 // 2)(f)
    assert not any("dim" in w for w in said(path)[1])


def texture(shape, sigma, seed):
    """Noise, smoothed by a Gaussian in all directions, of standard deviation 1."""
    f = np.fft.rfftn(np.random.default_rng(seed).normal(size=shape))
    for axis, n in enumerate(shape):
        k = np.fft.rfftfreq(n) if axis == len(shape) - 1 else np.fft.fftfreq(n)
        f *= np.exp(-2 * (np.pi * k * sigma) ** 2).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    t = np.fft.irfftn(f, shape, axes=range(len(shape)))
    return t / t.std()


def write(path, v):
    v.tofile(path)
    z, y, x = v.shape
    kind = "" if v.dtype == "float32" else f"DATA_TYPE = {v.dtype}\nBYTEORDER = LOWBYTEFIRST\n"
    path.with_name(path.name + ".info").write_text(f"NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\n{kind}")
    return path


def greys(v, inside, kind):
    if kind == "f4":
        return np.where(inside, v, 0).astype("f4")
    return np.where(inside, np.clip(12000 + 20000 * v, 1, 65535), 0).astype("u2")


@pytest.mark.parametrize("kind", ["f4", "u2"])
@pytest.mark.parametrize(("edge", "radius", "tilt"), [(96, 38, 0.02), (96, 38, 0), (160, 63, 0.01), (96, 38, 0.05)])
def test_a_sample_that_ends_is_no_change_of_levels(tmp_path, edge, radius, tilt, kind):
    z, y, x = np.ogrid[:64, :edge, :edge]
    r = np.hypot(y - edge / 2, x - edge / 2)
    height = z + tilt * (x - edge / 2)
    piece = (r < radius) & (height > 12.3) & (height < 47.6)
    rng = np.random.default_rng(31)
    v = piece * (0.4 + 0.6 * (texture((64, edge, edge), 2.5, 30) > 0)) + 0.1 * rng.normal(size=(64, edge, edge))
    path = tmp_path / ("v.vol" if kind == "f4" else "v.raw")
    assert said(write(path, greys(v, r <= edge / 2, kind))) == ("good", [])
    for change in (lambda v: v * 1.15, lambda v: v + 0.08):
        jump = v.copy()
        jump[30:] = change(jump[30:])
        verdict, texts = said(write(path, greys(jump, r <= edge / 2, kind)))
        assert verdict == "suspicious" and len(texts) == 1 and "from slice 29 to 30" in texts[0], texts


def test_fibres_exchanged_a_few_slices_apart(tmp_path):
    rng = np.random.default_rng(2)
    z, y, x = np.ogrid[:32, :128, :128]
    v = np.zeros((32, 128, 128))
    for _ in range(25):
        (a, b), (u, w), r = rng.uniform(0, 128, 2), rng.normal(size=2) * 0.3, rng.uniform(2, 6)
        v = np.maximum(v, np.clip(r - np.hypot(y - a - u * z, x - b - w * z) + 0.5, 0, 1))
    v = (1 + v + 0.1 * rng.normal(size=v.shape)).astype("f4")
    assert said(write(tmp_path / "v.vol", v)) == ("good", [])
    missed = []
    for gap in range(4, 11):
        for a in (6, 11, 15):
            w = v.copy()
            w[[a, a + gap]] = w[[a + gap, a]]
            texts = said(write(tmp_path / "v.vol", w))[1]
            if not any(f"slices {a} and {a + gap} " in t for t in texts):
                missed.append((a, a + gap))
    assert not missed


@pytest.mark.parametrize("which", [0, 7, 15])
def test_a_picture_in_colour_among_grey_slices(tmp_path, which):
    v = np.random.default_rng(1).normal(size=(16, 70, 80)).astype("f4")
    for z in range(16):
        tifffile.imwrite(tmp_path / f"s_{z:04}.tif", np.zeros((70, 80, 3), "u1") if z == which else v[z])
    verdict, texts = said(tmp_path)
    assert verdict == "broken" and f"s_{which:04}.tif" in texts[0] and "differs" in texts[0], texts


def test_files_cut_or_continued_by_a_few_bytes(tmp_path):
    v = np.random.default_rng(1).normal(size=(16, 70, 80)).astype("f4")
    volume = write(tmp_path / "v.vol", v)
    for name, *more in [("a.tif",), ("b.tif", "--compression", "deflate"), ("c.npy",), ("d.mhd",)]:
        if name == "d.mhd":
            (tmp_path / name).write_text(
                "ObjectType = Image\nNDims = 3\nDimSize = 80 70 16\nElementType = MET_FLOAT\nElementSpacing = 1 1 1\n"
                "BinaryDataByteOrderMSB = False\nElementDataFile = d.bin\n"
            )
            shutil.copy(volume, tmp_path / "d.bin")
            data = tmp_path / "d.bin"
        else:
            tomo("convert", volume, tmp_path / name, *more)
            data = tmp_path / name
        assert said(tmp_path / name) == ("good", [])
        whole = data.read_bytes()
        if name.endswith(".tif"):
            data.write_bytes(whole[:-1])
            verdict, texts = said(tmp_path / name)
            assert verdict == "broken" and "truncated" in texts[0], texts
        else:
            data.write_bytes(whole + bytes(400))
            verdict, texts = said(tmp_path / name)
            assert verdict == "suspicious" and "400 bytes after the data" in texts[0], texts


@pytest.mark.parametrize("lost", [1, 5])
def test_a_flyscan_with_fewer_angles_than_images(tmp_path, lost):
    tomo("simulate", tmp_path / "s", "--size", 96, "--rows", 48, "--projections", 120)
    assert said(tmp_path / "s") == ("good", [])
    with h5py.File(tmp_path / "s/s.nxs", "r+") as f:
        names = []
        f.visit(lambda n: names.append(n) if n.lower().endswith("rz1") else None)
        angles = f[names[0]][:-lost]
        del f[names[0]]
        f[names[0]] = angles
    verdict, texts = said(tmp_path / "s")
    assert verdict == "suspicious" and f"{120 - lost} angles for 120 projections" in texts[0], texts


@pytest.mark.parametrize("bytes_lost, found", [(0, False), (4096, True), (16384, True)])
def test_a_sector_of_one_value(tmp_path, bytes_lost, found):
    v = np.random.default_rng(12).normal(size=(30, 100, 90)).astype("<f4")
    v[17].reshape(-1)[3000 : 3000 + bytes_lost // 4] = 1.5
    np.save(tmp_path / "v.npy", v)
    done = run("check", tmp_path / "v.npy")
    assert ("a block of one value in slice 17" in done.stdout) == found and done.returncode == int(found), done.stdout


def test_one_that_is_not_there_keeps_nobody_from_the_others(tmp_path):
    np.save(tmp_path / "v.npy", np.random.default_rng(13).normal(size=(8, 70, 70)).astype("<f4"))
    (tmp_path / "empty").mkdir()
    done = run("check", tmp_path / "nofile.vol", tmp_path / "empty", tmp_path / "v.npy", "--json")
    items = json.loads(done.stdout)["items"]
    assert done.returncode == 2 and [i["verdict"] for i in items] == ["broken", "suspicious", "good"], items
    assert items[0]["findings"] and items[2]["looked_at"] == 8


def test_every_bad_file_of_a_series_is_named_and_the_others_are_looked_at(tmp_path):
    rng = np.random.default_rng(14)
    for z in range(20):
        v = rng.normal(size=(100, 90)).astype("<f4")
        if z == 15:
            v[20:40] = np.nan
        tifffile.imwrite(tmp_path / f"s_{z:04}.tif", v[: 50 if z == 12 else None])
    name = "s_{:04}.tif".format
    for z, length in ((0, 0), (7, 5000), (9, 100)):
        (tmp_path / name(z)).write_bytes((tmp_path / name(z)).read_bytes()[:length])
    shutil.copy(tmp_path / name(3), tmp_path / "s_3.tif")
    done = run("check", tmp_path, "--json")
    (item,) = json.loads(done.stdout)["items"]
    found = {Path(f["file"]).name for f in item["findings"] if f.get("file")}
    assert found == {name(0), "s_3.tif", name(7), name(9), name(12)}, item
    texts = " ".join(f["text"] for f in item["findings"])
    assert "number twice" in texts and "1800 NaN in slice 16" in texts and item["verdict"] == "broken" and done.returncode == 1
    # Samples do not show every file: the first bad one is told as ever.
    assert name(0) in run("check", tmp_path, "--quick").stdout or "number twice" in run("check", tmp_path, "--quick").stdout


def test_a_damaged_projection_of_a_tiff_scan(tmp_path, whole):
    tomo("convert", whole, tmp_path / "scan", "--to", "tiff-scan")
    files = sorted((tmp_path / "scan").rglob("*.tif*"))
    shots = [f for f in files if f.parent == max((f.parent for f in files), key=lambda d: len(list(d.iterdir())))]
    for n in (30, 50):
        shots[n].write_bytes(shots[n].read_bytes()[:-100])
    verdict, texts = said(tmp_path / "scan")
    assert verdict == "broken" and all(any(f"slice {n} cannot be read" in t for t in texts) for n in (30, 50)), texts


@pytest.fixture(scope="module")
def nxtomo(tmp_path_factory):
    path = tmp_path_factory.mktemp("keyed") / "keyed.nxs"
    size = ["--size", COLS, "--rows", ROWS, "--projections", N, "--photons", 2000]
    tomo("simulate", path, "--layout", "nxtomo", *size)
    return path


def dim(a, b):
    return lambda d, flats, darks, shots: d.__setitem__(shots[a:b], (d[shots[a:b]] / 3).astype(d.dtype))


def saturated(d, flats, darks, shots):
    for i in flats:
        d[i].reshape(-1)[: d[i].size // 4] = 65535


def one_dark_is_zero(d, flats, darks, shots):
    d[darks] = 100
    d[darks[3]] = 0


def fourteen_bits(d, flats, darks, shots):
    d[...] = np.minimum(d / d[shots].mean() * 16000, 16383).astype("u2")


@pytest.mark.parametrize("harm, says", [
    (dim(60, 120), "frames 60-119 are dim"), (dim(20, 120), "frames 20-119 are dim"), (dim(0, 40), "frames 0-39 are dim"),
    (dim(40, 80), "frames 40-79 are dim"), (saturated, "are saturated: 25.0 %"), (one_dark_is_zero, "is entirely zero"),
    (fourteen_bits, "end of the camera's range"),
    (lambda d, f, _d, _s: d.__setitem__(f[3], d[f[2]]), "is frame 2 again"),
])
def test_a_scan_whose_frames_are_wrong(tmp_path, nxtomo, harm, says):
    shutil.copy(nxtomo, tmp_path / "x.nxs")
    with h5py.File(tmp_path / "x.nxs", "r+") as f:
        data, keys = f["entry0000/data/data"], f["entry0000/data/image_key"][()]
        d = data[()]
        harm(d, *(np.flatnonzero(keys == k) for k in (1, 2, 0)))
        data[...] = d
    verdict, texts = said(tmp_path / "x.nxs")
    assert verdict != "good" and any(says in t for t in texts), texts


@pytest.mark.parametrize("factor", [1.0, 0.6])
def test_a_scan_of_14_bits_that_is_well(tmp_path, nxtomo, factor):
    """With a flash, which is no lost beam on its way back."""
    shutil.copy(nxtomo, tmp_path / "x.nxs")
    with h5py.File(tmp_path / "x.nxs", "r+") as f:
        data, keys = f["entry0000/data/data"], f["entry0000/data/image_key"][()]
        d = (data[()] / data[()].max() * 10000 * factor).astype("u2")
        d[np.flatnonzero(keys == 0)[50]] = d[np.flatnonzero(keys == 0)[50]] * 1.6
        data[...] = d
    assert said(tmp_path / "x.nxs") == ("good", [])


def ball(shape, radius):
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    c = [n / 2 for n in shape]
    return (z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 < radius**2


def masked_ball(kind):
    v = np.random.default_rng(15).normal(1, 0.1, size=(100, 160, 160))
    return np.where(ball(v.shape, 45), v if kind == "f4" else v * 120, 0).astype(kind)


def pores(_):
    """Labels on nothing: slices that are equal, or empty, are what they are."""
    rng = np.random.default_rng(16)
    v = np.zeros((200, 200, 200), "u1")
    for _ in range(12):
        r, c = rng.integers(5, 12), rng.integers(15, 185, 3)
        v[c[0] - 12 : c[0] + 12, c[1] - 12 : c[1] + 12, c[2] - 12 : c[2] + 12][ball((24, 24, 24), r)] = 1
    return v


def padded(_):
    v = np.zeros((60, 110, 130), "f4")
    v[8:-7, 10:-12, 18:-17] = np.random.default_rng(17).normal(2, 0.3, size=(45, 88, 95))
    return v


@pytest.mark.parametrize("make, kind", [(masked_ball, "f4"), (masked_ball, "u1"), (pores, "u1"), (padded, "f4")])
def test_what_is_zero_around_a_sample_is_no_loss(tmp_path, make, kind):
    np.save(tmp_path / "v.npy", make(kind))
    assert said(tmp_path / "v.npy") == ("good", [])


def test_what_is_lost_at_one_end_is_no_padding(tmp_path):
    v = padded("f4")[8:]
    np.save(tmp_path / "v.npy", v)
    verdict, texts = said(tmp_path / "v.npy")
    assert verdict == "broken" and "slices 45-51 are entirely zero" in texts[0], texts


@pytest.mark.parametrize("value", [np.nan, 3])
def test_one_lost_slice_hides_nothing_else(tmp_path, value):
    y, x = np.ogrid[:128, :128]
    rng = np.random.default_rng(18)
    corners = rng.normal(size=(12, 16, 16))
    at = np.linspace(0, 10.999, 80)
    share = (at % 1)[:, None, None]
    texture = (corners[at.astype(int)] * (1 - share) + corners[at.astype(int) + 1] * share).repeat(8, 1).repeat(8, 2)
    v = 2 + 0.3 * texture + rng.normal(scale=0.1, size=(80, 128, 128))
    v = np.where((y - 63.5) ** 2 + (x - 63.5) ** 2 < 3600, v, 0).astype("f4")
    v[20] = v[19]
    v[50:] *= np.float32(1.3)
    v[40, 30:60, 40:70] = 0
    v[5] = value
    np.save(tmp_path / "v.npy", v)
    _, texts = said(tmp_path / "v.npy")
    wanted = ["slice 5", "slice 20 is slice 19", "zero tile: slice 40, rows 30-59, columns 40-69", "from slice 49 to 50"]
    assert all(any(w in t for t in texts) for w in wanted), texts


def smooth(shape, seed):
    """Noise averaged over a few neighbours each way, with more of it."""
    v = np.random.default_rng(seed).normal(size=shape)
    for axis in range(3):
        for step in (1, 2):
            v = v + np.roll(v, step, axis)
    return v / v.std() + np.random.default_rng(seed + 1).normal(scale=0.1, size=shape)


@pytest.mark.parametrize("told", [(256, 64, 64), (512, 128, 16), (64, 256, 64), (32, 512, 64), (128, 64, 128)])
@pytest.mark.parametrize("kind", ["f4", "u1"])
def test_dimensions_of_another_volume_that_has_as_many_voxels(tmp_path, kind, told):
    v = smooth((64, 128, 128), 19)
    v = (v * 20 + 128).clip(1, 255).astype("u1") if kind == "u1" else v.astype("<f4")
    v.tofile(tmp_path / "v.raw")
    info = "NUM_X = {}\nNUM_Y = {}\nNUM_Z = {}\nBYTEORDER = LOWBYTEFIRST\n" + f"DATATYPE = {v.dtype.name}\n"
    (tmp_path / "v.raw.info").write_text(info.format(128, 128, 64))
    assert said(tmp_path / "v.raw") == ("good", [])
    (tmp_path / "v.raw.info").write_text(info.format(*told))
    verdict, texts = said(tmp_path / "v.raw")
    # Where rows are as long as told, only another record can know.
    by_values = told[0] != 128
    assert (verdict != "good") == by_values, texts
    (tmp_path / "v.raw.recad.json").write_text(json.dumps({"output": {"shape": {"frames": 64, "rows": 128, "cols": 128}}}))
    verdict, texts = said(tmp_path / "v.raw")
    assert verdict != "good" and any("v.raw.recad.json says" in t for t in texts), texts


def test_a_missing_projection_of_a_tiff_scan_with_a_list_of_angles(tmp_path, whole):
    tomo("convert", whole, tmp_path / "scan", "--to", "tiff-scan")
    assert (tmp_path / "scan/angles.txt").is_file()
    (tmp_path / "scan/projections/projections_0030.tif").unlink()
    verdict, texts = said(tmp_path / "scan")
    assert verdict == "broken" and any(": 30" in t for t in texts) and any("119" in t and "120" in t for t in texts), texts
    assert "missing between" in refused("recon", tmp_path / "scan", "-o", tmp_path / "v.vol")


def test_flats_without_their_scan(tmp_path):
    tomo("simulate", tmp_path / "scan", "--layout", "flyscan", "--size", 48, "--projections", 60)
    assert said(tmp_path / "scan")[0] == "good"
    (main,) = [f for f in (tmp_path / "scan").glob("*.nxs") if not f.stem.endswith(("_ref", "_dark"))]
    main.unlink()
    done = run("check", tmp_path / "scan")
    assert done.returncode == 1 and "whose projections are not beside them" in done.stdout, done.stdout


def test_what_is_not_read_is_not_called_good(tmp_path):
    rng = np.random.default_rng(1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        tifffile.imwrite(folder / f"{i}.tif", rng.integers(0, 255, (64, 64, 3)).astype("u1"), photometric="rgb")
    np.save(folder / "v.npy", rng.normal(size=(6, 64, 64)).astype("f4"))
    done = run("check", folder, "--json")
    verdicts = {Path(i["path"]).name: i["verdict"] for i in json.loads(done.stdout)["items"]}
    assert done.returncode == 0 and verdicts == {f"{i}.tif": "not_read" for i in range(3)} | {"v.npy": "good"}, verdicts
    assert "1 good" in run("check", folder).stdout and "3 of kinds that are not read" in run("check", folder).stdout


def test_scans_in_several_passes(tmp_path, whole):
    path = shutil.copy(whole, tmp_path / "s.h5")
    theta = np.concatenate([np.arange(0, 180, 6) + 1.5 * k for k in range(4)])
    with h5py.File(path, "r+") as f:
        f["exchange/theta"][...] = theta
    assert said(path) == ("good", [])
    with h5py.File(path, "r+") as f:
        f["exchange/theta"][...] = np.roll(np.arange(0, 180, 1.5), 40)
    assert said(path)[0] == "suspicious"
