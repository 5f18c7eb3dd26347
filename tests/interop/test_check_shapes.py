"""`tomo check` of samples with flat faces and of volumes put together wrongly: what looks like damage and is none, and the
other way round. Volumes are made here, smooth in all directions, with noise."""

import numpy as np
import pytest
from test_check import said, texture, write

SHAPE = (64, 192, 192)
Z, Y, X = np.ogrid[:64, :192, :192]
R = np.hypot(Y - 95.5, X - 95.5)
NOISE = np.random.default_rng(40).normal(size=SHAPE)
SMOOTH = texture(SHAPE, 8, 41)
FIELD = R < 95
# A round sample in a field wider than the sample, without and with the zeros that surround a reconstructed circle.
FULL = np.where(R < 75, 0.5 + (SMOOTH > 0), 0) + 0.1 * NOISE
MASKED = np.where(FIELD, FULL, 0)


def check(folder, v):
    return said(write(folder / ("v.vol" if v.dtype.kind == "f" else "v.raw"), v))


def floats(folder, v):
    return check(folder, v.astype("f4"))


def test_one_slice_without_its_circle_hides_nothing(tmp_path):
    v = MASKED.copy()
    v[5] = v[4]
    v[[20, 28]] = v[[28, 20]]
    verdict, before = floats(tmp_path, v)
    assert verdict == "broken" and any("slice 5 is slice 4" in t for t in before), before
    v[31] = FULL[31]
    verdict, texts = floats(tmp_path, v)
    assert verdict == "broken" and any("slice 5 is slice 4" in t for t in texts), texts
    assert any("slices 20 and 28 are exchanged" in t for t in texts), texts


def clipped(inside, noise=0.1):
    """Greys of 16 bits whose air is cut off to exact zeros, but for a speck here and there."""
    v = np.where(np.broadcast_to(inside, SHAPE), 1 + 0.3 * (SMOOTH > 0), 0) + noise * NOISE
    return np.clip(np.rint((v - 0.3) * 20000), 0, 65535).astype("u2")


FLAT = {
    "a can": (R < 75) & ((R > 70) | (Z < 10) | (Z > 54)),
    "a gap": (R < 75) & ((Z < 27) | (Z >= 37)),
    "a flat top": (R < 75) & (Z >= 16),
    "a flat bottom": (R < 75) & (Z < 48),
    "a pin under a block": ((R < 75) & (Z >= 20)) | (R < 10),
    "a round hole": (R < 75) & ~((np.hypot(Y - 80, X - 110) < 30) & (Z >= 20) & (Z < 40)),
}


@pytest.mark.parametrize("name", FLAT)
def test_flat_faces_are_no_damage(tmp_path, name):
    assert check(tmp_path, clipped(FLAT[name])) == ("good", [])


LOST = {
    # rows 90 to 99 of one slice; half a slice and what follows; a tile; two stretches of 8 KiB in one slice
    "rows": lambda v: v[30, 90:100].fill(0),
    "two slices and a half": lambda v: v.reshape(-1)[30 * 192 * 192 + 9000 : 32 * 192 * 192 + 20000].fill(0),
    "a tile": lambda v: v[30:33, 64:128, 80:112].fill(0),
    "two stretches": lambda v: [v[30].reshape(-1)[a : a + 4096].fill(0) for a in (60 * 192 + 90, 110 * 192 + 40)],
    "the end of the last slice": lambda v: v[63].reshape(-1)[100 * 192 + 17 :].fill(0),
}


# What the last slice lost is told where zeros in the field are rare otherwise.
@pytest.mark.parametrize(("name", "harm"), [("whole", h) for h in LOST] + [("a round hole", h) for h in list(LOST)[:-1]])
def test_what_was_lost_in_such_samples_is_found(tmp_path, name, harm):
    v = clipped(FLAT.get(name, R < 75))
    LOST[harm](v)
    verdict, texts = check(tmp_path, v)
    assert verdict in ("suspicious", "broken") and any("zero" in t for t in texts), texts


@pytest.mark.parametrize("factor", [0.8, 1.1, 1.5])
@pytest.mark.parametrize("until", [34, 64])
def test_a_jump_in_fine_grains(tmp_path, factor, until):
    v = np.where(R < 75, 0.5 + (texture(SHAPE, 3, 42) > 0.3), 0) + 0.1 * NOISE
    assert floats(tmp_path, v) == ("good", [])
    v[24:until] *= factor
    verdict, texts = floats(tmp_path, v)
    assert verdict == "suspicious" and any("grey jump: from slice 23 to 24" in t for t in texts), texts


def shifted(v):
    flat = v.reshape(-1)
    flat[30 * 192 * 192 :] = np.roll(flat[30 * 192 * 192 :], 1024)


MOVED = {
    "mirrored": lambda v: v.__setitem__(slice(30, 40), v[30:40, :, ::-1].copy()),
    "turned": lambda v: v.__setitem__(slice(30, 32), v[30:32].transpose(0, 2, 1).copy()),
    "shifted by 4 KiB": shifted,
    "two slabs exchanged": lambda v: v.__setitem__(slice(20, 36), np.concatenate([v[28:36], v[20:28]])),
    "inverted": lambda v: v.__setitem__(slice(30, 64), 1.5 - v[30:]),
}


@pytest.mark.parametrize("how", MOVED)
def test_slabs_that_belong_elsewhere(tmp_path, how):
    v = FULL.astype("f4")
    MOVED[how](v)
    verdict, texts = floats(tmp_path, v)
    assert verdict == "suspicious" and any("slices 29 and 30" in t or "19 and 20" in t or "29 to 30" in t for t in texts), texts


@pytest.mark.parametrize("radius", [15, 40])
def test_a_flat_face_inside_is_no_slab(tmp_path, radius):
    """A hole, or a grain, that begins and ends in one slice each."""
    for level in (0, 2.5):
        v = np.where((np.hypot(Y - 80, X - 110) < radius) & (Z >= 20) & (Z < 40), level + 0.1 * NOISE, FULL)
        assert floats(tmp_path, v) == ("good", []), level


@pytest.mark.parametrize("dtype", ("u1", "u2"))
def test_bytes_of_something_else(tmp_path, dtype):
    """What a disk that lost its way puts in place of a volume's blocks: packed data of other files."""
    shape, top = (16, 384, 384), np.iinfo(dtype).max
    rng = np.random.default_rng(8)
    v = np.clip((0.5 + 0.12 * texture(shape, 6, 9) + 0.05 * rng.normal(size=shape)) * top, 0, top).astype(dtype)
    assert check(tmp_path, v) == ("good", [])
    for kib, z in ((16, 4), (64, 9), (300, 12)):
        w = v.copy()
        flat = w.reshape(-1).view("u1")
        at = z * shape[1] * shape[2] * v.itemsize + 7 * 4096
        flat[at : at + kib * 1024] = rng.integers(0, 256, kib * 1024)
        verdict, texts = check(tmp_path, w)
        assert verdict == "suspicious" and len(texts) == 1 and "without any pattern" in texts[0], (kib, texts)
        assert f"of slice {z}:" in texts[0], texts
    # A volume that is all noise is what it is.
    assert check(tmp_path, rng.integers(0, top, shape).astype(dtype)) == ("good", [])
