"""Coloured shapes on grey, made from a seed: colour is the class, and place, angle and length tell nothing of it."""

import dataclasses

import numpy as np

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

COLOURS = {"red": (205, 55, 60), "green": (60, 170, 75), "blue": (60, 90, 205), "yellow": (215, 190, 60)}


@dataclasses.dataclass(frozen=True)
class ColouredShape:
    """A picture.

    Args:
        red, green, blue: int16 `(1, y, x)`, from 0 to 255.
        labels: uint8 `(1, y, x)`: 1 in the shape.
    """

    red: Volume
    green: Volume
    blue: Volume
    labels: Volume


def coloured_shape(seed, shape=(32, 32), colour="red", noise=6.0):
    """A picture of one bar with round ends, of a place, angle, length and shade of its own; a pure function.

    What differs from picture to picture but for the colour is drawn from the seed alone.

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 8 to 512 each.
        colour: "red", "green", "blue" or "yellow".
        noise: standard deviation, in grey values, 0 to 100.

    Returns:
        `ColouredShape`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("coloured_shape")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 8 and max(shape) <= 512,
                f"shape is y,x of 8 to 512 each; got {shape}")  # fmt: skip
    checks.need(colour in COLOURS, f"colour must be one of {', '.join(COLOURS)}; got {colour!r}")
    checks.number("noise", noise, 0, 100)
    rng, side = stream(seed, 0), min(shape)
    reach, thickness = side * rng.uniform(0.08, 0.2), side * rng.uniform(0.09, 0.13)
    centre = [n * rng.uniform(0.3, 0.7) - 0.5 for n in shape]
    angle, shade = rng.uniform(0, np.pi), rng.uniform(0.85, 1.15)
    y, x = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre, strict=True)), indexing="ij")
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    distance = np.hypot(np.maximum(np.abs(along) - reach, 0), across) - thickness
    inside = np.clip(0.5 - distance, 0, 1)[..., None]
    tint = shade * np.array(COLOURS[colour], float) + rng.normal(0, 8, 3)
    picture = 128 + inside * (tint - 128) + noise * rng.standard_normal((*shape, 3))
    picture = np.rint(np.clip(picture, 0, 255)).astype(np.int16)
    channels = [Volume(np.ascontiguousarray(picture[None, ..., k]), LPS_RAS) for k in range(3)]
    return ColouredShape(*channels, Volume((distance < 0)[None].astype(np.uint8), LPS_RAS))
