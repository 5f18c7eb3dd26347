"""Correlation and slope of one .vol against another, over a few slices; nothing but Python's standard library.

    compare.py TRUTH.vol VOLUME.vol [MINIMUM_CORRELATION]

Prints one line. Exit code 1 where the correlation is below the minimum (default 0.95), 2 where they cannot be compared.
"""

import array
import math
import re
import sys


def describe(path):
    """Columns, rows and slices of a .vol from its .vol.info."""
    text = open(path + ".info", encoding="latin-1").read()
    number = {k: int(v) for k, v in re.findall(r"^(NUM_[XYZ])\s*=\s*(\d+)", text, re.M)}
    big = re.search(r"^BYTEORDER\s*=\s*HIGH", text, re.M)
    return number["NUM_X"], number["NUM_Y"], number["NUM_Z"], bool(big)


def slice_of(path, n, about):
    columns, rows, _, big = about
    values = array.array("f")
    with open(path, "rb") as f:
        f.seek(n * columns * rows * 4)
        values.fromfile(f, columns * rows)
    if big != (sys.byteorder == "big"):
        values.byteswap()
    return values


def main(truth, volume, minimum="0.95"):
    a, b = describe(truth), describe(volume)
    if a[:3] != b[:3]:
        print(f"sizes differ: {a[:3]} and {b[:3]}")
        return 2
    columns, rows, slices, _ = a
    n = sx = sy = sxx = syy = sxy = 0
    used = sorted({slices // 4, slices // 2, slices * 3 // 4})
    for z in used:
        x, y = slice_of(truth, z, a), slice_of(volume, z, b)
        for r in range(rows):  # inside the circle that every projection sees
            half = math.sqrt(max(0.0, 0.25 - ((r + 0.5) / rows - 0.5) ** 2))
            first, last = math.ceil((0.5 - half) * columns), math.floor((0.5 + half) * columns)
            p, q = x[r * columns + first : r * columns + last], y[r * columns + first : r * columns + last]
            n += len(p)
            sx += sum(p)
            sy += sum(q)
            sxx += sum(v * v for v in p)
            syy += sum(v * v for v in q)
            sxy += sum(v * w for v, w in zip(p, q))
    var_x, var_y, cov = sxx - sx * sx / n, syy - sy * sy / n, sxy - sx * sy / n
    if not (var_x > 0 and var_y > 0):
        print("one of the volumes is constant or holds NaN")
        return 1
    correlation = cov / math.sqrt(var_x * var_y)
    print(f"correlation {correlation:.4f}, slope {cov / var_x:.4f} over {n} voxels of slices {used}")
    return 0 if correlation >= float(minimum) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
