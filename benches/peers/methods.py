"""One function per Python peer: (sinogram, axis, threads, …) -> Peer.

Everything a tool can do once per scan (plans, filters, kernels, sorting of points) is done before the clock runs.
Ramp filter, no window, no mask, float32.
"""

import numpy as np
from data import angles


class Peer:
    """A prepared reconstruction: `run()` makes `slices` slices; voxel (i, j) lies at x = j - centre, y = centre - i. `axis`
    is the column of the rotation axis in the projections it was made from."""

    def __init__(self, run, slices, centre, axis, remark=""):
        self.run, self.slices, self.centre, self.axis, self.remark = run, slices, centre, axis, remark


def ramp(length):
    """Response of the ramp discretised in space (as in data.exact), on the frequencies of an FFT of `length`."""
    d = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.where(d % 2 == 1, -1 / (np.pi * np.maximum(d, 1)) ** 2, 0.0)
    kernel[0] = 0.25
    return np.fft.fft(kernel).real


def finufft(sino, axis, threads, eps):
    """A good filtered backprojection on top of FINUFFT: FFT and ramp of the projections, then one type-1 transform of
    their polar samples. Slices travel as pairs (one real, one imaginary), eight pairs per plan, points sorted before."""
    import finufft as nufft
    from scipy import fft

    k, n = sino.shape
    pairs = 8 if n < 2048 else 4
    t = angles(k)
    length = fft.next_fast_len(2 * n, real=False)
    # The highest frequency of an even length stands for both ends of the band, half each.
    f = np.append(np.fft.fftfreq(length), 0.5) if length % 2 == 0 else np.fft.fftfreq(length)
    keep = np.arange(len(f)) if length % 2 else np.append(np.arange(length), length // 2)
    shift = 0.5 if n % 2 == 0 else 0.0  # modes are whole numbers -n/2 …, voxels of an even slice lie between
    fx, fy = np.outer(np.cos(t), f), np.outer(np.sin(t), f)
    response = ramp(length)
    ends = np.where(np.abs(f) == 0.5, 0.5, 1.0)
    # The axis, the half voxel and the weight of the sum, in one factor per sample.
    phase = np.exp(2j * np.pi * (f * axis + shift * (fx - fy))) * (response[keep] * ends * (np.pi / k / length))
    phase = phase.astype(np.complex64)
    plan = nufft.Plan(1, (n, n), n_trans=pairs, eps=eps, isign=1, dtype="complex64", nthreads=threads)
    # The first axis of the modes is the row: y = -(mode + shift).
    plan.setpts((-2 * np.pi * fy).ravel().astype(np.float32), (2 * np.pi * fx).ravel().astype(np.float32))
    stack = np.repeat(sino[None], 2 * pairs, axis=0)
    samples = np.empty((pairs, k, len(keep)), np.complex64)
    out = np.empty((2 * pairs, n, n), np.float32)

    def run():
        rows = np.zeros((pairs, k, length), np.complex64)
        rows[:, :, :n].real = stack[0::2]
        rows[:, :, :n].imag = stack[1::2]
        waves = fft.fft(rows, axis=2, workers=threads, overwrite_x=True)
        np.multiply(waves[:, :, keep], phase, out=samples)
        modes = plan.execute(samples.reshape(pairs, -1))
        out[0::2], out[1::2] = modes.real, modes.imag
        return out

    return Peer(run, 2 * pairs, (n - 1) / 2, axis, f"plan made before, {pairs} pairs of slices at a time")


def astra(sino, axis, threads, projector):
    """ASTRA's FBP on the CPU. It wants the axis in the middle of the detector: it gets the same phantom's projections
    from there. Its volumes have y downwards."""
    import astra
    from data import sinogram

    k, n = sino.shape
    middle = (n - 1) / 2
    ids = astra.create_projector(projector, astra.create_proj_geom("parallel", 1.0, n, angles(k)), astra.create_vol_geom(n, n))
    data = astra.data2d.create("-sino", astra.projector.projection_geometry(ids), sinogram(n, k, middle))
    image = astra.data2d.create("-vol", astra.projector.volume_geometry(ids))
    config = astra.astra_dict("FBP")
    config.update({"ProjectorId": ids, "ProjectionDataId": data, "ReconstructionDataId": image})
    config["option"] = {"FilterType": "ram-lak"}
    algorithm = astra.algorithm.create(config)

    def run():
        astra.algorithm.run(algorithm)
        return astra.data2d.get(image)[None]

    return Peer(run, 1, middle, middle, f"projector {projector}, axis in the middle")


def algotom(sino, axis, threads):
    """algotom's FBP on the CPU, padded to twice the width."""
    from algotom.rec import reconstruction

    k, n = sino.shape
    t = angles(k)
    ramp = reconstruction.make_2d_ramp_window(k, 2 * n, None)

    def run():
        return reconstruction.fbp_reconstruction(
            sino, axis, angles=t, ratio=None, ramp_win=ramp, filter_name=None, pad=n // 2, apply_log=False, gpu=False, ncore=threads
        )[None]

    return Peer(run, 1, (n - 1) / 2, axis)


def nabu(sino, axis, threads):
    """nabu's OpenCL backprojector on the CPU (pocl). Its OpenCL filter needs pyvkfft, which has no wheel and wants a GPU's
    tool chain: its filter for the CPU takes that part (a small one)."""
    from nabu.reconstruction.fbp_opencl import OpenCLBackprojector
    from nabu.reconstruction.filtering import SinoFilter
    import pyopencl

    devices = [d for p in pyopencl.get_platforms() for d in p.get_devices() if d.type & pyopencl.device_type.CPU]
    context = pyopencl.Context(devices[:1])
    k, n = sino.shape
    # centered_axis moves the slice, so that the axis is in its middle.
    projector = OpenCLBackprojector(
        sino.shape, angles=angles(k), rot_center=axis, filter_name="none",
        extra_options={"centered_axis": True}, backend_options={"ctx": context},
    )
    filtering = SinoFilter(sino.shape, filter_name="ramlak", extra_options={"fft_threads": threads})

    def run():
        return projector.backproj(np.ascontiguousarray(filtering.filter_sino(sino)))[None]

    return Peer(run, 1, (n - 1) / 2, axis, devices[0].name)


def skimage(sino, axis, threads):
    """scikit-image's iradon. Its axis is always at column n // 2: it gets the same phantom's projections from there."""
    from data import sinogram
    from skimage.transform import iradon

    k, n = sino.shape
    own = np.ascontiguousarray(sinogram(n, k, n // 2).T)
    degrees = np.rad2deg(angles(k))

    def run():
        return iradon(own, degrees, output_size=n, filter_name="ramp", interpolation="linear", circle=False, preserve_range=True)[None]

    return Peer(run, 1, n // 2, n // 2, "axis at column n/2")
