"""Mahalanobis distance of features to a reference, and what it is for samples of the reference's own distribution."""

import numpy as np
import scipy
from numpy.typing import ArrayLike

from tfmed.metrics.generative import Moments, _blocks, _comparable

_WORST_CONDITION, _SINGULAR = 1e10, 1e14
_OUTSIDE = 1e-3  # variance, as a share of the mean one, that is taken for directions in which a reference has none


def mahalanobis(features: ArrayLike, reference: ArrayLike, shrinkage: str | float = "auto") -> np.ndarray:
    """d_M(x) = sqrt((x - m)^T S^-1 (x - m)) of every sample, with mean m and covariance S of the reference.

    Units that never fire, or always alike, make S singular. Then S^-1 is its pseudo-inverse in the span of the
    reference, and what sticks out of the span counts with a small variance: 1e-3 times the mean variance in the span.
    The pseudo-inverse alone would not see it, and take a generator that invents new directions for a good one.

    Args:
        features, reference: `(n, d)` and `(m, d)`, at least two samples in the reference.
        shrinkage: a in S <- (1 - a) S + a tr(S)/d I; "auto": none, but 1e-3 for a reference of m <= r + 2 samples in r
            `dimensions`; "ledoit-wolf"; or "pinv", never shrunk.

    Returns:
        `(n,)`; compare its mean with `null_mahalanobis(m, r)`, the value of a perfect generator; r = `dimensions`.

    Raises:
        ValueError: too few samples, another d, NaN, or a covariance that cannot be inverted as asked.
    """
    x, y = _comparable(features, reference, "Mahalanobis distance", least=1)
    if len(y) < 2:
        raise ValueError(f"reference: a covariance needs at least two samples; got {len(y)}")
    moments = _moments(y)
    covariance = moments.covariance
    gaps = (block - moments.mean for block in _blocks(x))
    if shrinkage == "auto" and len(y) <= _rank(covariance) + 2:
        shrinkage = 1e-3
    if shrinkage in ("auto", "pinv"):
        return np.concatenate([_by_span(chunk, covariance) for chunk in gaps])
    covariance = _shrunk(covariance, y, shrinkage)
    if np.linalg.cond(covariance) > _SINGULAR:
        raise ValueError(
            f"reference: the covariance of {len(y)} samples in {y.shape[1]} dimensions is singular; give more samples, "
            "or shrinkage"
        )
    root = np.linalg.cholesky(covariance)
    solved = (scipy.linalg.solve_triangular(root, chunk.T, lower=True) for chunk in gaps)
    return np.concatenate([np.linalg.norm(chunk, axis=0) for chunk in solved])


def dimensions(reference: ArrayLike) -> int:
    """In how many dimensions the samples `(m, d)` of a reference lie: the rank of their covariance, at most d."""
    return _rank(_moments(_comparable(reference, reference, "rank")[0]).covariance)


def _moments(samples: np.ndarray) -> Moments:
    moments = Moments()
    for block in _blocks(samples):
        moments.add(block)
    return moments


def _rank(covariance: np.ndarray) -> int:
    return int(_spanned(np.linalg.eigvalsh(covariance)).sum())


def _spanned(variances: np.ndarray) -> np.ndarray:
    """Which of the variances along the axes of a covariance are more than rounding."""
    return variances > max(variances.max(), 0.0) / _WORST_CONDITION


def _by_span(gaps: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Distances of differences to the mean `(n, d)`: exact in the span of the covariance, floored outside of it."""
    variances, axes = np.linalg.eigh(covariance)
    inside = _spanned(variances)
    mean = variances[inside].mean() if inside.any() else 1.0
    squares = np.square(gaps @ axes) / np.where(inside, variances, _OUTSIDE * mean)
    return np.sqrt(squares.sum(axis=1))


def _shrunk(covariance: np.ndarray, reference: np.ndarray, shrinkage: str | float) -> np.ndarray:
    d = reference.shape[1]
    if shrinkage == "ledoit-wolf":
        from sklearn.covariance import ledoit_wolf

        return ledoit_wolf(reference)[0]
    if not isinstance(shrinkage, (int, float)) or not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage: {shrinkage!r} is none of auto, ledoit-wolf, pinv or a number from 0 to 1")
    spread = np.trace(covariance) / d
    return (1.0 - shrinkage) * covariance + shrinkage * (spread if spread > 0 else 1.0) * np.eye(d)


def null_mahalanobis(n: int, d: int) -> float:
    """Mean d_M of new samples to the mean and covariance of n samples of the same d-dimensional Gaussian.

    d_M^2 is (n^2 - 1) / n / (n - d) times d times an F(d, n - d) variable (Hotelling), so that with few samples the
    mean lies far above sqrt(d): 17.3 for n = 225, d = 128.

    Args:
        n: samples of the reference.
        d: the dimensions in which they lie, `dimensions(reference)`; with units that never fire fewer than features.

    Raises:
        ValueError: n < d + 2, for which the covariance is singular or the mean infinite.
    """
    if n < d + 2:
        raise ValueError(f"{n} samples are too few for {d} dimensions; at least {d + 2} are needed")
    log_gamma = scipy.special.gammaln
    halves = log_gamma((d + 1) / 2) - log_gamma(d / 2) + log_gamma((n - d - 1) / 2) - log_gamma((n - d) / 2)
    return float(np.sqrt((n * n - 1) / n) * np.exp(halves))
