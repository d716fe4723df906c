"""Pictures of plain shapes, a kind to a class, made from a seed: small images whose class everybody can see."""

import dataclasses

import numpy as np

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

KINDS = ("disc", "ring", "square", "cross")


@dataclasses.dataclass(frozen=True)
class PlaneShape:
    """A picture.

    Args:
        volume: int16 `(1, y, x)`, from 0 to 255.
        labels: uint8 `(1, y, x)`: 1 in the shape.
    """

    volume: Volume
    labels: Volume


def plane_shape(seed, shape=(28, 28), kind="disc", noise=8.0):
    """A picture of one shape, of a size, place, angle, thickness and brightness of its own; a pure function.

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 8 to 512 each.
        kind: "disc", "ring", "square" (its outline) or "cross".
        noise: standard deviation, in grey values, 0 to 100.

    Returns:
        `PlaneShape`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("plane_shape")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 8 and max(shape) <= 512,
                f"shape is y,x of 8 to 512 each; got {shape}")  # fmt: skip
    checks.need(kind in KINDS, f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    checks.number("noise", noise, 0, 100)
    rng, side = stream(seed, KINDS.index(kind)), min(shape)
    radius, thickness = side * rng.uniform(0.2, 0.36), side * rng.uniform(0.035, 0.07)
    centre = [(n - 1) / 2 + side * rng.uniform(-0.1, 0.1) for n in shape]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    y, x = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre, strict=True)), indexing="ij")
    u = (np.cos(angle) * x + np.sin(angle) * y) / stretch
    v = np.cos(angle) * y - np.sin(angle) * x
    distance = _distance(kind, u, v, radius, thickness)
    inside = np.clip(0.5 - distance, 0, 1)
    grey = rng.uniform(150, 235) * inside + noise * rng.standard_normal(shape) + 12
    picture = np.rint(np.clip(grey, 0, 255)).astype(np.int16)
    return PlaneShape(Volume(picture[None], LPS_RAS), Volume((distance < 0)[None].astype(np.uint8), LPS_RAS))


def _distance(kind, u, v, radius, thickness):
    """About the distance in pixels from the shape, negative within."""
    if kind == "disc":
        return np.hypot(u, v) - radius
    if kind == "ring":
        return np.abs(np.hypot(u, v) - radius) - thickness
    if kind == "square":
        return np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.85 * radius) - thickness
    arms = np.minimum(np.abs(u), np.abs(v)) - thickness
    return np.maximum(arms, np.maximum(np.abs(u), np.abs(v)) - radius)
