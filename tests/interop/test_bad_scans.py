"""Scans as beamlines make them when something went wrong: flats without beam, dead and NaN pixels, projections that were
lost, angles that do not fit. Either one clear line and exit code 2, or a policy that is named and counted."""

import json
import shutil

import h5py
import numpy as np
import pytest
from support import refused, run, tomo

PROJECTIONS, ROWS, COLUMNS = 40, 6, 48
DATA, SAME, KEY = "entry0000/instrument/detector/data", "entry0000/data/data", "entry0000/data/image_key"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "s.nxs"
    sizes = ["--size", COLUMNS, "--rows", ROWS, "--projections", PROJECTIONS]
    tomo("simulate", path, "--layout", "nxtomo", *sizes, "--quiet")
    return path


def replace(f, frames):
    """Other frames in place of all, under both of their names."""
    attributes = dict(f[DATA].attrs)
    del f[DATA], f[SAME]
    f[DATA] = frames
    f[DATA].attrs.update(attributes)
    f[SAME] = f[DATA]


@pytest.fixture
def scan(good, tmp_path):
    """A copy to spoil; its frames as float32, so that NaN has a place."""
    path = tmp_path / "s.nxs"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as f:
        replace(f, f[DATA][()].astype("float32"))
    return path


def frames(f, kind):
    """Numbers of the projections (0), flats (1) or darks (2)."""
    return np.flatnonzero(f[KEY][()] == kind)


def made(scan, *more):
    """Reconstructs; answers what was counted, the warnings and the slices."""
    out = scan.parent / "out.npy"
    done = tomo("recon", scan, "-o", out, "--axis", "23.5", "--json", "--overwrite", *more)
    volume = np.load(out)
    assert volume.shape == (ROWS, COLUMNS, COLUMNS) and np.isfinite(volume).all()
    return json.loads(done.stdout), done.stderr, volume


def test_a_good_scan_counts_nothing(scan):
    done, said, _ = made(scan)
    counts = done["counts"]
    assert counts["total"] == PROJECTIONS * ROWS * COLUMNS
    assert (counts["clipped"], counts["nan"], counts["dead"], counts["bad_voxels"]) == (0, 0, 0, 0)
    assert "warning" not in said and done["warnings"] == []


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_flats_with_dead_pixels_are_counted_and_transparent(scan, value):
    with h5py.File(scan, "r+") as f:
        for k in frames(f, 1):
            f[DATA][k, 2, 10:13] = value
    done, said, _ = made(scan)
    assert done["counts"]["dead"] == 3 * PROJECTIONS
    assert f"{3 * PROJECTIONS} values had no usable flat" in said, said


def test_flats_without_any_beam(scan):
    with h5py.File(scan, "r+") as f:
        dark = f[DATA][frames(f, 2)].mean()
        for k in frames(f, 1):
            f[DATA][k] = dark * 0.5
    done, said, volume = made(scan)
    assert done["counts"]["dead"] == PROJECTIONS * ROWS * COLUMNS and (volume == 0).all()
    assert "no usable flat" in said
    # and whoever asks whether the volume is good hears no
    again = run("recon", scan, "-o", scan.parent / "checked.vol", "--axis", "23.5", "--check", "--quiet")
    assert again.returncode == 1, again.stderr


def test_nan_in_projections_is_counted_and_transparent(scan):
    with h5py.File(scan, "r+") as f:
        k = frames(f, 0)[7]
        f[DATA][k, 3, :5] = [np.nan, np.inf, -np.inf, np.nan, np.nan]
    done, said, _ = made(scan)
    assert done["counts"]["nan"] == 5 and "5 raw values were not finite" in said, said


def test_lost_projections_are_clipped_and_counted(scan):
    with h5py.File(scan, "r+") as f:
        for k in frames(f, 0)[[3, 21]]:
            f[DATA][k] = 0
    done, _, _ = made(scan)
    assert done["counts"]["clipped"] == 2 * ROWS * COLUMNS


@pytest.mark.parametrize("given", [PROJECTIONS - 1, PROJECTIONS + 1, 0])
def test_angles_that_are_not_one_per_projection(scan, given, tmp_path):
    angles = tmp_path / "angles.txt"
    angles.write_text("".join(f"{180 * k / PROJECTIONS}\n" for k in range(given)))
    message = refused("recon", scan, "-o", tmp_path / "x.vol", "--angles", angles, "--axis", "23.5", "--quiet")
    assert f"{PROJECTIONS} angles" in message and str(given) in message, message
    assert len(message.strip().splitlines()) <= 2
    assert not list(tmp_path.glob("x.vol*"))


def test_frames_that_are_missing_at_the_end(scan):
    """The camera stopped before the motor did: what is there is used, and both surpluses are said."""
    with h5py.File(scan, "r+") as f:
        replace(f, f[DATA][()][:-15])
    done, said, _ = made(scan)
    assert done["counts"]["total"] == PROJECTIONS * ROWS * COLUMNS  # the last flats are gone, no projection
    assert "image key has 100 entries for 85 frames" in said and "100 angles for 85 frames" in said, said


@pytest.mark.parametrize("options", [
    ["--axis", "1e6"], ["--axis", "-500"], ["--axis", "nan"], ["--axis", "23.5", "--roi", "0:49,0:48"],
    ["--axis", "23.5", "--roi", "10:5,0:48"], ["--axis", "23.5", "--slices", "6:7"], ["--axis", "23.5", "--slice", "6"],
    ["--axis", "23.5", "--slices", "3:3"], ["--axis", "23.5", "--size", "0"], ["--axis", "23.5", "--pixel-size", "-1"],
    ["--axis", "23.5", "--memory", "17"], ["--axis", "23.5", "--clip", "nan"],
])  # fmt: skip
def test_requests_that_make_no_sense(scan, tmp_path, options):
    message = refused("recon", scan, "-o", tmp_path / "x.vol", "--quiet", *options)
    assert 1 <= len([line for line in message.strip().splitlines() if line]) <= 6, message
    assert "error: " in message
    assert not list(tmp_path.glob("x.vol*"))
