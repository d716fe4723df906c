"""Cells of one specimen at one of two visits, made from a seed, as adaptive-optics pictures of cones; not a real eye.

Cells are bent discs on a jittered hexagonal lattice, each brighter on one side. Between the visits the field of view is
shifted, turned, scaled and bent a little, each cell moves and changes its shape somewhat, and some cells come or go. In
either picture some cells, others each time, lie under noise and blur: there a segmenter fails that knows clean cells
only, while the other visit mostly shows them well. The number of a cell is the same at both visits.
"""

import dataclasses

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from tfmed.io.volume import Volume

from .common import Checks, stream

_RADIUS = 0.46  # mean radius of a cell, of the distance between two
_REACH = 1.6  # distances beyond the picture where there are cells as well
_SMALL = 0.3  # share of a cell's area that is left of it where it is found too small
_CRUMB = 0.1  # share of a usual cell; where less of one is in the picture, it is not labelled


@dataclasses.dataclass(frozen=True)
class CellVisit:
    """One picture of a specimen.

    Args:
        volume: int16 `(1, y, x)`, grey values from 0 to 255.
        found: uint16 `(1, y, x)`: the label map as left by a segmenter that fails where there is noise: of the cells
            there half are missing, and half are much too small.
        labels: uint16 `(1, y, x)`: the number of the cell at each pixel, the same at both visits; 0 is background.
        noisy: numbers of the cells under noise, ascending.
        affine: float64 `(2, 3)`: from places `(y, x)` in the first visit's picture to this one's, without the bending.
    """

    volume: Volume
    found: Volume
    labels: Volume
    noisy: np.ndarray
    affine: np.ndarray


def cell_pairs(
    seed, shape=(333, 333), visit=1, spacing=32.0, noisy=0.2, motion=1.0, changed=0.04, noise=6.0, speckle=22.0
):
    """A picture of a specimen's cells at a visit; a pure function of its arguments.

    Args:
        seed: integer >= 0: the specimen.
        shape: `(y, x)` pixels, 32 to 2048 each.
        visit: 1 or 2.
        spacing: mean distance between neighbours in pixels, 12 to 100.
        noisy: share of the cells under noise, 0 to 1; drawn for each visit.
        motion: how much the second visit is moved, 0 to 4; at 1 the field is shifted by up to a third of `spacing`,
            turned by up to 5 degrees, scaled by up to 3 % and bent by some 2 % of `spacing`, as are cells.
        changed: share of the cells that are missing at a visit, 0 to 0.9; drawn for each visit.
        noise: standard deviation of the noise between the noisy cells, in grey values.
        speckle: standard deviation of the blotches, and of the grain, on noisy cells, in grey values: much of it looks
            like cells, little lets them fade away.

    Returns:
        `CellVisit`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("cell_pairs")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 32 and max(shape) <= 2048,
                f"shape is y,x of 32 to 2048 each; got {shape}")  # fmt: skip
    checks.need(visit in (1, 2), f"visit must be 1 or 2; got {visit!r}")
    limits = {"spacing": (spacing, 12.0, 100.0), "noisy": (noisy, 0.0, 1.0), "motion": (motion, 0.0, 4.0),
              "changed": (changed, 0.0, 0.9), "noise": (noise, 0.0, 200.0),
              "speckle": (speckle, 0.0, 200.0)}  # fmt: skip
    for name, (value, low, high) in limits.items():
        checks.number(name, value, low, high)
    affine = _affine(stream(seed, 0), shape, spacing, motion if visit == 2 else 0.0)
    cells = _specimen(stream(seed, 1), shape, spacing)
    own = stream(seed, 10 + visit)
    if visit == 2:
        cells = _later(cells, own, motion)
    there = own.random(len(cells.centres)) >= changed
    rest = cells.only(there)
    places = _back(shape, affine, spacing, motion if visit == 2 else 0.0, stream(seed, 2))
    number, depth, light = _cells_at(places, rest)
    labels = _without_crumbs(np.where(depth > 0, number, 0), _CRUMB * np.pi * (_RADIUS * spacing) ** 2)
    grey = _picture(depth, light, spacing, own)
    ill = np.flatnonzero(own.random(len(cells.centres)) < noisy) + 1
    ill = np.intersect1d(ill, labels)
    grey = _disturbed(grey, np.isin(number, ill) & (depth > -0.25), spacing, speckle, own)
    grey += np.float32(noise) * own.standard_normal(shape, dtype=np.float32)
    found = _as_found(labels, depth, ill, own)
    grey = np.rint(np.clip(grey, 0, 255)).astype(np.int16)
    volumes = [Volume(array[None], np.eye(4)) for array in (grey, found, labels)]
    return CellVisit(*volumes, ill, affine)


@dataclasses.dataclass(frozen=True)
class _Cells:
    """Cells: numbers from 1, centres (y, x) in px, radii in px, outlines' waves (2, 2: cosine and sine of two periods),
    brightness."""

    numbers: np.ndarray
    centres: np.ndarray
    radii: np.ndarray
    waves: np.ndarray
    light: np.ndarray

    def only(self, which):
        """Those of a mask."""
        return _Cells(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))


def _specimen(rng, shape, spacing):
    """Cells in the picture and around it."""
    rows, columns = (int(np.ceil(n / spacing / s + 2 * _REACH)) for n, s in zip(shape, (0.866, 1.0), strict=True))
    y, x = np.indices((rows + 1, columns + 1)).reshape(2, -1)
    centres = np.stack([0.866 * y, x + 0.5 * (y % 2)], axis=1) - _REACH + rng.uniform(0, 1, 2)
    centres = spacing * (centres + rng.normal(0, 0.09, centres.shape))
    count = len(centres)
    radii = spacing * _RADIUS * np.clip(rng.normal(1, 0.06, count), 0.8, 1.15)
    waves = rng.normal(0, 0.05, (count, 2, 2))
    return _Cells(np.arange(1, count + 1), centres, radii, waves, rng.normal(1, 0.15, count))


def _later(cells, rng, motion):
    """The cells at the second visit: a little moved, of other size, form and brightness."""
    size = cells.radii[:, None]
    return dataclasses.replace(
        cells,
        centres=cells.centres + 0.04 * motion * size * rng.standard_normal(cells.centres.shape),
        radii=cells.radii * (1 + 0.03 * motion * np.clip(rng.standard_normal(len(size)), -2, 2)),
        waves=cells.waves + 0.015 * motion * rng.standard_normal(cells.waves.shape),
        light=cells.light + 0.1 * motion * rng.standard_normal(len(size)),
    )


def _affine(rng, shape, spacing, motion):
    """Turn, scale and shift about the middle of the picture, `(2, 3)`."""
    turn = np.deg2rad(5) * motion * rng.uniform(-1, 1)
    scale = 1 + 0.03 * motion * rng.uniform(-1, 1)
    shift = spacing / 3 * motion * rng.uniform(-1, 1, 2)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = (np.array(shape) - 1) / 2
    return np.concatenate([matrix, (middle + shift - matrix @ middle)[:, None]], axis=1)


def _back(shape, affine, spacing, motion, rng):
    """Where in the specimen each pixel looks, float64 `(y, x, 2)`."""
    pixels = np.stack(np.indices(shape), axis=-1).astype(float)
    bend = np.stack(
        [ndimage.gaussian_filter(rng.standard_normal(shape), 2 * spacing, mode="reflect") for _ in "yx"], -1
    )
    bend *= 0.02 * spacing * motion / max(bend.std(), 1e-12)
    return (pixels - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T + bend


def _cells_at(places, cells):
    """At each pixel, of the nearest cell: its number, how deep inside it lies (1 centre, 0 outline, below 0 outside),
    and its light."""
    nearest = cKDTree(cells.centres).query(places.reshape(-1, 2))[1].reshape(places.shape[:2])
    offset = places - cells.centres[nearest]
    away, angle = np.linalg.norm(offset, axis=-1), np.arctan2(offset[..., 0], offset[..., 1])
    waves = cells.waves[nearest]
    outline = 1 + sum(waves[..., k, 0] * np.cos((k + 2) * angle) + waves[..., k, 1] * np.sin((k + 2) * angle)
                      for k in (0, 1))  # fmt: skip
    depth = 1 - away / (cells.radii[nearest] * outline)
    side = offset[..., 1] / cells.radii[nearest]  # light falls from one side
    return cells.numbers[nearest], depth, cells.light[nearest] * (1 + 0.5 * side)


def _picture(depth, light, spacing, rng):
    """Grey values before noise, float32."""
    uneven = ndimage.gaussian_filter(rng.standard_normal(depth.shape), 1.5 * spacing)
    uneven *= 12 / max(uneven.std(), 1e-12)
    grain = ndimage.gaussian_filter(rng.standard_normal(depth.shape), spacing / 20) * (spacing / 20) * 20
    dome = np.clip(1.6 * depth, 0, 1) ** 0.6
    return ndimage.gaussian_filter(75 + uneven + grain + 85 * light * dome, spacing / 30).astype(np.float32)


def _disturbed(grey, where, spacing, speckle, rng):
    """Blur, low contrast and strong noise on some cells."""
    share = ndimage.gaussian_filter(where.astype(np.float32), spacing / 16)
    blurred = ndimage.gaussian_filter(grey, spacing / 5)
    clouds = ndimage.gaussian_filter(rng.standard_normal(grey.shape), spacing / 12)
    clouds *= speckle / max(clouds.std(), 1e-12)
    worse = 80 + 0.35 * (blurred - 80) + clouds + speckle * rng.standard_normal(grey.shape)
    return (grey + share * (worse - grey)).astype(np.float32)


def _without_crumbs(labels, least):
    """Without cells of which the picture holds fewer than `least` pixels; uint16."""
    sizes = np.bincount(labels.ravel())
    return np.where(sizes[labels] >= least, labels, 0).astype(np.uint16)


def _as_found(labels, depth, ill, rng):
    """The label map with cells under noise missing, or too small."""
    missing = rng.random(len(ill)) < 0.5
    found = np.where(np.isin(labels, ill[missing]), 0, labels)
    small = np.isin(labels, ill[~missing]) & (depth < 1 - _SMALL**0.5)
    return np.where(small, 0, found).astype(np.uint16)
