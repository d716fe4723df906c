"""Normalisation layers that networks share."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import set_precision
from tfmed.nn.blocks import norm_layer

pytestmark = pytest.mark.current


def images(scale, offset, seed=0):
    return tf.constant(offset + scale * np.random.default_rng(seed).normal(size=(8, 16, 16, 3)), tf.float32)


def test_batch_norm_knows_dim_images_after_sixty_steps():
    """Images of variance 0.01 around 0.5: at inference they leave with the mean and spread that training gave them."""
    layer = norm_layer("batch")
    for step in range(60):
        trained = layer(images(0.1, 0.5, step), training=True).numpy()
    used = layer(images(0.1, 0.5, 99), training=False).numpy()
    assert trained.std() == pytest.approx(1.0, abs=0.02)
    assert used.std() == pytest.approx(1.0, abs=0.1) and abs(used.mean()) < 0.1


@pytest.mark.parametrize("kind, axes", [("instance", (1, 2)), ("layer", (1, 2, 3))])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norms_are_their_formula(kind, axes, affine):
    x = images(0.02, 0.5)
    layer = norm_layer(kind, affine=affine)
    mean, variance = np.mean(x, axes, keepdims=True), np.var(x, axes, keepdims=True)
    np.testing.assert_allclose(layer(x), (x - mean) / np.sqrt(variance + 1e-5), atol=1e-3)
    assert len(layer.trainable_variables) == (2 if affine else 0)


@pytest.mark.parametrize("kind, axes", [("instance", (1, 2)), ("layer", (1, 2, 3))])
def test_group_norms_of_bfloat16_have_float32_moments(kind, axes):
    """Far from zero, bfloat16 sums over 256 pixels would be off by whole units."""
    set_precision("mixed_bfloat16")
    try:
        layer = norm_layer(kind)
    finally:
        set_precision("float32")
    x = tf.cast(images(8.0, 100.0), tf.bfloat16)
    layer.build(x.shape)
    scale, offset = np.array([0.5, 1.0, 2.0]), np.array([0.25, -1.0, 0.0])
    layer.set_weights([scale, offset])
    values = tf.cast(x, tf.float32).numpy()
    mean, variance = np.mean(values, axes, keepdims=True), np.var(values, axes, keepdims=True)
    found = layer(x)
    assert found.dtype == tf.bfloat16
    expected = (values - mean) / np.sqrt(variance + 1e-5) * scale + offset
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=0.03)


def test_none_changes_nothing_and_unknown_names_are_refused():
    x = images(1.0, 0.0)
    np.testing.assert_array_equal(norm_layer("none")(x), x)
    with pytest.raises(ValueError, match="known: batch, instance"):
        norm_layer("group")
