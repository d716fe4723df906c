"""Pictures of textures, a kind to a class, made from a seed: small images that differ in what repeats in them."""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

KINDS = ("vertical", "horizontal", "blobs", "checkerboard")


@dataclasses.dataclass(frozen=True)
class PlaneTexture:
    """A picture.

    Args:
        volume: int16 `(1, y, x)`, grey values around 0 .. 255.
        labels: uint8 `(1, y, x)`: 1 in the bright half of the texture.
    """

    volume: Volume
    labels: Volume


def plane_texture(seed, shape=(32, 32), kind="vertical", noise=0.6):
    """A noisy picture of one texture, of a scale, phase, tilt, brightness and contrast of its own; a pure function.

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 8 to 512 each.
        kind: "vertical" or "horizontal" (stripes, up to 10 degrees off), "blobs" (smoothed noise) or "checkerboard".
        noise: standard deviation of the noise by that of the texture, 0 to 10.

    Returns:
        `PlaneTexture`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("plane_texture")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 8 and max(shape) <= 512,
                f"shape is y,x of 8 to 512 each; got {shape}")  # fmt: skip
    checks.need(kind in KINDS, f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    checks.number("noise", noise, 0, 10)
    rng = stream(seed, KINDS.index(kind))
    waves = rng.uniform(3, 7) * min(shape) / 32 * 2 * np.pi / min(shape)  # per 32 pixels
    angle, phases = np.deg2rad(rng.uniform(-10, 10)), rng.uniform(0, 2 * np.pi, 2)
    y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij")
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    across, along = np.sin(waves * u + phases[0]), np.sin(waves * v + phases[1])
    if kind == "blobs":
        texture = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(1.2, 2.4), mode="wrap")
    else:
        texture = {"vertical": across, "horizontal": along, "checkerboard": np.sign(across * along)}[kind]
    texture = (texture - texture.mean()) / max(texture.std(), 1e-6)
    grey = rng.uniform(90, 160) + rng.uniform(20, 45) * (texture + noise * rng.standard_normal(shape))
    picture = np.rint(grey).astype(np.int16)
    return PlaneTexture(Volume(picture[None], LPS_RAS), Volume((texture > 0)[None].astype(np.uint8), LPS_RAS))
