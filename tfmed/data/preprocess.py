"""Preprocessing steps: each a typed setting that turns a Volume into a Volume; the list of them is the recipe.

In a settings file: `preprocess: [{step: orient}, {step: resample, spacing_mm: [1.5, 1.5, 1.5]}]`.
"""

from typing import Annotated, Literal

import numpy as np
import pydantic
import SimpleITK as sitk

from tfmed.config import TAG, Strict
from tfmed.io import reorient

VERSION = 1  # part of every cache key: raise it when a step's output changes


class Orient(Strict):
    """Turn and flip the axes so that they point along `to` (for example RAS); voxels are moved, never interpolated."""

    step: Literal["orient"] = "orient"
    to: str = pydantic.Field("RAS", pattern="^[RLAPSI]{3}$")

    def apply(self, volume, is_label=False):
        return reorient(volume, self.to)


class Resample(Strict):
    """Resample to a voxel size in mm, or to a number of voxels over the same field of view; both in (z, y, x) order.

    Images are interpolated linearly and come out as float32, labels by nearest neighbour in their own dtype.
    """

    step: Literal["resample"] = "resample"
    spacing_mm: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat, pydantic.PositiveFloat] | None = None
    shape: tuple[pydantic.PositiveInt, pydantic.PositiveInt, pydantic.PositiveInt] | None = None

    @pydantic.model_validator(mode="after")
    def _one_of_two(self):
        if (self.spacing_mm is None) == (self.shape is None):
            raise ValueError("give either spacing_mm or shape")
        return self

    def apply(self, volume, is_label=False):
        shape = self.shape or tuple(
            max(1, round(count * old / new))
            for count, old, new in zip(volume.shape, volume.spacing, self.spacing_mm, strict=True)
        )
        return resample(volume, shape, is_label)


class Window(Strict):
    """Clip to a window (HU for CT) and scale it linearly to `range`; float32. Labels pass through."""

    step: Literal["window"] = "window"
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    range: tuple[float, float] = (-1.0, 1.0)

    @pydantic.model_validator(mode="after")
    def _ordered(self):
        if self.window_hu[0] >= self.window_hu[1] or self.range[0] >= self.range[1]:
            raise ValueError("the lower bound comes first and is smaller")
        return self

    def apply(self, volume, is_label=False):
        if is_label:
            return volume
        (low, high), (bottom, top) = self.window_hu, self.range
        scaled = np.clip(volume.array.astype(np.float32), low, high)
        scaled = (scaled - low) * np.float32((top - bottom) / (high - low)) + np.float32(bottom)
        return volume.replace(array=scaled)

    def invert(self, array):
        """From `range` back to HU, float32."""
        (low, high), (bottom, top) = self.window_hu, self.range
        return (np.asarray(array, np.float32) - bottom) * np.float32((high - low) / (top - bottom)) + np.float32(low)


def _tag(value):
    return TAG + str(value.get("step") if isinstance(value, dict) else getattr(value, "step", value))


Step = Annotated[
    Annotated[Orient, pydantic.Tag(TAG + "orient")]
    | Annotated[Resample, pydantic.Tag(TAG + "resample")]
    | Annotated[Window, pydantic.Tag(TAG + "window")],
    pydantic.Discriminator(_tag),
]


def run(steps, volume, is_label=False):
    """Apply the steps in order."""
    for step in steps:
        volume = step.apply(volume, is_label)
    return volume


def resample(volume, shape, is_label=False):
    """The volume on `shape` voxels `(z, y, x)` over the same field of view; linear for images, nearest for labels."""
    if tuple(shape) == volume.shape:
        return volume if is_label else volume.replace(array=volume.array.astype(np.float32, copy=False))
    scale = np.array(volume.shape, np.float64) / np.array(shape, np.float64)  # old voxels per new voxel, (z, y, x)
    # SimpleITK takes the machine's own byte order only; files have either.
    dtype = volume.array.dtype.newbyteorder("=") if is_label else np.float32
    image = sitk.GetImageFromArray(volume.array.astype(dtype, copy=False), isVector=volume.array.ndim == 4)
    scale_xyz = scale[::-1]
    first_xyz = scale_xyz / 2 - 0.5  # centre of the first new voxel, in old voxels: the borders of both grids agree
    interpolator = sitk.sitkNearestNeighbor if is_label else sitk.sitkLinear
    resampled = sitk.Resample(
        image,
        [int(count) for count in shape[::-1]],
        sitk.Transform(),
        interpolator,
        first_xyz.tolist(),
        scale_xyz.tolist(),
    )
    to_old_voxels = np.diag([*scale_xyz, 1.0])
    to_old_voxels[:3, 3] = first_xyz
    return volume.replace(array=sitk.GetArrayFromImage(resampled), affine=volume.affine @ to_old_voxels)
