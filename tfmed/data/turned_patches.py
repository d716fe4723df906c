"""Cubes cut out of a volume, turned about a centre: reading them, their slices, and taking points there and back.

Places are `(z, y, x)`: the order of the array's axes. A patch has a pitch in mm along all axes, whatever the voxels of
the volume are; places within it are told in mm from its middle. Plain numpy and scipy.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from tfmed.data.preprocess.geometry import boxed_array
from tfmed.ops.three_views import order as slice_order


@dataclasses.dataclass(frozen=True, eq=False)
class TurnedPatch:
    """A cube of `side` samples per axis within a volume.

    Args:
        centre: `(3,)` voxels of the volume: where the cube's middle lies.
        side: samples along each axis.
        spacing: mm of the volume's voxels (z, y, x).
        pitch: mm between two samples.
        rotation: `(3, 3)`, columns: where the cube's axes point in the volume, in mm.
    """

    centre: np.ndarray
    side: int
    spacing: Sequence[float]
    pitch: float
    rotation: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3))

    def to_volume(self, offsets: ArrayLike) -> np.ndarray:
        """Places in mm from the cube's middle `(n, 3)` -> voxels of the volume, float64."""
        turned = np.asarray(offsets, np.float64) @ np.asarray(self.rotation, np.float64).T
        return np.asarray(self.centre, np.float64) + turned / np.asarray(self.spacing, np.float64)

    def from_volume(self, voxels: ArrayLike) -> np.ndarray:
        """Back: voxels of the volume `(n, 3)` -> mm from the cube's middle."""
        away = (np.asarray(voxels, np.float64) - np.asarray(self.centre, np.float64)) * np.asarray(self.spacing)
        return away @ np.asarray(self.rotation, np.float64)

    def holds(self, voxels: ArrayLike) -> np.ndarray:
        """Whether each place of the volume `(n, 3)` lies in the cube, bool `(n,)`."""
        return (np.abs(self.from_volume(voxels)) <= self.side * self.pitch / 2).all(-1)

    def read(self, image: np.ndarray, order: int = 1, fill: float = 0.0) -> np.ndarray:
        """The samples `(side, side, side)` of an image `(z, y, x)`, in its dtype.

        Args:
            image: floats for order 1.
            order: 1 (trilinear) or 0 (nearest voxel).
            fill: what lies outside of the volume.
        """
        return self._at(image, [range(self.side)] * 3, order, fill)

    def slice(self, image: np.ndarray, axis: int, number: int, order: int = 1, fill: float = 0.0) -> np.ndarray:
        """One slice `(side, side)` along an axis of the cube, its axes in cyclic order (see `ops.three_views`)."""
        ranges = [range(number, number + 1) if a == axis else range(self.side) for a in range(3)]
        return self._at(image, ranges, order, fill).transpose(slice_order(axis))[0]

    def _at(self, image: np.ndarray, ranges: Sequence[range], order: int, fill: float) -> np.ndarray:
        """Samples at the product of three ranges of them; only the box of the image that they need is read."""
        lines = [(np.asarray(one) - (self.side - 1) / 2) * self.pitch for one in ranges]
        corners = self.to_volume(np.stack(np.meshgrid(*([line[0], line[-1]] for line in lines)), -1).reshape(-1, 3))
        low, high = np.floor(corners.min(0) - 1e-3).astype(int), np.ceil(corners.max(0) + 1e-3).astype(int)
        box = np.asarray(boxed_array(image, low.tolist(), (high - low + 1).tolist(), fill))
        places = np.empty((3, *map(len, ranges)))
        for axis in range(3):  # a sum of one term per axis of the cube
            terms = [self.rotation[axis, k] / self.spacing[axis] * line for k, line in enumerate(lines)]
            start = float(self.centre[axis] - low[axis])
            places[axis] = (start + terms[0])[:, None, None] + (terms[1][:, None] + terms[2])
        return ndimage.map_coordinates(box, places, order=order, mode="nearest", prefilter=False)
