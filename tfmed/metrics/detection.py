"""Average precision of detected boxes, as COCO counts it (Lin et al. 2014): per class, at ten overlaps.

A box is (x0, y0, x1, y1) in pixels, float, of an image of any size; classes are numbers from 0 to `classes` - 1.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

COCO_OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)  # where precision is read
_MOST_PAIRS = 1 << 20  # of detections and references that are compared at once


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one image.

    Attributes:
        boxes: `(n, 4)`, (x0, y0, x1, y1) in pixels, x0 < x1 and y0 < y1.
        classes: int `(n,)`.
        scores: `(n,)`, of detections; None: these are references.
    """

    boxes: ArrayLike
    classes: ArrayLike
    scores: ArrayLike | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Precision over recall, for T overlaps and K classes; NaN for a class without a reference.

    Attributes:
        overlaps: `(T,)`, intersection over union from which a detection counts.
        precision: `(T, 101, K)`, the best that is reached at each recall of `RECALLS` or above it; 0 beyond the last.
        recall: `(T, K)`, share of the references that are found by all detections.
    """

    overlaps: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def per_class(self) -> np.ndarray:
        """`(K,)`: mean over the overlaps and recalls; AP50:95 with those of COCO."""
        return self.precision.mean((0, 1))

    @property
    def mean(self) -> float:
        """Of the classes that have references; NaN when none has."""
        return _mean(self.per_class)

    def at(self, overlap: float) -> float:
        """Mean over the classes at one overlap, such as AP50 with 0.5.

        Raises:
            ValueError: it is none of `overlaps`.
        """
        places = np.flatnonzero(np.isclose(self.overlaps, overlap, rtol=0, atol=1e-9))
        if not len(places):
            raise ValueError(f"overlap {overlap} is none of {', '.join(f'{value:g}' for value in self.overlaps)}")
        return _mean(self.precision[places[0]].mean(0))


def pairwise_iou(boxes: ArrayLike, others: ArrayLike) -> np.ndarray:
    """Intersection over union of each box with each other one: float64 `(..., n, m)` of `(..., n, 4)`, `(..., m, 4)`.

    Two boxes without area have 0.

    Example:
        >>> pairwise_iou([[0, 0, 2, 2]], [[0, 0, 2, 1], [1, 1, 3, 3]]).round(3).tolist()
        [[0.5, 0.143]]
    """
    ours, theirs = np.asarray(boxes, np.float64)[..., :, None, :], np.asarray(others, np.float64)[..., None, :, :]
    inside = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
    shared = np.maximum(inside, 0).prod(-1)
    union = _areas(ours) + _areas(theirs) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def overshoot(boxes: ArrayLike, references: ArrayLike) -> np.ndarray:
    """Pixels by which each box sticks out of its reference, summed over the four sides: float64 `(...)` of `(..., 4)`.

    Example:
        >>> overshoot([[1, 0, 12, 9]], [[2, 0, 10, 10]]).tolist()
        [3.0]
    """
    boxes, references = np.asarray(boxes, np.float64), np.asarray(references, np.float64)
    out = np.concatenate([references[..., :2] - boxes[..., :2], boxes[..., 2:] - references[..., 2:]], -1)
    return np.maximum(out, 0).sum(-1)


def match(boxes: ArrayLike, scores: ArrayLike, references: ArrayLike, overlap: float = 0.5) -> np.ndarray:
    """Which reference each detection of one class in one image finds, int64 `(n,)`; -1: none.

    In the order of their scores, each takes the free reference that it overlaps most, if by `overlap` at least (of
    equals the last one), as in COCO's evaluation.

    Args:
        boxes: `(n, 4)`; scores: `(n,)`; references: `(m, 4)`.
        overlap: least intersection over union.

    Example:
        >>> match([[0, 0, 9, 9], [0, 0, 10, 10]], [0.5, 0.9], [[0, 0, 10, 10]]).tolist()
        [-1, 0]
    """
    boxes, references = np.reshape(boxes, (-1, 4)), np.reshape(references, (-1, 4))
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    found = np.full(len(boxes), -1)
    if len(boxes) and len(references):
        found[order] = _matches(pairwise_iou(boxes[order], references)[None], np.array([overlap]))[0, :, 0]
    return found


def average_precision(
    detections: Sequence[Boxes],
    references: Sequence[Boxes],
    classes: int,
    overlaps: ArrayLike = COCO_OVERLAPS,
    most: int = 100,
) -> AveragePrecision:
    """Average precision over a set of images (Lin et al. 2014, pycocotools' figures for boxes of all sizes).

    Args:
        detections, references: Boxes of each image in turn; detections have scores.
        classes: how many there are.
        overlaps: `(T,)`, intersection over union from which a detection counts.
        most: of an image's detections of one class, the best that count.

    Returns:
        AveragePrecision.

    Raises:
        ValueError: not one of each per image, lengths that differ, a box without area or not finite, a class or a score
            that cannot be.

    Example:
        >>> truth = Boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])
        >>> found = average_precision([Boxes([[0, 0, 10, 10]], [0], [0.9])], [truth], 1)
        >>> round(found.mean, 3), found.recall[0].tolist()
        (0.505, [0.5])
    """
    if len(detections) != len(references):
        raise ValueError(f"detections of {len(detections)} images and references of {len(references)}")
    overlaps = np.atleast_1d(np.asarray(overlaps, np.float64))
    found, truth = _Table.of(detections, classes, "detections"), _Table.of(references, classes, "references")
    found = found.best(most)
    hits = np.zeros((len(found.scores), len(overlaps)), bool)
    for ours, theirs, there in _blocks(found, truth):
        overlap = np.where(there, pairwise_iou(found.boxes[ours], truth.boxes[theirs]), -1)
        given = there.any(-1)
        hits[ours[given]] = _matches(overlap, overlaps)[given] >= 0
    precision, recall = [], []
    for number in range(classes):
        own = np.flatnonzero(found.group % classes == number)
        own = own[np.argsort(-found.scores[own], kind="stable")]
        one = _precision(hits[own], int(np.count_nonzero(truth.group % classes == number)))
        precision.append(one[0])
        recall.append(one[1])
    return AveragePrecision(overlaps, np.stack(precision, -1), np.stack(recall, -1))


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """Boxes of all images, those of one image and class together, the best first; `group`: image * classes + class."""

    boxes: np.ndarray
    scores: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, images: Sequence[Boxes], classes: int, what: str) -> "_Table":
        boxes, scores, group = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, np.int64)]
        for number, image in enumerate(images):
            count = np.size(image.classes)
            given = np.zeros(count) if image.scores is None else np.asarray(image.scores, np.float64)
            if np.size(image.boxes) != 4 * count or given.shape != (count,):
                raise ValueError(f"{what} of image {number}: boxes, classes and scores differ in length")
            boxes.append(np.reshape(np.asarray(image.boxes, np.float64), (count, 4)))
            scores.append(given)
            group.append(np.reshape(image.classes, count).astype(np.int64) + number * classes)
            _check(boxes[-1], given, group[-1] - number * classes, classes, f"{what} of image {number}")
        together = cls(np.concatenate(boxes), np.concatenate(scores), np.concatenate(group))
        return together.taken(np.lexsort((-together.scores, together.group)))

    def taken(self, rows: np.ndarray) -> "_Table":
        """Of these rows."""
        return _Table(self.boxes[rows], self.scores[rows], self.group[rows])

    def best(self, most: int) -> "_Table":
        """Of each group the first `most`."""
        rank = np.arange(len(self.group)) - np.searchsorted(self.group, self.group)
        return self.taken(rank < most)


def _check(boxes: np.ndarray, scores: np.ndarray, numbers: np.ndarray, classes: int, what: str) -> None:
    flat = np.flatnonzero(~((boxes[:, 2:] > boxes[:, :2]).all(-1) & np.isfinite(boxes).all(-1)))
    if len(flat):
        raise ValueError(f"{what}: {boxes[flat[0]].tolist()} is no box (x0, y0, x1, y1) with an area")
    if np.isnan(scores).any():
        raise ValueError(f"{what}: a score is NaN")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        raise ValueError(f"{what}: a class is not from 0 to {classes - 1}")


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _blocks(found: _Table, truth: _Table) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Groups of much the same size together: indices of their detections `(g, d)` and references `(g, r)`, and which
    pairs there are `(g, d, r)`; where a group has fewer, its last ones stand again."""
    groups = np.intersect1d(found.group, truth.group)
    edges = [np.searchsorted(table.group, groups, side) for table in (found, truth) for side in ("left", "right")]
    first, end, reference, last = edges
    sizes = np.stack([end - first, last - reference], -1)
    rounded = 1 << np.ceil(np.log2(sizes)).astype(np.int64)
    kinds, inverse = np.unique(rounded, axis=0, return_inverse=True)
    for kind, (deep, wide) in enumerate(kinds):
        of_kind = np.flatnonzero(inverse.ravel() == kind)
        for chosen in np.array_split(of_kind, -(-len(of_kind) * deep * wide // _MOST_PAIRS)):
            rows, columns = np.arange(deep), np.arange(wide)
            ours = np.minimum(first[chosen, None] + rows, end[chosen, None] - 1)
            theirs = np.minimum(reference[chosen, None] + columns, last[chosen, None] - 1)
            there = (rows[:, None] < sizes[chosen, :1, None]) & (columns < sizes[chosen, 1:, None])
            yield ours, theirs, there


def _matches(overlap: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The reference that each detection takes at each least overlap, int64 `(groups, d, T)`, -1: none.

    Args:
        overlap: `(groups, d, r)`, the best detection first; negative where there is no such pair.
        least: `(T,)`.
    """
    groups, deep, wide = overlap.shape
    found = np.full((groups, deep, len(least)), -1)
    free = np.ones((groups, len(least), wide), bool)
    for rank in range(deep):
        values = np.where(free, overlap[:, rank, None], -1)
        best = wide - 1 - values[..., ::-1].argmax(-1)
        enough = np.take_along_axis(values, best[..., None], -1)[..., 0] >= np.minimum(least, 1 - 1e-10)
        found[:, rank] = np.where(enough, best, -1)
        group, level = np.nonzero(enough)
        free[group, level, best[group, level]] = False
    return found


def _precision(hits: np.ndarray, references: int) -> tuple[np.ndarray, np.ndarray]:
    """(precision `(T, 101)`, recall `(T,)`) of one class, detections `(n, T)` in the order of their scores."""
    overlaps = hits.shape[1]
    if not references:
        return np.full((overlaps, len(RECALLS)), np.nan), np.full(overlaps, np.nan)
    right = hits.cumsum(0).T
    recall = right / references
    precision = right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[:, ::-1], -1)[:, ::-1]
    read = np.zeros((overlaps, len(RECALLS)))
    for row, (values, reached) in enumerate(zip(precision, recall, strict=True)):
        places = np.searchsorted(reached, RECALLS, side="left")
        read[row, places < len(hits)] = values[places[places < len(hits)]]
    return read, recall[:, -1] if len(hits) else np.zeros(overlaps)


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
