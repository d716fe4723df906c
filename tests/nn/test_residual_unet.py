"""The residual U-Net with averaged skips, VGG-16 for patches, and the layer that scales HU."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.residual_unet import residual_unet
from tfmed.nn.standardize import Standardize
from tfmed.nn.vgg import vgg16
from tfmed.ops.slices import neighbours_as_channels, stack_at
from tfmed.tasks.backbones import ResidualUNet

pytestmark = pytest.mark.current


def count(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


@pytest.mark.one_stack
def test_the_cards_table():
    def conv(wide, out):
        """A 3 x 3 convolution with its bias, and scale and offset of its norm."""
        return 9 * wide * out + out + 2 * out

    def block(wide, out):
        return conv(wide, out) + 4 * conv(out, out)

    widths = (32, 64, 128, 256, 512)
    down = sum(block(wide, out) for wide, out in zip((3, *widths), widths, strict=False))
    up = sum(conv(2 * width, width) + block(width, width) for width in widths[:-1])
    network = residual_unet(3, 2)
    assert count(network.trainable_weights) == down + up + 9 * 32 * 2 + 2
    assert count(network.trainable_weights) == pytest.approx(19.7e6, rel=0.01)
    shapes = {name: network.get_layer(name).output.shape[-1] for name in ("bridge_sum", "up3_mean", "up0_mean")}
    assert shapes == {"bridge_sum": 512, "up3_mean": 256, "up0_mean": 32}  # averaged, not joined
    for name, width in (("down1_2_conv", 64), ("up2_transposed", 128)):
        kernel = np.asarray(network.get_layer(name).get_weights()[0])
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * width)), rel=0.02) and abs(kernel.mean()) < 1e-3


def test_sides_and_gradients():
    network = residual_unet(2, 3, widths=(4, 6, 8))
    images = tf.constant(np.random.default_rng(0).normal(size=(2, 8, 12, 2)), tf.float32)
    with tf.GradientTape() as tape:
        logits = network(images, training=True)
        loss = tf.reduce_sum(logits * tf.random.stateless_normal(logits.shape, (1, 1)))
    assert logits.shape == (2, 8, 12, 3) and logits.dtype == tf.float32
    gradients = tape.gradient(loss, [tensor_variable(v) for v in network.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    assert np.mean([np.abs(gradient).max() > 0 for gradient in gradients]) > 0.6  # biases before a norm have none
    assert ResidualUNet().multiple(2) == (16, 16)
    with pytest.raises(ValueError, match="2-D"):
        ResidualUNet().multiple(3)


@pytest.mark.one_stack
def test_vgg16_is_that_of_keras():
    theirs = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    ours = vgg16(dropout=0.0)
    names = [layer.name for layer in theirs.layers if layer.weights]
    assert len(names) == 13
    for name in names:
        theirs.get_layer(name).set_weights(ours.get_layer(name).get_weights())
    patches = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    features = keras.Model(ours.inputs, ours.get_layer("block5_pool").output)(patches)
    np.testing.assert_allclose(features, theirs(patches), rtol=1e-4, atol=1e-5)
    hidden = 512 * 256 + 256 + 256 + 1
    assert count(ours.trainable_weights) == count(theirs.weights) + hidden


def test_patches_of_any_side_and_narrow_networks():
    for side in (8, 16, 32, 33):
        network = vgg16(5, 1, width=2, side=side, hidden=4)
        assert network(np.zeros((3, side, side, 5), "float32")).shape == (3, 1)
    with pytest.raises(ValueError, match="3 channels and width 64"):
        vgg16(1, weights="imagenet")


def test_hu_are_cut_and_scaled_in_float32():
    layer = Standardize(-100.0, 300.0, 90.0, 40.0)
    values = np.array([-1000, -100, 90, 130, 300, 3000], "float32").reshape(1, 6)
    np.testing.assert_allclose(layer(values)[0], [-4.75, -4.75, 0, 1, 5.25, 5.25])
    again = Standardize.from_config(layer.get_config())
    np.testing.assert_array_equal(again(values), layer(values))
    with pytest.raises(ValueError, match="cannot scale"):
        Standardize(5.0, 5.0, 1.0, 1.0)


def test_neighbours_of_slices_are_channels():
    volume = np.random.default_rng(0).normal(size=(6, 4, 5, 2)).astype("float32")
    padded = np.pad(volume, [(1, 1), (0, 0), (0, 0), (0, 0)], mode="edge")
    found = neighbours_as_channels(tf.constant(padded)[None], 1).numpy()[0]
    assert found.shape == (6, 4, 5, 6)
    for z in range(6):
        np.testing.assert_array_equal(found[z], stack_at(volume, z, 1))
        np.testing.assert_array_equal(found[z, ..., 2:4], volume[z])
        np.testing.assert_array_equal(found[z, ..., :2], volume[max(z - 1, 0)])
        np.testing.assert_array_equal(found[z, ..., 4:], volume[min(z + 1, 5)])
    np.testing.assert_array_equal(stack_at(volume, 3, 0), volume[3])
