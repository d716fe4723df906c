"""HRNet: its size, its streams, and what reaches its output."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.hrnet import hrnet, hrnet_features

pytestmark = pytest.mark.current
WIDTHS = (4, 6, 8, 10)


def weights(widths, modules, channels=3, blocks=4):
    """Trainable weights by the published layout: bias-free convolutions, each with scale and offset of a batch norm."""

    def conv(wide, out, side=3):
        return side**2 * wide * out + 2 * out

    def fused(streams, into):
        total = 0
        for i in range(into):
            total += sum(conv(widths[j], widths[i], 1) for j in range(i + 1, streams))
            total += sum((i - j - 1) * conv(widths[j], widths[j]) + conv(widths[j], widths[i]) for j in range(i))
        return total

    stem = conv(channels, 64) + conv(64, 64)
    stage1 = conv(64, 256, 1) + conv(64, 64, 1) + 3 * conv(256, 64, 1) + 4 * (conv(64, 64) + conv(64, 256, 1))
    total = stem + stage1 + conv(256, widths[0]) + conv(256, widths[1]) + conv(widths[1], widths[2])
    total += conv(widths[2], widths[3])
    for streams, count in enumerate(modules, 2):
        total += count * (blocks * sum(2 * conv(width, width) for width in widths[:streams]))
        total += (count - 1) * fused(streams, streams) + fused(streams, 1 if streams == 4 else streams)
    return total


@pytest.fixture(scope="module")
def small():
    return hrnet(2, widths=WIDTHS, modules=(1, 2, 2), blocks=1)


def test_its_size(small):
    """The layout that gives 28.5 million for W32, as published for pose estimation with its head of 17 joints."""
    assert weights((32, 64, 128, 256), (1, 4, 3)) + 33 * 17 == 28_536_113
    assert sum(int(np.prod(w.shape)) for w in small.trainable_weights) == weights(WIDTHS, (1, 2, 2), 2, 1)


def test_streams_and_gradients(small):
    """Sides of 1/4, 1/8, 1/16, 1/32; every weight has a gradient."""
    shapes = [small.get_layer(f"stage4_module0_fuse{i}_sum").output.shape[-1] for i in range(4)]
    assert shapes == list(WIDTHS)
    images = tf.random.stateless_normal((1, 32, 64, 2), (0, 1))
    with tf.GradientTape() as tape:
        features = small(images, training=True)
        loss = tf.reduce_sum(features * tf.random.stateless_normal(features.shape, (0, 2)))
    assert features.shape == (1, 8, 16, WIDTHS[0])
    # Norms make a constant of a single pixel: the coarsest stream of so small an image is 1 x 2.
    for gradient, weight in zip(tape.gradient(loss, small.trainable_variables), small.trainable_weights, strict=True):
        assert gradient is not None and np.abs(gradient).max() > 0, weight.name


@pytest.mark.parametrize("stage, stride", [(2, 8), (3, 16), (4, 32)])
def test_new_streams_have_half_the_sides(small, stage, stride):
    layer = small.get_layer(f"stage{stage}_enter{stage - 1}_conv")
    probe = type(small)(small.inputs, layer.output)
    assert probe(tf.zeros((1, 64, 96, 2))).shape[1:3] == (64 // stride, 96 // stride)


@pytest.mark.one_stack
def test_stride_two_pads_both_sides(small):
    """Where sides are odd, a mirrored image gives mirrored features by a kernel that is its own mirror image."""
    pad, conv = small.get_layer("stem0_pad"), small.get_layer("stem0_conv")
    before = conv.get_weights()
    conv.set_weights([before[0] + before[0][:, ::-1]])
    image = np.random.default_rng(0).normal(size=(1, 31, 31, 2)).astype("float32")
    ours, mirrored = (np.asarray(conv(pad(tf.constant(x)))) for x in (image[:, :, ::-1], image))
    conv.set_weights(before)
    np.testing.assert_allclose(ours, mirrored[:, :, ::-1], atol=1e-5)


@pytest.mark.one_stack
@pytest.mark.parametrize("options, message", [
    ({"size": (32, 40)}, r"size \(32, 40\): a side of 40 is no multiple of 32"),
    ({"widths": (8, 16)}, "widths of 4 streams and modules of 3 stages are needed, got 2 and 3"),
])  # fmt: skip
def test_what_cannot_be_built(options, message):
    with pytest.raises(ValueError, match=message):
        hrnet(3, **options)


@pytest.mark.one_stack
def test_features_are_those_of_the_finest_stream():
    network = hrnet_features(1, 12, widths=(8, 16, 16, 16), modules=(1, 1, 1), blocks=1, norm="layer")
    found = network(tf.random.stateless_normal((1, 32, 64, 1), (0, 1)))
    assert found.shape == (1, 8, 16, 12) and (found.numpy() >= 0).all() and found.numpy().any()
