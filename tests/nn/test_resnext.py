"""ResNeXt: the published number of parameters and maps, groups that do not see each other, and the U-Net on it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.resnext import bottleneck, resnext_encoder, resnext_unet
from tfmed.tasks.backbones import ResNeXtUNet

pytestmark = pytest.mark.current
SMALL = dict(blocks=(1, 2), first=4, groups=2, group_width=2)


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_resnext50_has_its_published_parameters_and_maps():
    encoder = resnext_encoder(3)
    assert count(encoder) == 25_028_904 - (2048 * 1000 + 1000)  # without the classifier of ImageNet
    assert [output.shape[-1] for output in encoder.outputs] == [64, 256, 512, 1024, 2048]
    convolutions = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    assert sum(layer.groups == 32 for layer in convolutions) == 3 + 4 + 6 + 3


def test_sizes_and_gradients():
    network = resnext_unet(3, 2, decoder=(8, 4, 4), **SMALL)
    image = tf.random.stateless_normal((1, 16, 24, 3), (0, 0))
    with tf.GradientTape() as tape:
        logits = network(image, training=True)
        loss = tf.reduce_mean(logits**2)
    assert logits.shape == (1, 16, 24, 2) and logits.dtype == tf.float32
    variables = [compat.tensor_variable(v) for v in network.trainable_variables]
    assert all(gradient is not None for gradient in tape.gradient(loss, variables))
    features = network.get_layer("encoder")(image)
    assert [tuple(f.shape[1:3]) for f in features] == [(8, 12), (4, 6), (2, 3)]
    with pytest.raises(ValueError, match="one more than stages"):
        resnext_unet(3, 2, decoder=(8, 4), **SMALL)


def test_a_group_sees_its_own_maps_alone():
    inputs = keras.Input((4, 4, 4))
    network = keras.Model(inputs, bottleneck(inputs, 4, 4, 2, 1, "b"))
    grouped = network.get_layer("b_grouped")
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype("float32")
    other = x.copy()
    other[..., 2:] += 1
    one, two = grouped(x).numpy(), grouped(other).numpy()
    np.testing.assert_array_equal(one[..., :2], two[..., :2])
    assert (one[..., 2:] != two[..., 2:]).any()


def test_as_a_setting():
    found = ResNeXtUNet(blocks=(1, 1), decoder=(4, 4, 4), first=4, groups=2, group_width=2)
    assert found.multiple(2) == (8, 8) and found.build(3, 1, 2, 0).count_params() > 0
    with pytest.raises(ValueError, match="decoder: give 3 numbers"):
        ResNeXtUNet(blocks=(1, 1), decoder=(4, 4))
