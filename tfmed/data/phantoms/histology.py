"""Pictures of five kinds of tissue with their own classes, made from a seed: tasks that are alike and differ."""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

LOOKS = ("glands", "nuclei", "cells", "lesion", "grades")
CLASSES = {"glands": 2, "nuclei": 2, "cells": 4, "lesion": 2, "grades": 6}  # the background among them
_SIDE = 96  # pixels for which the structures' sizes below are meant
# Optical densities of red, green and blue for haematoxylin and eosin (Ruifrok & Johnston 2001).
_ABSORBED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])


@dataclasses.dataclass(frozen=True)
class Histology:
    """A picture.

    Args:
        red, green, blue: int16 `(1, y, x)`, from 0 to 255.
        labels: uint8 `(1, y, x)`, 0 to one less than the look's number of classes.
    """

    red: Volume
    green: Volume
    blue: Volume
    labels: Volume


def histology(seed, shape=(128, 128), look="glands", noise=4.0):
    """A picture of tissue in haematoxylin and eosin; a pure function of its arguments.

    Looks and their classes: "glands" (1: glands, pale lumina in dark rims), "nuclei" (1: nuclei), "cells" (1: large
    irregular nuclei, 2: oval pale ones, 3: small round dark ones; each labelled as a disc about its centre), "lesion"
    (1: a region with crowded, disordered nuclei), "grades" (1 to 5: regions whose glands are ever smaller and denser).

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 16 to 2048 each.
        look: what is seen.
        noise: standard deviation in grey values, 0 to 50.

    Returns:
        `Histology`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("histology")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 16 and max(shape) <= 2048,
                f"shape is y,x of 16 to 2048 each; got {shape}")  # fmt: skip
    checks.need(look in LOOKS, f"look must be one of {', '.join(LOOKS)}; got {look!r}")
    checks.number("noise", noise, 0, 50)
    rng, unit = stream(seed, LOOKS.index(look)), min(shape) / _SIDE
    stroma = 0.35 + 0.1 * _smooth(rng, shape, 5 * unit) + 0.06 * _smooth(rng, shape, 1.2 * unit)
    nuclei, eosin, labels = _MADE[look](rng, shape, unit)
    nuclei = ndimage.gaussian_filter(nuclei, 0.5 * unit) * (1 + 0.15 * _smooth(rng, shape, unit))
    amounts = np.stack([0.05 + nuclei, np.clip(stroma * eosin, 0, None)], -1) * rng.uniform(0.75, 1.2, 2)
    light = 250 * 10 ** -(amounts @ _ABSORBED) + noise * rng.standard_normal((*shape, 3))
    picture = np.rint(np.clip(light, 0, 255)).astype(np.int16)
    channels = [Volume(np.ascontiguousarray(picture[None, ..., k]), LPS_RAS) for k in range(3)]
    return Histology(*channels, Volume(labels[None].astype(np.uint8), LPS_RAS))


def _smooth(rng, shape, sigma):
    """Noise of unit variance that is smooth over some pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), max(sigma, 0.5), mode="wrap")
    return field / max(field.std(), 1e-9)


def _ellipses(rng, shape, count, radius, flat, where=None):
    """[(centre, mask)] of ellipses, in the order drawn; without those whose centre lies outside of `where`."""
    y, x = np.indices(shape, dtype=np.float32)
    found = []
    for _ in range(count):
        centre, angle = rng.uniform(0, 1, 2) * shape, rng.uniform(0, np.pi)
        r, f = rng.uniform(*radius), rng.uniform(*flat)
        u = np.cos(angle) * (x - centre[1]) + np.sin(angle) * (y - centre[0])
        v = np.cos(angle) * (y - centre[0]) - np.sin(angle) * (x - centre[1])
        if where is None or where[int(centre[0]), int(centre[1])]:
            found.append((centre, np.hypot(u, v / f) < r))
    return found


def _strewn(rng, shape, unit, count, where=None, radius=(1.5, 2.6), strength=0.5):
    """Amount of haematoxylin of nuclei that are no one's label."""
    amount = np.zeros(shape)
    for _, mask in _ellipses(rng, shape, count, np.multiply(radius, unit), (0.5, 1.0), where):
        amount[mask] = strength * rng.uniform(0.7, 1.2)
    return amount


def _glands(rng, shape, unit):
    labels, rim, lumen = (np.zeros(shape, bool) for _ in range(3))
    for _, mask in _ellipses(rng, shape, int(rng.integers(4, 8)), (9 * unit, 17 * unit), (0.6, 1.0)):
        mask &= ~ndimage.binary_dilation(labels, iterations=max(int(2 * unit), 1))
        depth = ndimage.distance_transform_edt(mask)
        labels |= mask
        rim |= mask & (depth < 3.2 * unit)
        lumen |= mask & (depth > 6 * unit)
    speckle = _smooth(rng, shape, 1.0 * unit) > -0.3
    return 0.55 * (rim & speckle) + _strewn(rng, shape, unit, 25, ~labels), np.where(lumen, 0.15, 1.0), labels


def _nuclei(rng, shape, unit):
    labels, amount = np.zeros(shape, bool), np.zeros(shape)
    for _, mask in _ellipses(rng, shape, int(rng.integers(35, 60)), (2.5 * unit, 5 * unit), (0.6, 1.0)):
        amount[mask] = rng.uniform(0.4, 0.8)
        labels |= mask
    return amount, np.ones(shape), labels


def _cells(rng, shape, unit):
    labels, amount = np.zeros(shape, np.uint8), np.zeros(shape)
    y, x = np.indices(shape, dtype=np.float32)
    for kind, most, radius, flat, dark in ((1, 8, (4.5, 6.5), (0.6, 0.9), 0.6), (2, 10, (3.5, 5), (0.5, 0.7), 0.35),
                                           (3, 14, (2, 2.8), (0.9, 1.0), 0.95)):  # fmt: skip
        for centre, mask in _ellipses(
            rng, shape, int(rng.integers(most // 2, most + 1)), np.multiply(radius, unit), flat
        ):
            amount[mask] = dark * rng.uniform(0.85, 1.15)
            labels[np.hypot(y - centre[0], x - centre[1]) < 5 * unit] = kind
    return amount, np.ones(shape), labels


def _lesion(rng, shape, unit):
    field = _smooth(rng, shape, 22 * unit)
    labels = field > np.quantile(field, rng.uniform(0.5, 0.7))
    usual = _strewn(rng, shape, unit, 60, ~labels, strength=0.5)
    return usual + _strewn(rng, shape, unit, 260, labels, (2.0, 4.0), 0.7), np.where(labels, 0.8, 1.0), labels


def _grades(rng, shape, unit):
    fields = [_smooth(rng, shape, 20 * unit) for _ in range(3)]
    chosen = np.concatenate([[0], rng.permutation(np.arange(1, 6))[:2]])
    labels = chosen[np.argmax(fields, 0)].astype(np.uint8)
    amount, eosin = _strewn(rng, shape, unit, 30, labels == 0), np.ones(shape)
    for grade in chosen[1:]:
        where, size = labels == grade, (11, 8, 5.5, 4, 2.6)[grade - 1] * unit
        period = _smooth(rng, shape, size / 2)
        amount = np.where(where & (np.abs(period) < 0.25 + 0.09 * grade), 0.35 + 0.1 * grade, amount)
        eosin = np.where(where & (period > 1.2), 0.2, eosin)
    return amount, eosin, labels


_MADE = {"glands": _glands, "nuclei": _nuclei, "cells": _cells, "lesion": _lesion, "grades": _grades}
