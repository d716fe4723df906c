"""Single pictures of four classes as figures of papers hold them, made from a seed; nothing real.

Light microscopy: tissue in pink with violet nuclei. Fluorescence: glowing cells on black. Electron microscopy: grey
membranes under noise. A chart: bars or a line between axes. Each fills its picture to the borders.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream
from .surgery import smooth

KINDS = ("light", "fluorescence", "electron", "chart")


@dataclasses.dataclass(frozen=True)
class Panel:
    """A picture.

    Args:
        red, green, blue: int16 `(1, y, x)`, from 0 to 255.
        labels: uint8 `(1, y, x)`: 1 in nuclei, cells, membranes, bars or the line.
    """

    red: Volume
    green: Volume
    blue: Volume
    labels: Volume


def panel(seed, shape=(96, 96), kind="light"):
    """A picture; a pure function of its arguments.

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 16 to 2048 each.
        kind: one of `KINDS`.

    Returns:
        `Panel`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("panel")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 16 and max(shape) <= 2048,
                f"shape is y,x of 16 to 2048 each; got {shape}")  # fmt: skip
    checks.need(kind in KINDS, f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    made = {"light": _light, "fluorescence": _fluorescence, "electron": _electron, "chart": _chart}[kind]
    picture, labels = made(stream(seed, 0), shape)
    picture = np.rint(np.clip(picture, 0, 255)).astype(np.int16)
    channels = [Volume(np.ascontiguousarray(picture[None, ..., k]), LPS_RAS) for k in range(3)]
    return Panel(*channels, Volume(labels[None].astype(np.uint8), LPS_RAS))


def _coloured(field, low, high):
    """Colours `(y, x, 3)` between two, by a field in [0, 1]."""
    return np.array(low) + np.clip(field, 0, 1)[..., None] * (np.array(high, float) - low)


def _light(rng, shape):
    unit = rng.uniform(1.5, 3.5)
    tissue = 0.5 + 0.25 * smooth(rng, shape, 5 * unit) + 0.1 * smooth(rng, shape, 1.2)
    nuclei = smooth(rng, shape, unit) > rng.uniform(1.0, 1.5)
    picture = _coloured(tissue, (205, 120, 165) + rng.uniform(-15, 15, 3), (238, 205, 222))
    cover = ndimage.gaussian_filter(nuclei.astype(float), 0.6)[..., None]
    return picture + cover * ((105, 60, 140) - picture), nuclei


def _fluorescence(rng, shape):
    colour = ((40, 235, 60), (235, 50, 40), (70, 100, 245))[rng.integers(3)]
    cells = smooth(rng, shape, rng.uniform(2, 4)) > rng.uniform(1.0, 1.5)
    glow = ndimage.gaussian_filter(cells.astype(float), 1.0) + 0.08 * np.abs(smooth(rng, shape, 8))
    return _coloured(glow, (4, 4, 8), colour) + 3 * rng.standard_normal((*shape, 1)), cells


def _electron(rng, shape):
    membranes = np.abs(smooth(rng, shape, rng.uniform(3, 7))) < 0.12
    grey = rng.uniform(130, 175) + 22 * smooth(rng, shape, 2) + 10 * smooth(rng, shape, 12)
    grey = grey - 90 * ndimage.gaussian_filter(membranes.astype(float), 0.6)
    return (grey + 8 * rng.standard_normal(shape))[..., None] * np.ones(3), membranes


def _chart(rng, shape):
    height, width = shape
    picture = np.ones((*shape, 3)) * rng.uniform(225, 252, 3)
    left, bottom = max(2, width // 8), height - max(2, height // 8)
    labels, count = np.zeros(shape, bool), int(rng.integers(3, 8))
    colour = rng.uniform(20, 200, 3)
    values = rng.uniform(0.15, 0.95, count)
    if rng.random() < 0.6:
        edges = np.linspace(left + 2, width - 1, count + 1)
        for a, b, value in zip(edges, edges[1:], values, strict=False):
            labels[int(bottom * (1 - value)) : bottom, int(a) : max(int(a) + 1, int(a + 0.7 * (b - a)))] = True
    else:
        x = np.arange(left, width)
        y = bottom * (1 - np.interp(x, np.linspace(left, width - 1, count), values))
        labels[np.clip(y.astype(int), 0, height - 1), x] = True
        labels = ndimage.binary_dilation(labels, iterations=1)
    picture[labels] = colour
    picture[: bottom + 1, left] = picture[bottom, left:] = 30
    picture[[0, -1]] = picture[:, [0, -1]] = 120  # the frame
    return picture, labels
