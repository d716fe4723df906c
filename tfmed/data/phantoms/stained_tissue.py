"""Pictures of stained tissue with or without a brown band, made from a seed; not real.

Haematoxylin colours nuclei, a pale counterstain the rest, and DAB, which marks the protein that is looked for, winds
through the tissue as a band of uneven strength, as a brush border does. Some DAB sticks to tissue where no such protein
is, in pictures of either kind, so that brown alone does not tell the pattern. Stains add as optical densities do.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

# What a stain absorbs of red, green and blue, each of length 1: haematoxylin, counterstain, DAB.
_ABSORBED = np.array([[0.65, 0.70, 0.29], [0.25, 0.92, 0.30], [0.27, 0.57, 0.78]])
_ABSORBED /= np.linalg.norm(_ABSORBED, axis=1, keepdims=True)
_SIDE = 128  # px for which lengths below are given; they are scaled with the picture


@dataclasses.dataclass(frozen=True)
class StainedTissue:
    """A picture.

    Args:
        red, green, blue: int16 `(1, y, x)`, from 0 to 255.
        clean_red, clean_green, clean_blue: the same tissue without the band.
        labels: uint8 `(1, y, x)`: 1 in the band.
    """

    red: Volume
    green: Volume
    blue: Volume
    clean_red: Volume
    clean_green: Volume
    clean_blue: Volume
    labels: Volume


def stained_tissue(seed, shape=(128, 128), band=1, slide=0, unspecific=0.5, noise=4.0):
    """A picture; a pure function of its arguments. The seed decides the tissue, with and without a band.

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 16 to 2048 each.
        band: 1 with a band, which covers about 6 to 16 % of the picture; 0 without.
        slide: integer >= 0: how strong each stain is; pictures of one slide have that in common.
        unspecific: strength of the DAB that sticks elsewhere, 0 to 2; 1 is about half as dark as a band.
        noise: standard deviation in grey values, 0 to 50.

    Returns:
        `StainedTissue`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("stained_tissue")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    good = len(shape) == 2 and min(shape) >= 16 and max(shape) <= 2048
    checks.need(good, f"shape is y,x of 16 to 2048 each; got {shape}")
    for name, value, most in (("band", band, 1), ("slide", slide, 2**62), ("unspecific", unspecific, 2),
                              ("noise", noise, 50)):  # fmt: skip
        checks.number(name, value, 0, most)
    unit, strength = min(shape) / _SIDE, stream(slide, 7).uniform((0.35, 0.15, 0.7), (0.6, 0.3, 1.0))
    tissue = _tissue(stream(seed, 0), shape, unit, unspecific)
    labels, brown = _band(stream(seed, 1), shape, unit) if band else (np.zeros(shape, bool), 0.0)
    grain = noise * stream(seed, 2).standard_normal((*shape, 3))
    pictures = []
    for dab in (brown, 0.0):
        amounts = np.stack([*tissue[:2], np.maximum(tissue[2], dab)], -1) * strength
        light = 255 * 10 ** -(amounts @ _ABSORBED) + grain
        pictures.append(np.rint(np.clip(light, 0, 255)).astype(np.int16))
    channels = [np.ascontiguousarray(picture[None, ..., k]) for picture in pictures for k in range(3)]
    return StainedTissue(*(Volume(array, LPS_RAS) for array in (*channels, labels[None].astype(np.uint8))))


def _smooth(rng, shape, sigma):
    """Noise of unit variance that is smooth over some pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), max(sigma, 0.5), mode="wrap")
    return field / max(field.std(), 1e-9)


def _tissue(rng, shape, unit, unspecific):
    """Amounts of haematoxylin, counterstain and unspecific DAB, `(y, x)` each."""
    lobes = _smooth(rng, shape, 14 * unit)
    counter = 0.8 + 0.2 * lobes + 0.15 * _smooth(rng, shape, 1.2 * unit)
    nuclei = ndimage.gaussian_filter(_peaks(rng, shape, unit), 0.7 * unit)
    smear = np.clip(_smooth(rng, shape, 9 * unit) - 0.8, 0, 1) * (0.8 + 0.2 * _smooth(rng, shape, 0.8 * unit))
    return nuclei, np.maximum(counter, 0.1), np.maximum(0.6 * unspecific * smear, 0)


def _peaks(rng, shape, unit):
    """Nuclei: small ellipses of a strength of their own, `(y, x)`."""
    y, x = np.indices(shape, dtype=np.float32)
    amounts = np.zeros(shape)
    for _ in range(int(rng.integers(30, 50))):
        centre = rng.uniform(0, 1, 2) * shape
        angle, radius, flat = rng.uniform(0, np.pi), rng.uniform(2.2, 4.2) * unit, rng.uniform(0.5, 1.0)
        u = np.cos(angle) * (x - centre[1]) + np.sin(angle) * (y - centre[0])
        v = np.cos(angle) * (y - centre[0]) - np.sin(angle) * (x - centre[1])
        amounts = np.maximum(amounts, rng.uniform(0.6, 1.3) * (np.hypot(u, v / flat) < radius))
    return amounts


def _band(rng, shape, unit):
    """(mask, amount of DAB) of a winding band of equal width, whose width follows from the share that it covers."""
    field = _smooth(rng, shape, 16 * unit)
    inside = field > np.quantile(field, rng.uniform(0.35, 0.65))
    away = np.where(inside, ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside))
    mask = away <= np.quantile(away, rng.uniform(0.06, 0.14))
    amount = np.maximum(1.0 + 0.25 * _smooth(rng, shape, 1.5 * unit), 0.4)
    soft = ndimage.gaussian_filter(mask.astype(float), 0.5 * unit)
    return mask, amount * soft
