"""How well single objects (cells, nuclei) are found and outlined: scores per object of the reference.

Each object of the reference is compared with the predicted object that overlaps it most, of equal ones that of the
lower number; several may take the same one. An object that no predicted one overlaps is missed: its overlaps are 0, its
area error is 100 % and it has no contour distances (NaN). Distances are those of `tfmed.metrics.surface` at a spacing
of one pixel: an object's contour is its pixels with a face neighbour outside.
"""

import dataclasses

import numpy as np
import scipy
from numpy.typing import ArrayLike

from tfmed.metrics.surface import distances


@dataclasses.dataclass(frozen=True, eq=False)
class InstanceScores:
    """Scores of n reference objects; every array is `(n,)`, in the order of `reference`.

    Attributes:
        reference: int64, their numbers in the reference.
        prediction: int64, the numbers of the predicted objects, 0 where an object is missed.
        jaccard, dice: float64 in [0, 1].
        area_difference: float64 >= 0: | |A| - |B| | / |B|, A predicted.
        mean_distance, rms_distance, max_distance: float64 in pixels: mean, root mean square and maximum of the
            distances between the contours, both directions together; NaN where missed.
        extra: how many predicted objects overlap no reference object.
    """

    reference: np.ndarray
    prediction: np.ndarray
    jaccard: np.ndarray
    dice: np.ndarray
    area_difference: np.ndarray
    mean_distance: np.ndarray
    rms_distance: np.ndarray
    max_distance: np.ndarray
    extra: int

    @property
    def missed(self) -> np.ndarray:
        """Which objects of the reference no predicted one overlaps; bool `(n,)`."""
        return self.prediction == 0

    def means(self) -> dict[str, float]:
        """Means over the objects, of distances over those that were found; NaN where there are none.

        Returns:
            `{"AP": ..., "DC": ..., "AD": ..., "ASD": ..., "RSD": ..., "MSD": ..., "missed": ...}`; the first three and
            the share of missed objects in [0, 1] (AD may be above), distances in pixels.
        """
        values = {
            "AP": self.jaccard, "DC": self.dice, "AD": self.area_difference,
            "ASD": self.mean_distance[~self.missed], "RSD": self.rms_distance[~self.missed],
            "MSD": self.max_distance[~self.missed], "missed": self.missed,
        }  # fmt: skip
        return {name: float(np.mean(array)) if len(array) else float("nan") for name, array in values.items()}


def instance_scores(prediction: ArrayLike, reference: ArrayLike) -> InstanceScores:
    """Scores of every object of a reference instance map.

    Args:
        prediction, reference: instance maps of one shape with one to three axes: integers, 0 is background.

    Raises:
        ValueError: different shapes, or values that are not integers >= 0.

    Example:
        >>> found = instance_scores([[0, 7, 7, 0, 0]], [[1, 1, 1, 0, 2]])
        >>> found.prediction.tolist(), found.dice.tolist(), found.max_distance.tolist()
        ([7, 0], [0.8, 0.0], [1.0, nan])
    """
    ours, theirs = _compact(prediction, "prediction"), _compact(reference, "reference")
    if ours.labels.shape != theirs.labels.shape:
        shapes = f"{ours.labels.shape} and {theirs.labels.shape}"
        raise ValueError(f"instance maps of different shapes cannot be compared: {shapes}")
    count = len(theirs.numbers)
    both = np.bincount((theirs.labels * (len(ours.numbers) + 1) + ours.labels).ravel(),
                       minlength=(count + 1) * (len(ours.numbers) + 1)).reshape(count + 1, -1)  # fmt: skip
    overlaps = both[1:, 1:]
    best = overlaps.argmax(1) if overlaps.size else np.zeros(count, int)
    shared = overlaps.max(1, initial=0)
    hit = shared > 0
    sizes = both.sum(1)[1:].astype(float)
    areas = np.where(hit, both.sum(0)[1:][best], 0) if overlaps.size else np.zeros(count)
    away = np.full((3, count), np.nan)
    for k in np.flatnonzero(hit):
        away[:, k] = _between(ours, int(best[k]), theirs, int(k))
    return InstanceScores(
        reference=theirs.numbers,
        prediction=np.where(hit, ours.numbers[best], 0) if overlaps.size else np.zeros(count, np.int64),
        jaccard=shared / (areas + sizes - shared), dice=2 * shared / (areas + sizes),
        area_difference=np.abs(areas - sizes) / sizes,
        mean_distance=away[0], rms_distance=away[1], max_distance=away[2],
        extra=int(np.count_nonzero(overlaps.sum(0) == 0)),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Compact:
    """An instance map with objects numbered from 1 without gaps, their numbers before, and their boxes."""

    labels: np.ndarray
    numbers: np.ndarray
    boxes: list[tuple[slice, ...]]


def _compact(labels: ArrayLike, name: str) -> _Compact:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or not 1 <= array.ndim <= 3:
        raise ValueError(f"{name}: an instance map holds integers along 1 to 3 axes, not {array.dtype} {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name}: the numbers of an instance map are 0 or above; found {array.min()}")
    numbers, places = np.unique(array, return_inverse=True)
    places = places.reshape(array.shape) + int(not (len(numbers) and numbers[0] == 0))
    numbers = numbers[numbers > 0].astype(np.int64)
    boxes = scipy.ndimage.find_objects(places.astype(np.int32), len(numbers)) if len(numbers) else []
    return _Compact(places.astype(np.int64), numbers, boxes)


def _between(ours: _Compact, one: int, theirs: _Compact, other: int) -> tuple[float, float, float]:
    """Mean, root mean square and maximum of the distances between the contours of two objects, in pixels."""
    box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop))
                for a, b in zip(ours.boxes[one], theirs.boxes[other], strict=True))  # fmt: skip
    found = distances(ours.labels[box] == one + 1, theirs.labels[box] == other + 1, 1.0)
    return found.msd, float(np.sqrt(np.mean(found.both**2))), found.hd
