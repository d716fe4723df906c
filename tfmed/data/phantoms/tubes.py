"""Tubes: many straight pieces with a radius, evaluated only in the voxels around each piece."""

import dataclasses

import numpy as np

from .grid import cubic_weights

_SIZES = np.array([2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50, 60, 80, 110, 150, 224, 512, 4096])
_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Tubes:
    """Straight pieces in mm.

    Args:
        start, end: `(n, 3)` end points in order z, y, x.
        radius: `(n,)` mm.
        flat: divides distances along z, so that 2 makes a section twice as high as wide.
    """

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    flat: float = 1.0

    def __len__(self):
        return len(self.radius)

    def take(self, which):
        """The pieces selected by a mask or by indices."""
        return Tubes(self.start[which], self.end[which], self.radius[which], self.flat)

    def moved(self, function):
        """The same tubes with `function((n, 3) points) -> (n, 3) points` applied to both ends."""
        return dataclasses.replace(self, start=function(self.start), end=function(self.end))


def polyline(points, radii, step=6.0, flat=1.0):
    """Tubes along smooth curves through given points.

    Args:
        points: `(n, 3)`, or `(m, n, 3)` for m curves at once.
        radii: mm, one number or one per point.
        step: length in mm of the pieces that the longest curve is cut into.
        flat: as in `Tubes`.
    """
    points = np.asarray(points, np.float64)
    points = points.reshape(-1, *points.shape[-2:])
    count = points.shape[1]
    length = np.sqrt(((points[:, 1:] - points[:, :-1]) ** 2).sum(axis=2)).sum(axis=1).max()
    at = np.linspace(0, count - 1, max(2, int(np.ceil(length / step)) + 1))
    curves = cubic_weights(at, 0.0, 1.0, count).astype(np.float64) @ points
    radius = np.interp(0.5 * (at[1:] + at[:-1]), np.arange(count), np.broadcast_to(radii, count))
    ends = curves[:, :-1].reshape(-1, 3), curves[:, 1:].reshape(-1, 3)
    return Tubes(*ends, np.tile(radius, len(points)), flat)


def join(*tubes):
    """One `Tubes` of several (all with the same `flat`)."""
    return Tubes(
        np.concatenate([one.start for one in tubes]),
        np.concatenate([one.end for one in tubes]),
        np.concatenate([one.radius for one in tubes]),
        tubes[0].flat,
    )


def rasterise(tubes, grid, margin):
    """Voxels near the tubes.

    Args:
        tubes: `Tubes`.
        grid: `Grid` of the image.
        margin: mm; voxels whose centre is at most `radius + margin` away from a piece's axis are given.

    Returns:
        `(index, distance, radius)`: flat voxel index int64, distance to the axis and radius of the piece in mm float32.
        A voxel comes once for every piece that it is near.
    """
    origin, spacing = grid.origin, np.array(grid.spacing)
    reach = (tubes.radius + margin)[:, None] * np.array([tubes.flat, 1.0, 1.0])
    first = np.ceil((np.minimum(tubes.start, tubes.end) - reach - origin) / spacing).astype(np.int64)
    last = np.floor((np.maximum(tubes.start, tubes.end) + reach - origin) / spacing).astype(np.int64)
    first_in, last_in = np.maximum(first, 0), np.minimum(last, np.array(grid.shape) - 1)
    inside = (last_in >= first_in).all(axis=1)
    size = np.searchsorted(_SIZES, (last_in - first_in + 1).max(axis=1))
    found = []
    for number in np.unique(size[inside]):
        group = np.flatnonzero(inside & (size == number))
        block = np.minimum(_SIZES[number], grid.shape)
        per_chunk = max(1, _CHUNK // int(block.prod()))
        for begin in range(0, len(group), per_chunk):
            which = group[begin : begin + per_chunk]
            found.append(_near(tubes, grid, which, first_in[which], block, margin))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32)
    return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))


def _near(tubes, grid, which, first, block, margin):
    """`rasterise` for pieces that share one size of box; boxes are shifted to lie inside the grid."""
    first = np.minimum(first, np.array(grid.shape) - block)
    scale = np.array([1.0 / tubes.flat, 1.0, 1.0])
    along = ((tubes.end[which] - tubes.start[which]) * scale).astype(np.float32)
    length2 = np.maximum((along**2).sum(axis=1), 1e-6)[:, None, None, None]
    corner = ((grid.origin + first * grid.spacing - tubes.start[which]) * scale).astype(np.float32)
    step = (np.array(grid.spacing) * scale).astype(np.float32)
    z, y, x = (corner[:, k, None] + np.arange(block[k], dtype=np.float32) * step[k] for k in range(3))
    uz, uy, ux = (along[:, k, None] for k in range(3))
    z, y, x = z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]
    projection = (z * uz[:, :, None, None] + y * uy[:, :, None, None]) + x * ux[:, :, None, None]
    t = projection / length2
    np.clip(t, 0, 1, out=t)
    projection *= 2
    projection -= t * length2
    projection *= t
    squared = (z * z + y * y) + x * x
    squared -= projection
    limit = ((tubes.radius[which] + margin) ** 2).astype(np.float32)[:, None, None, None]
    flat = np.flatnonzero(squared <= limit)
    voxels = int(block.prod())
    piece = flat // voxels
    _, height, width = grid.shape
    steps = [np.arange(n) for n in block]
    table = (steps[0][:, None, None] * height + steps[1][:, None]) * width + steps[2]
    base = (first[:, 0] * height + first[:, 1]) * width + first[:, 2]
    index = base[piece] + table.ravel()[flat - piece * voxels]
    distance = np.sqrt(np.maximum(squared.ravel()[flat], 0))
    return index, distance, tubes.radius[which].astype(np.float32)[piece]


def coverage(distance, radius, spacing):
    """Share of a voxel (0 to 1, float32) that lies within `radius` mm of an axis at `distance` mm.

    A tube thinner than a voxel keeps its cross-section, so that thin vessels fade instead of breaking up.
    """
    width = np.maximum(radius, 0.5 * spacing).astype(np.float32)
    share = np.clip((width - distance) * np.float32(1 / spacing) + np.float32(0.5), 0, 1)
    return share * np.minimum(1, (radius / width) ** 2).astype(np.float32)


def largest(buffer, index, value):
    """For voxels that come several times: the largest of their values, uint8; `buffer` is all zero before and after.

    Written in the order of their values, the largest stays; sorting bytes is cheap, and `np.maximum.at` of older NumPy
    is not.
    """
    order = np.argsort(value, kind="stable")
    ordered = index[order]
    buffer[ordered] = value[order]
    result = buffer[index]
    buffer[ordered] = 0
    return result
