"""Multivariate Gaussians: products of densities, divergence from the standard normal, rank-one factors.

A normalised product of Gaussian densities N(mu_i, Lambda_i^-1) is the Gaussian of precision Lambda = sum_i Lambda_i and
mean Lambda^-1 sum_i Lambda_i mu_i (Theorem 1 of Wang and Lukasiewicz 2022). Products are therefore kept as the pair
`(precision, weighted)`, weighted = sum_i Lambda_i mu_i, and no factor is ever inverted. Sums and decompositions are
float64, whatever comes in; divergences come out as float32.
"""

import tensorflow as tf


def product(means: tf.Tensor, precisions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(precision `(..., d, d)`, weighted `(..., d)`) of the product over the axis n; float64.

    Args:
        means: `(..., n, d)`.
        precisions: `(..., n, d, d)`, symmetric and positive definite.
    """
    means, precisions = _double(means), _double(precisions)
    return tf.reduce_sum(precisions, -3), tf.einsum("...nij,...nj->...i", precisions, means)


def product_of_rank_one(means: tf.Tensor, vectors: tf.Tensor, floor: float) -> tuple[tf.Tensor, tf.Tensor]:
    """As `product`, of factors N(mu, A A) with A = v v^T + floor I; makes no matrix per factor.

    With s = |v|^2 the precision is (A A)^-1 = I / floor^2 - w v v^T, w = (2 floor + s) / (floor (floor + s))^2.

    Args:
        means, vectors: mu and v `(..., n, d)`.
        floor: positive number.
    """
    means, vectors = _double(means), _double(vectors)
    square = tf.reduce_sum(vectors * vectors, -1, keepdims=True)
    weight = (2 * floor + square) / tf.square(floor * (floor + square))
    count = tf.cast(tf.shape(means)[-2], tf.float64)
    identity = tf.eye(means.shape[-1], dtype=tf.float64)
    precision = count / floor**2 * identity - tf.einsum("...ni,...nj->...ij", weight * vectors, vectors)
    along = tf.reduce_sum(vectors * means, -1, keepdims=True)
    return precision, tf.reduce_sum(means / floor**2 - weight * vectors * along, -2)


def product_of_diagonal(means: tf.Tensor, deviations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(precision `(..., d)`, weighted `(..., d)`) of factors with independent components; float64.

    Args:
        means, deviations: mean and standard deviation of each component, `(..., n, d)`.
    """
    precisions = 1.0 / tf.square(_double(deviations))
    return tf.reduce_sum(precisions, -2), tf.reduce_sum(precisions * _double(means), -2)


def kl_to_standard(precision: tf.Tensor, weighted: tf.Tensor) -> tf.Tensor:
    """KL(N(Lambda^-1 w, Lambda^-1) || N(0, I)) = (log det Lambda + tr Lambda^-1 + |Lambda^-1 w|^2 - d) / 2, `(...)`.

    By one Cholesky decomposition: neither a determinant nor a product of inverses is formed.

    Args:
        precision: Lambda `(..., d, d)`, symmetric and positive definite.
        weighted: w `(..., d)`.
    """
    factor = tf.linalg.cholesky(_double(precision))
    log_det = 2.0 * tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factor)), -1)
    identity = tf.eye(factor.shape[-1], batch_shape=tf.shape(factor)[:-2], dtype=tf.float64)
    trace = tf.reduce_sum(tf.square(tf.linalg.triangular_solve(factor, identity)), [-2, -1])
    mean = tf.linalg.cholesky_solve(factor, _double(weighted)[..., None])[..., 0]
    return _half(log_det + trace + tf.reduce_sum(mean * mean, -1), factor.shape[-1])


def kl_to_standard_diagonal(precision: tf.Tensor, weighted: tf.Tensor) -> tf.Tensor:
    """As `kl_to_standard`, of a precision `(..., d)` on the diagonal."""
    precision, weighted = _double(precision), _double(weighted)
    terms = tf.math.log(precision) + 1.0 / precision + tf.square(weighted / precision)
    return _half(tf.reduce_sum(terms, -1), precision.shape[-1])


def draw_rank_one(mean: tf.Tensor, vector: tf.Tensor, floor: float, noise: tf.Tensor) -> tf.Tensor:
    """mu + A e with A = v v^T + floor I, for standard normal noise e: a draw of N(mu, A A).

    Args:
        mean, vector, noise: `(..., d)`.
        floor: positive number.
    """
    return mean + vector * tf.reduce_sum(vector * noise, -1, keepdims=True) + floor * noise


def _double(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float64)


def _half(terms: tf.Tensor, size: int) -> tf.Tensor:
    return tf.cast(0.5 * (terms - size), tf.float32)
