"""Normalisation layers that networks share."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import set_precision, tensor_variable
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


def formula(x, scale, offset):
    mean = tf.reduce_mean(x, (1, 2), keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), (1, 2), keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-5) * scale + offset


@pytest.mark.parametrize("samples", [1, 3])
def test_instance_norm_has_the_first_and_second_derivatives_of_its_formula(samples):
    """Second ones too, which penalties of critics need; the formula is differentiated in float64."""
    layer = norm_layer("instance")
    layer.build((None, 5, 4, 3))
    weights = [np.array([0.5, 1.0, 2.0]), np.array([0.25, -1.0, 0.0])]
    layer.set_weights(weights)

    def derivatives(norm, x, given):
        with tf.GradientTape() as outer:
            outer.watch((x, *given))
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(tf.sin(norm(x)))
            first = inner.gradient(value, x)
            length = tf.reduce_sum(tf.square(first))
        return first, *outer.gradient(length, (x, *given), unconnected_gradients="zero")

    x = np.random.default_rng(samples).normal(2, 3, (samples, 5, 4, 3))
    exact = [tf.constant(weight) for weight in weights]
    expected = derivatives(lambda x: formula(x, *exact), tf.constant(x), exact)
    own = [tensor_variable(v) for v in layer.trainable_variables]
    found = derivatives(layer, tf.constant(x, tf.float32), own)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_instance_norm_of_no_samples():
    with tf.GradientTape() as tape:
        x = tf.Variable(tf.zeros((0, 4, 4, 3)))
        value = tf.reduce_sum(norm_layer("instance")(x))
    assert tape.gradient(value, x).shape == (0, 4, 4, 3)


def test_none_changes_nothing_and_unknown_names_are_refused():
    x = images(1.0, 0.0)
    np.testing.assert_array_equal(norm_layer("none")(x), x)
    with pytest.raises(ValueError, match="known: batch, instance"):
        norm_layer("group")
