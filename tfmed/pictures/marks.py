"""Points and boxes as layers of a viewer: each one is a class of a label map, and its name may be written beside it."""

from collections.abc import Sequence

import numpy as np

from tfmed.io.volume import Volume
from tfmed.pictures.layers import Colour, Layer
from tfmed.pictures.points import FOUND, TRUE, WRONG
from tfmed.pictures.style import LABELS

_RADIUS, _RADIUS_3D = 0.01, 0.015  # of a point in a picture, in a volume, as a share of the longest side
_RING = (1.4, 2.2)  # radii of the ring around a true point
_LINE = 0.004  # width of an outline, as a share of the longest side
_FINE = 512  # pixels that the longest side of a picture's marks has at least, so that they are smooth on small pictures


def points(
    name: str,
    ground: Volume,
    places: np.ndarray,
    names: Sequence[str],
    good: np.ndarray,
    reference: bool = False,
    towards: np.ndarray | None = None,
) -> Layer:
    """The Layer of points: balls, or rings around true ones, which stay seen where both agree.

    Args:
        name: of the layer.
        ground: Volume on which they lie; distances are mm, in one of a single slice its pixels count as square.
        places: `(n, 3)`, voxels (z, y, x); rows of NaN are missing.
        names: of the points, text.
        good: bool `(n,)`; others are red, and where they are true ones, which nothing found, their names are written.
        reference: they are true ones; of found ones all names are written.
        towards: `(n, 3)`, where each should lie: a line leads there; rows of NaN: it is not known.
    """
    grid, finer = _fine(ground)
    array = np.asarray(grid.array)
    unit = np.array(grid.spacing) if grid.shape[0] > 1 else np.ones(3)
    share = _RADIUS_3D if grid.shape[0] > 1 else _RADIUS
    radius = max(share * float((np.array(grid.shape) * unit).max()), 0.8 * float(unit.max()))
    places, ends = (
        _moved(one, finer) for one in (places, np.full_like(places, np.nan) if towards is None else towards)
    )
    for number, (place, end) in enumerate(zip(places, ends, strict=True), 1):
        if np.isnan(place).any():
            continue
        if not np.isnan(end).any():
            _draw_line(array, place, end, number)
        _draw_ball(array, place, unit, radius, reference, number)
    return regions(name, grid, names, good, reference, opacity=1.0)


def boxes(
    name: str,
    ground: Volume,
    corners: np.ndarray,
    names: Sequence[str],
    good: np.ndarray,
    reference: bool = False,
) -> Layer:
    """The Layer of the outlines of boxes in a picture, the first one on top; those of true ones lie around them.

    Args:
        name, names, good, reference: as of `points`.
        ground: Volume `(1, y, x)` on which they lie.
        corners: `(n, 4)`, x0, y0, x1, y1 in pixels, as of `tfmed.io.objects`.
    """
    grid, finer = _fine(ground)
    array = np.asarray(grid.array)[0]
    width = max(1, round(_LINE * max(array.shape)))
    out = width if reference else 0
    for number in range(len(corners), 0, -1):
        x0, y0, x1, y1 = np.rint(finer * corners[number - 1]).astype(int) + (-out, -out, out, out)
        edge = np.zeros(array.shape, bool)
        edge[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        edge[max(y0 + width, 0) : max(y1 - width, 0), max(x0 + width, 0) : max(x1 - width, 0)] = False
        array[edge] = number
    return regions(name, grid, names, good, reference, opacity=1.0)


def regions(
    name: str, numbers: Volume, names: Sequence[str], good: np.ndarray, reference: bool = False, opacity: float = 0.6
) -> Layer:
    """The Layer of regions that are numbered from 1; other arguments as of `points`."""
    right, wrong = (_rgb(LABELS[one]) for one in (TRUE if reference else FOUND, WRONG))
    classes = {k: (text, right if fine else wrong) for k, (text, fine) in enumerate(zip(names, good, strict=True), 1)}
    written = tuple(k for k, fine in enumerate(good, 1) if not (reference and fine))
    return Layer(name, numbers, "labels", classes=classes, opacity=opacity, written=written)


def _fine(ground: Volume) -> tuple[Volume, int]:
    """(an empty label map on the grid of an image, of a small picture on a finer one, how many times finer that is)."""
    _, rows, columns = ground.shape
    finer = max(1, -(-_FINE // max(rows, columns))) if ground.shape[0] == 1 else 1
    onto = np.diag([1 / finer, 1 / finer, 1.0, 1.0])
    onto[:2, 3] = 0.5 / finer - 0.5
    array = np.zeros((ground.shape[0], rows * finer, columns * finer), np.int16)
    return Volume(array, ground.affine @ onto), finer


def _moved(places: np.ndarray, finer: int) -> np.ndarray:
    """Voxels (z, y, x) on a grid that is finer in its slices."""
    scale = np.array([1, finer, finer])
    return (np.asarray(places, np.float64).reshape(-1, 3) + 0.5) * scale - 0.5


def _rgb(text: str) -> Colour:
    """A colour such as "#ffb000"."""
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _draw_ball(
    array: np.ndarray, place: np.ndarray, unit: np.ndarray, radius: float, hollow: bool, number: int
) -> None:
    """Set the voxels around a place to a number; hollow: those of a shell alone."""
    reach = np.ceil(_RING[1] * radius / unit)
    low, high = (np.clip(place + way * reach + (way > 0), 0, array.shape).astype(int) for way in (-1, 1))
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    away = np.moveaxis(np.indices(array[box].shape), 0, -1) + low - place
    far = np.linalg.norm(away * unit, axis=-1)
    if hollow:
        marked = (far > _RING[0] * radius) & (far <= _RING[1] * radius)
    else:
        marked = (far <= radius) | (np.abs(away) <= 0.5).all(-1)  # the voxel that it lies in, however thick slices are
    array[box][marked] = number


def _draw_line(array: np.ndarray, start: np.ndarray, end: np.ndarray, number: int) -> None:
    """Set the voxels from one place to another to a number."""
    count = int(np.abs(end - start).max()) + 2
    line = np.rint(np.linspace(start, end, count)).astype(int)
    line = line[((line >= 0) & (line < array.shape)).all(-1)]
    array[tuple(line.T)] = number
