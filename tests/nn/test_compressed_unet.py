"""The segmenter with compressed long skips."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.compressed_unet import compressed_unet, image_decoder, least_side
from tfmed.tasks.backbones import CompressedUNet

pytestmark = pytest.mark.current


def test_shapes_of_the_papers_slices():
    """240 x 120 -> 8 x 4, and back; a skip is one channel."""
    network = compressed_unet(4, 2)
    features = network.get_layer("encoder")(tf.zeros((1, 240, 120, 4)))
    assert [f.shape[1:] for f in features] == [
        (240, 120, 16), (120, 60, 32), (60, 30, 64), (30, 15, 128), (15, 8, 256), (8, 4, 512)]  # fmt: skip
    assert network(tf.zeros((1, 240, 120, 4))).shape == (1, 240, 120, 2)
    skips = [w for w in network.trainable_weights if "skip" in getattr(w, "path", w.name) and len(w.shape) == 4]
    assert [w.shape[-1] for w in skips] == [1] * 5


def test_the_backgrounds_logit_is_nothing():
    """Softmax of two is the sigmoid of the other."""
    logits = compressed_unet(1, 2, (4, 8))(tf.random.normal((2, 16, 16, 1))).numpy()
    assert not logits[..., 0].any() and logits[..., 1].any()
    np.testing.assert_allclose(tf.nn.softmax(logits)[..., 1], tf.sigmoid(logits[..., 1]), rtol=1e-5)


@pytest.mark.parametrize("levels", [2, 4])
def test_the_least_side_is_the_least(levels):
    """Any size from it on; below it a border cannot be mirrored."""
    network, least = compressed_unet(1, 2, (4,) * levels), least_side(levels)
    for side in (least, 2 * least + 1):
        assert network(tf.zeros((1, side, side + 3, 1))).shape == (1, side, side + 3, 2)
    with pytest.raises(Exception, match=r"(?i)padding|less"):
        network(tf.zeros((1, least - 1, least - 1, 1)))
    assert CompressedUNet(widths=(4,) * levels).least == least


def test_gradients_reach_every_weight_and_norms_are_a_switch():
    images = tf.random.stateless_normal((2, 17, 18, 2), (0, 1))
    for normalise in (True, False):
        network = compressed_unet(2, 3, (4, 8, 12), normalise=normalise)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(images, training=True)[..., 1:] - 1))
        variables = [tensor_variable(v) for v in network.trainable_variables]
        for gradient in tape.gradient(loss, variables):
            assert gradient is not None and np.isfinite(gradient).all()
        names = [getattr(w, "path", w.name) for w in network.trainable_weights]
        assert normalise == any("norm" in name for name in names)


def test_a_decoder_without_skips_sees_the_coarsest_features_alone():
    encoder = compressed_unet(1, 2, (4, 8, 12)).get_layer("encoder")
    decoder = image_decoder(encoder.outputs, 3, skips=False, activation="tanh")
    features = encoder(tf.random.normal((1, 20, 16, 1)))
    other = [f + 1 for f in features[:-1]] + [features[-1]]
    np.testing.assert_array_equal(decoder(features), decoder(other))
    assert decoder(features).shape == (1, 20, 16, 3) and np.abs(decoder(features)).max() <= 1
    assert (decoder([*features[:-1], features[-1] + 1]).numpy() != decoder(features).numpy()).any()
