"""Preprocessing steps: each a typed setting that turns a Volume into a Volume; the list of them is the recipe.

In a settings file: `preprocess: [{step: orient}, {step: resample, spacing_mm: [1.5, 1.5, 1.5]}]`. A step has
`apply(volume, is_label)`; one that must look at all images of a case first has `fitted(volumes)`, which gives a step.
One that treats each image of a case in a way of its own has `together(volumes)` -> volumes, and leaves labels alone.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic

from tfmed.config import TAG
from tfmed.errors import DataError
from tfmed.io.volume import Volume

from .geometry import Crop, CropForeground, Letterbox, Orient, Resample, onto_grid, resample
from .intensity import N4, Equalize, Hounsfield, MinMax, PercentileScale, PercentileWindow, RobustScale, Window, ZScore

if TYPE_CHECKING:
    from tfmed.ops.grids import Grid

VERSION = 2  # part of every cache key: raise it when a step's output changes

__all__ = [
    "N4", "Crop", "CropForeground", "Equalize", "Hounsfield", "Letterbox", "MinMax", "Orient", "PercentileScale",
    "PercentileWindow", "Resample", "RobustScale", "Step",
    "VERSION", "Window", "ZScore", "as_float32", "class_labels", "onto_grid", "resample", "run", "run_in_graph",
    "run_together", "split_for_graph",
]  # fmt: skip


def _tag(value: Any) -> Any:
    return TAG + str(value.get("step") if isinstance(value, dict) else getattr(value, "step", value))


Step = Annotated[
    Annotated[Crop, pydantic.Tag(TAG + "crop")]
    | Annotated[CropForeground, pydantic.Tag(TAG + "crop_foreground")]
    | Annotated[Equalize, pydantic.Tag(TAG + "equalize")]
    | Annotated[Hounsfield, pydantic.Tag(TAG + "hounsfield")]
    | Annotated[Letterbox, pydantic.Tag(TAG + "letterbox")]
    | Annotated[MinMax, pydantic.Tag(TAG + "min_max")]
    | Annotated[N4, pydantic.Tag(TAG + "n4")]
    | Annotated[Orient, pydantic.Tag(TAG + "orient")]
    | Annotated[PercentileScale, pydantic.Tag(TAG + "percentile_scale")]
    | Annotated[PercentileWindow, pydantic.Tag(TAG + "percentile_window")]
    | Annotated[Resample, pydantic.Tag(TAG + "resample")]
    | Annotated[RobustScale, pydantic.Tag(TAG + "robust_scale")]
    | Annotated[Window, pydantic.Tag(TAG + "window")]
    | Annotated[ZScore, pydantic.Tag(TAG + "zscore")],
    pydantic.Discriminator(_tag),
]


def run(steps: Iterable[Step], volume: Volume, is_label: bool = False) -> Volume:
    """Apply the steps in order."""
    for step in steps:
        volume = step.apply(volume, is_label)
    return volume


def run_together(
    steps: Iterable[Step], images: list[Volume], label: Volume | None = None
) -> tuple[list[Volume], Volume | None]:
    """Apply the steps to all images of a case, which share one grid, and to its label map.

    Returns:
        (list of images, label or None), again on one grid.
    """
    for step in steps:
        if hasattr(step, "together"):
            images = step.together(images)
            continue
        step = step.fitted(images) if hasattr(step, "fitted") else step
        label = None if label is None else step.apply(label, is_label=True)
        images = [step.apply(image) for image in images]
    return images, label


def split_for_graph(steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """(the steps up to the last one that exists in Python alone, those after it, which exist for tensors too)."""
    outside = list(steps)
    while outside and (hasattr(outside[-1], "graph") or hasattr(outside[-1], "graph_grid")):
        outside.pop()
    return outside, list(steps[len(outside) :])


def run_in_graph(steps: Iterable[Step], grid: "Grid") -> "Grid":
    """Apply steps of the second kind to tensors."""
    import tensorflow as tf

    for step in steps:
        if hasattr(step, "graph_grid"):
            grid = step.graph_grid(grid)
        else:
            graph: Any = step.graph  # type: ignore[union-attr]  # `split_for_graph` chose those that have it
            grid = grid._replace(image=tf.stack([graph(one) for one in tf.unstack(grid.image, axis=-1)], -1))
    return grid


def as_float32(array: np.ndarray) -> np.ndarray:
    """An image's values as networks take them.

    Raises:
        DataError: some are NaN, infinite or beyond float32, or all are one.
    """
    with np.errstate(over="ignore"):
        values = np.asarray(array).astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError("some voxels are NaN or infinite after preprocessing; check the image's values and units")
    if values.size and (values.min((0, 1, 2)) == values.max((0, 1, 2))).any():
        raise DataError(
            f"every voxel is {values.flat[0]:g} after preprocessing; check the image's units and the window"
        )
    return values


def class_labels(volume: Volume, values: Sequence[int]) -> Volume:
    """A label map whose values become the numbers of classes: `values[k]` -> k, uint8.

    Raises:
        DataError: it holds another value.
    """
    array = np.asarray(volume.array)
    classes = np.zeros(array.shape, np.uint8)
    known = array == values[0]
    for k, value in enumerate(values[1:], 1):
        here = array == value
        classes[here] = k
        known |= here
    if not known.all():
        strange = np.unique(array[~known])[:5].tolist()
        raise DataError(f"the label map holds {strange}, where {list(values)} are expected; map or remove the case")
    return volume.replace(array=classes)
