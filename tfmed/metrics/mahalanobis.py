"""Mahalanobis distance of features to a reference, and what it is for samples of the reference's own distribution."""

import numpy as np
import scipy.special

from tfmed.metrics.generative import Moments, _blocks, _comparable

_WORST_CONDITION, _SINGULAR = 1e10, 1e14


def mahalanobis(features, reference, shrinkage="auto"):
    """d_M(x) = sqrt((x - m)^T S^-1 (x - m)) of every sample, with mean m and covariance S of the reference.

    Args:
        features, reference: `(n, d)` and `(m, d)`, at least two samples in the reference.
        shrinkage: a in S <- (1 - a) S + a tr(S)/d I; "auto": 0, but 1e-3 for m <= d + 2 or a nearly singular S;
            "ledoit-wolf"; or "pinv", the pseudo-inverse.

    Returns:
        `(n,)`; compare its mean with `null_mahalanobis(m, d)`, the value of a perfect generator.

    Raises:
        ValueError: too few samples, another d, NaN, or a covariance that cannot be inverted as asked.
    """
    x, y = _comparable(features, reference, "Mahalanobis distance", least=1)
    if len(y) < 2:
        raise ValueError(f"reference: a covariance needs at least two samples; got {len(y)}")
    moments = Moments()
    for block in _blocks(y):
        moments.add(block)
    covariance = moments.covariance
    if shrinkage == "pinv":
        inverse = np.linalg.pinv(covariance, hermitian=True)
        gaps = (block - moments.mean for block in _blocks(x))
        return np.sqrt(np.maximum(np.concatenate([np.sum(gap @ inverse * gap, axis=1) for gap in gaps]), 0))
    covariance = _shrunk(covariance, y, shrinkage)
    if np.linalg.cond(covariance) > _SINGULAR:
        raise ValueError(
            f"reference: the covariance of {len(y)} samples in {y.shape[1]} dimensions is singular; give more samples, "
            "or shrinkage"
        )
    root = np.linalg.cholesky(covariance)
    solved = (scipy.linalg.solve_triangular(root, (block - moments.mean).T, lower=True) for block in _blocks(x))
    return np.concatenate([np.linalg.norm(part, axis=0) for part in solved])


def _shrunk(covariance, reference, shrinkage):
    n, d = reference.shape
    if shrinkage == "ledoit-wolf":
        from sklearn.covariance import ledoit_wolf

        return ledoit_wolf(reference)[0]
    if shrinkage == "auto":
        fine = n > d + 2 and np.linalg.cond(covariance) < _WORST_CONDITION
        shrinkage = 0.0 if fine else 1e-3
    if not isinstance(shrinkage, (int, float)) or not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage: {shrinkage!r} is none of auto, ledoit-wolf, pinv or a number from 0 to 1")
    spread = np.trace(covariance) / d
    return (1.0 - shrinkage) * covariance + shrinkage * (spread if spread > 0 else 1.0) * np.eye(d)


def null_mahalanobis(n, d):
    """Mean d_M of new samples to the mean and covariance of n samples of the same d-dimensional Gaussian.

    d_M^2 is (n^2 - 1) / n / (n - d) times d times an F(d, n - d) variable (Hotelling), so that with few samples the
    mean lies far above sqrt(d): 17.3 for n = 225, d = 128.

    Raises:
        ValueError: n < d + 2, for which the covariance is singular or the mean infinite.
    """
    if n < d + 2:
        raise ValueError(f"{n} samples are too few for {d} dimensions; at least {d + 2} are needed")
    log_gamma = scipy.special.gammaln
    halves = log_gamma((d + 1) / 2) - log_gamma(d / 2) + log_gamma((n - d - 1) / 2) - log_gamma((n - d) / 2)
    return float(np.sqrt((n * n - 1) / n) * np.exp(halves))
