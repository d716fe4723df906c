"""Measures of weighted graphs, and how far two sets of them are apart. numpy and scipy.

As in the Brain Connectivity Toolbox (Rubinov and Sporns, NeuroImage 2010), an edge of weight w has length 1 / w.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import shortest_path

from tfmed.metrics.generative import mmd

_ALIKE = 1e-9  # share of a number by which equal ones may differ


def edge_weights(matrices: ArrayLike) -> np.ndarray:
    """The weights above the diagonal, `(n, d, d)` -> `(n, d (d - 1) / 2)`."""
    matrices = _checked(matrices)
    return matrices[(..., *np.triu_indices(matrices.shape[-1], 1))]


def node_strength(matrices: ArrayLike) -> np.ndarray:
    """Sum of each region's weights, `(n, d, d)` -> `(n, d)`.

    Example:
        >>> node_strength([[[0.0, 1.0, 2.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]]).tolist()
        [[3.0, 1.0, 2.0]]
    """
    return _checked(matrices).sum(-1)


def global_efficiency(matrices: ArrayLike) -> np.ndarray:
    """Mean of 1 / d_ij over pairs, d_ij the length of the shortest path (without one: 0), `(n, d, d)` -> `(n,)`."""
    matrices = _checked(matrices)
    regions = matrices.shape[-1]
    return np.array([_inverse_distances(_lengths(matrix)).sum() / (regions * (regions - 1)) for matrix in matrices])


def local_efficiency(matrices: ArrayLike) -> np.ndarray:
    """Weighted efficiency of each region's neighbourhood, `(n, d, d)` -> `(n, d)`; 0 with fewer than two neighbours.

    E_i = sum_{j != h} (w_ij w_ih / d_jh(N_i))^(1/3) / (k_i (k_i - 1)), where N_i are the neighbours of i, without i,
    and d_jh(N_i) is the shortest path within them.
    """
    return np.stack([_local_efficiency(matrix) for matrix in _checked(matrices)])


def _local_efficiency(matrix: np.ndarray) -> np.ndarray:
    lengths, roots = _lengths(matrix), np.cbrt(matrix)
    found = np.zeros(len(matrix))
    for i, row in enumerate(matrix):
        near = np.flatnonzero(row)
        if len(near) > 1:
            inverse = np.cbrt(_inverse_distances(lengths[np.ix_(near, near)]))
            share = roots[i, near]
            found[i] = share @ inverse @ share / (len(near) * (len(near) - 1))
    return found


def _lengths(matrix: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 1.0 / matrix


def _inverse_distances(lengths: np.ndarray) -> np.ndarray:
    """1 / length of the shortest path of each pair, 0 on the diagonal and where there is no path."""
    finite = np.isfinite(lengths)
    dense = finite.mean() > 0.2  # Floyd and Warshall's cubes beat Dijkstra's heaps on graphs with many edges
    distances = shortest_path(np.where(finite, lengths, 0.0), method="FW" if dense else "D", directed=False)
    with np.errstate(divide="ignore"):
        inverse = 1.0 / distances
    np.fill_diagonal(inverse, 0.0)
    return inverse


MEASURES = {
    "edge weight": edge_weights,
    "node strength": node_strength,
    "local efficiency": local_efficiency,
    "global efficiency": global_efficiency,
}


def histogram_kl(values: ArrayLike, reference: ArrayLike, bins: int = 50, floor: float = 1e-10) -> float:
    """KL(reference || values) of histograms over the range of both (natural logarithm); 0 for equal sets.

    Args:
        values, reference: arrays, flattened.
        bins: of equal width; 0 for sets of one and the same number.
        floor: added to each bin's share.

    Raises:
        ValueError: a set is empty or not finite.
    """
    q, p, _ = _shares(values, reference, bins)
    return float(np.sum((p + floor) * np.log((p + floor) / (q + floor))))


def histogram_mmd(values: ArrayLike, reference: ArrayLike, bins: int = 1000) -> float:
    """Squared MMD of two sets of numbers, as `generative.mmd(..., biased=True)`, by their histograms.

    Args:
        values, reference: arrays, flattened.
        bins: of equal width over the range of both; 0 for sets of one and the same number.

    Raises:
        ValueError: a set is empty or not finite.
    """
    q, p, counts = _shares(values, reference, bins)
    lags = np.arange(len(counts))
    pairs = np.correlate(counts, counts, "full")[len(counts) - 1 :]  # ordered pairs of numbers that are k bins apart
    pairs[0] = (pairs[0] - counts.sum()) / 2
    if 2 * pairs[0] >= pairs.sum():
        pairs[0] = 0.0  # most are alike: the median distance of the others, as `generative.median_distance`
    if not pairs.any():
        return 0.0
    sigma = np.searchsorted(np.cumsum(pairs), pairs.sum() / 2)
    kernel = np.exp(-0.5 * np.square((lags[:, None] - lags) / sigma))
    return max(0.0, float((q - p) @ kernel @ (q - p)))


def _shares(values: ArrayLike, reference: ArrayLike, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of each set in bins over the range of both, and how many of both a bin has; one bin if all are alike."""
    q, p = (np.ravel(np.asarray(sample, np.float64)) for sample in (values, reference))
    for name, sample in (("values", q), ("reference", p)):
        if not len(sample) or not np.isfinite(sample).all():
            raise ValueError(f"{name}: needs at least one value, all finite")
    if _one_number(p, q):  # what differs are the last digits
        return np.ones(1), np.ones(1), np.array([float(len(p) + len(q))])
    span = min(p.min(), q.min()), max(p.max(), q.max())
    ours, theirs = (np.histogram(sample, bins, span)[0].astype(np.float64) for sample in (q, p))
    return ours / len(q), theirs / len(p), ours + theirs


class Similarity(NamedTuple):
    """How far the graphs of two sets are apart in one measure."""

    kl: float  # of the values, pooled over regions and graphs
    mmd: float  # of the values, pooled over regions and graphs
    graph_mmd: float  # graphs are the samples


def similarity(matrices: ArrayLike, reference: ArrayLike) -> dict[str, Similarity]:
    """{measure: `Similarity`} of a set of graphs to another one.

    A measure that is one number in all graphs of both sets (local efficiency where nothing clusters: 0) is 0 apart.

    Args:
        matrices, reference: `(n, d, d)` and `(m, d, d)`, at least two each.
    """
    found = {}
    for name, measure in MEASURES.items():
        ours, theirs = measure(matrices), measure(reference)
        samples = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
        distance = 0.0 if _one_number(ours, theirs) else mmd(*samples, biased=True)
        found[name] = Similarity(histogram_kl(ours, theirs), histogram_mmd(ours, theirs), distance)
    return found


def _one_number(values: np.ndarray, reference: np.ndarray) -> bool:
    """Whether all values of both arrays are equal, to within the rounding of sums in another order."""
    low, high = min(values.min(), reference.min()), max(values.max(), reference.max())
    return high - low <= _ALIKE * max(abs(low), abs(high))


def _checked(matrices: ArrayLike) -> np.ndarray:
    matrices = np.asarray(matrices, np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] < 2:
        raise ValueError(f"graphs are (n, d, d) with d of at least 2; got shape {matrices.shape}")
    if not np.isfinite(matrices).all() or matrices.min() < 0:
        raise ValueError("graphs have finite weights from 0")
    return matrices * (1.0 - np.eye(matrices.shape[1]))
