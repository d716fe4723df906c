"""Gaussians: products against densities, divergences against closed forms and numerical integration, draws."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfmed.ops import gaussians as g

pytestmark = pytest.mark.one_stack


def spd(rng, n, d):
    """n symmetric positive definite matrices."""
    a = rng.normal(size=(n, d, d))
    return a @ a.transpose(0, 2, 1) / d + 0.2 * np.eye(d)


def kl(mean, covariance):
    """KL(N(mean, covariance) || N(0, I)), as text books have it."""
    return 0.5 * (-np.linalg.slogdet(covariance)[1] + np.trace(covariance) + mean @ mean - len(mean))


def factors(seed, n, d, scale=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), scale * rng.normal(size=(n, d))


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 5))
def test_product_is_the_product_of_densities(seed, n, d):
    rng = np.random.default_rng(seed)
    means, precisions, places = rng.normal(size=(n, d)), spd(rng, n, d), rng.normal(size=(5, d))
    precision, weighted = (t.numpy() for t in g.product(means, precisions))
    covariance = np.linalg.inv(precision)
    ours = scipy.stats.multivariate_normal(covariance @ weighted, covariance).logpdf(places)
    theirs = sum(scipy.stats.multivariate_normal(m, np.linalg.inv(p)).logpdf(places)
                 for m, p in zip(means, precisions, strict=True))  # fmt: skip
    np.testing.assert_allclose(np.atleast_1d(ours) - ours.flat[0], np.atleast_1d(theirs) - theirs.flat[0], atol=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 8))
def test_divergence_of_a_product_is_the_closed_form(seed, n, d):
    rng = np.random.default_rng(seed)
    means, precisions = rng.normal(size=(n, d)), spd(rng, n, d)
    found = g.kl_to_standard(*g.product(means, precisions)).numpy()
    covariance = np.linalg.inv(precisions.sum(0))
    expected = kl(covariance @ np.einsum("nij,nj->i", precisions, means), covariance)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found >= -1e-6


def test_divergence_in_one_dimension_is_the_integral():
    mean, deviation = 0.7, 0.4
    x = np.linspace(-6, 6, 200_001)
    q = scipy.stats.norm(mean, deviation)
    expected = scipy.integrate.trapezoid(q.pdf(x) * (q.logpdf(x) - scipy.stats.norm.logpdf(x)), x)
    for found in (g.kl_to_standard([[1 / deviation**2]], [mean / deviation**2]),
                  g.kl_to_standard_diagonal([1 / deviation**2], [mean / deviation**2])):  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_divergence_is_zero_at_the_standard_normal_alone():
    assert abs(g.kl_to_standard(tf.eye(4), tf.zeros(4))) < 1e-6
    assert g.kl_to_standard(tf.eye(4), 0.1 * tf.ones(4)) > 1e-3
    assert g.kl_to_standard(1.1 * tf.eye(4), tf.zeros(4)) > 1e-3


@pytest.mark.parametrize("floor", [10.0, 1.0, 0.3])
@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), scale=st.sampled_from([0.0, 0.1, 1.0, 10.0]))
def test_rank_one_factors_are_inverted_in_closed_form(floor, seed, n, scale):
    means, vectors = factors(seed, n, 4, scale)
    a = np.einsum("ni,nj->nij", vectors, vectors) + floor * np.eye(4)
    assert (np.linalg.eigvalsh(a) > 0).all()
    inverse = np.linalg.inv(a)
    expected = g.product(means, inverse @ inverse)
    for ours, theirs in zip(g.product_of_rank_one(means, vectors, floor), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8 * np.abs(theirs).max())


def test_divergence_stays_exact_where_float32_would_lose_it():
    """Sums of squares a hundred thousand times the floor, all slices alike: the condition is 1e10."""
    vector = np.full(16, 80.0)
    found = g.kl_to_standard(*g.product_of_rank_one(np.zeros((3, 16)), np.tile(vector, (3, 1)), 1.0))
    along = (1.0 + vector @ vector) ** 2 / 3  # variance of the product along v, and 1/3 across
    expected = 0.5 * (-np.log(along) + 15 * np.log(3) + along + 15 / 3 - 16)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_diagonal_factors_are_a_special_case(seed, n):
    rng = np.random.default_rng(seed)
    means, deviations = rng.normal(size=(n, 3)), rng.uniform(0.3, 3, (n, 3))
    full = g.product(means, np.stack([np.diag(1 / d**2) for d in deviations]))
    diagonal = g.product_of_diagonal(means, deviations)
    np.testing.assert_allclose(g.kl_to_standard_diagonal(*diagonal), g.kl_to_standard(*full), rtol=1e-5, atol=1e-6)


def test_draws_have_the_mean_and_the_covariance():
    mean, vector = (row[0].astype("float32") for row in factors(3, 1, 4))
    noise = tf.random.stateless_normal((100_000, 4), [1, 2])
    draws = g.draw_rank_one(mean, vector, 1.5, noise).numpy()
    a = np.outer(vector, vector) + 1.5 * np.eye(4)
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), a @ a, atol=0.03 * np.abs(a @ a).max())


def test_batches_and_gradients():
    means, vectors = (tf.constant(np.stack([factors(s, 3, 5)[i] for s in range(2)]), tf.float32) for i in (0, 1))
    with tf.GradientTape() as tape:
        tape.watch([means, vectors])
        found = g.kl_to_standard(*g.product_of_rank_one(means, vectors, 2.0))
    assert found.shape == (2,) and found.dtype == tf.float32
    single = [g.kl_to_standard(*g.product_of_rank_one(means[i], vectors[i], 2.0)) for i in range(2)]
    np.testing.assert_allclose(found, single, rtol=1e-6)
    for name, gradient in zip(("means", "vectors"), tape.gradient(found, [means, vectors]), strict=True):
        nudge = np.zeros((2, 3, 5), "float64")
        nudge[1, 2, 3] = 1e-4
        changed = {"means": means, "vectors": vectors}

        def at(sign, name=name, changed=changed, nudge=nudge):
            arguments = {k: tf.cast(v, tf.float64) + (sign * nudge if k == name else 0.0) for k, v in changed.items()}
            precision, weighted = g.product_of_rank_one(**arguments, floor=2.0)
            covariance = np.linalg.inv(precision[1])
            return kl(covariance @ weighted[1].numpy(), covariance)

        np.testing.assert_allclose(gradient[1, 2, 3], (at(1) - at(-1)) / 2e-4, rtol=1e-3, atol=1e-6)
