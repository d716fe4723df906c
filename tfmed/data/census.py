"""What cases look like: geometry, values and labels of one case at a time, in numbers that are small to keep.

`tfmed prepare` tells and compares them (see `tfmed.data.suspicions`), `tfmed plan` derives settings from them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.labels import counts
from tfmed.data.readers import read_address, read_label
from tfmed.errors import DataError
from tfmed.io import file_of, orientation, reorient
from tfmed.io.stack import SUFFIXES as PICTURES
from tfmed.io.volume import Volume

CELLS = 12  # along each axis of a thumbnail
_LOOKED_AT = 64  # voxels along each axis from which thumbnails and the body are made, 4 times as many for percentiles
_MOST_NUMBERS = 128  # different values that a label map may have to be known as one
_DARK = 0.02  # of the way from the lowest value to the 99.5th percentile: what is below is no body


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """An image in numbers.

    Attributes:
        shape: voxels (z, y, x).
        channels: values of each voxel.
        spacing: mm (z, y, x); None for pictures, whose pixels have no length.
        orientation: where x, y and z grow, such as "RAS".
        lowest, highest: of all values.
        low, high, mean, deviation: 0.5 and 99.5 percentile, mean and standard deviation of a sample of them.
        numbers: how many different values there are, where all are whole numbers and at most 128; else None.
        even: share of equal neighbours along x, where at least one of the two has not the commonest value.
        thumbnail: float32 (12, 12, 12), means of the image's cells, turned to RAS and scaled to mean 0, deviation 1.
    """

    shape: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...] | None
    orientation: str
    lowest: float
    highest: float
    low: float
    high: float
    mean: float
    deviation: float
    numbers: int | None
    even: float
    thumbnail: np.ndarray


@dataclasses.dataclass(frozen=True)
class CaseFacts:
    """A case in numbers.

    Attributes:
        id, group: of the Case.
        images: {name: ImageFacts}.
        labels: {number in the label map: voxels} without the background; None for a case without label map.
        voxel_ml: volume of a voxel of the label map; None for pictures.
        outside: share of the labelled voxels that lie in the air around the body; 0 for pictures, which may show none.
        thumbnail: as an image's, of the labelled share of each cell; None without labelled voxels.
    """

    id: str
    group: str
    images: Mapping[str, ImageFacts]
    labels: Mapping[int, int] | None
    voxel_ml: float | None
    outside: float
    thumbnail: np.ndarray | None


def is_picture(address: str) -> bool:
    """Whether an address is one of a PNG, JPEG or TIFF file, whose pixels have no length."""
    return not phantoms.is_address(address) and file_of(address).lower().endswith(PICTURES)


def look(case: Case, names: Sequence[str]) -> tuple[dict[str, Volume], Volume | None]:
    """({name: image}, label map or None) of a case; of the names those that it has.

    Raises:
        UserError: a file is missing or damaged.
    """
    try:
        uid = case.meta.get("series_uid")
        images = {name: read_address(case.images[name], uid) for name in names if name in case.images}
        return images, None if case.label is None else read_label(case)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file; check data.root") from None


def facts(case: Case, images: Mapping[str, Volume], label: Volume | None) -> CaseFacts:
    """The `CaseFacts` of what `look` gave.

    Raises:
        DataError: the label map holds values that are not whole numbers.
    """
    found = {name: image_facts(image, is_picture(case.images[name])) for name, image in images.items()}
    if label is None:
        return CaseFacts(case.id, case.group, found, None, None, 0.0, None)
    labels = {number: count for number, count in counts(label.array, str(case.label)).items() if number}
    voxel_ml = None if is_picture(str(case.label)) else float(np.prod(label.spacing)) / 1000
    first = next(iter(images.values()), None)
    compared = first if labels and voxel_ml and first and first.shape == label.shape else None
    outside = outside_body(compared, label) if compared else 0.0
    share = thumbnail(label.replace(array=_few(_first_channel(label.array), _LOOKED_AT) != 0)) if labels else None
    return CaseFacts(case.id, case.group, found, labels, voxel_ml, outside, share)


def image_facts(volume: Volume, picture: bool = False) -> ImageFacts:
    """The `ImageFacts` of a Volume; values that are not finite do not count."""
    array = volume.array
    some = _few(_first_channel(array), 4 * _LOOKED_AT)
    finite = some[np.isfinite(some)].astype(np.float64) if some.dtype.kind == "f" else some
    finite = finite if finite.size else np.zeros(1)
    low, high = np.percentile(finite, (0.5, 99.5))
    numbers = _numbers(finite)
    return ImageFacts(
        volume.shape, array.shape[3] if array.ndim == 4 else 1, None if picture else volume.spacing,
        orientation(volume), float(np.nanmin(array)), float(np.nanmax(array)), float(low), float(high),
        float(finite.mean()), float(finite.std()), numbers, _even(array) if numbers else 0.0,
        thumbnail(volume.replace(array=_few(_first_channel(array), _LOOKED_AT))),
    )  # fmt: skip


def thumbnail(volume: Volume) -> np.ndarray:
    """Means of 12 x 12 x 12 cells of a Volume turned to RAS, float32, scaled to mean 0 and deviation 1.

    An axis that has fewer voxels repeats them.
    """
    cells = np.nan_to_num(reorient(volume, "RAS").array.astype(np.float32))
    for axis, size in enumerate(cells.shape):
        starts = np.arange(CELLS) * size // CELLS
        lengths = np.maximum(np.diff([*starts, size]), 1).astype(np.float32)
        cells = np.add.reduceat(cells, starts, axis) / lengths.reshape([-1 if i == axis else 1 for i in range(3)])
    deviation = cells.std()
    return (cells - cells.mean()) / deviation if deviation > 0 else np.zeros_like(cells)


def outside_body(image: Volume, label: Volume) -> float:
    """Share of the labelled voxels in the air around the body: as dark as the image gets, and not enclosed in a slice.

    Args:
        image, label: on one grid.
    """
    array = np.nan_to_num(_few(_first_channel(image.array), _LOOKED_AT).astype(np.float32))
    labelled = _few(_first_channel(label.array), _LOOKED_AT) != 0
    if not labelled.any():
        return 0.0
    low, high = array.min(), np.percentile(array, 99.5)
    body = array > low + _DARK * (high - low)
    filled = np.stack([scipy.ndimage.binary_fill_holes(plane) for plane in body])
    return float((labelled & ~filled).sum() / labelled.sum())


def _first_channel(array: np.ndarray) -> np.ndarray:
    return array[..., 0] if array.ndim == 4 else array


def _few(array: np.ndarray, most: int) -> np.ndarray:
    """Every n-th voxel along each axis, so that there are fewer than twice as many as `most`."""
    return array[tuple(slice(None, None, max(1, size // most)) for size in array.shape)]


def _numbers(values: np.ndarray) -> int | None:
    """How many different values, where they are few whole numbers."""
    if values.max() - values.min() > 1e6 or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        return None
    count = np.unique(values).size
    return count if count <= _MOST_NUMBERS else None


def _even(array: Any) -> float:
    """As `ImageFacts.even`; of whole lines, because neighbours are compared."""
    lines = _first_channel(array)
    lines = lines[tuple(slice(None, None, max(1, size // _LOOKED_AT)) for size in lines.shape[:2])]
    values, times = np.unique(lines, return_counts=True)
    left, right, common = lines[..., :-1], lines[..., 1:], values[times.argmax()]
    counted = (left != common) | (right != common)
    return float((left == right)[counted].mean()) if counted.any() else 1.0
