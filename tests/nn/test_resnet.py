"""ResNet-18: its published size, its stride, and ReLUs that let positive gradients alone pass."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.resnet import FEATURES, GuidedReLU, resnet18

pytestmark = pytest.mark.one_stack


def test_size_and_stride():
    network = resnet18(3, 1000)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 11_689_512  # as torchvision's
    assert network.get_layer(FEATURES).output.shape[-1] == 512
    small = resnet18(1, 4, 2, "instance", blocks=(1, 1, 1, 1))
    assert small(tf.zeros((2, 64, 96, 1))).shape == (2, 4)
    assert small.get_layer(FEATURES).output.shape[-1] == 16


def test_guided_relu_by_arithmetic():
    x, upstream = tf.constant([-1.0, 2.0, 3.0, 0.0]), tf.constant([1.0, -1.0, 5.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = GuidedReLU()(x)
    np.testing.assert_array_equal(y, [0, 2, 3, 0])
    np.testing.assert_array_equal(tape.gradient(y, x, upstream), [0, 0, 5, 0])
