"""How much of a distribution is covered, and how well: precision and recall, density and coverage, from neighbours."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from tfmed.metrics.generative import _comparable
from tfmed.metrics.generative import _squared_distances as _distances

_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1]: of samples that look real, and of real samples that are within reach of the generator."""

    precision: float
    recall: float


@dataclasses.dataclass(frozen=True)
class DensityCoverage:
    """Density (about 1 for equal distributions, may be more) and coverage in [0, 1]."""

    density: float
    coverage: float


def precision_recall(features: ArrayLike, reference: ArrayLike, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, Eq. 1-2).

    A set's manifold is the union of balls around its samples, each as large as to reach the k-th nearest other sample.

    Args:
        features, reference: `(n, d)` and `(m, d)`, more than k samples each.

    Raises:
        ValueError: too few samples, different d, or values that are not finite.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> precision_recall(real + 100, real, k=1)
        PrecisionRecall(precision=0.0, recall=0.0)
    """
    x, y = _comparable(features, reference, "precision", least=k + 1)
    radii_x, radii_y = _radii(x, k), _radii(y, k)
    real, reached = np.zeros(len(x), bool), np.zeros(len(y), bool)
    for rows in _blocks(len(x)):
        for columns in _blocks(len(y)):
            squares = _squared_distances(x[rows], y[columns])
            real[rows] |= (squares <= radii_y[columns]).any(axis=1)
            reached[columns] |= (squares <= radii_x[rows, None]).any(axis=0)
    return PrecisionRecall(float(real.mean()), float(reached.mean()))


def density_coverage(features: ArrayLike, reference: ArrayLike, k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020, Eq. 4-5): both from balls around real samples alone.

    Args:
        features, reference: `(n, d)` and `(m, d)`; more than k samples in the reference.

    Raises:
        ValueError: too few samples, different d, or values that are not finite.
    """
    x, y = _comparable(features, reference, "density", least=k + 1)
    radii, within, covered = _radii(y, k), 0, np.zeros(len(y), bool)
    for rows in _blocks(len(x)):
        for columns in _blocks(len(y)):
            inside = _squared_distances(x[rows], y[columns]) <= radii[columns]
            within += int(inside.sum())
            covered[columns] |= inside.any(axis=0)
    return DensityCoverage(within / (k * len(x)), float(covered.mean()))


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _distances(np.asarray(a, np.float64), np.asarray(b, np.float64))


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of every sample to its k-th nearest other one; a block of distances is in memory at a time."""
    found = []
    for rows in _blocks(len(x)):
        nearest = np.full((len(x[rows]), k), np.inf)
        for columns in _blocks(len(x)):
            squares = _squared_distances(x[rows], x[columns])
            if rows == columns:
                np.fill_diagonal(squares, np.inf)
            nearest = _smallest(np.concatenate([nearest, _smallest(squares, k)], axis=1), k)
        found.append(nearest[:, -1])
    return np.concatenate(found)


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """The k smallest of each row, ascending; the array is used up. For few of many this is faster than a partition."""
    rows, k = np.arange(len(values)), min(k, values.shape[1])
    found = np.empty((len(values), k))
    for rank in range(k):
        at = values.argmin(axis=1)
        found[:, rank] = values[rows, at]
        values[rows, at] = np.inf
    return found
