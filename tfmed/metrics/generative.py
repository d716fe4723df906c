"""How good a generator is: distances between two sets of samples or of their features. Plain numpy, in float64.

The networks that make features are in `tfmed.metrics.features`; the similarity of images is in `tfmed.metrics.ms_ssim`.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from tfmed.metrics.ms_ssim import ms_ssim

__all__ = [
    "Moments", "frechet_distance", "frechet_distances_at", "frechet_of_moments", "inception_score", "kernel_distance",
    "kernel_distances", "median_distance", "mmd", "ms_ssim", "sliced_wasserstein",
]  # fmt: skip

_ROWS_AT_A_TIME = 1024


def frechet_distance(features: ArrayLike, reference: ArrayLike) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, Eq. 6).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), unbiased covariances. The trace of the root is the sum of the singular
    values of A B^T, where A^T A and B^T B are the covariances: exact also with fewer samples than features, and then
    far cheaper than a matrix square root. Blocks of features are read in turn: memory does not grow with their number.

    Args:
        features, reference: `(n, d)` and `(m, d)`, at least two samples each.

    Returns:
        float >= 0; it is biased upwards when n is not much larger than d.

    Raises:
        ValueError: fewer than two samples, different d, or values that are not finite.

    Example:
        >>> reference = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(reference + [3.0, 0.0], reference), 6)  # moved by 3: 3 * 3
        9.0
    """
    x, y = _comparable(features, reference, "Frechet distance")
    (a, mean_a), (b, mean_b) = _factor(x), _factor(y)
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    distance = np.sum((mean_a - mean_b) ** 2) + np.sum(a * a) + np.sum(b * b) - 2.0 * root
    return float(max(distance, 0.0))


class Moments:
    """Mean and covariance of features that arrive in batches; memory is d x d, however many there are."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))

    def add(self, features: ArrayLike) -> "Moments":
        """Count a batch `(n, d)` in; returns self."""
        x = _samples(features, "features", "mean", least=1)
        if self.count and x.shape[1] != len(self.mean):
            raise ValueError(f"features have {x.shape[1]} dimensions, those before {len(self.mean)}; use one network")
        mean, n = x.mean(axis=0), len(x)
        if not self.count:
            self.mean, self._scatter = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
        gap, total = mean - self.mean, self.count + n
        centred = x - mean
        self._scatter += centred.T @ centred + np.outer(gap, gap) * (self.count * n / total)
        self.mean = self.mean + gap * (n / total)
        self.count = total
        return self

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased, `(d, d)`; ValueError below two samples."""
        if self.count < 2:
            raise ValueError(f"features: a covariance needs at least two samples; got {self.count}")
        return self._scatter / (self.count - 1)


def frechet_of_moments(moments: Moments, reference: Moments) -> float:
    """The same distance as `frechet_distance`, of two `Moments`."""
    if len(moments.mean) != len(reference.mean):
        counts = f"features have {len(moments.mean)} dimensions, the reference has {len(reference.mean)}"
        raise ValueError(f"{counts}; use one network for both")
    values, vectors = np.linalg.eigh(reference.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    inner = np.maximum(np.linalg.eigvalsh(root @ moments.covariance @ root), 0.0)
    traces = np.trace(moments.covariance) + np.trace(reference.covariance)
    return float(max(np.sum((moments.mean - reference.mean) ** 2) + traces - 2.0 * np.sqrt(inner).sum(), 0.0))


def frechet_distances_at(
    size: int, reference: ArrayLike, features: ArrayLike | None = None, repeats: int = 10, seed: int = 0
) -> np.ndarray:
    """Frechet distances of random subsets of `size` samples each, `(repeats,)`: what a distance is worth at that size.

    Without `features` both subsets are disjoint subsets of the reference: what equal distributions score at this size,
    which is well above 0 (about d^2 / (2 size) for unit Gaussians). With them, one subset is of each set.

    Raises:
        ValueError: too few samples for two such subsets.
    """
    x, y = _comparable(reference if features is None else features, reference, "Frechet distance")
    least = 2 * size if features is None else size
    if size < 2 or min(len(x), len(y)) < least:
        raise ValueError(f"{min(len(x), len(y))} samples are too few for subsets of {size}; {max(least, 2)} are needed")
    rng, found = np.random.default_rng(seed), []
    for _ in range(repeats):
        order = rng.permutation(len(y))
        other = y[order[size : 2 * size]] if features is None else x[rng.permutation(len(x))[:size]]
        found.append(frechet_distance(other, y[order[:size]]))
    return np.array(found)


def kernel_distance(features: ArrayLike, reference: ArrayLike) -> float:
    """Kernel distance (KID with Inception features): unbiased squared MMD, kernel (x.y / d + 1)^3.

    Binkowski et al. 2018, Eq. 4 and Sect. 4; its expectation is 0 for equal distributions, a value may be negative.
    Kernel values are summed block by block: memory does not grow with the number of samples.

    Args:
        features, reference: `(n, d)` and `(m, d)`, at least two samples each.

    Raises:
        ValueError: fewer than two samples, different d, or values that are not finite.
    """
    x, y = _comparable(features, reference, "kernel distance")

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        values = a @ b.T
        values /= a.shape[1]
        values += 1.0
        return values * values * values  # numpy's ** 3 is a logarithm and an exponential

    return _squared_mmd(x, y, kernel)


def kernel_distances(features: ArrayLike, reference: ArrayLike, blocks: int = 10, seed: int = 0) -> np.ndarray:
    """Kernel distances of `blocks` disjoint random subsets of both sets, `(blocks,)`.

    Their mean is unbiased too; their standard deviation over sqrt(blocks) is its standard error.

    Raises:
        ValueError: as `kernel_distance`, or subsets of fewer than two samples.
    """
    x, y = _comparable(features, reference, "kernel distance")
    if min(len(x), len(y)) < 2 * blocks:
        raise ValueError(f"{min(len(x), len(y))} samples are too few for {blocks} blocks; at least two go into each")
    rng = np.random.default_rng(seed)
    subsets = (np.array_split(rng.permutation(len(samples)), blocks) for samples in (x, y))
    return np.array([kernel_distance(x[i], y[j]) for i, j in zip(*subsets, strict=True)])


def mmd(samples: np.ndarray, reference: np.ndarray, bandwidth: float | None = None, biased: bool = False) -> float:
    """Squared maximum mean discrepancy, kernel exp(-|x - y|^2 / (2 bandwidth^2)) (Gretton et al. 2012, Eq. 3 and 5).

    Args:
        samples, reference: `(n, ...)` and `(m, ...)`, flattened; features or images.
        bandwidth: sigma; by default the `median_distance` of both sets, which must not be 0.
        biased: the V-statistic, which is never negative and 0 for equal sets; else unbiased.

    Raises:
        ValueError: fewer than two samples, different sizes, values that are not finite, a bandwidth not above 0.

    Example:
        >>> samples = np.array([[0.0], [1.0], [2.0]])
        >>> mmd(samples, samples, biased=True)
        0.0
    """
    x, y = (np.reshape(one, (len(one), -1)) for one in (samples, reference))
    x, y = _comparable(x, y, "MMD")
    sigma = median_distance(x, y) if bandwidth is None else bandwidth
    if not sigma > 0:
        raise ValueError(f"bandwidth: {sigma} is not positive; give one (all samples may be alike)")

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares = _squared_distances(a, b)
        squares *= -0.5 / sigma**2
        return np.exp(squares, out=squares)

    return _squared_mmd(x, y, kernel, biased)


def median_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Median Euclidean distance between samples of both sets pooled, of the first 1000 of each.

    Where more than half of the pairs are alike (a generator has collapsed), the median of the others; 0 if all are.
    """
    pooled = np.concatenate([x[:1000], y[:1000]]).astype(np.float64)
    alike = 1e-18 * np.square(pooled).sum(axis=1).max()  # squares of differences in the last digits
    pooled -= pooled[0]  # squared distances are differences of squares: of small numbers they round less
    squares = _squared_distances(pooled, pooled)[np.triu_indices(len(pooled), 1)]
    median = np.median(squares)
    if median <= alike:
        apart = squares[squares > alike]
        median = np.median(apart) if len(apart) else 0.0
    return float(np.sqrt(median))


def sliced_wasserstein(
    samples: np.ndarray, reference: np.ndarray, projections: int = 256, order: int = 2, seed: int = 0
) -> float:
    """Sliced Wasserstein distance (Bonneel et al. 2015, Eq. 8): of projections onto random directions.

    (mean over directions of W_p^p)^(1/p); the one-dimensional distances are exact, also for sets of unequal sizes.

    Args:
        samples, reference: `(n, ...)` and `(m, ...)`, flattened; features or images.
        projections: number of directions; they are drawn from the seed and used a few at a time.
        order: p >= 1.

    Raises:
        ValueError: no samples, different sizes, or values that are not finite.
    """
    x, y = (np.reshape(one, (len(one), -1)) for one in (samples, reference))
    x, y = _comparable(x, y, "Wasserstein distance", least=1)
    rng, total = np.random.default_rng(seed), 0.0
    weights, rank_x, rank_y = _quantile_steps(len(x), len(y))
    for start in range(0, projections, 32):
        directions = rng.normal(size=(min(32, projections - start), x.shape[1]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        a, b = (np.sort(np.concatenate([block @ directions.T for block in _blocks(one)]), axis=0) for one in (x, y))
        total += (weights @ np.abs(a[rank_x] - b[rank_y]) ** order).sum()
    return float((total / projections) ** (1.0 / order))


def _quantile_steps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the quantile functions of n and of m samples step: widths of the steps, and which sample each has there."""
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # of the unit interval, times n m
    start = edges[:-1]
    return np.diff(edges) / (n * m), start // m, start // n


def inception_score(probabilities: ArrayLike) -> float:
    """exp of the mean KL divergence between each image's class probabilities and their mean (Salimans et al. 2016).

    Args:
        probabilities: `(n, classes)`, rows sum to 1.

    Returns:
        float in [1, classes]. Only with Inception's classes is it the published score.

    Example:
        >>> round(inception_score([[1.0, 0.0], [0.0, 1.0]]), 6)  # two classes, each image sure of its own
        2.0
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or len(p) < 1 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("probabilities must be (n, classes) with rows that sum to 1")
    p = np.clip(p, 1e-16, None)
    return float(np.exp(np.mean(np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1))))


def _samples(features: ArrayLike, name: str, what: str, least: int = 2) -> np.ndarray:
    """The features as an array, or the memory map that they are, of any dtype: blocks of it are made float64."""
    x = np.asanyarray(features)
    if x.ndim != 2 or len(x) < least:
        count = {1: "one sample", 2: "two samples"}.get(least, f"{least} samples")
        raise ValueError(f"{name}: a {what} needs at least {count} of shape (n, d); got shape {x.shape}")
    if not all(np.isfinite(x[i : i + _ROWS_AT_A_TIME]).all() for i in range(0, len(x), _ROWS_AT_A_TIME)):
        raise ValueError(f"{name}: some values are NaN or infinite")
    return x


def _blocks(x: np.ndarray, rows: int | None = None) -> Iterator[np.ndarray]:
    """Blocks of rows as float64, one in memory at a time."""
    rows = rows or _ROWS_AT_A_TIME
    return (np.asarray(x[i : i + rows], np.float64) for i in range(0, len(x), rows))


def _comparable(features: ArrayLike, reference: ArrayLike, what: str, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as `(n, d)` and `(m, d)`; ValueError when they cannot be compared."""
    x, y = _samples(features, "features", what, least), _samples(reference, "reference", what, least)
    if x.shape[1] != y.shape[1]:
        counts = f"features have {x.shape[1]} dimensions, the reference has {y.shape[1]}"
        raise ValueError(f"{counts}; use one network for both")
    return x, y


def _factor(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A of at most d rows with A^T A the covariance of `(n, d)`, and the mean."""
    n, d = x.shape
    mean = sum(block.sum(axis=0) for block in _blocks(x)) / n
    if n <= d:
        return (np.asarray(x, np.float64) - mean) / np.sqrt(n - 1), mean
    root = np.zeros((0, d))
    for block in _blocks(x, max(_ROWS_AT_A_TIME, 4 * d)):  # R of a QR decomposition, continued block by block
        root = np.linalg.qr(np.concatenate([root, block - mean]), mode="r")
    return root / np.sqrt(n - 1), mean


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = a @ (-2.0 * b.T)  # all that follows is done in place: passes over memory cost as much as the product
    squares += np.einsum("ij,ij->i", a, a)[:, None]
    squares += np.einsum("ij,ij->i", b, b)
    return np.maximum(squares, 0.0, out=squares)


def _squared_mmd(
    x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], biased: bool = False
) -> float:
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y); unbiased: without the pairs of a sample with itself."""
    within = (_mean_within(one, kernel, biased) for one in (x, y))
    return float(sum(within) - 2.0 * _sum(x, y, kernel) / (len(x) * len(y)))


def _mean_within(x: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], biased: bool) -> float:
    """Mean of a symmetric kernel over the pairs of a set: blocks below the diagonal are those above it."""
    n, total, rows = len(x), 0.0, _ROWS_AT_A_TIME
    for i, block in enumerate(_blocks(x)):
        values = kernel(block, block)
        total += values.sum() - (0.0 if biased else np.trace(values))
        total += 2.0 * sum(kernel(block, other).sum() for other in _blocks(x[(i + 1) * rows :]))
    return total / (n * n if biased else n * (n - 1))


def _sum(x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    return sum(kernel(a, b).sum() for a in _blocks(x) for b in _blocks(y))


def batch_mmd(images: np.ndarray, reference: np.ndarray) -> float:
    """Squared maximum mean discrepancy of two batches with the kernel <x, y> (bMMD^2, Kwon et al. 2019).

    (sum XX' + sum YY' - 2 sum XY') / n^2 = |mean(X) - mean(Y)|^2, a sum over voxels: it grows with their number.

    Args:
        images, reference: `(n, ...)` and `(m, ...)`, of equal shapes but for the first axis.

    Raises:
        ValueError: different sizes, or values that are not finite.

    Example:
        >>> batch_mmd(np.ones((4, 2, 2)), np.zeros((3, 2, 2)))  # 4 pixels, whose means differ by 1
        4.0
    """
    x, y = (np.reshape(one, (len(one), -1)) for one in (images, reference))
    x, y = _comparable(x, y, "bMMD^2", 1)
    return float(np.sum((x.mean(axis=0, dtype=np.float64) - y.mean(axis=0, dtype=np.float64)) ** 2))
