"""Masks that go from one image of the same cells to the other where a segmenter failed in one of them.

After Liu et al. (DALI 2021, section 2.3): a cell whose size is unusual for its image takes its partner's mask, and a
cell that only the other image shows is copied. Instance maps are as in `tfmed.data.instances`, a match as
`tfmed.data.matching` gives it, an affine transform takes places `(y, x)` in the first image to the second one.
Everything is a pure function of its arguments; plain numpy.
"""

import dataclasses
import itertools
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from tfmed.data.instances import as_instances, centres_of, packed, unpacked
from tfmed.data.registration import inverted

SIGMAS = 2.0  # the paper's: a size within so many standard deviations of the mean is usual
MOST_LOST = 0.3  # share of a copy that may lie under other cells
CHANGES = ("kept", "replaced", "copied", "removed")  # what may become of a cell
_ROUNDING = 1e-9
_MAD = 1.4826  # standard deviations of a normal distribution in a median absolute deviation
Usual = Literal["mean", "median"]


@dataclasses.dataclass(frozen=True, eq=False)
class Transferred:
    """An image's instance map after the exchange.

    Attributes:
        labels: int32 `(y, x)`; cells that were kept or replaced have the numbers that they had.
        ignored: bool `(y, x)`: where a cell of unusual size was taken away and nothing is known in its place.
        kept, replaced, copied: int64, numbers in `labels`.
        removed: int64, numbers of before.
    """

    labels: np.ndarray
    ignored: np.ndarray
    kept: np.ndarray
    replaced: np.ndarray
    copied: np.ndarray
    removed: np.ndarray

    def counts(self) -> dict[str, int]:
        """{"kept", "replaced", "copied", "removed": how many cells}."""
        return {name: len(getattr(self, name)) for name in CHANGES}

    def as_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        maps = {"labels": packed(self.labels), "ignored": packed(self.ignored.astype(np.uint8))}
        return maps | {name: getattr(self, name).tolist() for name in CHANGES}

    @classmethod
    def of_plain(cls, value: Any) -> "Transferred":
        """Of what `as_plain` gives.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        numbers = {name: np.array(value[name], np.int64) for name in CHANGES}
        return cls(unpacked(value["labels"]), unpacked(value["ignored"]) > 0, **numbers)


def exchange(
    first: ArrayLike,
    second: ArrayLike,
    affine: ArrayLike,
    pairs: ArrayLike,
    sigmas: float = SIGMAS,
    most_lost: float = MOST_LOST,
    usual_size: Usual = "mean",
) -> tuple[Transferred, Transferred]:
    """Exchange masks between two images of the same cells, both ways at once, from what they were before.

    Sizes are judged by the mean and the standard deviation of the cells that lie clear of the border, which cuts the
    others: these are kept, and are never donors. A cell of unusual size that finds no donor, or whose copy is dropped,
    is removed. Masks are moved by the transform to the nearest pixel; that of a partner is shifted to its cell's
    centre of mass. A copy that does not lie wholly in the image, or that loses more than `most_lost` of its area to
    cells that are there, is dropped.

    Args:
        first, second: instance maps `(y, x)`.
        affine: `(2, 3)`, from places in the first image to places in the second one.
        pairs: int `(m, 2)`: matched cells, as indices into the cells of both images in ascending order of numbers.
        sigmas: standard deviations within which a size is usual.
        most_lost: share of a copy's area.
        usual_size: "mean", with the standard deviation, or "median", with 1.4826 times the median absolute deviation,
            which is as much for normal sizes and which up to half of the cells cannot move.

    Returns:
        `Transferred` of the first and of the second image.

    Raises:
        ValueError: arguments that do not fit.

    Example:
        >>> full, empty = np.zeros((9, 9), int), np.zeros((9, 9), int)
        >>> full[2:5, 2:5] = 7
        >>> one, other = exchange(full, empty, np.eye(2, 3), np.zeros((0, 2), int))
        >>> bool(((other.labels > 0) == (full > 0)).all()), other.copied.tolist(), one.kept.tolist()
        (True, [1], [7])
    """
    one, other = (_Cells.of(labels, sigmas, usual_size) for labels in (first, second))
    pairs, affine = np.asarray(pairs, np.int64).reshape(-1, 2), np.asarray(affine, np.float64)
    if affine.shape != (2, 3):
        raise ValueError(f"an affine transform of images is (2, 3), not {affine.shape}")
    for side, cells in zip(pairs.T, (one, other), strict=True):
        if len(np.unique(side)) < len(side) or (len(side) and not 0 <= side.min() <= side.max() < len(cells.numbers)):
            raise ValueError(f"pairs match each of {len(cells.numbers)} cells once at most, by its index")
    back = inverted(affine)
    return (
        _received(one, other, affine, back, dict(pairs.tolist()), most_lost),
        _received(other, one, back, affine, dict(pairs[:, ::-1].tolist()), most_lost),
    )


def unchanged(labels: ArrayLike) -> Transferred:
    """An instance map to which nothing is transferred."""
    labels, none = as_instances(labels).astype(np.int32), np.zeros(0, np.int64)
    return Transferred(labels, np.zeros(labels.shape, bool), centres_of(labels)[0], none, none, none)


def around(transferred: Transferred, margin: int) -> np.ndarray:
    """Where cells came in: the boxes of replaced and copied cells with a margin in pixels; bool `(y, x)`."""
    mask = np.zeros(transferred.labels.shape, bool)
    boxes = ndimage.find_objects(transferred.labels)
    for number in (*transferred.replaced, *transferred.copied):
        mask[tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in boxes[number - 1])] = True
    return mask


@dataclasses.dataclass(frozen=True, eq=False)
class _Cells:
    """The cells of an image: numbers, centres and boxes, whether they may be judged, and are of usual size."""

    labels: np.ndarray
    numbers: np.ndarray
    centres: np.ndarray
    boxes: list[tuple[slice, ...]]
    inner: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, labels: ArrayLike, sigmas: float, usual_size: Usual) -> "_Cells":
        labels = as_instances(labels)
        if labels.ndim != 2 or not (np.isfinite(sigmas) and sigmas >= 0):
            raise ValueError(f"masks are exchanged between images (y, x), not {labels.shape}, with sigmas >= 0")
        numbers, centres = centres_of(labels)
        compact = np.searchsorted(numbers, labels) + 1
        boxes = ndimage.find_objects(np.where(labels > 0, compact, 0), len(numbers))
        sizes = np.bincount(compact[labels > 0], minlength=len(numbers) + 1)[1:].astype(float)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        inner = ~np.isin(numbers, edge)
        usual = np.ones(len(numbers), bool)
        if inner.any():
            middle = sizes[inner].mean() if usual_size == "mean" else np.median(sizes[inner])
            away = np.abs(sizes - middle)
            spread = sizes[inner].std() if usual_size == "mean" else _MAD * np.median(away[inner])
            usual = away <= sigmas * spread + _ROUNDING * middle
        return cls(labels, numbers, centres, boxes, inner, usual)


def _received(
    own: _Cells, donor: _Cells, there: np.ndarray, back: np.ndarray, partner: dict[int, int], most_lost: float
) -> Transferred:
    """An image's cells after those of a donor came in; `there` takes the image's places to the donor's."""
    outlier = own.inner & ~own.usual
    gives = donor.inner & donor.usual
    labels = np.where(np.isin(own.labels, own.numbers[outlier]), 0, own.labels).astype(np.int32)
    taken = set(partner.values())
    first_new = int(own.numbers.max(initial=0)) + 1
    fresh = [k for k in np.flatnonzero(gives) if k not in taken]
    replacing = [(int(own.numbers[k]), partner[k], own.centres[k])
                 for k in np.flatnonzero(outlier) if k in partner and gives[partner[k]]]  # fmt: skip
    came = set()
    numbers = itertools.count(first_new)
    for number, k, centre in [*replacing, *((None, k, None) for k in fresh)]:
        copy = _copy(donor, int(k), there, back, centre, labels.shape)
        if copy is None:
            continue
        box, mask = copy
        free = mask & (labels[box] == 0)
        if np.count_nonzero(free) < (1 - most_lost) * np.count_nonzero(mask) - _ROUNDING:
            continue
        number = next(numbers) if number is None else number
        labels[box][free] = number
        came.add(number)
    removed = np.array([n for n in own.numbers[outlier] if int(n) not in came], np.int64)
    here = np.array(sorted(came), np.int64)
    return Transferred(
        labels=labels,
        ignored=np.isin(own.labels, removed) & (own.labels > 0) & (labels == 0),
        kept=own.numbers[~outlier],
        replaced=here[here < first_new],
        copied=here[here >= first_new],
        removed=removed,
    )


def _copy(
    donor: _Cells, k: int, there: np.ndarray, back: np.ndarray, centre: np.ndarray | None, shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], np.ndarray] | None:
    """(box, mask in it) of a donor's cell in the other image, or None where it does not lie wholly in that."""
    sides = [(side.start - 0.5, side.stop - 0.5) for side in donor.boxes[k]]
    corners = np.array(list(itertools.product(*sides))) @ back[:, :2].T + back[:, 2]
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    mask = _warped(donor, k, there, low, high, np.zeros(2))
    if centre is not None and mask.any():
        shift = centre - (np.argwhere(mask).mean(0) + low)
        whole = np.floor(shift).astype(int)
        low, high = low + whole, high + whole + 1
        mask = _warped(donor, k, there, low, high, shift)
    places = np.argwhere(mask)
    if not len(places):
        return None
    start, stop = places.min(0), places.max(0) + 1
    if (low + start < 0).any() or (low + stop > shape).any():
        return None
    return tuple(slice(*pair) for pair in zip(low + start, low + stop, strict=True)), mask[
        tuple(slice(*pair) for pair in zip(start, stop, strict=True))
    ]


def _warped(
    donor: _Cells, k: int, there: np.ndarray, low: np.ndarray, high: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Which pixels low .. high of the other image show a donor's cell that is shifted there; bool."""
    pixels = np.moveaxis(np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1], 0, -1)
    places = np.floor((pixels - shift) @ there[:, :2].T + there[:, 2] + 0.5).astype(int)
    inside = ((places >= 0) & (places < donor.labels.shape)).all(-1)
    y, x = np.where(inside[..., None], places, 0).transpose(2, 0, 1)
    return inside & (donor.labels[y, x] == donor.numbers[k])
