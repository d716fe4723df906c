"""Electron microscopy of nervous tissue with mitochondria, made from a seed; not a real specimen.

Mitochondria are bent capsules with two dark membranes and cristae. What can be taken for them: membranes of cells,
which are as dark, and vesicles, which are rings on every plane but too small. One voxel is 5 nm, as cubes, and stands
as 1 mm in the affine: volumes of other shapes show more or less tissue, not other voxels.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

from tfmed.io.volume import Volume

from .common import Checks, stream

LABELS = {"background": 0, "mitochondrion": 1}
_VOXELS_EACH = 30_000.0  # of tissue, per mitochondrion
_REACH = 14  # voxels around a centre line that a mitochondrion can touch


@dataclasses.dataclass(frozen=True)
class Mitochondria:
    """A phantom block.

    Args:
        volume: int16 `(z, y, x)`, grey values from 0 to 255.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`.
    """

    volume: Volume
    labels: Volume


def mitochondria(seed, shape=(96, 96, 96), noise=12.0):
    """A phantom block of tissue; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another block.
        shape: `(z, y, x)` voxels of 5 nm.
        noise: standard deviation of the noise in grey values.

    Returns:
        `Mitochondria`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("mitochondria")
    checks.seed(seed)
    shape = checks.shape(shape)
    checks.number("noise", noise, 0.0, 200.0)
    grey = _tissue(shape, stream(seed, 0))
    _vesicles(grey, stream(seed, 1))
    labels = np.zeros(shape, np.uint8)
    rng = stream(seed, 2)
    for _ in range(max(2, round(np.prod(shape) / _VOXELS_EACH))):
        _mitochondrion(grey, labels, rng)
    white = stream(seed, 3).standard_normal(shape, dtype=np.float32)
    grey += np.float32(noise) * ndimage.gaussian_filter(white, 0.5) / np.float32(0.62)  # which keeps 0.62 of it
    grey = np.rint(np.clip(grey, 0, 255)).astype(np.int16)
    return Mitochondria(Volume(grey, np.eye(4)), Volume(labels, np.eye(4)))


def _smooth(rng, shape, length):
    """A smooth random field of unit variance that varies over about `length` voxels, float32."""
    coarse = [max(3, int(np.ceil(n / length)) + 3) for n in shape]
    field = rng.standard_normal(coarse).astype(np.float32)
    places = [np.linspace(1, 1 + (n - 1) / length, n) for n in shape]
    for axis, place in enumerate(places):  # linear along one axis after another
        low = np.minimum(place.astype(int), coarse[axis] - 2)
        share = (place - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        field = np.take(field, low, axis) * (1 - share) + np.take(field, low + 1, axis) * share
    return ndimage.uniform_filter(field, max(1, int(length / 2))) * np.float32(2.0)


def _tissue(shape, rng):
    """Cytoplasm, and the dark membranes between cells where a field changes its sign."""
    grey = 165 + 8 * _smooth(rng, shape, 6.0) + 12 * _smooth(rng, shape, 30.0)
    for length in (26.0, 40.0):
        wall = _smooth(rng, shape, length) * np.float32(length / 4)
        grey -= 70 * np.exp(-(wall**2) / 2)
    return grey.astype(np.float32)


def _vesicles(grey, rng):
    """Small dark rings."""
    for _ in range(round(grey.size / 9000)):
        centre, radius = rng.random(3) * grey.shape, rng.uniform(2.2, 3.8)
        box, offsets = _box(grey.shape, centre, centre, radius + 3)
        distance = np.sqrt(sum(o**2 for o in offsets)) - radius
        grey[box] -= np.float32(60) * np.exp(-(distance**2) / 1.2)


def _box(shape, low, high, margin):
    """(slices around two corners, offsets from the first corner along each axis, to be broadcast)."""
    first = [int(max(np.floor(a - margin), 0)) for a in np.minimum(low, high)]
    end = [int(min(np.ceil(b + margin) + 1, n)) for b, n in zip(np.maximum(low, high), shape, strict=True)]
    end = [max(a, b) for a, b in zip(first, end, strict=True)]
    axes = np.meshgrid(*(np.arange(a, b, dtype=np.float32) for a, b in zip(first, end, strict=True)),
                       indexing="ij", sparse=True)  # fmt: skip
    offsets = [axis - np.float32(c) for axis, c in zip(axes, low, strict=True)]
    return tuple(slice(a, b) for a, b in zip(first, end, strict=True)), offsets


def _mitochondrion(grey, labels, rng):
    """One bent capsule, drawn over what is there."""
    start, radius = rng.random(3) * grey.shape, rng.uniform(4.5, 8.5)
    way, bend = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    steps = np.linspace(0, rng.uniform(8, 38), 7)[:, None]
    line = start + steps * way + 0.008 * steps**2 * bend
    box, _ = _box(grey.shape, line.min(0), line.max(0), _REACH)
    if not grey[box].size:
        return
    axes = np.meshgrid(*(np.arange(s.start, s.stop, dtype=np.float32) for s in box), indexing="ij", sparse=True)
    distance, along = _to_line(axes, line)
    depth = radius - distance
    cristae = np.cos(2 * np.pi * (along + 0.6 * np.sin(0.7 * axes[0] + 0.5 * axes[1])) / rng.uniform(3.5, 5.0))
    inner = 118 - 34 * np.clip(cristae, 0, 1) * np.clip(depth - 1.5, 0, 1)
    inner -= 55 * np.exp(-((depth - 0.7) ** 2) / 0.5)  # its membrane
    share = np.clip(depth + 0.5, 0, 1)
    grey[box] += share * (inner.astype(np.float32) - grey[box])
    labels[box][depth > 0] = 1


def _to_line(axes, line):
    """(distance to a polyline, length along it up to the nearest point), arrays of the axes' shape."""
    best, place, before = None, None, 0.0
    for a, b in itertools.pairwise(line):
        step = b - a
        length = float(np.linalg.norm(step))
        offsets = [axis - np.float32(c) for axis, c in zip(axes, a, strict=True)]
        share = np.clip(sum(o * np.float32(s) for o, s in zip(offsets, step, strict=True)) / length**2, 0, 1)
        away = np.sqrt(sum((o - share * np.float32(s)) ** 2 for o, s in zip(offsets, step, strict=True)))
        if best is None:
            best, place = away, share * length
        else:
            place = np.where(away < best, before + share * length, place)
            best = np.minimum(best, away)
        before += length
    return best, place
