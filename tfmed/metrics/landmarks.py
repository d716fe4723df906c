"""How well points agree: sets without identity by matching, named landmarks one by one.

Points are `(n, axes)` arrays, all in one unit, px or mm; distances are in that unit. A row of NaN is missing.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; those of several images add up by +.

    A score without anything to score, such as the precision of no predictions, is NaN.
    """

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(one + another for one, another in pairs))

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN)."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of precision and sensitivity."""
        twice = 2 * self.true_positives
        return _share(twice, twice + self.false_positives + self.false_negatives)


@dataclasses.dataclass(frozen=True)
class Matching:
    """Which prediction is which true point.

    Args:
        pairs: int `(k, 2)`: (row of the prediction, row of the true point), the closest first.
        distances: of them, `(k,)`.
        counts: their `Counts`.
    """

    pairs: np.ndarray
    distances: np.ndarray
    counts: Counts


def match(predicted: np.ndarray, true: np.ndarray, radius: float) -> Matching:
    """One-to-one matching of two sets of points: the closest pair first, as long as it is closer than `radius`.

    Its counts and distances do not depend on the order of the points.

    Args:
        predicted, true: `(n, axes)` and `(m, axes)`, without missing ones.
        radius: a distance of exactly this is no match.

    Example:
        >>> match(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0]]), radius=6.0).counts
        Counts(true_positives=1, false_positives=1, false_negatives=0)
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    pairs, distances = [], []
    if len(predicted) and len(true):
        away = np.linalg.norm(predicted[:, None] - true[None], axis=-1)
        rows, columns = np.nonzero(away < radius)
        keys = (*true[columns].T, *predicted[rows].T, away[rows, columns])  # the last counts first; others break ties
        order = np.lexsort(keys)
        free, open_ = np.ones(len(predicted), bool), np.ones(len(true), bool)
        for row, column in zip(rows[order], columns[order], strict=True):
            if free[row] and open_[column]:
                free[row] = open_[column] = False
                pairs.append((row, column))
                distances.append(away[row, column])
    found = len(pairs)
    counts = Counts(found, len(predicted) - found, len(true) - found)
    return Matching(np.array(pairs, int).reshape(-1, 2), np.array(distances, float), counts)


def errors(predicted: np.ndarray, true: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
    """Distance of each named landmark from its true place, `(n,)`; NaN where either is missing.

    Args:
        predicted, true: `(n, axes)`, in the same order.
        spacing: size of a pixel along (x, y[, z]), to tell it in mm; None: in the points' own unit.
    """
    difference = np.asarray(predicted, np.float64) - np.asarray(true, np.float64)
    return np.linalg.norm(difference * (1.0 if spacing is None else np.asarray(spacing)), axis=-1)


def failure_rate(found: np.ndarray, limit: float, expected: np.ndarray | None = None) -> float:
    """Share of landmarks that lie more than `limit` from their place, or were not found.

    Args:
        found: errors `(n,)`, NaN where there is none.
        limit: in their unit.
        expected: bool `(n,)`: which landmarks there are; None: all of them. NaN where there are none.
    """
    kept = np.asarray(found)[slice(None) if expected is None else np.asarray(expected, bool)]
    with np.errstate(invalid="ignore"):
        return _share(int((~(kept <= limit)).sum()), len(kept))


def success_curve(found: np.ndarray, limits: Sequence[float], expected: np.ndarray | None = None) -> np.ndarray:
    """Share of landmarks within each of some limits, `(len(limits),)`: 1 - `failure_rate`."""
    return np.array([1.0 - failure_rate(found, limit, expected) for limit in limits])


def error_summary(found: np.ndarray, expected: np.ndarray | None = None) -> dict[str, float]:
    """{"mean", "std", "median"} of the errors of landmarks; NaN where there are none (of one alone no std).

    Args:
        found: errors, of any shape, NaN where there is none.
        expected: bool, which landmarks there are; None: all of them. Errors of others do not count.
    """
    found = np.asarray(found, np.float64)
    kept = found[~np.isnan(found) & (True if expected is None else np.asarray(expected, bool))]
    if not len(kept):
        return dict.fromkeys(("mean", "std", "median"), float("nan"))
    std = float(kept.std(ddof=1)) if len(kept) > 1 else float("nan")
    return {"mean": float(kept.mean()), "std": std, "median": float(np.median(kept))}


def _share(count: int, among: int) -> float:
    return count / among if among else float("nan")
