"""The residual U-Net with summed skips: the card's table, any side, gradients, both stacks alike."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.summed_unet import summed_unet
from tfmed.tasks.backbones import SummedUNet

pytestmark = pytest.mark.current


def block(wide, out):
    """Parameters of a residual block: two norms, two 3 x 3 convolutions, and the shortcut where the width changes."""
    shortcut = 0 if wide == out else wide * out + out
    return 2 * wide + 9 * wide * out + out + 2 * out + 9 * out * out + out + shortcut


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_cards_table():
    pairs = [(8, 8), (8, 16), (16, 8), (8, 8)]  # level 0, down and up
    pairs += [(16, 16), (16, 32), (32, 16), (16, 16), (32, 32), (32, 64), (64, 32), (32, 32)]
    pairs += [(64, 64), (64, 128), (128, 64), (64, 64), (128, 128), (128, 256), (256, 128), (128, 128)]
    pairs += [(256, 512), (512, 256), (8, 8)]  # the bridge, and the head
    total = 9 * 8 + sum(block(*pair) for pair in pairs) + 2 * 8 + 8 + 1
    network = summed_unet(1, 1)
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == total == 8_226_121
    shapes = {name: network.get_layer(name).output.shape[-1] for name in ("up4_sum", "up0_sum", "bridge_1_sum")}
    assert shapes == {"up4_sum": 256, "up0_sum": 16, "bridge_1_sum": 256}


def test_any_side():
    network = summed_unet(2, 3, widths=(4, 6, 8))
    for size in ((1, 1), (7, 5), (16, 33)):
        images = tf.constant(np.random.default_rng(0).normal(size=(2, *size, 2)), tf.float32)
        logits = network(images)
        assert logits.shape == (2, *size, 3) and logits.dtype == tf.float32 and np.isfinite(logits).all()
    assert SummedUNet().multiple(2) == (1, 1)
    with pytest.raises(ValueError, match="2-D"):
        SummedUNet().multiple(3)


def test_every_weight_learns():
    network = summed_unet(1, 2, widths=(4, 6))
    with tf.GradientTape() as tape:
        logits = network(tf.random.stateless_normal((2, 9, 9, 1), (0, 1)), training=True)
        loss = tf.reduce_sum(logits * tf.random.stateless_normal(logits.shape, (1, 1)))
    gradients = tape.gradient(loss, [tensor_variable(v) for v in network.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    assert np.mean([np.abs(gradient).max() > 0 for gradient in gradients]) > 0.8  # biases before a norm have none
