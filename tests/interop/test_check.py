"""`tomo check` of files that other programs wrote or changed."""

import json
import shutil

import h5py
import pytest
from support import run, tomo

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
