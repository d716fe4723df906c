"""The plane of two components, its ellipses, and the numbers made from them."""

import numpy as np
import pytest
import sklearn.decomposition

from tfmed.metrics.feature_plane import centre_distance, ellipse_of, overlap, pca_ellipses

pytestmark = pytest.mark.current


def cloud(n=200, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_the_plane_is_that_of_the_reference_alone():
    reference, other = cloud(), cloud(seed=1)
    pca = sklearn.decomposition.PCA(2).fit(reference)
    found = pca_ellipses(reference, {"other": other, "far": other + 100})
    for name, x in (("reference", reference), ("other", other)):
        expected = pca.transform(x)
        signs = np.sign(np.sum(expected * found[name].points, axis=0))  # the sign of a component is arbitrary
        np.testing.assert_allclose(found[name].points, expected * signs, atol=1e-8)
    alone = pca_ellipses(reference, {"other": other})["other"]
    np.testing.assert_array_equal(alone.points, found["other"].points)


def test_axes_are_orthogonal_and_as_long_as_the_roots_of_the_eigenvalues():
    ellipse = pca_ellipses(cloud(), {"other": cloud(seed=1)})["other"]
    np.testing.assert_allclose(ellipse.axes @ ellipse.axes.T, np.eye(2), atol=1e-12)
    values = np.sort(np.linalg.eigvals(np.cov(ellipse.points, rowvar=False)))[::-1]
    np.testing.assert_allclose(ellipse.lengths, np.sqrt(values))
    np.testing.assert_allclose(ellipse.centre, ellipse.points.mean(axis=0))
    # On the outline x^T S^-1 x = 1.
    gaps = ellipse.outline() - ellipse.centre
    inverse = np.linalg.inv(np.cov(ellipse.points, rowvar=False))
    np.testing.assert_allclose(np.sum(gaps @ inverse * gaps, axis=1), 1)
    assert len(gaps) == 128
    np.testing.assert_allclose(gaps[0], gaps[-1], atol=1e-9)  # once around
    turns = np.unwrap(np.arctan2(*(gaps @ ellipse.axes.T / ellipse.lengths).T))
    assert abs(turns[-1] - turns[0]) == pytest.approx(2 * np.pi)


def test_features_of_two_dimensions_have_a_plane():
    reference = cloud(d=2)
    found = pca_ellipses(reference, {})["reference"]
    np.testing.assert_allclose(np.sort(found.lengths**2), np.linalg.eigvalsh(np.cov(reference, rowvar=False)))


def test_distance_and_overlap():
    circle = ellipse_of(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]) * np.sqrt(1.5))  # unbiased variances of 1
    np.testing.assert_allclose(circle.lengths, 1)
    twice = ellipse_of(2 * circle.points)
    moved = ellipse_of(circle.points + [1, 0])
    assert overlap(circle, circle) == 1
    assert overlap(circle, twice) == pytest.approx(1 / 4, abs=0.01)
    lens = 2 * np.arccos(0.5) - 0.5 * np.sqrt(3)  # of two unit circles at distance 1
    assert overlap(circle, moved) == pytest.approx(lens / (2 * np.pi - lens), abs=0.01)
    assert overlap(circle, ellipse_of(circle.points + [9, 0])) == 0
    assert centre_distance(circle, moved) == pytest.approx(1)


@pytest.mark.parametrize("reference, other, words", [
    (cloud(1), cloud(), "at least two samples"), (cloud(d=1), cloud(d=1), "at least two dimensions"),
    (cloud(), cloud(d=5), "use one network for both"), (cloud(), cloud(1), "at least two samples"),
])  # fmt: skip
def test_what_has_no_plane(reference, other, words):
    with pytest.raises(ValueError, match=words):
        pca_ellipses(reference, {"other": other})
