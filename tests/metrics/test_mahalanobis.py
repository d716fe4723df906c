"""Mahalanobis distance: closed forms, invariance, its null value, and what is singular."""

import numpy as np
import pytest
import scipy.spatial
import sklearn.covariance

from tfmed.metrics.mahalanobis import dimensions, mahalanobis, null_mahalanobis

pytestmark = pytest.mark.current


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_equals_scipy_pair_by_pair():
    x, y = gaussian(7, 5) * 2, gaussian(40, 5, 1)
    inverse = np.linalg.inv(np.cov(y, rowvar=False))
    expected = [scipy.spatial.distance.mahalanobis(one, y.mean(axis=0), inverse) for one in x]
    np.testing.assert_allclose(mahalanobis(x, y), expected)
    np.testing.assert_allclose(mahalanobis(x, y, "pinv"), expected)


def test_whitened_data_average_the_root_of_their_dimensions():
    assert mahalanobis(gaussian(4000, 20), gaussian(20000, 20, 1)).mean() == pytest.approx(np.sqrt(20), rel=0.02)


def test_invertible_affine_maps_change_nothing():
    x, y = gaussian(7, 5), gaussian(40, 5, 1)
    matrix = gaussian(5, 5, 2) + 3 * np.eye(5)
    np.testing.assert_allclose(mahalanobis(x @ matrix + 4, y @ matrix + 4), mahalanobis(x, y), rtol=1e-6)


@pytest.mark.parametrize("n, expected", [(225, 17.4), (283, 15.3)])
def test_null_value_of_the_paper_sizes(n, expected):
    """128 dimensions, as in the published table; a simulation agrees, and the mean square has a closed form too."""
    d = 128
    assert null_mahalanobis(n, d) == pytest.approx(expected, abs=0.1)
    simulated = np.array([mahalanobis(gaussian(300, d, s), gaussian(n, d, s + 50)) for s in range(8)])
    assert simulated.mean() == pytest.approx(null_mahalanobis(n, d), rel=0.01)
    assert np.mean(simulated**2) == pytest.approx(d * (n**2 - 1) / (n * (n - d - 2)), rel=0.02)


def test_null_value_needs_samples_and_tends_to_the_root():
    assert null_mahalanobis(10**7, 50) == pytest.approx(np.sqrt(50), rel=0.006)  # E |x| is a little less than the root
    with pytest.raises(ValueError, match="129 samples are too few for 128 dimensions; at least 130"):
        null_mahalanobis(129, 128)


def test_shrinkage():
    x, y = gaussian(6, 8), gaussian(9, 8, 1)
    covariance = np.cov(y, rowvar=False)

    def expected(covariance):
        gaps = x - y.mean(axis=0)
        return np.sqrt(np.sum(gaps @ np.linalg.inv(covariance) * gaps, axis=1))

    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 8 * np.eye(8)
    np.testing.assert_allclose(mahalanobis(x, y, 0.3), expected(shrunk))
    np.testing.assert_allclose(mahalanobis(x, y, "ledoit-wolf"), expected(sklearn.covariance.ledoit_wolf(y)[0]))
    few = 0.999 * covariance + 1e-3 * np.trace(covariance) / 8 * np.eye(8)
    np.testing.assert_allclose(mahalanobis(x, y), expected(few))  # 9 samples <= d + 2: "auto" shrinks
    dead = np.hstack([gaussian(40, 3), np.zeros((40, 1))])  # a unit that never fires
    assert np.isfinite(mahalanobis(dead, dead)).all()


@pytest.mark.parametrize("x, y, shrinkage, words", [
    (np.zeros((2, 3)), np.zeros((1, 3)), "auto", "at least two samples"),
    (np.zeros((2, 3)), np.zeros((9, 2)), "auto", "use one network for both"),
    (np.zeros((2, 3)), gaussian(3, 3), 0.0, "3 samples in 3 dimensions is singular; give more samples, or shrinkage"),
    (np.zeros((2, 3)), gaussian(9, 3), "much", "'much' is none of"),
    (np.zeros((2, 3)), gaussian(9, 3), 2.0, r"2\.0 is none of"),
])  # fmt: skip
def test_what_cannot_be_done(x, y, shrinkage, words):
    with pytest.raises(ValueError, match=words):
        mahalanobis(x, y, shrinkage)


# --- features of lower rank than their number -------------------------------------------------------------------------


def embedded(points, seed=0, more=4):
    """Points `(n, d)` in d of d + `more` dimensions, turned so that no single feature is constant."""
    d = points.shape[1]
    turn = np.linalg.qr(gaussian(d + more, d + more, seed))[0]
    return points @ turn[:d], turn[d:]


@pytest.mark.parametrize("shrinkage", ["auto", "pinv"])
def test_in_the_span_it_is_the_distance_of_the_points_themselves(shrinkage):
    x, y = gaussian(7, 3), gaussian(40, 3, 1)
    (flat, _), (reference, _) = embedded(x), embedded(y)
    assert dimensions(reference) == 3 and dimensions(y) == 3
    np.testing.assert_allclose(mahalanobis(flat, reference, shrinkage), mahalanobis(x, y), rtol=1e-6)


@pytest.mark.parametrize("shrinkage", ["auto", "pinv"])
def test_what_sticks_out_of_the_span_counts(shrinkage):
    """Closed form: e^2 over a thousandth of the mean variance. The pseudo-inverse alone would not see it."""
    x, y = gaussian(7, 3), gaussian(40, 3, 1)
    (flat, outside), (reference, _) = embedded(x), embedded(y)
    strange = flat + 0.5 * outside[0] - 0.2 * outside[1]
    mean_variance = y.var(axis=0, ddof=1).mean()
    expected = np.sqrt(mahalanobis(x, y) ** 2 + (0.5**2 + 0.2**2) / (1e-3 * mean_variance))
    np.testing.assert_allclose(mahalanobis(strange, reference, shrinkage), expected, rtol=1e-6)


def test_no_generator_looks_better_than_a_perfect_one_where_units_are_dead():
    """A perfect one scores the null value of the dimensions that there are; one with a new direction scores more."""
    found, strange = [], []
    for seed in range(20):
        x, outside = embedded(gaussian(200, 10, seed), more=22)
        y, _ = embedded(gaussian(60, 10, seed + 99), more=22)
        found.append(mahalanobis(x, y).mean())
        strange.append(mahalanobis(x + 0.3 * outside[0], y).mean())
    null = null_mahalanobis(60, dimensions(y))
    assert np.mean(found) == pytest.approx(null, rel=0.02)
    assert null < 0.75 * null_mahalanobis(60, 32)  # by which a bad one had looked better than perfect
    assert min(strange) > 2 * null


def test_a_reference_that_is_one_point():
    assert dimensions(np.ones((9, 3))) == 0
    np.testing.assert_allclose(mahalanobis(np.ones((2, 3)), np.ones((9, 3))), 0, atol=1e-6)
