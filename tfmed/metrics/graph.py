"""Measures of weighted graphs, and how far two sets of them are apart. numpy and scipy.

As in the Brain Connectivity Toolbox (Rubinov and Sporns, NeuroImage 2010), an edge of weight w has length 1 / w.
"""

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
    q, p = (np.ravel(np.asarray(sample, np.float64)) for sample in (values, reference))
    for name, sample in (("values", q), ("reference", p)):
        if not len(sample) or not np.isfinite(sample).all():
            raise ValueError(f"{name}: needs at least one value, all finite")
    if _one_number(p, q):
        return 0.0  # one bin holds all; what differs are the last digits
    span = min(p.min(), q.min()), max(p.max(), q.max())
    p, q = (np.histogram(sample, bins, span)[0] / len(sample) + floor for sample in (p, q))
    return float(np.sum(p * np.log(p / q)))


def similarity(matrices: ArrayLike, reference: ArrayLike) -> dict[str, tuple[float, float]]:
    """{measure: (KL, MMD)} of a set of graphs against another: values pooled for KL, graphs as samples for MMD.

    A measure that is one number in all graphs of both sets (local efficiency where nothing clusters: 0) is 0 apart.

    Args:
        matrices, reference: `(n, d, d)` and `(m, d, d)`, at least two each.
    """
    found = {}
    for name, measure in MEASURES.items():
        ours, theirs = measure(matrices), measure(reference)
        samples = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
        distance = 0.0 if _one_number(ours, theirs) else mmd(*samples, biased=True)
        found[name] = (histogram_kl(ours, theirs), distance)
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
