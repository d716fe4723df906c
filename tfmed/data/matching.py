"""Which cell of one image is which cell of another: candidates, their neighbourhood graph, and a matcher that keeps it.

After Liu et al. (DALI 2021, section 2.2): cells that are imaged twice are matched by what they look like and by how
their neighbours lie. Points are float arrays `(n, axes)` in pixels; those of the first image are given where an affine
transform puts them in the second one (`moved`), so that a turn between the visits costs nothing. A **candidate** is a
pair (cell of the first, cell of the second image) at most `radius` apart; two candidates **support** each other where
their cells are mutual neighbours in both images. Everything is a pure function of its arguments; plain numpy and scipy.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

RADIUS, NEIGHBOURS, WINDOW = 30.0, 6, 16  # the paper's: px, cells, px
CAP = 3.0  # of one pair term, reached where two edges differ by 67 degrees: a single one must not rule out a match
_TIE = 1e-9  # share by which neighbours may be farther and still as far
_BLOCK = 1 << 22  # differences of features held at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Match:
    """A one-to-one match of the cells of two images.

    Attributes:
        pairs: int64 `(m, 2)`: indices of matched cells in the first and in the second image, ascending.
        lost: int64: indices of the cells of the first image without a partner.
        new: int64: indices of the cells of the second image without a partner.
        energy: what the matcher minimised, see `energy`; NaN for matches that minimise none.
    """

    pairs: np.ndarray
    lost: np.ndarray
    new: np.ndarray
    energy: float = float("nan")


def moved(points: ArrayLike, affine: ArrayLike) -> np.ndarray:
    """Points after an affine transform.

    Args:
        points: `(n, axes)`.
        affine: `(axes, axes + 1)`: a matrix with a shift as its last column.

    Returns:
        float64 `(n, axes)`.

    Raises:
        ValueError: shapes that do not fit.
    """
    points, affine = as_points(points, "points"), np.asarray(affine, np.float64)
    if affine.shape != (points.shape[1], points.shape[1] + 1):
        raise ValueError(f"points {points.shape} need an affine matrix with a shift, not one of shape {affine.shape}")
    return points @ affine[:, :-1].T + affine[:, -1]


def candidates(first: ArrayLike, second: ArrayLike, radius: float = RADIUS) -> np.ndarray:
    """All pairs of points of two images that are at most `radius` px apart.

    Returns:
        int64 `(a, 2)`: indices into `first` and `second`, in ascending order.

    Raises:
        ValueError: points that are not finite or have other axes, or a radius that is negative or not finite.

    Example:
        >>> candidates([[0, 0], [0, 9]], [[0, 5], [40, 0]], radius=5).tolist()
        [[0, 0], [1, 0]]
    """
    one, other = _two(first, second)
    if not (np.isfinite(radius) and radius >= 0):
        raise ValueError(f"the radius of candidates is a number of pixels >= 0, not {radius}")
    if not len(one) or not len(other):
        return np.zeros((0, 2), np.int64)
    near = cKDTree(one).query_ball_tree(cKDTree(other), radius)
    found = [(i, j) for i, partners in enumerate(near) for j in sorted(partners)]
    return np.array(found, np.int64).reshape(-1, 2)


def mutual_neighbours(points: ArrayLike, count: int = NEIGHBOURS) -> sparse.csr_matrix:
    """Which points are among each other's `count` nearest ones.

    Points that are as far as the last of these belong to them too, so that the order of points decides nothing.

    Returns:
        Symmetric bool matrix `(n, n)` without its diagonal, sparse.

    Raises:
        ValueError: points that are not finite, or a count below 1.
    """
    points = as_points(points, "points")
    if count < 1:
        raise ValueError(f"neighbours are 1 or more, not {count}")
    total = len(points)
    count = min(int(count), total - 1)
    if count < 1:
        return sparse.csr_matrix((total, total), dtype=bool)
    tree = cKDTree(points)
    reach = tree.query(points, [count + 1])[0][:, 0] * (1 + _TIE)  # the first is the point itself
    near = tree.query_ball_point(points, reach)
    rows = np.repeat(np.arange(total), [len(one) for one in near])
    columns = np.concatenate([np.asarray(one, np.intp) for one in near])
    away = rows != columns
    shape = (total, total)
    directed = sparse.csr_matrix((np.ones(np.count_nonzero(away), bool), (rows[away], columns[away])), shape)
    return directed.multiply(directed.T).tocsr()


def supports(found: np.ndarray, first: sparse.spmatrix, second: sparse.spmatrix) -> np.ndarray:
    """Pairs of candidates whose cells are neighbours in both images.

    Args:
        found: candidates `(a, 2)`.
        first, second: neighbours of each image, from `mutual_neighbours`.

    Returns:
        int64 `(s, 2)`: indices into `found`, the lower one first, ascending.
    """
    if not len(found):
        return np.zeros((0, 2), np.int64)
    both = [sparse.csr_matrix(graph)[cells][:, cells]
            for graph, cells in ((first, found[:, 0]), (second, found[:, 1]))]  # fmt: skip
    pairs = sparse.triu(both[0].multiply(both[1]), 1).tocoo()
    order = np.lexsort((pairs.col, pairs.row))
    return np.stack([pairs.row[order], pairs.col[order]], axis=1).astype(np.int64)


def length_difference(one: ArrayLike, other: ArrayLike) -> np.ndarray:
    """delta = | |a| - |b| | / (|a| + |b|) of edges `(..., axes)`, in [0, 1]; 0 where both have no length."""
    a, b = (np.linalg.norm(np.asarray(edge, np.float64), axis=-1) for edge in (one, other))
    return np.divide(np.abs(a - b), a + b, out=np.zeros(np.shape(a + b)), where=a + b > 0)


def angle_between(one: ArrayLike, other: ArrayLike) -> np.ndarray:
    """gamma, the angle between edges `(..., axes)`, in [0, pi] rad; 0 where either has no length.

    Exact also for small angles, where the arc cosine of the inner product is not (Kahan).
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    sizes = [np.linalg.norm(edge, axis=-1, keepdims=True) for edge in (a, b)]
    a, b = (np.divide(edge, size, out=np.zeros(edge.shape), where=size > 0)
            for edge, size in zip((a, b), sizes, strict=True))  # fmt: skip
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    return np.where((sizes[0] > 0)[..., 0] & (sizes[1] > 0)[..., 0], angle, 0.0)


def pair_terms(
    first: ArrayLike, second: ArrayLike, found: np.ndarray, pairs: np.ndarray, cap: float = CAP
) -> np.ndarray:
    """What two candidates cost together: (exp(delta^2) - 1) + (exp(gamma^2) - 1), at most `cap`.

    The paper's topology energy, in which its Eq. (3) multiplies only the second bracket by the candidates; without the
    cap a turned edge would cost up to 19,000.

    Args:
        first, second: points `(n, axes)` of both images.
        found: candidates `(a, 2)`.
        pairs: of `supports`, `(s, 2)`.
        cap: `float("inf")` for none.

    Returns:
        float64 `(s,)`.
    """
    one, other = _two(first, second)
    edges = [points[found[pairs[:, 0], k]] - points[found[pairs[:, 1], k]] for k, points in enumerate((one, other))]
    terms = np.expm1(length_difference(*edges) ** 2) + np.expm1(angle_between(*edges) ** 2)
    return np.minimum(terms, cap)


def windows(features: ArrayLike, centres: ArrayLike, size: int = WINDOW) -> np.ndarray:
    """What a feature map holds around each of some points.

    Args:
        features: `(y, x, channel)`.
        centres: `(n, 2)`, rounded to whole pixels; the window begins `size // 2` before that. Beyond the border the map
            is reflected.
        size: of the windows in pixels.

    Returns:
        `(n, size * size * channels)`, dtype of the map.

    Raises:
        ValueError: shapes that do not fit, or a size below 1.
    """
    features, points = np.asarray(features), as_points(centres, "centres")
    if features.ndim != 3 or points.shape[1] != 2 or not features.size or size < 1:
        raise ValueError(f"windows of {size} px need features (y, x, channel) and centres (n, 2), "
                         f"not {features.shape} and {points.shape}")  # fmt: skip
    starts = np.rint(points).astype(np.int64) - size // 2
    rows, columns = (_reflected(starts[:, k, None] + np.arange(size), features.shape[k]) for k in (0, 1))
    return features[rows[:, :, None], columns[:, None, :]].reshape(len(points), size * size * features.shape[2])


def feature_costs(first: ArrayLike, second: ArrayLike, found: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the features of each candidate, divided by its median over all of them
    (by the mean of those that are not 0 where the median is).

    Args:
        first, second: features of the cells of both images, `(n, values)`.
        found: candidates `(a, 2)`.

    Returns:
        float64 `(a,)`.

    Raises:
        ValueError: features of different length.
    """
    one, other = (array.astype(np.result_type(array, np.float32), copy=False)  # differences of uint8 would wrap
                  for array in map(np.asarray, (first, second)))  # fmt: skip
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"features are (cells, values) with as many values, not {one.shape} and {other.shape}")
    step = max(1, _BLOCK // max(1, one.shape[1]))
    blocks = [np.abs(one[block[:, 0]] - other[block[:, 1]]).mean(1, dtype=np.float64)
              for block in (found[k : k + step] for k in range(0, len(found), step))]  # fmt: skip
    return _by_median(np.concatenate([np.zeros(0), *blocks]))


def assign(found: np.ndarray, costs: np.ndarray, shape: tuple[int, int], unmatched: float = 1.0) -> np.ndarray:
    """The one-to-one choice of candidates with the least sum of costs and of `unmatched` for each cell left over.

    As an assignment with `shape[0] + shape[1]` rows and columns, half of them dummies, in which unmatched cells go to
    dummies; it is solved without these, as a candidate is worth what it saves.

    Args:
        found: candidates `(a, 2)`.
        costs: `(a,)`.
        shape: how many cells the images have.
        unmatched: cost of a cell without partner.

    Returns:
        int64: indices of the chosen candidates, ascending.
    """
    saves = costs < 2 * unmatched
    if not saves.any():
        return np.zeros(0, np.int64)
    index = np.full(shape, -1, np.int64)
    gain = np.zeros(shape)
    index[tuple(found[saves].T)] = np.flatnonzero(saves)
    gain[tuple(found[saves].T)] = costs[saves] - 2 * unmatched
    chosen = index[linear_sum_assignment(gain)]
    return np.sort(chosen[chosen >= 0])


def energy(
    chosen: ArrayLike, costs: np.ndarray, pairs: np.ndarray, terms: np.ndarray, shape: tuple[int, int],
    topology: float = 1.0, unmatched: float = 1.0,
) -> float:  # fmt: skip
    """What `match` minimises: costs of chosen candidates, their topology, and cells without partner.

    sum v_a m_a + topology * sum_a m_a (mean of e_ab over chosen supporters b) + unmatched * (cells left over)

    Args:
        chosen: indices of candidates.
        costs: v of all candidates.
        pairs, terms: from `supports` and `pair_terms`.
        shape: how many cells the images have.
    """
    mask = np.zeros(len(costs))
    mask[np.asarray(chosen, np.int64)] = 1
    left = sum(shape) - 2 * mask.sum()
    return float(mask @ (costs + topology * _support(mask, pairs, terms)) + unmatched * left)


def printed_energy(
    chosen: ArrayLike, distances: np.ndarray, pairs: np.ndarray, terms: np.ndarray, shape: tuple[int, int]
) -> float:
    """The paper's energy E_v + E_t + E_p, which has no weights: its least value is that of no match at all.

    A match adds a sum of thousands of absolute differences and takes away one part of the number of cells.

    Args:
        chosen: indices of candidates.
        distances: sums of absolute differences of the features of all candidates.
        pairs, terms: from `supports` and `pair_terms`, without cap.
        shape: how many cells the images have.
    """
    mask = np.zeros(len(distances), bool)
    mask[np.asarray(chosen, np.int64)] = True
    both = terms[mask[pairs].all(1)].sum() if len(pairs) else 0.0
    return float(distances[mask].sum() + both + 1 - mask.sum() / max(1, min(shape)))


def match(
    first: ArrayLike,
    second: ArrayLike,
    features: tuple[ArrayLike, ArrayLike] | None = None,
    radius: float = RADIUS,
    neighbours: int = NEIGHBOURS,
    topology: float = 1.0,
    unmatched: float = 1.0,
    cap: float = CAP,
    rounds: int = 10,
) -> Match:
    """Match the cells of two images by their features and by how their neighbours lie.

    Iterated linear assignment: each round a candidate costs its features' difference and the mean of its pair terms,
    weighted by how far its supporters are matched so far; the round's best assignment is averaged with what was before.
    The assignment with the least `energy` of all rounds is returned. The paper's solver is given by reference only.

    Args:
        first: points of the first image `(n, axes)`, moved into the second one (`moved`).
        second: points of the second image.
        features: of the cells of both images, `(n, values)` each, as from `windows`; None: the candidates' distances
            take the place of the features' differences.
        radius: px that a cell may lie from its partner.
        neighbours: how many nearest cells support a cell.
        topology: weight of the pair terms; 0 leaves assignment by features (or distances) alone.
        unmatched: cost of a cell without partner; a typical candidate's features cost 1.
        cap: of a pair term.
        rounds: of assignment, 1 or more.

    Returns:
        A one-to-one `Match` of candidates.

    Raises:
        ValueError: arguments that do not fit.

    Example:
        >>> found = match([[0, 0], [0, 30], [30, 0]], [[31, 1], [1, 1]])
        >>> found.pairs.tolist(), found.lost.tolist(), found.new.tolist()
        ([[0, 1], [2, 0]], [1], [])
    """
    one, other = _two(first, second)
    shape = (len(one), len(other))
    if rounds < 1:
        raise ValueError(f"rounds are 1 or more, not {rounds}")
    if features is not None and (np.shape(features[0])[0], np.shape(features[1])[0]) != shape:
        raise ValueError(f"{shape} cells need as many features, not {[np.shape(each)[0] for each in features]}")
    found = candidates(one, other, radius)
    costs = feature_costs(*features, found) if features is not None else _distance_costs(one, other, found)
    if not topology:
        chosen = assign(found, costs, shape, unmatched)
        none = np.zeros((0, 2), np.int64)
        return _match(found, chosen, shape, energy(chosen, costs, none, np.zeros(0), shape, 0.0, unmatched))
    pairs = supports(found, mutual_neighbours(one, neighbours), mutual_neighbours(other, neighbours))
    terms = pair_terms(one, other, found, pairs, cap)
    soft, best = np.exp(-3 * costs), (np.inf, np.zeros(0, np.int64))
    for _ in range(rounds):
        chosen = assign(found, costs + topology * _support(soft, pairs, terms), shape, unmatched)
        value = energy(chosen, costs, pairs, terms, shape, topology, unmatched)
        best = min(best, (value, chosen), key=lambda one: one[0])
        soft *= 0.5
        soft[chosen] += 0.5
    return _match(found, best[1], shape, best[0])


def mutual_nearest(first: ArrayLike, second: ArrayLike, radius: float = RADIUS) -> Match:
    """Cells that are each other's nearest one in the other image and at most `radius` px apart: a baseline.

    Arguments and errors as for `match`.
    """
    one, other = _two(first, second)
    shape = (len(one), len(other))
    if not min(shape):
        return _match(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), shape)
    away, there = cKDTree(other).query(one)
    back = cKDTree(one).query(other)[1]
    here = np.flatnonzero((back[there] == np.arange(len(one))) & (away <= radius))
    return _match(np.stack([here, there[here]], axis=1), np.arange(len(here)), shape)


def as_points(points: ArrayLike, name: str) -> np.ndarray:
    """Points as float64 `(n, axes)`, `(0, 2)` where there are none; ValueError where they are none or not finite."""
    array = np.asarray(points, np.float64)
    array = array.reshape(0, 2) if array.shape == (0,) else array
    if array.ndim != 2 or not array.shape[1] or not np.isfinite(array).all():
        raise ValueError(f"{name} are finite numbers (n, axes), not an array of shape {array.shape}")
    return array


def _two(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    one, other = as_points(first, "first"), as_points(second, "second")
    if one.shape[1] != other.shape[1] and len(one) and len(other):
        raise ValueError(f"points of both images have as many axes, not {one.shape[1]} and {other.shape[1]}")
    return one, other


def _support(soft: np.ndarray, pairs: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Mean of each candidate's pair terms, weighted by how far its supporters are matched; 0 without supporters."""
    count = len(soft)
    ends, others = np.concatenate([pairs, pairs[:, ::-1]]).T
    weights = soft[others]
    sums = np.bincount(ends, weights * np.concatenate([terms, terms]), count)
    whole = np.bincount(ends, weights, count)
    return np.divide(sums, whole, out=np.zeros(count), where=whole > 0)


def _match(found: np.ndarray, chosen: np.ndarray, shape: tuple[int, int], value: float = float("nan")) -> Match:
    pairs = found[chosen].astype(np.int64)
    lost, new = (np.setdiff1d(np.arange(shape[k]), pairs[:, k]) for k in (0, 1))
    return Match(pairs, lost, new, value)


def _distance_costs(one: np.ndarray, other: np.ndarray, found: np.ndarray) -> np.ndarray:
    return _by_median(np.linalg.norm(one[found[:, 0]] - other[found[:, 1]], axis=1))


def _by_median(values: np.ndarray) -> np.ndarray:
    middle = np.median(values) if len(values) else 0.0
    if len(values) and not middle:  # most are equal: the others are then measured by their own mean
        middle = values.sum() / max(1, np.count_nonzero(values))
    return values / middle if middle > 0 else np.zeros(len(values))


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Indices beyond 0 .. size - 1 reflected at the outermost pixels, which are not repeated."""
    period = max(1, 2 * (size - 1))
    index = np.mod(index, period)
    return np.minimum(index, period - index) if size > 1 else np.zeros_like(index)
