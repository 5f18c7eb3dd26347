"""Makes tests/data/skimage-*.npy: a sinogram and what scikit-image's iradon (ramp, linear interpolation) makes of it, for
tests/recon/accuracy.rs. Needs numpy and scikit-image 0.26 (`pip install scikit-image==0.26.0`)."""

import pathlib

import numpy as np
import skimage
from skimage.transform import iradon

COLUMNS, PROJECTIONS = 65, 48  # odd: scikit-image's axis, column n // 2, is then the middle one
folder = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data"
rng = np.random.default_rng(3)
u = np.arange(COLUMNS) - COLUMNS // 2
angles = np.arange(PROJECTIONS) * np.pi / PROJECTIONS
# A disc off the centre, and noise, so that every frequency counts.
s = u[None] - 9 * np.cos(angles)[:, None] + 5 * np.sin(angles)[:, None]
sinogram = (2 * np.sqrt(np.maximum(17.0**2 - s**2, 0)) + rng.normal(size=s.shape)).astype(np.float32)
slice_ = iradon(
    sinogram.T.astype(np.float64), np.rad2deg(angles), filter_name="ramp", interpolation="linear", circle=False,
    output_size=COLUMNS, preserve_range=True,
)
np.save(folder / "skimage-sinogram.npy", sinogram)
np.save(folder / "skimage-slice.npy", slice_.astype(np.float32))
print(f"scikit-image {skimage.__version__}: {slice_.shape}, rms {slice_.std():.4f}")
