"""Maps read at points, and transforms of points: against scipy, `warp`, finite differences and closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfmed.ops.vertices import affine_about, as_pixels, as_shares, perspective_about, sample_at
from tfmed.ops.warp import warp

pytestmark = pytest.mark.current
RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(2, 5, 7, 3)).astype("float32")


def test_pixels_are_read_exactly_and_between_them_linearly():
    y, x = np.mgrid[:5, :7]
    grid = np.tile(np.stack([x, y], -1).reshape(1, -1, 2), (2, 1, 1)).astype("float32")
    np.testing.assert_array_equal(sample_at(tf.constant(MAPS), tf.constant(grid)), MAPS.reshape(2, 35, 3))
    half = sample_at(tf.constant(MAPS), tf.constant([[[2.25, 3.0]]] * 2))
    np.testing.assert_allclose(half[:, 0], 0.75 * MAPS[:, 3, 2] + 0.25 * MAPS[:, 3, 3], rtol=1e-6)


def test_reading_agrees_with_scipy_and_with_warp_outside_too():
    points = RNG.uniform((-2, -2), (9, 7), (2, 40, 2)).astype("float32")
    found = sample_at(tf.constant(MAPS), tf.constant(points)).numpy()
    for n in range(2):
        for k in range(3):
            expected = ndimage.map_coordinates(MAPS[n, ..., k], points[n, :, ::-1].T, order=1, mode="nearest")
            np.testing.assert_allclose(found[n, :, k], expected, atol=1e-5)
    other = warp(tf.constant(MAPS), points[:, :, None, ::-1], fill="edge")[:, :, 0]
    np.testing.assert_allclose(found, other, atol=1e-5)
    assert sample_at(tf.constant(MAPS[:, :1, :1]), tf.constant(points)).numpy() == pytest.approx(
        np.repeat(MAPS[:, :1, :1, :].reshape(2, 1, 3), 40, 1))  # fmt: skip


def test_gradients_of_places_are_finite_differences():
    points = tf.Variable(RNG.uniform((0.2, 0.2), (5.8, 3.8), (2, 9, 2)).astype("float32"))
    weights = RNG.normal(size=(2, 9, 3))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(sample_at(tf.constant(MAPS), points) * weights.astype("float32"))
    found = tape.gradient(value, points).numpy()

    def told(places):
        read = [[ndimage.map_coordinates(MAPS[n, ..., k].astype(float), places[n, :, ::-1].T, order=1)
                 for k in range(3)] for n in range(2)]  # fmt: skip
        return (np.moveaxis(np.array(read), 1, 2) * weights).sum()

    for index in np.ndindex(2, 9, 2):
        step = np.zeros((2, 9, 2))
        step[index] = 1e-4
        places = points.numpy().astype(float)
        expected = (told(places + step) - told(places - step)) / 2e-4
        assert found[index] == pytest.approx(expected, abs=2e-3), index


def test_maps_and_points_must_fit():
    with pytest.raises(ValueError, match="are needed; got"):
        sample_at(tf.constant(MAPS), tf.zeros((2, 3, 3)))


def test_shares_are_the_same_place_in_maps_of_any_size():
    assert as_pixels(tf.constant([[0.0, 1.0], [0.5, 0.5]]), (8, 4)).numpy().tolist() == [[-0.5, 3.5], [3.5, 1.5]]
    points = tf.constant(RNG.uniform(0, 9, (4, 2)))
    np.testing.assert_allclose(as_pixels(as_shares(points, (8, 4)), (8, 4)), points)


def test_an_affine_map_recovers_a_similarity():
    points = RNG.uniform(0, 1, (2, 6, 2))
    angle, scale, shift = np.deg2rad([20, -35]), np.array([1.2, 0.8]), RNG.normal(0, 0.1, (2, 2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    matrix = scale[:, None, None] * rotation
    centre = points.mean(1, keepdims=True)
    expected = np.einsum("nij,nvj->nvi", matrix, points - centre) + centre + shift[:, None]
    found = affine_about(tf.constant(points), tf.constant(matrix - np.eye(2)), tf.constant(shift))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(affine_about(tf.constant(points), tf.zeros((2, 2, 2), tf.float64),
                                               tf.zeros((2, 2), tf.float64)), points)  # fmt: skip
    full = np.zeros((2, 3, 3))
    full[:, :2, :2], full[:, :2, 2] = matrix - np.eye(2), shift
    np.testing.assert_allclose(perspective_about(tf.constant(points), tf.constant(full)), expected, atol=1e-12)


def test_a_perspective_divides_by_its_third_row():
    points = RNG.uniform(0, 1, (1, 5, 2))
    matrix = RNG.normal(0, 0.2, (1, 3, 3))
    away = points[0] - points[0].mean(0)
    moved = np.c_[away, np.ones(5)] @ (matrix[0] + np.eye(3)).T
    found = perspective_about(tf.constant(points), tf.constant(matrix))[0]
    np.testing.assert_allclose(found, moved[:, :2] / moved[:, 2:] + points[0].mean(0), atol=1e-12)
    far = perspective_about(tf.constant(points), tf.constant(matrix * [[0.0], [0.0], [1e6]]))
    assert np.isfinite(far).all()
