"""Which cases to label next: how informative each is, and strategies that choose by that, by distance, or at random.

A pool of n cases is a bool array `(n,)`, `labelled`: which of them have a label. A strategy returns the places of
`count` others, int64 `(count,)`, in the order in which they were chosen. Plain numpy.

After J. Chong et al., "Comparing active learning strategies for classification", DALI 2021; k-centre greedy after
O. Sener, S. Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA

from tfmed.errors import UserError

Metric = Literal["euclidean", "cosine", "manhattan"]
Strategy = Callable[[np.ndarray, int], np.ndarray]  # (labelled, count) -> places
BUCKETS = ((0.6, 0.3), (0.3, 0.4), (0.1, 0.3))  # (share of the picks, share of the pool), most informative first
_TOP = 1024  # cases that are compared with every new centre
_AT_ONCE = 2**19  # distances of a block

# --- how informative a case is: the higher the score, the more ------------------------------------------------------


def confidence_scores(probabilities: ArrayLike) -> np.ndarray:
    """1 - p_(1), float64 `(n,)` in [0, 1 - 1 / classes], of probabilities `(n, classes)`.

    Example:
        >>> confidence_scores([[0.25, 0.75], [0.5, 0.5]]).tolist()
        [0.25, 0.5]
    """
    return 1.0 - np.asarray(probabilities, np.float64).max(-1)


def margin_scores(probabilities: ArrayLike) -> np.ndarray:
    """1 - (p_(1) - p_(2)), float64 `(n,)` in [0, 1]: the two largest probabilities apart; twice the confidence score of
    two classes."""
    ordered = np.sort(np.asarray(probabilities, np.float64), -1)
    return 1.0 - (ordered[..., -1] - ordered[..., -2])


def entropy_scores(probabilities: ArrayLike) -> np.ndarray:
    """Entropy in nats, float64 `(n,)` in [0, log classes]."""
    return scipy.special.entr(np.asarray(probabilities, np.float64)).sum(-1)


def last_layer_change(probabilities: ArrayLike, embedding: ArrayLike, expected: bool = False) -> np.ndarray:
    """Expected model change: how large the gradient of the cross-entropy is in the last dense layer, `(n,)` float64.

    With h the layer's input and e_y the assumed label, ||(p - e_y) outer [h; 1]||_F = ||p - e_y|| sqrt(||h||^2 + 1).

    Args:
        probabilities: `(n, classes)`.
        embedding: h, `(n, d)`.
        expected: the mean over all labels, by their probabilities (expected gradient length); otherwise the most
            probable class is taken for the label.
    """
    p, h = np.asarray(probabilities, np.float64), np.asarray(embedding, np.float64)
    assumed = range(p.shape[-1]) if expected else [p.argmax(-1)]
    lengths = [np.linalg.norm(p - np.eye(p.shape[-1])[y], axis=-1) for y in assumed]
    length = (p * np.stack(lengths, -1)).sum(-1) if expected else lengths[0]
    return length * np.sqrt(np.square(h).sum(-1) + 1.0)


# --- what is chosen by it ---------------------------------------------------------------------------------------------


def random_cases(labelled: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """`count` cases drawn uniformly, none twice.

    Raises:
        UserError: there are not so many cases without a label; so do all strategies.
    """
    return draw.permutation(_free(labelled, count))[:count]


def top_cases(labelled: np.ndarray, scores: ArrayLike, count: int, ascending: bool = False) -> np.ndarray:
    """The `count` cases with the highest scores `(n,)`; of equal ones the first. `ascending`: the lowest."""
    free, values = _free(labelled, count), np.asarray(scores, np.float64)
    return free[np.argsort(values[free] if ascending else -values[free], kind="stable")[:count]]


def mixed(labelled: np.ndarray, strategy: Strategy, count: int, share: float, draw: np.random.Generator) -> np.ndarray:
    """floor(count (1 - share)) cases by a strategy, the others at random from what remains.

    Args:
        labelled: see above.
        strategy: function of (labelled, how many) -> places.
        count: of cases.
        share: of random ones, from 0 to 1.
        draw: numpy Generator.
    """
    _free(labelled, count)
    chosen = strategy(labelled, math.floor(count * (1 - share) + 1e-9))  # 10 (1 - 0.9) is a little below 1
    return _filled(labelled, chosen, count, draw)


def bucket_cases(labelled: np.ndarray, scores: ArrayLike, count: int, draw: np.random.Generator) -> np.ndarray:
    """At random: 60 % from the 30 % with the highest scores, 30 % from the next 40 %, 10 % from the others."""
    ordered, start = top_cases(labelled, scores, len(_free(labelled, count))), 0
    chosen: list[int] = []
    for picks, width in BUCKETS[:-1]:
        stop = start + round(width * len(ordered))
        chosen += draw.permutation(ordered[start:stop])[: round(picks * count)].tolist()
        start = stop
    chosen += draw.permutation(ordered[start:])[: count - len(chosen)].tolist()
    return _filled(labelled, np.array(chosen[:count], np.int64), count, draw)


def nearest_cases(
    labelled: np.ndarray,
    scores: ArrayLike,
    embedding: np.ndarray,
    count: int,
    draw: np.random.Generator,
    neighbours: int = 15,
    metric: Metric = "euclidean",
    ascending: bool = False,
) -> np.ndarray:
    """K-nearest: of each labelled case, the most informative one first, the nearest cases that are not chosen yet.

    Where the labelled cases do not have so many neighbours in all, the others are drawn at random.

    Args:
        labelled: see above.
        scores: `(n,)`, of all cases.
        embedding: `(n, d)`, likewise.
        count: of cases.
        draw: numpy Generator.
        neighbours: K.
        metric: of the distances.
        ascending: the least informative labelled case first.
    """
    free, places, values = _free(labelled, count), np.flatnonzero(labelled), np.asarray(scores, np.float64)
    order = places[np.argsort(values[places] if ascending else -values[places], kind="stable")]
    points, chosen = _prepared(embedding, metric), np.zeros(0, np.int64)
    for place in order:
        if len(chosen) >= count or not len(free):
            break
        away = _distances(points[place][None], points[free], metric)[0]
        near = np.argsort(away, kind="stable")[:neighbours]
        chosen, free = np.concatenate([chosen, free[near]]), np.delete(free, near)
    return _filled(labelled, chosen[:count], count, draw)


def core_set(
    labelled: np.ndarray,
    embedding: np.ndarray,
    count: int,
    weights: ArrayLike | None = None,
    metric: Metric = "euclidean",
    one_shot: bool = False,
) -> np.ndarray:
    """K-centre greedy: again and again the case farthest from all that are labelled or chosen, by w(u) min_c ||u - c||.

    New centres can only bring cases nearer. So the thousand cases at the top are compared with each new centre, and the
    others, all at once, only when one of them may have come to the top: the choice is that of the plain rule, and
    memory one vector of minima beside a block of distances.

    Args:
        labelled: see above.
        embedding: `(n, d)`.
        count: of cases.
        weights: w `(n,)`, not negative; None: 1, the published rule.
        metric: of the distances.
        one_shot: take the farthest `count` at once, without comparing them to each other.

    Example:
        >>> points = np.array([[0.0], [1.0], [9.0], [9.1], [-5.0]])
        >>> core_set(np.array([True, False, False, False, False]), points, 2).tolist()
        [3, 4]
    """
    free, points = _free(labelled, count), _prepared(embedding, metric)
    weight = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    if (weight[free] < 0).any():
        raise ValueError("weights must not be negative")
    centres, taken = np.flatnonzero(labelled), np.array(labelled, bool)
    # Without any labelled case there is nothing to be far from yet: the first is farthest from the mean.
    least = _least(points, points[centres] if len(centres) else points.mean(0, keepdims=True), metric)
    if one_shot:
        away = (weight * _distance(least, metric))[free]
        return free[np.argsort(-away, kind="stable")[:count]]
    return _greedy(points, weight, taken, least, count, metric)


def _greedy(
    points: np.ndarray, weight: np.ndarray, taken: np.ndarray, least: np.ndarray, count: int, metric: Metric
) -> np.ndarray:
    """Places of `count` points, see `core_set`; `taken` `(n,)` bool and `least`, see `_least`, are changed."""
    chosen, met, bound = np.zeros(count, np.int64), 0, np.inf
    top, key = np.zeros(0, np.int64), np.zeros(0)

    def keys(places: np.ndarray | slice) -> np.ndarray:
        return np.where(taken[places], -np.inf, weight[places] * _distance(least[places], metric))

    for number in range(count):
        best = top[key.argmax()] if len(top) else 0
        if not len(top) or key.max() <= bound:  # one that is not at the top may be as far
            if number > met:
                np.minimum(least, _least(points, points[chosen[met:number]], metric), out=least)
            met, key = number, keys(slice(None))
            best, top, bound = int(key.argmax()), np.arange(len(key)), -np.inf
            if len(key) > _TOP:
                order = np.argpartition(-key, _TOP)
                top, bound = np.sort(order[:_TOP]), key[order[_TOP:]].max()
            own = points[top]
        chosen[number], taken[best] = best, True
        least[top] = np.minimum(least[top], _least(own, points[best][None], metric))
        key = keys(top)
    return chosen


# --- what embeddings are compared by ----------------------------------------------------------------------------------


def reduced(embedding: np.ndarray, components: int) -> np.ndarray:
    """The first principal components of embeddings `(n, d)`, `(n, min(components, n, d))`."""
    count = min(components, *embedding.shape)
    return PCA(count, svd_solver="full").fit_transform(np.asarray(embedding, np.float64))


def class_counts(names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """How many of the cases are of each class; classes without any count 0.

    Example:
        >>> class_counts(["b", "b"], ["a", "b"])
        {'a': 0, 'b': 2}
    """
    return {name: sum(one == name for one in names) for name in classes}


def _free(labelled: np.ndarray, count: int) -> np.ndarray:
    """Places of the cases without a label."""
    free = np.flatnonzero(~np.asarray(labelled, bool))
    if count > len(free):
        raise UserError(f"{count} cases are asked for, and {len(free)} have no label; ask for fewer, or add cases")
    return free


def _filled(labelled: np.ndarray, chosen: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    taken = np.array(labelled, bool)
    taken[chosen] = True
    return np.concatenate([chosen, random_cases(taken, count - len(chosen), draw)]).astype(np.int64)


def _prepared(embedding: np.ndarray, metric: Metric) -> np.ndarray:
    """Embeddings as `_distances` takes them."""
    points = np.asarray(embedding, np.float64)
    if not np.isfinite(points).all():
        raise UserError("embeddings hold NaN or infinity; was the network trained at too high a learning rate?")
    if metric == "cosine":
        return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return points - points.mean(0) if metric == "euclidean" else points  # small numbers, whose squares lose less


def _distances(ours: np.ndarray, theirs: np.ndarray, metric: Metric) -> np.ndarray:
    """`(ours, theirs)` float64; Euclidean ones are squared, see `_distance`."""
    if metric == "manhattan":
        return scipy.spatial.distance.cdist(ours, theirs, "cityblock")
    products = ours @ theirs.T
    if metric == "cosine":
        return np.maximum(1.0 - products, 0.0)
    products *= -2.0
    products += np.einsum("ij,ij->i", ours, ours)[:, None]
    products += np.einsum("ij,ij->i", theirs, theirs)
    return np.maximum(products, 0.0, out=products)


def _distance(values: np.ndarray, metric: Metric) -> np.ndarray:
    """Distances of what `_distances` or `_least` gave."""
    return np.sqrt(values) if metric == "euclidean" else values


def _least(ours: np.ndarray, theirs: np.ndarray, metric: Metric) -> np.ndarray:
    """The least of `_distances` of each of ours `(ours,)`, a block at a time."""
    rows = max(1, _AT_ONCE // len(theirs))
    blocks = (ours[start : start + rows] for start in range(0, len(ours), rows))
    return np.concatenate([_distances(block, theirs, metric).min(1) for block in blocks])
