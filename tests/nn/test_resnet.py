"""ResNets: their published sizes and strides, and ReLUs that let positive gradients alone pass."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.resnet import FEATURES, GuidedReLU, resnet18, resnet20

pytestmark = pytest.mark.one_stack


@pytest.mark.usefixtures("unfilled_weights")
def test_size_and_stride():
    network = resnet18(3, 1000)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 11_689_512  # as torchvision's
    assert network.get_layer(FEATURES).output.shape[-1] == 512
    small = resnet18(1, 4, 2, "instance", blocks=(1, 1, 1, 1))
    assert small(tf.zeros((2, 64, 96, 1))).shape == (2, 4)
    assert small.get_layer(FEATURES).output.shape[-1] == 16


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


@pytest.mark.usefixtures("unfilled_weights")
def test_small_images():
    """The published total with a small stem; of ResNet-20 the sum by hand: offsets, and bare short cuts."""
    assert trainable(resnet18(3, 10, stem="small")) == 11_173_962
    stages = [3 * 2 * (16 * 16 * 9 + 16 + 32)]
    for wide in (32, 64):
        first = wide // 2 * wide * 9 + wide + wide * wide * 9 + wide + 4 * wide + wide // 2 * wide
        stages.append(first + 2 * 2 * (wide * wide * 9 + wide + 2 * wide))
    assert trainable(resnet20(3, 10)) == 27 * 16 + 16 + 32 + sum(stages) + 65 * 10 == 272_970
    features = resnet20(3, None, 2, (1, 1))
    maps = features.get_layer("stage1_0_relu").output
    assert maps.shape[-1] == 4 and features(tf.zeros((2, 9, 12, 3))).shape == (2, 4)
    small = resnet18(3, None, 2, blocks=(1, 1), stem="small")
    assert small.get_layer("first_relu").output.shape[-1] == 2 and small(tf.zeros((2, 8, 8, 3))).shape == (2, 4)


def test_guided_relu_by_arithmetic():
    x, upstream = tf.constant([-1.0, 2.0, 3.0, 0.0]), tf.constant([1.0, -1.0, 5.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = GuidedReLU()(x)
    np.testing.assert_array_equal(y, [0, 2, 3, 0])
    np.testing.assert_array_equal(tape.gradient(y, x, upstream), [0, 0, 5, 0])
