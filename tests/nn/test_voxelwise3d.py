"""3-D networks of voxel-wise features: parameter totals, sizes, reach."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn import voxelwise3d
from tfmed.nn.voxelwise3d import encoder_critic, fcnet_features, highres_features, unet_encoder, unet_features

pytestmark = pytest.mark.current


@pytest.mark.usefixtures("unfilled_weights")
def test_parameter_totals_of_the_published_widths():
    assert unet_features().count_params() == 11_344_736
    assert unet_encoder().count_params() == 3_515_040
    assert encoder_critic().count_params() == 3_515_297
    assert encoder_critic(channels=2).count_params() == 3_515_297 + 27 * 32


def test_layers_of_the_other_two():
    """Convolution by convolution: kernels, biases, and a scale and shift per normalised channel."""
    convs = 343 * 32 + 32 + 125 * 32 * 64 + 64 + 27 * 64 * 32 + 32
    assert fcnet_features().count_params() == convs + 2 * (32 + 64 + 32)
    before = [(16, 16)] * 6 + [(16, 32)] + [(32, 32)] * 5 + [(32, 64)] + [(64, 64)] * 5
    units = sum(27 * a * b + b + 2 * a for a, b in before)
    assert highres_features().count_params() == 27 * 16 + 16 + units + 2 * 64 + 64 * 80 + 80


NETWORKS = {
    "unet": lambda: unet_features((4, 6, 8)),
    "unet, average": lambda: unet_features((4, 6), pool="average"),
    "one level": lambda: unet_features((4,)),
    "fcnet": lambda: fcnet_features((4, 6, 5)),
    "resnet": lambda: highres_features((4, 6, 8), 1, 10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_stay(name):
    network = NETWORKS[name]()
    image = np.random.default_rng(0).normal(size=(2, 8, 12, 16, 1)).astype("float32")
    found = network(image).numpy()
    assert found.shape == (*image.shape[:-1], network.output_shape[-1]) and np.isfinite(found).all()


def test_highres_groups_are_dilated(monkeypatch):
    """Without normalisation a voxel reaches 1 through the first convolution, 2 d through a unit of dilation d."""
    monkeypatch.setattr(voxelwise3d, "instance_norm", lambda name=None: keras.layers.Activation("linear", name=name))
    network = highres_features((2, 2, 2), 1, 1)
    for v in network.trainable_variables:
        v.assign(tf.ones_like(tf.convert_to_tensor(v)) * (0.1 if len(v.shape) > 1 else 0))
    image = np.zeros((1, 1 + 2 * 18, 3, 3, 1), np.float32)
    image[0, 18] = 1.0
    touched = np.flatnonzero(network(image).numpy()[0, :, 1, 1, 0])
    assert (touched[0], touched[-1]) == (18 - 15, 18 + 15)


def test_widening_adds_zeros():
    image = np.random.default_rng(0).normal(size=(1, 2, 2, 2, 3)).astype("float32")
    wide = voxelwise3d.MoreChannels(5)(image).numpy()
    np.testing.assert_array_equal(wide[..., :3], image)
    assert not wide[..., 3:].any()


def test_critic_gives_one_logit():
    critic = encoder_critic((4, 6, 8), channels=2)
    assert critic(np.ones((3, 8, 8, 8, 2), np.float32)).shape == (3, 1)
