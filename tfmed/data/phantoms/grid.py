"""Voxel grids in millimetres, and smooth fields that are computed on a coarse grid and read at any finer one.

An anatomy is defined once, in mm, on a fixed coarse grid; an image of any shape reads it by cubic interpolation written
as small matrix products. That makes the anatomy independent of the resolution, and a large image cheap.
"""

import dataclasses

import numpy as np

# A fine voxel needs 4 coarse samples, so products are cut into blocks that leave out most of the zeros. Small products
# also stay on the calling thread in OpenBLAS; large ones wait for each other when several threads make them at once.
_BLOCK = 56


@dataclasses.dataclass(frozen=True)
class Grid:
    """Voxel centres of an image that is centred on the world's origin.

    Args:
        shape: `(z, y, x)` voxels.
        spacing: `(z, y, x)` mm.
    """

    shape: tuple
    spacing: tuple

    @classmethod
    def covering(cls, shape, extent):
        """The grid of `shape` that fills `extent` (mm, `(z, y, x)`), whatever the shape."""
        return cls(tuple(shape), tuple(float(size) / n for size, n in zip(extent, shape, strict=True)))

    @property
    def origin(self):
        """Centre of voxel (0, 0, 0) in mm, float64 `(3,)` in order z, y, x."""
        return -0.5 * (np.array(self.shape) - 1) * np.array(self.spacing)

    @property
    def affine(self):
        """RAS+ affine `(4, 4)` as `tfmed.io.Volume` wants it (columns x, y, z)."""
        affine = np.diag([*self.spacing[::-1], 1.0])
        affine[:3, 3] = self.origin[::-1]
        return affine

    def axis(self, number):
        """Coordinates in mm of the voxel centres along axis 0, 1 or 2 (z, y, x), float32 `(n,)`."""
        return (self.origin[number] + np.arange(self.shape[number]) * self.spacing[number]).astype(np.float32)

    def mesh(self):
        """Three float32 arrays z, y, x that broadcast to `shape`."""
        return np.meshgrid(*(self.axis(k) for k in range(3)), indexing="ij", sparse=True)

    def box(self, low, high):
        """Slices of the voxels whose centres lie between the mm corners `low` and `high` (z, y, x), cut at the edge."""
        first = np.clip(np.ceil((np.asarray(low) - self.origin) / self.spacing), 0, self.shape).astype(int)
        last = np.clip(np.floor((np.asarray(high) - self.origin) / self.spacing) + 1, 0, self.shape).astype(int)
        return tuple(slice(int(a), int(max(a, b))) for a, b in zip(first, last, strict=True))


def cubic_weights(coordinates, origin, spacing, size):
    """Matrix `(len(coordinates), size)` float32 that reads a line of `size` samples by Catmull-Rom interpolation.

    Outside the line its end values hold.
    """
    position = np.clip((np.asarray(coordinates, np.float64) - origin) / spacing, 0, size - 1)
    left = np.minimum(position.astype(int), size - 2)
    t = position - left
    taps = np.stack(
        [
            -0.5 * t**3 + t**2 - 0.5 * t,
            1.5 * t**3 - 2.5 * t**2 + 1,
            -1.5 * t**3 + 2 * t**2 + 0.5 * t,
            0.5 * t**3 - 0.5 * t**2,
        ]
    )
    matrix = np.zeros((len(position), size))
    rows = np.arange(len(position))
    for k in range(4):
        matrix[rows, np.clip(left + k - 1, 0, size - 1)] += taps[k]
    return matrix.astype(np.float32)


class Upsampler:
    """Reads coarse fields at the voxels of one box of a fine grid.

    Args:
        coarse: `Grid` of the fields.
        fine: `Grid` of the image.
        box: slices `(z, y, x)` of the fine grid.
    """

    def __init__(self, coarse, fine, box):
        self.box = box
        self.shape = tuple(side.stop - side.start for side in box)
        z, y, x = (
            cubic_weights(fine.axis(k)[box[k]], coarse.origin[k], coarse.spacing[k], coarse.shape[k]) for k in range(3)
        )
        self.z, self.y = _blocks(z), _blocks(y)
        self.x = [(place, used, np.ascontiguousarray(weights.T)) for place, used, weights in _blocks(x)]
        self.columns = coarse.shape[2]

    def planes(self, fields):
        """Interpolate along z only: `(f, Z, Y, X)` -> `(z, f, Y, X)` float32; the input of `read`."""
        count, _, height, width = fields.shape
        planes = np.empty((self.shape[0], count, height, width), np.float32)
        coarse, fine = fields.transpose(0, 2, 1, 3), planes.transpose(1, 2, 0, 3)
        for place, used, weights in self.z:
            np.matmul(weights, coarse[:, :, used], out=fine[:, :, place])
        return planes

    def room(self, *leading):
        """Reusable memory for `read` of planes with these leading axes: fresh pages cost more than the arithmetic."""
        height, width = self.shape[1:]
        return np.empty((*leading, height, self.columns), np.float32), np.empty((*leading, height, width), np.float32)

    def read(self, planes, room=None):
        """Interpolate in the plane: `(..., Y, X)` -> `(..., y, x)` float32, in the memory of `room` if given."""
        rows, out = (buffer[: len(planes)] for buffer in room or self.room(*planes.shape[:-2]))
        for place, used, weights in self.y:
            np.matmul(weights, planes[..., used, :], out=rows[..., place, :])
        for place, used, weights in self.x:
            np.matmul(rows[..., used], weights, out=out[..., place])
        return out


def slabs(fields, coarse, fine, thick=8):
    """Read coarse fields at every voxel of an image, a few slices at a time: memory stays small and in the cache.

    Args:
        fields: `(f, Z, Y, X)` float32 on `coarse`.
        coarse, fine: `Grid` of the fields and of the image.
        thick: slices at a time.

    Yields:
        `(slice along z, fields (f, n, y, x) float32)`; the memory is used again for the next slab.
    """
    upsampler = Upsampler(coarse, fine, tuple(slice(0, n) for n in fine.shape))
    planes = upsampler.planes(fields)
    room = upsampler.room(thick, len(fields))
    for first in range(0, fine.shape[0], thick):
        slab = slice(first, min(first + thick, fine.shape[0]))
        yield slab, np.moveaxis(upsampler.read(planes[slab], room), 1, 0)


def _blocks(weights):
    """`(rows, columns that they use, weights)` of each block of rows of an interpolation matrix."""
    found = []
    for first in range(0, len(weights), _BLOCK):
        rows = weights[first : first + _BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        used = slice(int(used[0]), int(used[-1]) + 1)
        found.append((slice(first, first + len(rows)), used, np.ascontiguousarray(rows[:, used])))
    return found


def smooth_noise(rng, grid, length, count=1):
    """`count` smooth random fields `(count, z, y, x)` float32, of unit variance, that vary over about `length` mm."""
    sizes = [max(4, int(np.ceil(n * s / length)) + 3) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    knots = rng.standard_normal((count, *sizes)).astype(np.float32)
    low = Grid(tuple(sizes), (length,) * 3)
    upsampler = Upsampler(low, grid, tuple(slice(0, n) for n in grid.shape))
    return np.moveaxis(upsampler.read(upsampler.planes(knots)), 0, 1) * np.float32(1.35)
