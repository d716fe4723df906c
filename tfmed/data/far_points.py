"""Voxels of a volume that keep a distance from each other: the brightest first, or at random."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Metric = Literal["euclidean", "chebyshev"]  # chebyshev: the largest of the distances along the axes, as of cubes
_BLOCK = 16  # voxels: brightest voxels are looked for block by block
_DRAWS = 4096  # at a time


class FarPoints:
    """Chooses voxels (z, y, x) one by one; none is nearer than a distance to another one.

    Args:
        shape: (z, y, x) of the volume.
        spacing: voxel size (z, y, x) in mm.
        least_mm: smallest distance between two of them, in mm.
        metric: of distances.
        allowed: bool `(z, y, x)`, voxels that may be chosen; None: all.

    Attributes:
        free: bool `(z, y, x)`, voxels that may be chosen still.

    Example:
        >>> points = FarPoints((1, 1, 9), (1.0, 1.0, 1.0), least_mm=3.0)
        >>> points.brightest(np.array([[[1, 2, 9, 8, 7, 6, 3, 2, 1]]]), count=9)[:, 2].tolist()
        [2, 5, 8]
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacing: ArrayLike,
        least_mm: float,
        metric: Metric = "euclidean",
        allowed: np.ndarray | None = None,
    ) -> None:
        self.spacing, self.least, self.metric = np.asarray(spacing, np.float64), float(least_mm), metric
        self.free = np.ones(tuple(shape), bool) if allowed is None else np.array(allowed, bool)

    def close_around(self, centre: Sequence[float]) -> tuple[slice, ...]:
        """Let no voxel near a point (z, y, x; fractions allowed) be chosen any more; the box that may have changed."""
        box, away = self._around(centre, self.least / self.spacing)
        z, y, x = away
        if self.metric == "chebyshev":
            self.free[box] &= (z >= self.least)[:, None, None] | (y >= self.least)[:, None] | (x >= self.least)
        else:
            self.free[box] &= (z**2)[:, None, None] + (y**2)[:, None] + x**2 >= self.least**2
        return box

    def close_cubes(self, centre: Sequence[float], half_mm: ArrayLike, radius_mm: float) -> None:
        """Let no voxel be chosen whose box, `half_mm` to each side, meets a sphere.

        Args:
            centre: of the sphere, (z, y, x) in voxels.
            half_mm: half sides (z, y, x) of the box.
            radius_mm: of the sphere.
        """
        half = np.asarray(half_mm, np.float64)
        box, away = self._around(centre, (half + radius_mm) / self.spacing)
        z, y, x = (np.maximum(distance - side, 0) ** 2 for distance, side in zip(away, half, strict=True))
        self.free[box] &= z[:, None, None] + y[:, None] + x > radius_mm**2

    def _around(self, centre, reach):
        """(box of voxels within reach, distances in mm along each axis)."""
        bounds = [
            (max(int(np.floor(c - r)), 0), max(min(int(np.ceil(c + r)) + 1, size), 0))
            for c, r, size in zip(centre, reach, self.free.shape, strict=True)
        ]
        bounds = [(min(first, end), end) for first, end in bounds]
        away = [np.abs(np.arange(*bound) - c) * s for bound, c, s in zip(bounds, centre, self.spacing, strict=True)]
        return tuple(slice(*bound) for bound in bounds), away

    def brightest(self, image: np.ndarray, count: int) -> np.ndarray:
        """The brightest free voxel, then the brightest that is still free, and so on: int `(n, 3)`, n <= `count`.

        Of equally bright ones any, but always the same.

        Args:
            image: `(z, y, x)`, finite.
        """
        values = np.full([-(-size // _BLOCK) * _BLOCK for size in self.free.shape], -np.inf, np.float32)
        values[tuple(slice(size) for size in self.free.shape)] = np.where(self.free, image, -np.inf)
        counts = [size // _BLOCK for size in values.shape]
        blocks = values.reshape(counts[0], _BLOCK, counts[1], _BLOCK, counts[2], _BLOCK)
        greatest, found = blocks.max((1, 3, 5)), list[tuple[int, ...]]()
        while len(found) < count:
            z, y, x = np.unravel_index(greatest.argmax(), greatest.shape)
            if greatest[z, y, x] == -np.inf:
                break
            inner = np.unravel_index(blocks[z, :, y, :, x].argmax(), (_BLOCK,) * 3)
            found.append(tuple(int(b * _BLOCK + i) for b, i in zip((z, y, x), inner, strict=True)))
            box = self.close_around(found[-1])
            values[box][~self.free[box]] = -np.inf
            near = tuple(slice(s.start // _BLOCK, -(-s.stop // _BLOCK)) for s in box)
            of = (near[0], slice(None), near[1], slice(None), near[2], slice(None))
            greatest[near] = blocks[of].max((1, 3, 5))
        return np.array(found, np.int64).reshape(-1, 3)

    def drawn(self, count: int, draw: np.random.Generator, among: np.ndarray | None = None) -> np.ndarray:
        """Free voxels, each drawn evenly from those that are still free: int `(n, 3)`, n <= `count`.

        Args:
            draw: the Generator.
            among: bool `(z, y, x)`, voxels that may be drawn; None: all.
        """
        free, wanted = self.free.reshape(-1), None if among is None else among.reshape(-1)
        found: list[tuple[int, ...]] = []
        while len(found) < count:
            places = draw.integers(free.size, size=_DRAWS)
            places = places[free[places] if wanted is None else free[places] & wanted[places]]
            if not len(places):  # few are left, or none: look at all
                left = np.flatnonzero(free if wanted is None else free & wanted)
                if not len(left):
                    break
                places = draw.choice(left, min(len(left), _DRAWS), replace=False)
            while len(places) and len(found) < count:
                found.append(tuple(int(i) for i in np.unravel_index(places[0], self.free.shape)))
                self.close_around(found[-1])
                places = places[free[places]]
        return np.array(found, np.int64).reshape(-1, 3)
