"""Labels that a network gives its own training images: features of all images, k-means, and a balanced choice of them.

After M. Caron et al., "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018.
"""

import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
import sklearn.exceptions
import threadpoolctl

from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream

_CHOICES = Stream("pseudo_labels.choices")
_BLOCK = 4096  # rows at once
SMALLEST = 1e-12  # norm of a row that a row is divided by


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows `(n, d)` divided by their Euclidean norm, or by 1e-12 where that is smaller: a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SMALLEST)


def feature_pass(
    read: Callable[[int], np.ndarray],
    count: int,
    shape: tuple[int, ...],
    features: Callable[[Any], Any],
    width: int,
    batch: int,
) -> np.memmap:
    """Features of all images, in the order of their numbers: float32 `(count, width)`, a memory map.

    Its file has no name and is gone with the array. Images are read in parallel, ahead of the network.

    Args:
        read: number of an image -> the image, an array of `shape`.
        count: how many there are.
        features: tensor `(n, *shape)` float32 -> `(n, width)`; called with batches of one size alone.
        width: of the features.
        batch: images at once.
    """
    steps = -(-count // batch)
    last = count - 1  # stands in for what the last batch lacks
    samples = Samples(lambda index: {"image": read(min(index, last))}, {"image": (shape, "float32")}, batch)
    with tempfile.TemporaryFile() as file:
        found = np.memmap(file, np.float32, "w+", shape=(count, width))
    try:
        for step, images in enumerate(samples.batches(0, steps)):
            first = step * batch
            found[first : first + batch] = np.asarray(features(images["image"]))[: count - first]
    except Exception as error:  # TensorFlow quotes what `read` raised in an error of its own
        raise samples.failure or error from None
    return found


def whitening(rows: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean `(d,)`, matrix `(d, components)`) float32, of a principal component analysis: (row - mean) @ matrix has
    variance 1 in each of the largest components, and no correlation.

    Args:
        rows: `(n, d)`; may be a memory map, which is read in blocks.
        components: how many, at most n - 1 and d.
    """
    mean = np.mean(rows, 0, np.float64)
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for first in range(0, len(rows), _BLOCK):
        centred = rows[first : first + _BLOCK] - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / (len(rows) - 1))
    values, vectors = values[::-1][:components], vectors[:, ::-1][:, :components]
    scale = np.sqrt(np.maximum(values, 1e-12 * max(values[0], 1e-30)))
    return mean.astype(np.float32), (vectors / scale).astype(np.float32)


def kmeans(
    rows: np.ndarray, clusters: int, seed: int, iterations: int = 20, minibatch: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(cluster of each row int64 `(n,)`, centres float32 `(clusters, d)`): Lloyd's, from random rows, one start.

    One seed gives one result whatever the machine has to do besides: threads would sum in any order. Clusters may be
    left empty where rows are the same.

    Args:
        rows: float32 `(n, d)`, n at least `clusters`; may be a memory map, and is changed by rounding at most.
        clusters: how many.
        seed: of the starting rows.
        iterations: at most.
        minibatch: by the mini-batch algorithm, for more rows than fit the time; `iterations` are passes then.

    Raises:
        ValueError: fewer rows than clusters.
    """
    if len(rows) < clusters:
        raise ValueError(f"{len(rows)} rows make no {clusters} clusters")
    shared: dict[str, Any] = dict(init="random", n_init=1, max_iter=iterations, tol=0, random_state=seed)
    if minibatch:
        model = sklearn.cluster.MiniBatchKMeans(clusters, **shared)
    else:
        model = sklearn.cluster.KMeans(clusters, algorithm="lloyd", copy_x=False, **shared)
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)  # of fewer different rows than clusters
        found = model.fit(rows)
    return found.labels_.astype(np.int64), found.cluster_centers_.astype(np.float32)


def nearest(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the centre that is nearest to each row int64 `(n,)`, how far it is float32 `(n,)`), a block at a time."""
    which, away = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _BLOCK):
        block = slice(first, first + _BLOCK)
        squares = squared_distances(np.asarray(rows[block], np.float64), centres.astype(np.float64))
        which[block], away[block] = squares.argmin(1), np.sqrt(squares.min(1))
    return which, away


def distances_from(rows: np.ndarray, centres: np.ndarray, which: np.ndarray) -> np.ndarray:
    """How far each row is from the centre of the number given for it, float32 `(n,)`, a block at a time."""
    away = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _BLOCK):
        block = slice(first, first + _BLOCK)
        away[block] = np.linalg.norm(rows[block] - centres[which[block]], axis=1)
    return away


def squared_distances(rows: Any, centres: Any) -> Any:
    """Squared Euclidean distances `(n, clusters)` of rows `(n, d)` from centres `(clusters, d)`, never below 0."""
    found = (rows**2).sum(1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(1)
    return np.maximum(found, 0)


def balanced_choice(labels: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """Indices `(count,)` of images, of each label that occurs about as many, in random order.

    Of k' labels that occur m = floor(count / k') + 1 indices each are drawn, with replacement where a label has no
    more than m images; all together are shuffled and cut to `count`.

    Args:
        labels: integers `(n,)`.
        count: how many.
        draw: random numbers.
    """
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    each = count // len(members) + 1
    found = [draw.choice(indices, each, replace=len(indices) <= each) for indices in members]
    return draw.permutation(np.concatenate(found))[:count]


class PseudoLabels:
    """Which image each sample of a round shows, and its label.

    A round is a number of steps between two groupings. Sample i is a pure function of (seed, i, labels of its round).

    Args:
        labels: of the images, int64 `(n,)`, until the first `use`.
        seed: of the choice.
        length: samples that are chosen for a round.
        per_round: samples that a round's steps take, at least `length`; behind the end the choice begins again.
        balanced: all labels alike; else every image as often as any other.
    """

    def __init__(self, labels: np.ndarray, seed: int, length: int, per_round: int, balanced: bool = True) -> None:
        self.seed, self.length, self.per_round, self.balanced = seed, length, per_round, balanced
        self.use(labels)

    def use(self, labels: np.ndarray) -> None:
        """Go by other labels from now on."""
        self.labels, self._choices = np.asarray(labels), dict[int, np.ndarray]()

    def choice(self, number: int) -> np.ndarray:
        """Indices of the images of a round, `(length,)`."""
        if number not in self._choices:
            draw = _CHOICES(self.seed, number)
            if self.balanced:
                found = balanced_choice(self.labels, self.length, draw)
            else:
                rounds = -(-self.length // len(self.labels))
                found = np.concatenate([draw.permutation(len(self.labels)) for _ in range(rounds)])[: self.length]
            self._choices = {number: found}
        return self._choices[number]

    def of(self, index: int) -> tuple[int, int]:
        """(image, label) of a sample."""
        number, place = divmod(int(index), self.per_round)
        image = int(self.choice(number)[place % self.length])
        return image, int(self.labels[image])
