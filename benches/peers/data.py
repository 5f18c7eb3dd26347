"""The scan that every peer gets, and what the exact answer is.

Units are pixels. A ray at angle t and distance s from the rotation axis is {(x, y): x cos t + y sin t = s}, y upwards;
column m of a projection covers s from m - axis - 1/2 to m - axis + 1/2. Voxel (row i, column j) of a slice lies at
x = j - c, y = c - i with c = (columns - 1) / 2 unless said otherwise.
"""

import numba
import numpy as np
from scipy import fft


def angles(projections):
    """Equal steps over half a turn, radians."""
    return np.arange(projections) * np.pi / projections


def ellipses(columns, seed=11):
    """Density, half axes, centre, turn: a body, a few large parts, and sixty sharp grains of 1 to 9 pixels."""
    rng = np.random.default_rng(seed)
    r = columns / 2
    parts = [(1.0, 0.86 * r, 0.70 * r, 0.02 * r, 0.01 * r, 0.4), (-0.7, 0.80 * r, 0.64 * r, 0.02 * r, 0.01 * r, 0.4)]
    for _ in range(6):
        place, turn = 0.4 * r * np.sqrt(rng.random()), rng.uniform(0, np.pi)
        where = rng.uniform(0, 2 * np.pi)
        parts.append((rng.uniform(-0.2, 0.4), *(rng.uniform(0.04, 0.15, 2) * r), place * np.cos(where), place * np.sin(where), turn))
    for _ in range(60):
        place, where = 0.55 * r * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        parts.append((rng.choice([-0.3, 0.8, 1.4]), *rng.uniform(1, 9, 2), place * np.cos(where), place * np.sin(where), rng.uniform(0, np.pi)))
    return np.array(parts)


def sinogram(columns, projections, axis):
    """float32 [projection][column]: exact line integrals, averaged over each detector column (closed form)."""
    out = np.zeros((projections, columns))
    edges = np.arange(columns + 1) - 0.5 - axis
    t = angles(projections)[:, None]
    for density, a, b, x, y, turn in ellipses(columns):
        half = np.hypot(a * np.cos(t - turn), b * np.sin(t - turn))  # half width of the shadow
        u = np.clip((edges - (x * np.cos(t) + y * np.sin(t))) / half, -1, 1)
        # The integral of 2 a b / half * sqrt(1 - u^2) over s = half u.
        out += density * a * b * np.diff(u * np.sqrt(1 - u * u) + np.arcsin(u), axis=1)
    return out.astype(np.float32)


def voxels(columns, count, seed=5):
    """Rows and columns of `count` different voxels inside 0.45 of the width from the middle."""
    i, j = np.indices((columns, columns))
    inside = np.flatnonzero(np.hypot(i - (columns - 1) / 2, j - (columns - 1) / 2) < 0.45 * columns)
    chosen = np.random.default_rng(seed).choice(inside, count, replace=False)
    return chosen // columns, chosen % columns


@numba.njit(parallel=True, cache=True)
def _sum_of_waves(waves, t, axis, left, length, x, y, weight):
    """For each voxel the sum over projections and frequencies, by Horner's rule; nothing is interpolated."""
    out = np.zeros(len(x))
    for v in numba.prange(len(x)):
        total = 0.0
        for k in range(len(t)):
            turn = 2 * np.pi * (x[v] * np.cos(t[k]) + y[v] * np.sin(t[k]) + axis + left) / length
            z = complex(np.cos(turn), np.sin(turn))
            s = 0j
            for m in range(waves.shape[1] - 1, -1, -1):
                s = s * z + waves[k, m]
            total += s.real
        out[v] = total * weight
    return out


def exact(sino, axis, x, y, pad=8):
    """Filtered backprojection in float64 at the points (x, y): the ramp discretised in space (Kak and Slaney, chapter 3)
    on `pad` times the width, band-limited interpolation of the filtered projections, the sum over all angles. This is
    `src/recon/reference.rs` with the filter done by FFT, so that it can be had for a few hundred voxels of a large slice.
    """
    projections, columns = sino.shape
    length = fft.next_fast_len(pad * columns, real=True)
    length += length % 2
    left = (length - columns) // 2
    rows = np.zeros((projections, length))
    rows[:, left : left + columns] = sino
    d = np.minimum(np.arange(length), length - np.arange(length))
    ramp = np.where(d % 2 == 1, -1 / (np.pi * np.maximum(d, 1)) ** 2, 0.0)
    ramp[0] = 0.25
    waves = fft.rfft(rows, axis=1) * fft.rfft(ramp).real / length
    waves[:, 1:-1] *= 2  # each stands for its mirror image as well
    # The highest frequency keeps only its cosine at the columns themselves.
    return _sum_of_waves(waves, angles(projections), axis, float(left), float(length), x, y, np.pi / projections)
