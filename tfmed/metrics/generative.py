"""How good a generator is, from features of its images. Plain numpy; the networks are in `tfmed.metrics.features`."""

import numpy as np


def frechet_distance(features, reference):
    """Squared Frechet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, Eq. 6).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), unbiased covariances. The trace of the root is the sum of the singular
    values of A B^T, where A and B are the centred features over sqrt(n - 1): exact also with fewer samples than
    features, and then far cheaper than a matrix square root.

    Args:
        features, reference: `(n, d)` and `(m, d)`, at least two samples each.

    Returns:
        float >= 0; it is biased upwards when n is not much larger than d.

    Raises:
        ValueError: fewer than two samples, different d, or values that are not finite.
    """
    a, mean_a = _centred(features, "features")
    b, mean_b = _centred(reference, "reference")
    if a.shape[1] != b.shape[1]:
        counts = f"features have {a.shape[1]} dimensions, the reference has {b.shape[1]}"
        raise ValueError(f"{counts}; use one network for both")
    root = _trace_of_root(a, b)
    distance = np.sum((mean_a - mean_b) ** 2) + np.sum(a * a) + np.sum(b * b) - 2.0 * root
    return float(max(distance, 0.0))


def inception_score(probabilities):
    """exp of the mean KL divergence between each image's class probabilities and their mean (Salimans et al. 2016).

    Args:
        probabilities: `(n, classes)`, rows sum to 1.

    Returns:
        float in [1, classes]. Only with Inception's classes is it the published score.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or len(p) < 1 or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("probabilities must be (n, classes) with rows that sum to 1")
    p = np.clip(p, 1e-16, None)
    return float(np.exp(np.mean(np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1))))


def _centred(features, name):
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"{name}: a Frechet distance needs at least two samples of shape (n, d); got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: some values are NaN or infinite")
    mean = x.mean(axis=0)
    return (x - mean) / np.sqrt(len(x) - 1), mean


def _trace_of_root(a, b):
    """tr((A^T A B^T B)^(1/2)) = sum of the singular values of A B^T."""
    rows, columns, dimensions = len(a), len(b), a.shape[1]
    if min(rows, columns) <= dimensions:
        return np.linalg.svd(a @ b.T, compute_uv=False).sum()
    # More samples than features: the same through d x d matrices. R^T R = A^T A keeps the singular values.
    return np.linalg.svd(np.linalg.qr(a, mode="r") @ np.linalg.qr(b, mode="r").T, compute_uv=False).sum()
