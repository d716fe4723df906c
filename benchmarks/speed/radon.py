"""Projection, filtered back-projection and FBPAug: `tfmed.ops.radon` against scikit-image.

Run: python -m benchmarks.speed.radon [--rounds 5] [--batch 4] [--side 512] [--views 360]

The sides take turns in one process on the same phantom slices of chests; the table gives medians (fastest - slowest) of
wall time, ours per batch, and the ratio of each round (median, quartiles). scikit-image takes one slice at a time; its
time for one is multiplied by the batch. Below: how far the sinograms and the reconstructions lie apart; and how near
the routes of virtual kernels are (PSNR over 4000 HU, in the inscribed circle and in all of the slice, and that of what
a network sees, the window of 1500 HU).
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import time

import numpy as np
import tensorflow as tf
from skimage.transform import iradon
from skimage.transform import radon as projected

from benchmarks.support.tables import ratios, spread
from tfmed.augment import kernels
from tfmed.data.phantoms import chest_ct
from tfmed.ops import radon

KERNELS = ((0, 1), (-1, 0.7), (-0.5, 0.5), (-1, 0.1), (10, 1), (30, 3), (40, 4))
AUGMENTED = 384  # side of a slice for FBPAug


def slices(side, count):
    """HU `(count, side, side)` float32 of chests, noise and all."""
    volume = chest_ct(3, shape=(4 * count, side, side)).volume.array
    return np.maximum(volume[count : 2 * count], -1000).astype(np.float32)


def by_scikit_image(hu, a, b):
    """FBPAug's pipeline of one slice, with as many angles as pixels of a side."""
    side = len(hu)
    degrees = np.arange(side) * 180 / side
    sinogram = projected((hu + 1000.0) * radon.circle(side), degrees, circle=True)
    gain = radon.ramp(side) * (1 + a * radon.frequencies(side) ** b)
    length = radon.detector_length(side)
    filtered = np.fft.irfft(np.fft.rfft(sinogram, length, axis=0) * gain[:, None], length, axis=0)[:side]
    found = iradon(filtered, degrees, filter_name=None, circle=True)
    return np.clip(found - 1000, -1000, 3000)


def rounds(number, ours, theirs):
    """([seconds of ours], [seconds of theirs]), in turn."""
    taken = ([], [])
    ours()  # traces
    for _ in range(number):
        for side, function in enumerate((ours, theirs)):
            begun = time.perf_counter()
            function()
            taken[side].append(time.perf_counter() - begun)
    return taken


def row(name, ours, theirs, number, times):
    """Print a line of the table; theirs are multiplied by `times`."""
    mine, other = rounds(number, ours, theirs)
    other = [times * seconds for seconds in other]
    shown = " | ".join(spread([1e3 * s for s in side], 1) for side in (mine, other))
    print(f"| {name} | {shown} | {ratios(other, mine, 1)} |", flush=True)


def psnr(one, other, mask, low, high):
    """Peak signal to noise ratio in dB of two stacks, within a mask and a window."""
    first, second = (np.clip(stack[:, mask], low, high) for stack in (one, other))
    return 10 * np.log10((high - low) ** 2 / np.mean((first - second) ** 2))


def agreement(hu):
    """Print how near the routes are to scikit-image's way, which "radon" is to rounding."""
    side = hu.shape[1]
    away = np.hypot(*(np.mgrid[:side, :side] - side // 2))
    circle, whole = away < side // 2 - 1, np.ones((side, side), bool)
    print("\n| kernel (a, b) | route | circle, dB | whole slice, dB | window, dB | correlation |")
    print("|---|---|---|---|---|---|")
    for a, b in KERNELS:
        numbers = [tf.fill([len(hu)], float(value)) for value in (a, b)]
        exact = kernels.reconstructed(hu, *numbers, "radon").numpy()
        others = {route: kernels.reconstructed(hu, *numbers, route).numpy() for route in ("gridding", "fourier")}
        others["radon, half of the views"] = kernels.reconstructed(hu, *numbers, "radon", side // 2).numpy()
        for route, found in others.items():
            full = [psnr(found, exact, mask, -1000, 3000) for mask in (circle, whole)]
            window = psnr(found, exact, circle, -1350, 150)
            correlation = np.corrcoef(found[:, circle].ravel(), exact[:, circle].ravel())[0, 1]
            shown = " | ".join(f"{value:.1f}" for value in (*full, window))
            print(f"| ({a}, {b}) | {route} | {shown} | {correlation:.4f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rounds", 5), ("batch", 4), ("side", 512), ("views", 360)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    values = (slices(o.side, o.batch) + 1000) * np.float32(radon.circle(o.side))
    degrees = np.arange(o.views) * 180 / o.views
    sinogram = projected(values[0].astype(float), degrees, circle=True)
    image = iradon(sinogram, degrees, circle=True)
    print(f"{o.batch} slices, {o.side} x {o.side}, {o.views} angles\n")
    print("| | tfmed, ms | scikit-image, ms | ratio (quartiles) |\n|---|---|---|---|")
    batch = tf.constant(values)
    away = np.hypot(*(np.mgrid[: o.side, : o.side] - o.side // 2))

    def their_radon():
        return projected(values[0], degrees, circle=True)

    for way in ("gridding", "direct"):
        forth = tf.function(lambda x, way=way: radon.radon(x, o.views, way), autograph=False)
        back = tf.function(lambda s, way=way: radon.filtered_back_projection(s, None, way), autograph=False)
        made = forth(batch)
        sides = {
            "radon": (lambda f=forth: f(batch).numpy(), their_radon),
            "FBP": (lambda f=back, m=made: f(m).numpy(), lambda: iradon(sinogram, degrees, circle=True)),
            "both": (
                lambda f=forth, g=back: g(f(batch)).numpy(),
                lambda: iradon(their_radon(), degrees, circle=True),
            ),
        }
        for name, (ours, theirs) in sides.items():
            row(f"{name}, {way}", ours, theirs, o.rounds, o.batch)
        pairs = (made[0].numpy().T, sinogram), (back(made)[0].numpy(), image * (away < o.side // 2 - 1))
        found = (pairs[1][0] * (away < o.side // 2 - 1), pairs[1][1])
        off = [np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in (pairs[0], found)]
        print(f"relative difference, {way}: sinogram {off[0]:.1e}, reconstruction of it {off[1]:.1e}")
    hu = slices(AUGMENTED, 8)
    a, b = tf.fill([8], 30.0), tf.fill([8], 3.0)
    for count in (1, 8):
        part = tf.constant(hu[:count])
        fourier = tf.function(lambda x: kernels.reconstructed(x, a[: x.shape[0]], b[: x.shape[0]]), autograph=False)
        row(f"FBPAug, {count} x {AUGMENTED} x {AUGMENTED}, fourier", lambda f=fourier, p=part: f(p).numpy(),
            lambda: by_scikit_image(hu[0], 30.0, 3.0), o.rounds, count)  # fmt: skip
    agreement(hu[:4])


if __name__ == "__main__":
    main()
