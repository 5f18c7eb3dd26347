"""recad from outside: numpy says what every byte must be, other people's readers say what the files hold."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from blake3 import blake3
from support import BIN, FULL, ROOT, refused, run, tomo

REAL = Path(os.environ.get("TOMOKIT_SHARED", ROOT.parent / "shared")) / "data" / "25-pyhst2-output" / "tooth.vol"
TOP = {8: 255, 16: 65535}


def write_vol(path, v):
    path.write_bytes(v.astype("<f4").tobytes())
    z, y, x = v.shape
    path.with_name(path.name + ".info").write_text(f"NUM_X = {x}\nNUM_Y = {y}\nNUM_Z = {z}\nBYTEORDER = LOWBYTEFIRST\n")
    return path


def circle(shape):
    """Voxels whose centre lies in the circle inscribed in the slice."""
    y, x = (2 * np.arange(n) - (n - 1) for n in shape[1:])
    return np.broadcast_to(y[:, None] ** 2 + x[None] ** 2 <= min(shape[1:]) ** 2, shape)


def field(v):
    """All but the exact zeros at both ends of each row."""
    there = v != 0
    return np.logical_or.accumulate(there, -1) & np.logical_or.accumulate(there[..., ::-1], -1)[..., ::-1]


def uniform(seed, n):
    """SplitMix64 of the voxel's index, its upper 32 bits as a number in [0, 1)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(n, dtype="u8") + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(32)) / 4294967296.0


def greys(v, low, high, bits=8, nan="lowest", zeros="outside", dither=None, crop=False):
    """What recad must write."""
    top = TOP[bits]
    with np.errstate(all="ignore"):
        x = (v.astype("f8") - low) * (top / (high - low))
        x = np.clip(np.where(np.isnan(x), 0, x), 0, top)
        g = np.rint(x) if dither is None else np.minimum(np.floor(x + uniform(dither, v.size).reshape(v.shape)), top)
    g[~np.isfinite(v)] = 0
    if nan == "clip":
        g[v == np.inf] = top
    if zeros == "outside":
        g[~field(v)] = 0
    if crop:
        g[~circle(v.shape)] = 0
    return g.astype("u1" if bits == 8 else "u2")


def normal(shape=(20, 64, 64), seed=3):
    rng = np.random.default_rng(seed)
    v = rng.normal(1, 0.2, shape).astype("f4")
    v[~circle(shape)] = 0
    return v


def nan_laden():
    v = normal()
    rng = np.random.default_rng(4)
    for value, share in ((np.nan, 0.3), (np.inf, 0.02), (-np.inf, 0.02), (0.0, 0.05), (-0.0, 0.05), (1e-40, 0.01)):
        v[rng.random(v.shape) < share] = value
    return v


def hot():
    v = normal((100, 100, 100))
    v[50, 40, 60] = 1e4
    return v


def real():
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not there")
    size = REAL.stat().st_size // 4
    info = dict(line.split("=") for line in REAL.with_name("tooth.vol.info").read_text().splitlines() if "=" in line)
    shape = tuple(int(info[k + " "]) for k in ("NUM_Z", "NUM_Y", "NUM_X"))
    assert np.prod(shape) == size
    return np.fromfile(REAL, "<f4").reshape(shape)


VOLUMES = {
    "random bits": lambda: np.random.default_rng(5).integers(0, 1 << 32, (9, 31, 33), dtype="u4").view("f4"),
    "normal": normal,
    "NaN-laden": nan_laden,
    "hot voxel": hot,
    "real": real,
}


def receipt(path):
    return json.loads(Path(f"{path}.recad.json").read_text())


def limits_of(path):
    r = receipt(path)["limits"]
    return r["low"], r["high"]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", VOLUMES)
def test_limits_are_numpys_percentiles_and_every_byte_the_formula(tmp_path, name, bits):
    v = VOLUMES[name]()
    vol, out = write_vol(tmp_path / "a.vol", v), tmp_path / "b.raw"
    given = ["--low", "-1e5", "--high", "2e5"] if name == "random bits" else []
    tomo("recad", vol, "-o", out, "--bits", bits, "--verify", *given)
    low, high = limits_of(out)
    r = receipt(out)
    if not given:
        looked_at = v[(circle(v.shape) if v.shape[1] == v.shape[2] else True) & (v != 0) & np.isfinite(v)].astype("f8")
        assert r["histogram"]["before"]["voxels"] == looked_at.size
        assert r["histogram"]["before"]["left_out"] == v.size - looked_at.size
        for p, got in ((0.1, low), (99.9, high)):
            want = np.percentile(looked_at, p)
            assert abs(got - want) <= abs(want) / 8192, f"{p}: {got}, numpy {want}"
    found = np.fromfile(out, "u1" if bits == 8 else "<u2").reshape(v.shape)
    wanted = greys(v, low, high, bits)
    assert np.array_equal(found, wanted), f"{(found != wanted).sum()} of {v.size} voxels differ"
    inside = field(v)
    c = r["counts"]
    with np.errstate(invalid="ignore"):
        assert c["below"] == (inside & np.isfinite(v) & (v < low)).sum()
        assert c["above"] == (inside & np.isfinite(v) & (v > high)).sum()
    assert (c["nan"], c["plus_infinity"], c["minus_infinity"]) == (np.isnan(v).sum(), (v == np.inf).sum(), (v == -np.inf).sum())
    assert c["outside"] == (~inside).sum() and c["voxels"] == v.size
    assert abs(r["clipped_low_percent"] - 100 * c["below"] / inside.sum()) < 1e-5
    after = np.bincount(wanted[inside].astype(int) // ((TOP[bits] + 1) // 256), minlength=256)
    assert r["histogram"]["after"]["counts"] == after.tolist()
    assert c["greys_in_use"] == np.unique(wanted[inside]).size
    if name == "hot voxel":
        assert c["greys_in_use"] >= 250 * (1 if bits == 8 else 100)
        assert high < 3
    # The hash is that of the file, as b3sum prints it.
    assert r["input"]["voxels_blake3"] == blake3(vol.read_bytes()).hexdigest()
    assert r["input"]["bytes"] == v.size * 4


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("options,rules", [
    ([], {}),
    (["--one-pass"], {}),
    (["--nan", "clip"], {"nan": "clip"}),
    (["--zeros", "values"], {"zeros": "values"}),
    (["--dither", "7"], {"dither": 7}),
    (["--crop-circle"], {"crop": True}),
    (["--crop-circle", "--zeros", "values", "--nan", "clip", "--dither", "123456789"],
     {"nan": "clip", "zeros": "values", "dither": 123456789, "crop": True}),
])
def test_every_rule(tmp_path, options, rules, bits):
    v = nan_laden()
    vol, out = write_vol(tmp_path / "a.vol", v), tmp_path / "b.raw"
    tomo("recad", vol, "-o", out, "--bits", bits, "--low", "0.4", "--high", "1.75", "--verify", *options)
    found = np.fromfile(out, "u1" if bits == 8 else "<u2").reshape(v.shape)
    wanted = greys(v, 0.4, 1.75, bits, **rules)
    assert np.array_equal(found, wanted), f"{(found != wanted).sum()} of {v.size} voxels differ"


def test_parts_bins_and_one_after_the_other(tmp_path):
    v = normal((21, 63, 65))
    vol, out = write_vol(tmp_path / "a.vol", v), tmp_path / "b.raw"
    how = ["--low", "0.4", "--high", "1.75", "--verify"]

    def seen(*options):
        tomo("recad", vol, "-o", out, "--overwrite", *how, *options)
        shape = receipt(out)["output"]["shape"]
        return np.fromfile(out, "u1").reshape(shape["frames"], shape["rows"], shape["cols"])

    def means(a, n=2):
        z, y, x = (s // n * n for s in a.shape)
        return a[:z, :y, :x].astype("f8").reshape(z // n, n, y // n, n, x // n, n).mean((1, 3, 5)).astype("f4")

    assert np.array_equal(seen("--roi", "3:50,10:63,2:20"), greys(v[2:20, 10:63, 3:50], 0.4, 1.75))
    assert np.array_equal(seen("--slices", "1:20:3"), greys(v[1:20:3], 0.4, 1.75))
    assert np.array_equal(seen("--bin", "2"), greys(means(v), 0.4, 1.75))
    assert np.array_equal(seen("--roi", "3:50,10:63", "--slices", "2:20", "--bin", "2"),
                          greys(means(v[2:20, 10:63, 3:50]), 0.4, 1.75))
    # 16 to 8 bits keeps to physical limits.
    tomo("recad", vol, "-o", tmp_path / "w.raw", "--bits", "16", "--low", "0", "--high", "2")
    tomo("recad", tmp_path / "w.raw", "-o", tmp_path / "n.raw", "--low", "0.5", "--high", "1.5", "--verify")
    wide = np.fromfile(tmp_path / "w.raw", "<u2").reshape(v.shape)
    slope = 2 / 65535
    assert np.array_equal(np.fromfile(tmp_path / "n.raw", "u1").reshape(v.shape), greys(wide, 0.5 / slope, 1.5 / slope))
    # Several at once into a folder, one scale for all.
    write_vol(tmp_path / "second.vol", v * np.float32(1.3))
    (tmp_path / "eight").mkdir()
    tomo("recad", vol, tmp_path / "second.vol", "-o", tmp_path / "eight", "--lock", tmp_path / "lock.json")
    low, high = limits_of(tmp_path / "eight" / "a.raw")
    assert (low, high) == limits_of(tmp_path / "eight" / "second.raw")
    for name, values in (("a", v), ("second", v * np.float32(1.3))):
        assert np.array_equal(np.fromfile(tmp_path / "eight" / f"{name}.raw", "u1").reshape(v.shape), greys(values, low, high))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name,options,read", [
    ("b.raw", [], lambda p, t: np.fromfile(p, t)),
    ("b", ["--to", "tiff"], lambda p, t: tifffile.imread(sorted(p.glob("*.tif")))),
    ("b.tif", [], lambda p, t: tifffile.imread(p)),
    ("b.tif", ["--variant", "bigtiff", "--compression", "deflate"], lambda p, t: tifffile.imread(p)),
    ("b.tif", ["--variant", "imagej"], lambda p, t: tifffile.imread(p)),
    ("b.h5", [], lambda p, t: h5py.File(p)["entry/data/data"][()]),
])
def test_every_output_and_the_way_back(tmp_path, name, options, read, bits):
    v = normal()
    vol, out = write_vol(tmp_path / "a.vol", v), tmp_path / name
    tomo("recad", vol, "-o", out, "--bits", bits, "--low", "0.25", "--high", "1.75", "--verify", *options)
    wanted = greys(v, 0.25, 1.75, bits)
    assert np.array_equal(read(out, "u1" if bits == 8 else "<u2").reshape(v.shape), wanted)
    s = receipt(out)["scale"]
    assert (s["slope"], s["offset"]) == (1.5 / TOP[bits], 0.25)
    if "tif" in name or "tiff" in options:
        first = out if out.is_file() else sorted(out.glob("*.tif"))[0]
        with tifffile.TiffFile(first) as t:
            about = t.pages[0].description
        for essential in ("0.25", "1.75", f"0 to {TOP[bits]}", "half to even", np.format_float_positional(s["slope"])):
            assert essential in about, f"{essential} is not in {about!r}"
    if name == "b.raw":
        for beside in (".info", ".recad.json"):
            assert Path(f"{out}{beside}").is_file()
        info = Path(f"{out}.info").read_text()
        assert f"NUM_X = {v.shape[2]}" in info and f"DATA_TYPE = uint{bits}" in info and f"GREY_SLOPE = {np.format_float_positional(s['slope'])}" in info
    tomo("recad", out, "--undo", "-o", tmp_path / "back.vol")
    back = np.fromfile(tmp_path / "back.vol", "<f4").reshape(v.shape)
    assert np.array_equal(back, (s["slope"] * wanted.astype("f8") + s["offset"]).astype("f4"))
    # Within half a step wherever the limits let it.
    held = field(v) & (v >= 0.25) & (v <= 1.75)
    assert np.abs(back - v)[held].max() <= s["slope"] * 0.5001


def test_sha256_on_demand(tmp_path):
    vol = write_vol(tmp_path / "a.vol", normal())
    tomo("recad", vol, "-o", tmp_path / "b.raw", "--hash", "sha256")
    assert receipt(tmp_path / "b.raw")["input"]["voxels_sha256"] == hashlib.sha256(vol.read_bytes()).hexdigest()
    tomo("recad", vol, "-o", tmp_path / "c.raw", "--hash", "none")
    assert not [k for k in receipt(tmp_path / "c.raw")["input"] if k.startswith("voxels_")]


def test_a_constant_volume_needs_limits_of_its_own(tmp_path):
    vol = write_vol(tmp_path / "a.vol", np.full((5, 20, 20), 3.5, "f4"))
    assert "constant" in refused("recad", vol)
    tomo("recad", vol, "-o", tmp_path / "b.raw", "--low", "3", "--high", "4")
    assert set((tmp_path / "b.raw").read_bytes()) == {128}  # 127.5, half to even


def test_recorded_limits_of_a_real_volume(tmp_path):
    v = real()
    info = dict(line.split("=") for line in REAL.with_name("tooth.vol.info").read_text().splitlines() if "=" in line)
    for option, keys in (("s1,s2", ("s1 ", "s2 ")), ("S1,S2", ("S1 ", "S2 "))):
        out = tmp_path / f"{keys[0].strip()}.raw"
        tomo("recad", REAL, "-o", out, "--limits", option, "--one-pass", "--verify")
        low, high = (float(info[k]) for k in keys)
        assert limits_of(out) == (low, high)
        assert np.array_equal(np.fromfile(out, "u1").reshape(v.shape), greys(v, low, high))
    out = tmp_path / "h.raw"
    tomo("recad", REAL, "-o", out, "--limits-from", REAL.with_name("histogram_tooth.edf"), "--one-pass", "--verify")
    low, high = limits_of(out)
    everywhere = np.sort(v[v != 0].astype("f8"))
    width = (everywhere[-1] - everywhere[0]) / 1e6
    for p, got in ((0.1, low), (99.9, high)):
        # A bin of PyHST2's, between the neighbours of the voxel of that rank.
        k = round(p / 100 * (everywhere.size - 1))
        assert everywhere[k - 2] - width <= got <= everywhere[k + 2] + width
    assert np.array_equal(np.fromfile(out, "u1").reshape(v.shape), greys(v, low, high))


def test_compare_is_numpys(tmp_path):
    rng = np.random.default_rng(8)
    a = rng.normal(5, 1, (13, 40, 50)).astype("f4")
    b = (a * np.float32(1.001) + rng.normal(0, 0.01, a.shape)).astype("f4")
    b[3, 20, 10] += 0.5
    a[1, 2, 3] = b[1, 2, 3] = np.nan
    b[1, 2, 4] = np.inf
    x, y = write_vol(tmp_path / "a.vol", a), write_vol(tmp_path / "b.vol", b)
    tomo("convert", y, tmp_path / "b", "--to", "tiff")
    for other in (y, tmp_path / "b"):
        done = run("compare", x, other, "--tolerance", "0.05", "--json", "--plot", tmp_path / f"{other.name}.png")
        assert done.returncode == 1, done.stderr
        r = json.loads(done.stdout)
        both = np.isfinite(a) & np.isfinite(b)
        p, q = a[both].astype("f8"), b[both].astype("f8")
        d = q - p
        near = dict(rel=1e-9, abs=1e-12)
        assert r["max"] == pytest.approx(np.abs(d).max(), **near)
        assert r["mean"] == pytest.approx(d.mean(), **near)
        assert r["mean_absolute"] == pytest.approx(np.abs(d).mean(), **near)
        assert r["rms"] == pytest.approx(np.sqrt((d**2).mean()), **near)
        assert r["psnr_db"] == pytest.approx(20 * np.log10((p.max() - p.min()) / np.sqrt((d**2).mean())), **near)
        assert r["correlation"] == pytest.approx(np.corrcoef(p, q)[0, 1], **near)
        assert r["voxels"] == a.size and r["differing"] == (d != 0).sum() + 1 and r["beyond"] == (np.abs(d) > 0.05).sum() + 1
        assert (r["not_finite_same"], r["not_finite_differing"]) == (1, 1)
        assert [r["worst"][k] for k in "zyx"] == [3, 20, 10]
        off = (np.abs(b.astype("f8") - a) > 0.05) | (np.isfinite(a) != np.isfinite(b))
        assert [r["first"][k] for k in "zyx"] == np.argwhere(off)[0].tolist()
        h = r["histogram"]
        edges = np.linspace(h["low"], h["high"], len(h["counts"]) + 1)
        want = np.histogram(d[d != 0], edges)[0]
        # Differences are counted to 1/1024 of their size: few lie on the other side of an edge.
        assert sum(h["counts"]) == (d != 0).sum() and np.abs(np.array(h["counts"]) - want).sum() <= d.size / 200


@pytest.mark.skipif(not FULL, reason="40 GB take a minute: TOMOKIT_FULL")
def test_memory_stays_within_the_budget(tmp_path):
    edge, slices = 2048, 2560
    for name in ("a.vol", "b.vol"):
        with open(tmp_path / name, "wb") as f:
            f.truncate(edge * edge * slices * 4)
            for z in (7, slices - 1):
                f.seek(((z * edge) + 1000) * edge * 4)
                f.write(np.linspace(1, 2, edge, dtype="<f4").tobytes())
        (tmp_path / f"{name}.info").write_text(f"NUM_X = {edge}\nNUM_Y = {edge}\nNUM_Z = {slices}\n")
    for args in (["compare", "a.vol", "b.vol"], ["recad", "a.vol", "-o", "c.raw", "--bin", "4"],
                 ["recad", "c.raw", "--undo", "-o", "d.vol"]):
        command = [str(BIN / "tomo"), args[0], *(str(tmp_path / a) if "." in a else a for a in args[1:])]
        pid = os.posix_spawn(command[0], [*command, "--memory", "512M", "--quiet"], os.environ)
        _, status, used = os.wait4(pid, 0)
        assert status == 0 and used.ru_maxrss < 512 << 10, (args, used.ru_maxrss)


def test_values_beyond_32_bits_are_counted(tmp_path):
    """Percentiles are taken of 32-bit floats: what these cannot hold is the largest or smallest, not left out."""
    v = np.random.default_rng(7).normal(0, 1, (3, 32, 32))
    v[:, ::4, ::4] = 1e100
    v[:, 1::4, 1::4] = -1e-310
    np.save(tmp_path / "v.npy", v)
    done = json.loads(tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "v.raw", "--json").stdout)
    inside = v[circle(v.shape)]
    assert f"of {inside.size} voxels" in done["limits"]["found"]
    low = np.percentile(inside, 0.1, method="nearest")
    assert abs(done["limits"]["low"] - low) < 0.2 * abs(low) and done["limits"]["high"] > 3e38
    assert abs(done["counts"]["above"] - (v > 3.5e38).sum()) == 0
    assert done["counts"]["plus_infinity"] == done["counts"]["nan"] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are a Unix matter")
def test_a_limit_of_file_sizes_is_an_error(tmp_path):
    import resource

    np.save(tmp_path / "v.npy", np.random.default_rng(1).random((24, 96, 96), "f4"))
    command = [str(BIN / "tomo"), "recad", "v.npy", "-o", "v.raw"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    done = subprocess.run(command, cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: "), (done.returncode, done.stderr)
    assert [p.name for p in tmp_path.iterdir()] == ["v.npy"]


def test_a_dithered_volume_is_within_a_whole_step(tmp_path):
    v = np.random.default_rng(5).normal(size=(4, 30, 40)).astype("<f4")
    np.save(tmp_path / "v.npy", v)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "d.raw", "--dither", "7", "--low", "-6", "--high", "6")
    out = json.loads(tomo("compare", tmp_path / "v.npy", tmp_path / "d.raw", "--json").stdout)
    step = 12 / 255
    assert step / 2 < out["max"] <= step and out["tolerance"] == pytest.approx(step, rel=1e-3)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "r.raw", "--low", "-6", "--high", "6")
    out = json.loads(tomo("compare", tmp_path / "v.npy", tmp_path / "r.raw", "--json").stdout)
    assert out["max"] <= out["tolerance"] == pytest.approx(step / 2, rel=1e-3)


def test_the_way_back_bins_values_not_greys(tmp_path):
    v = np.random.default_rng(6).normal(size=(6, 8, 10)).astype("<f4")
    np.save(tmp_path / "v.npy", v)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "g.raw", "--zeros", "values", "--low", "-3", "--high", "3")
    tomo("recad", tmp_path / "g.raw", "--undo", "--bin", "2", "-o", tmp_path / "b.npy")
    g = np.fromfile(tmp_path / "g.raw", "u1").reshape(v.shape)
    floats = (g * (6 / 255) - 3).astype("f4").astype("f8")
    want = floats.reshape(3, 2, 4, 2, 5, 2).mean(axis=(1, 3, 5))
    assert np.abs(np.load(tmp_path / "b.npy") - want).max() < 1e-6


def test_zero_is_a_value_among_signed_whole_numbers(tmp_path):
    v = np.random.default_rng(7).integers(-20, 21, size=(3, 20, 30), dtype="<i2")
    v[:, :, 0] = 0
    np.save(tmp_path / "v.npy", v)
    step = 40 / 255
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "g.raw", "--low", "-20", "--high", "20", "--remove-input")
    back = np.fromfile(tmp_path / "g.raw", "u1").reshape(v.shape) * step - 20
    assert np.abs(back - v).max() <= step / 2 * (1 + 1e-9)
    np.save(tmp_path / "v.npy", v)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "o.raw", "--low", "-20", "--high", "20", "--zeros", "outside")
    assert (np.fromfile(tmp_path / "o.raw", "u1").reshape(v.shape)[:, :, 0] == 0).all()


def test_the_unit_of_a_reconstruction_is_in_the_receipt(tmp_path):
    np.ones((4, 8, 8), "<f4").cumsum(axis=2, dtype="<f4").tofile(tmp_path / "v.vol")
    (tmp_path / "v.vol.info").write_text("NUM_X = 8\nNUM_Y = 8\nNUM_Z = 4\n")
    (tmp_path / "v.vol.recon.json").write_text('{"value_unit": "1/cm"}')
    tomo("recad", tmp_path / "v.vol", "-o", tmp_path / "v.raw")
    assert json.loads((tmp_path / "v.raw.recad.json").read_text())["scale"]["unit"] == "1/cm"


def test_locked_limits_and_others(tmp_path):
    v = np.random.default_rng(8).normal(size=(4, 8, 8)).astype("<f4")
    np.save(tmp_path / "v.npy", v)
    lock = tmp_path / "lock.json"
    lock.write_text('{"limits": {"low": -2, "high": 3}}')
    how = [tmp_path / "v.npy", "-o", tmp_path / "v.raw", "--lock", lock]
    refused("recad", *how, "--limits-from", lock)
    tomo("recad", *how)
    limits = json.loads((tmp_path / "v.raw.recad.json").read_text())["limits"]
    assert (limits["low"], limits["high"]) == (-2, 3)


def test_the_whole_range_clips_nothing_and_the_histogram_is_whole(tmp_path):
    v = np.random.default_rng(9).normal(size=(5, 40, 40)).astype("<f4")
    np.save(tmp_path / "v.npy", v)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "v.raw", "--percentile", "0,100", "--within", "all")
    assert limits_of(tmp_path / "v.raw") == (v.min(), v.max())
    r = receipt(tmp_path / "v.raw")
    assert r["clipped_low_percent"] == r["clipped_high_percent"] == 0
    h = r["histogram"]["before"]
    assert sum(h["counts"]) + h["below"] + h["above"] == h["voxels"] == v.size
    # 0.01 % at each end are one or two voxels here.
    assert h["below"] == np.sum(v < h["low"]) == 1 and h["above"] == np.sum(v > h["high"]) == 1


@pytest.mark.parametrize("header", ["v.raw.mhd", "v.raw.nhdr"])
def test_the_receipt_is_found_from_an_attached_header(tmp_path, header):
    v = np.random.default_rng(10).normal(size=(4, 30, 40)).astype("<f4")
    np.save(tmp_path / "v.npy", v)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "v.raw", "--low", "-6", "--high", "6")
    (tmp_path / header).stat()
    out = json.loads(tomo("compare", tmp_path / "v.npy", tmp_path / header, "--json").stdout)
    assert out["max"] <= out["tolerance"] == pytest.approx(6 / 255, rel=1e-3)


@pytest.mark.parametrize("dtype", ["<u2", "<i2", "<i4", "<f2"])
def test_means_of_whole_numbers_are_rounded_once(tmp_path, dtype):
    v = np.random.default_rng(11).integers(1, 1000, size=(6, 40, 42)).astype(dtype)
    np.save(tmp_path / "v.npy", v)
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "b.raw", "--bin", "2", "--low", "0", "--high", "700", "--verify")
    means = v.astype("f8").reshape(3, 2, 20, 2, 21, 2).mean((1, 3, 5))
    found = np.fromfile(tmp_path / "b.raw", "u1").reshape(means.shape)
    assert np.array_equal(found, greys(means, 0, 700))
    assert receipt(tmp_path / "b.raw")["input"]["dtype"] == np.dtype(dtype).name


def test_a_folder_is_where_the_output_goes(tmp_path):
    v = np.random.default_rng(12).normal(size=(4, 8, 8)).astype("<f4")
    np.save(tmp_path / "v.npy", v)
    (tmp_path / "there").mkdir()
    tomo("recad", tmp_path / "v.npy", "-o", tmp_path / "there")
    assert (tmp_path / "there/v.raw").stat().st_size == v.size and (tmp_path / "there/v.raw.recad.json").is_file()
    refused("recad", tmp_path / "v.npy", "-o", tmp_path / "there")


def test_the_unit_of_a_reconstruction_is_in_the_receipt(tmp_path):
    tomo("simulate", tmp_path / "s", "--size", 64, "--rows", 4, "--projections", 60)
    for name in ("s.vol", "s.h5"):
        tomo("recon", tmp_path / "s", "-o", tmp_path / name)
        out = tmp_path / f"{name}.raw"
        tomo("recad", tmp_path / name, "-o", out)
        receipt = json.loads(out.with_name(out.name + ".recad.json").read_text())
        assert receipt["scale"]["unit"] == "1/cm", name
