"""Losses of maps side by side: closed forms, masks, gradients of what does not count."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.losses import maps

pytestmark = pytest.mark.current


def some(seed=0, shape=(3, 5, 4, 2)):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 2, shape).astype("float32"), rng.integers(0, 2, shape).astype("uint8"),
            rng.integers(0, 2, shape[:-1]).astype("uint8"))  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
def test_closed_forms(masked):
    logits, y, weight = some()
    w = (weight if masked else np.ones_like(weight))[..., None].astype(float)
    p = 1 / (1 + np.exp(-logits.astype(float)))
    sums = [(w * values).sum((1, 2)) for values in (p * y, p + y)]
    given = weight if masked else None
    np.testing.assert_allclose(maps.dice(logits, y, given), 1 - (2 * sums[0] + 1) / (sums[1] + 1), rtol=1e-5)
    each = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    expected = (w * each).sum((1, 2)) / w.sum((1, 2))
    np.testing.assert_allclose(maps.binary_cross_entropy(logits, y, given), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [maps.dice, maps.binary_cross_entropy])
def test_what_does_not_count_changes_nothing_and_gets_no_gradient(loss):
    logits, y, weight = some(1)
    weight[0] = 0
    variable, gone = tf.Variable(logits), weight == 0
    with tf.GradientTape() as tape:
        value = loss(variable, y, weight)
    gradient = tape.gradient(value, variable).numpy()
    assert not gradient[gone].any() and (gradient[~gone] != 0).all() and not value[0].numpy().any()
    other = np.where(gone[..., None], 9, logits).astype("float32"), np.where(gone[..., None], 1 - y, y)
    np.testing.assert_allclose(loss(*other, weight), value, rtol=1e-6)


def test_an_empty_map_that_is_found_empty_costs_nothing():
    logits = np.full((1, 4, 4, 1), -30, "float32")
    for loss in (maps.dice, maps.binary_cross_entropy):
        np.testing.assert_allclose(loss(logits, np.zeros_like(logits)), 0, atol=1e-6)


def test_other_shapes_are_refused():
    logits, y, weight = some()
    with pytest.raises(ValueError, match="target"):
        maps.dice(logits, y[..., :1])
    with pytest.raises(ValueError, match="mask"):
        maps.binary_cross_entropy(logits, y, weight[:, 1:])
