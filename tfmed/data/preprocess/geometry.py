"""Steps that change where voxels lie: turning, resampling, cropping; images and labels alike.

A step with a `graph_grid` method also exists as a function of tensors: exported models run such steps themselves.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic
import SimpleITK as sitk

from tfmed.config import SizeMm, Strict, Voxels
from tfmed.errors import DataError
from tfmed.io import reorient
from tfmed.io.geometry import machine_memory
from tfmed.io.volume import Volume

if TYPE_CHECKING:
    from tfmed.ops.grids import Grid


_BLEND = (
    "would be a blend of them; give its slices as files, or cut one out before with {step: crop, shape: [1, null, "
    "null]}"
)


class Orient(Strict):
    """Turn and flip the axes so that they point along `to` (for example RAS); voxels are moved, never interpolated."""

    step: Literal["orient"] = "orient"
    to: str = pydantic.Field("RAS", pattern="^[RLAPSI]{3}$")

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        return reorient(volume, self.to)

    def graph_grid(self, grid: "Grid") -> "Grid":
        """The same of tensors."""
        from tfmed.ops import grids

        return grids.turned(grid, self.to)


class Resample(Strict):
    """Resample to a voxel size in mm, or to a number of voxels over the same field of view; both in (z, y, x) order.

    A voxel size of null leaves its axis as it is.
    Images are interpolated linearly and come out as float32, labels by nearest neighbour in their own dtype.
    """

    step: Literal["resample"] = "resample"
    spacing_mm: tuple[SizeMm | None, SizeMm | None, SizeMm | None] | None = None
    shape: tuple[Voxels, Voxels, Voxels] | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> "Resample":
        if (self.spacing_mm is None) == (self.shape is None):
            raise ValueError("give either spacing_mm or shape")
        return self

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if self.shape and self.shape[0] == 1 < volume.shape[0]:
            raise DataError(f"resample: one slice of {volume.shape[0]} {_BLEND}")
        spacing = self.spacing_mm or (1.0, 1.0, 1.0)  # one of the two is given
        shape = self.shape or tuple(
            max(1, round(count * old / (new or old)))
            for count, old, new in zip(volume.shape, volume.spacing, spacing, strict=True)
        )
        return resample(volume, shape, is_label)

    def graph_grid(self, grid: "Grid") -> "Grid":
        """The same of tensors."""
        from tfmed.ops import grids
        from tfmed.ops.checks import checked

        if self.shape is None:
            return grids.spaced(grid, self.spacing_mm or ())
        if self.shape[0] == 1:
            image = checked(grid.image, grid.shape[0] <= 1, f"resample: one slice of several {_BLEND}")
            grid = grid._replace(image=image)
        return grids.resampled(grid, self.shape)


class Crop(Strict):
    """Cut the middle out, or pad around it, to `shape` (z, y, x); null leaves an axis as it is.

    An odd voxel is cut, or added, at the end of an axis. Labels are padded with 0.
    """

    step: Literal["crop"] = "crop"
    shape: tuple[Voxels | None, Voxels | None, Voxels | None]
    fill: float = 0.0  # value of padded image voxels
    most_cut: float = pydantic.Field(1.0, ge=0, le=1)  # share of what is above `fill` that may be cut away

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        wanted = [new or old for new, old in zip(self.shape, volume.shape, strict=True)]
        starts = [(old - new) // 2 if old > new else -((new - old) // 2)
                  for new, old in zip(wanted, volume.shape, strict=True)]  # fmt: skip
        cropped = boxed(volume, starts, wanted, 0 if is_label else self.fill)
        if not is_label and self.most_cut < 1:
            self._check_cut(volume.array, cropped.array)
        return cropped

    def graph_grid(self, grid: "Grid") -> "Grid":
        """The same of tensors."""
        from tfmed.ops import grids

        return grids.centred(grid, self.shape, self.fill, self.most_cut)

    def _check_cut(self, before: np.ndarray, after: np.ndarray) -> None:
        whole, kept = (float(np.clip(array - self.fill, 0, None).sum(dtype=np.float64)) for array in (before, after))
        if whole - kept > self.most_cut * whole:
            size = " x ".join(map(str, after.shape[:3]))
            raise DataError(
                f"crop: {100 * (1 - kept / whole):.0f} % of the image lies outside of the {size} voxels that are kept; "
                "centre it first (step crop_foreground), or choose larger voxels or a larger shape"
            )


class Letterbox(Strict):
    """Resample slices to fit into `size` (y, x) without a change of their proportions, and pad what is left on both
    sides; the number of slices stays. Images are interpolated linearly, labels by nearest neighbour and padded with 0.
    """

    step: Literal["letterbox"] = "letterbox"
    size: tuple[Voxels, Voxels]
    fill: float = 0.0  # value of padded image voxels

    def inner(self, shape: Sequence[int]) -> tuple[int, int]:
        """The pixels (y, x) that an image of `shape` (y, x) fills."""
        share = min(new / old for new, old in zip(self.size, shape, strict=True))
        return tuple(min(max(1, round(old * share)), new)
                     for old, new in zip(shape, self.size, strict=True))  # type: ignore[return-value]  # fmt: skip

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        z, *shape = volume.shape
        return Crop(shape=(None, *self.size), fill=self.fill).apply(
            resample(volume, (z, *self.inner(shape)), is_label), is_label
        )

    def graph_grid(self, grid: "Grid") -> "Grid":
        """The same of tensors."""
        from tfmed.ops import grids

        return grids.letterboxed(grid, self.size, self.fill)


class Shrink(Strict):
    """Resample slices that are larger than `size` (y, x) to fit into it, without a change of their proportions; smaller
    ones stay. A step of methods that paste images, not of settings."""

    step: Literal["shrink"] = "shrink"
    size: tuple[Voxels, Voxels]

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        z, *shape = volume.shape
        share = min(new / old for new, old in zip(self.size, shape, strict=True))
        if share >= 1:
            return volume
        return resample(volume, (z, *(max(1, round(side * share)) for side in shape)), is_label)


class CropForeground(Strict):
    """Cut away what is empty in every image of a case: the smallest box that holds all voxels above `above`."""

    step: Literal["crop_foreground"] = "crop_foreground"
    above: float = 0.0
    margin: pydantic.NonNegativeInt = 0  # voxels kept around the box, as far as there are any
    axes: str = pydantic.Field("zyx", pattern="^(z?y?x?)$", min_length=1)  # along which to cut

    def fitted(self, volumes: Sequence[Volume]) -> "_Box":
        """The box of these images, as a step."""
        bounds = []
        for axis, name in enumerate("zyx"):
            size = volumes[0].shape[axis]
            others = tuple(i for i in range(volumes[0].array.ndim) if i != axis)
            filled = np.flatnonzero(np.any([(v.array > self.above).any(axis=others) for v in volumes], axis=0))
            if not filled.size:
                raise DataError(f"crop_foreground: no voxel is above {self.above:g}; lower it, or remove the case")
            cut = name in self.axes
            start = max(int(filled[0]) - self.margin, 0) if cut else 0
            stop = min(int(filled[-1]) + 1 + self.margin, size) if cut else size
            bounds.append((start, stop - start))
        return _Box(*zip(*bounds, strict=True))

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:  # its own box would be another one
            raise DataError("crop_foreground: the box is that of the images; this method needs step crop instead")
        return self.fitted([volume]).apply(volume)

    def graph_grid(self, grid: "Grid") -> "Grid":
        """The same of tensors."""
        from tfmed.ops import grids

        return grids.filled_box(grid, self.above, self.margin, self.axes)


class _Box:
    def __init__(self, starts: Sequence[int], shape: Sequence[int]) -> None:
        self.starts, self.shape = starts, shape

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        return boxed(volume, self.starts, self.shape)


def boxed(volume: Volume, starts: Sequence[int], shape: Sequence[int], fill: float | str = 0) -> Volume:
    """The part of a volume that begins at voxel `starts` (z, y, x; may be negative) and is `shape` large."""
    moved = np.eye(4)
    moved[:3, 3] = starts[::-1]
    return volume.replace(array=boxed_array(volume.array, starts, shape, fill), affine=volume.affine @ moved)


def boxed_array(array: np.ndarray, starts: Sequence[int], shape: Sequence[int], fill: float | str = 0) -> np.ndarray:
    """The same of an array `(z, y, x[, channel])`; a view where nothing is padded.

    Args:
        fill: what lies outside: a number, "edge" (the border continues) or "reflect" (mirrored at its border voxels).
    """
    if fill == "reflect":
        return _mirrored(array, starts, shape)
    ends = [max(min(s + n, size), 0) for s, n, size in zip(starts, shape, array.shape, strict=False)]
    inside = array[tuple(slice(min(max(s, 0), end), end) for s, end in zip(starts, ends, strict=True))]
    if inside.shape[:3] == tuple(shape):
        return inside
    _check_memory((*shape, *array.shape[3:]), array.dtype.itemsize)
    before = [min(max(-s, 0), n) for s, n in zip(starts, shape, strict=True)]
    widths = [(b, n - b - have) for b, n, have in zip(before, shape, inside.shape, strict=False)]
    options = {"mode": "edge"} if fill == "edge" else {"constant_values": fill}
    return np.pad(inside, [*widths, (0, 0)][: array.ndim], **options)


def _check_memory(shape: Sequence[int], itemsize: int) -> None:
    """Refuse an array that the machine cannot hold, before it is made."""
    count = math.prod(shape) * itemsize
    if count > machine_memory():
        size = " x ".join(map(str, shape))
        raise DataError(
            f"{size} voxels (z, y, x) need {count / 2**30:.0f} GiB, more than this machine has; choose larger voxels, "
            "or a smaller shape"
        )


def _mirrored(array: np.ndarray, starts: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """The part of an array that goes on mirrored, again and again if need be."""
    places = []
    for start, length, size in zip(starts, shape, array.shape, strict=False):
        place = np.arange(start, start + length) % max(2 * (size - 1), 1)
        places.append(np.minimum(place, 2 * (size - 1) - place))
    box = tuple(slice(place.min(), place.max() + 1) for place in places)
    inside = np.asarray(array[box])
    return inside[np.ix_(*(place - place.min() for place in places))]


def resample(volume: Volume, shape: Sequence[int], is_label: bool = False) -> Volume:
    """The volume on `shape` voxels `(z, y, x)` over the same field of view; linear for images, nearest for labels."""
    if tuple(shape) == volume.shape:
        return volume if is_label else volume.replace(array=volume.array.astype(np.float32, copy=False))
    scale = np.array(volume.shape, np.float64) / np.array(shape, np.float64)  # old voxels per new voxel, (z, y, x)
    scale_xyz = scale[::-1]
    to_old_voxels = np.diag([*scale_xyz, 1.0])
    to_old_voxels[:3, 3] = scale_xyz / 2 - 0.5  # centre of the first new voxel: the borders of both grids agree
    array = _resampled(volume.array, shape, to_old_voxels, is_label)
    return volume.replace(array=array, affine=volume.affine @ to_old_voxels)


def onto_grid(volume: Volume, shape: Sequence[int], affine: np.ndarray, is_label: bool = False) -> Volume:
    """The volume on another grid in the same space; 0 where it does not reach.

    Args:
        volume: a Volume, with or without channels.
        shape: (z, y, x) of the grid.
        affine: of the grid, (4, 4).
        is_label: nearest voxel instead of linear interpolation.
    """
    to_old_voxels = np.linalg.inv(volume.affine) @ affine
    whole = np.rint(to_old_voxels)
    if np.allclose(to_old_voxels, whole, atol=1e-4) and np.array_equal(whole[:3, :3], np.eye(3)):
        return boxed(volume, [int(n) for n in whole[2::-1, 3]], shape).replace(affine=affine)
    return volume.replace(array=_resampled(volume.array, shape, to_old_voxels, is_label), affine=affine)


def _resampled(array: np.ndarray, shape: Sequence[int], to_old_voxels: np.ndarray, is_label: bool) -> np.ndarray:
    """Values of `array` at the voxels of a grid; `to_old_voxels` maps its (x, y, z, 1) to those of the array."""
    _check_memory((*shape, *array.shape[3:]), 2 * (array.dtype.itemsize if is_label else 4))  # SimpleITK's, and ours
    # SimpleITK takes the machine's own byte order only; files have either.
    dtype = array.dtype.newbyteorder("=") if is_label else np.dtype(np.float32)
    if dtype.kind == "b":  # masks, which SimpleITK does not know
        return _resampled(array.view(np.uint8), shape, to_old_voxels, is_label).view(bool)
    image = sitk.GetImageFromArray(array.astype(dtype, copy=False), isVector=array.ndim == 4)
    whole = (*shape, *array.shape[3:])  # SimpleITK drops a single channel
    matrix = to_old_voxels[:3, :3]
    interpolator = sitk.sitkNearestNeighbor if is_label else sitk.sitkLinear
    size = [int(count) for count in shape[::-1]]
    if np.array_equal(matrix, np.diag(np.diag(matrix))) and (np.diag(matrix) > 0).all():
        # Along the axes SimpleITK interpolates several times faster than through a transform.
        first, step = to_old_voxels[:3, 3].tolist(), np.diag(matrix).tolist()
        found = sitk.Resample(image, size, sitk.Transform(), interpolator, first, step)
        return sitk.GetArrayFromImage(found).reshape(whole)
    transform = sitk.AffineTransform(matrix.ravel().tolist(), to_old_voxels[:3, 3].tolist())
    grid = ([0.0] * 3, [1.0] * 3, np.eye(3).ravel().tolist())
    found = sitk.Resample(image, size, transform, interpolator, *grid, 0.0, image.GetPixelID())
    return sitk.GetArrayFromImage(found).reshape(whole)
