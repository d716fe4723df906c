"""Smooth fields: splines reproduce what splines must, Gaussian fields have the strength that their definition says."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter

from tfmed.ops import elastic

pytestmark = pytest.mark.current


@pytest.mark.parametrize("size, nodes", [(96, 6), (5, 4), (40, 43)])
def test_spline_weights_are_those_of_the_cubic_b_spline(size, nodes):
    weights = elastic.bspline_weights(size, nodes)
    assert weights.shape == (size, nodes) and weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(weights @ np.arange(nodes), np.linspace(1, nodes - 2, size), rtol=1e-5)
    spline = BSpline(np.arange(-2, nodes + 2.0), np.eye(nodes), 3)
    np.testing.assert_allclose(weights, spline(np.linspace(1, nodes - 2, size)), atol=1e-6)


def test_too_few_control_points():
    with pytest.raises(ValueError, match="at least 4 control points"):
        elastic.bspline_weights(10, 3)


@pytest.mark.parametrize("shape, nodes", [((9, 12), (4, 5)), ((6, 7, 8), (4, 5, 6))])
def test_numpy_and_tensorflow_give_the_same_field(shape, nodes):
    control = np.random.default_rng(0).normal(size=(2, *nodes, len(nodes))).astype("float32")
    weights = [elastic.bspline_weights(s, n) for s, n in zip(shape, nodes, strict=True)]
    ours = np.stack([elastic.spread(c, weights) for c in control])
    letters = "abc"[: len(shape)], "xyz"[: len(shape)]
    sums = ",".join([f"n{letters[0]}k", *(y + x for x, y in zip(*letters, strict=True))]) + f"->n{letters[1]}k"
    np.testing.assert_allclose(ours, np.einsum(sums, control, *weights), atol=1e-5)
    np.testing.assert_allclose(elastic.bspline_field(control, shape), ours, atol=1e-5)


def test_the_field_is_differentiable_in_its_control_points():
    control = tf.constant(np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(control)
        total = tf.reduce_sum(elastic.bspline_field(control, (9, 12)))
    slope = tape.gradient(total, control)
    np.testing.assert_allclose(tf.reduce_sum(slope), 2 * 9 * 12, rtol=1e-5)  # the weights of a voxel sum to 1


@pytest.mark.parametrize("sigma", [1.0, 4.0, 12.0])
def test_gaussian_fields_vary_as_smoothed_white_noise(sigma):
    """Covariance of weights times unit noise = that of full-size unit noise smoothed by a Gaussian filter."""
    size = 40
    weights = elastic.gaussian_weights(size, sigma).astype(float)
    pad = int(6 * sigma)
    full = gaussian_filter(np.eye(size + 2 * pad), (0, sigma), mode="constant", truncate=6)[:, pad:-pad]
    expected = full.T @ full
    np.testing.assert_allclose(weights @ weights.T, expected, atol=0.004 * expected.max())


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("shape", [(5,), (70, 90), (8, 9, 70)])
def test_spread_is_the_sum_over_nodes(shape, components):
    """Large enough that products are made in blocks, the last of them smaller; every size, node and component apart."""
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(size, size // 2 + 2)).astype(np.float32) for size in shape]
    control = generator.normal(size=(*(w.shape[1] for w in weights), components))
    letters = list(zip("abc", "xyz", strict=True))[: len(shape)]
    terms = [f"{out}{node}" for out, node in letters] + ["".join(node for _, node in letters) + "k"]
    expected = np.einsum(f"{','.join(terms)}->{''.join(out for out, _ in letters)}k", *weights, control, optimize=True)
    found = elastic.spread(control, weights)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
