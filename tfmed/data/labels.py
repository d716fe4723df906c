"""Label maps whose files store other numbers than the classes' own, or more of them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy

from tfmed.errors import DataError
from tfmed.io.volume import Volume

_LOWEST, _HIGHEST = -(1 << 15), (1 << 16) - 1


def relabel(volume: Volume, mapping: Mapping[int, int], where: str = "label map") -> Volume:
    """The label map with each stored number replaced by its class, such as 255 by 1.

    Args:
        volume: Volume of whole numbers, in any real dtype.
        mapping: dict stored number -> class, integers from -32768 and from 0 up to 65535; 0, the background, stays 0
            unless the mapping says otherwise.
        where: what an error calls the label map, such as its path.

    Returns:
        A Volume of the same shape and affine; uint8 where every class fits, else uint16.

    Raises:
        DataError: the map holds a number that `mapping` does not name, or the mapping is none.
    """
    table, lowest = _table(mapping, where)
    array = volume.array
    result = np.empty(array.shape, np.uint8 if table.max() < 256 else np.uint16)
    for index, plane in enumerate(array):  # slice by slice: the indices below need 8 bytes per voxel
        _check_range(plane, mapping, lowest, lowest + len(table) - 1, where)
        places = plane.astype(np.intp) - lowest
        classes = table[places]
        if classes.min() < 0 or (plane.dtype.kind == "f" and not np.array_equal(places + lowest, plane)):
            raise _strange(plane[(classes < 0) | (places + lowest != plane)], mapping, where)
        result[index] = classes
    return volume.replace(array=result)


def grouped(volume: Volume, groups: Sequence[tuple[int, Sequence[int] | None]]) -> Volume:
    """The label map with several stored numbers as one; whatever no group names is background.

    Args:
        volume: Volume of whole numbers.
        groups: list of (number that is written, stored numbers); None for the stored numbers means all but 0.

    Returns:
        A Volume of the same shape and affine; uint8 where every number fits, else uint16.
    """
    highest = max(number for number, _ in groups)
    result = np.zeros(volume.array.shape, np.uint8 if highest < 256 else np.uint16)
    for number, stored in groups:
        result[volume.array != 0 if stored is None else np.isin(volume.array, stored)] = number
    return volume.replace(array=result)


def only_largest(labels: np.ndarray, classes: Iterable[int]) -> np.ndarray:
    """Class numbers `(z, y, x)` in which each of some classes has one connected component alone, its largest.

    Args:
        labels: class numbers; voxels that share a face are connected.
        classes: the classes; smaller components of them become class 0.
    """
    result = labels
    for number in classes:
        components, count = scipy.ndimage.label(labels == number)
        if count > 1:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            result = np.where((components != 0) & (components != sizes.argmax()), labels.dtype.type(0), result)
    return result


def counts(array: np.ndarray, where: str = "label map") -> dict[int, int]:
    """{number: voxels} of a label map, the background 0 included, sorted.

    Args:
        array: whole numbers, in any real dtype.
        where: what an error calls the label map, such as its path.

    Raises:
        DataError: it holds values that are not whole numbers.
    """
    if array.dtype.kind in "ub" and array.dtype.itemsize <= 2:
        found = np.bincount(array.ravel())
        return {int(number): int(found[number]) for number in np.flatnonzero(found)}
    numbers, voxels = np.unique(array, return_counts=True)
    if not np.isfinite(numbers).all() or not np.array_equal(numbers, np.rint(numbers)):
        raise DataError(f"{where}: holds values that are not whole numbers; is it a label map?")
    return dict(zip(map(int, numbers.tolist()), voxels.tolist(), strict=True))


def borders_alone(array: np.ndarray) -> list[int]:
    """Numbers of a label map, sorted, of which no voxel has four equal neighbours in its slice.

    Of smoothed (anti-aliased, lossy) masks most numbers are such: the steps from one area to another.

    Args:
        array: whole numbers (z, y, x).
    """
    inner = array[:, 1:-1, 1:-1]
    same = np.ones(inner.shape, bool)
    for moved in (array[:, :-2, 1:-1], array[:, 2:, 1:-1], array[:, 1:-1, :-2], array[:, 1:-1, 2:]):
        same &= moved == inner
    return sorted(set(np.unique(array).tolist()) - set(np.unique(inner[same]).tolist()))


def _table(mapping: Mapping[int, int], where: str) -> tuple[np.ndarray, int]:
    """(classes of all stored numbers from `lowest` on, -1 where there is none; `lowest`)."""
    pairs = {0: 0, **mapping}
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for pair in pairs.items() for n in pair)
    if not whole or min(pairs) < _LOWEST or min(pairs.values()) < 0 or max(*pairs, *pairs.values()) > _HIGHEST:
        raise DataError(f"{where}: label_values must map whole numbers ({_LOWEST} to {_HIGHEST}) to classes (0 to "
                        f"{_HIGHEST}); got {dict(mapping)}")  # fmt: skip
    lowest = min(pairs)
    table = np.full(max(pairs) - lowest + 1, -1, np.int32)
    for stored, label in pairs.items():
        table[stored - lowest] = label
    return table, lowest


def _check_range(values: np.ndarray, mapping: Mapping[int, int], lowest: int, highest: int, where: str) -> None:
    inside = (values >= lowest) & (values <= highest)  # False for NaN as well
    if not inside.all():
        raise _strange(values[~inside], mapping, where)


def _strange(values: np.ndarray, mapping: Mapping[int, int], where: str) -> DataError:
    found = ", ".join(f"{value:g}" for value in np.unique(values)[:5].tolist())
    known = sorted({0, *map(int, mapping)})
    expected = f"{', '.join(map(str, known[:5]))}{', ...' if len(known) > 5 else ''}"
    return DataError(f"{where}: holds the label values {found} where only {expected} are known; correct the file or "
                     "data.options, or remove the case")  # fmt: skip
