"""Checks once that there is a program to test, and keeps Python's caches out of the source tree."""

import sys

import pytest

sys.dont_write_bytecode = True

from support import BIN, run  # noqa: E402


def pytest_sessionstart(session):
    try:
        done = run("--version")
    except OSError as e:
        pytest.exit(f"no program to test: {BIN / 'tomo'}: {e}; build it, or set TOMOKIT_BIN", returncode=2)
    if done.returncode != 0:
        pytest.exit(f"'tomo --version' fails: {done.stderr}", returncode=2)
