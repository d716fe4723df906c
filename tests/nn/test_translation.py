"""pix2pix's networks: published sizes, maps, and what a logit sees, measured."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.dropout import layers as dropouts
from tfmed.nn.translation import global_generator, patch_critic, receptive_field, unet_generator

pytestmark = pytest.mark.current


@pytest.mark.parametrize("downs, parameters", [(9, 66_987_393), (8, 54_403_457), (7, 41_819_521)])
@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_and_innermost_map_of_the_generators(downs, parameters):
    network = unet_generator(downs)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_weights) == parameters
    assert len(dropouts(network)) == downs - 5
    names = [layer.name for layer in network.layers]
    assert sum(name.startswith("down") and name.endswith("_norm") for name in names) == downs - 2
    assert sum(name.startswith("up") and name.endswith("_norm") for name in names) == downs - 1


@pytest.mark.parametrize("layers, one, two, wide, small", [
    (3, 2_762_689, 2_763_713, 62, 14), (4, 6_957_505, 6_958_529, 30, 6), (5, 11_152_321, 11_153_345, 14, 2),
])  # fmt: skip
@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_and_maps_of_the_critics(layers, one, two, wide, small):
    assert (patch_critic(layers).count_params(), patch_critic(layers, 2).count_params()) == (one, two)
    narrow = patch_critic(layers, first=1)
    for size, side in ((512, wide), (128, small)):
        assert narrow(tf.zeros((1, size, size, 1))).shape == (1, side, side, 1)


@pytest.mark.parametrize("layers, side", [(3, 70), (4, 142), (5, 286)])
def test_a_logit_sees_a_patch_of_the_published_size(layers, side):
    """Gradient of one logit, without the norms, which let a logit see the mean of the whole map."""
    image = tf.Variable(tf.ones((1, 512, 512, 1)))
    with tf.GradientTape() as tape:
        x = tf.convert_to_tensor(image)
        for layer in patch_critic(layers, first=2).layers[1:]:
            if isinstance(layer, keras.layers.Conv2D):
                layer.kernel.assign(tf.ones_like(layer.kernel) * 0.1)
            x = x if isinstance(layer, keras.layers.GroupNormalization) else layer(x)
        logit = x[0, x.shape[1] // 2, x.shape[2] // 2, 0]
    seen = tape.gradient(logit, image).numpy()[0, ..., 0] != 0
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (side, side)
    assert receptive_field(layers) == side


@pytest.mark.parametrize("downs", [2, 3, 6])
def test_translations_have_the_images_size_and_range(downs):
    network = unet_generator(downs, first=2, dropout=0.5)
    side = 2**downs
    for shape in ((side, side), (3 * side, 2 * side)):
        images = 4 * tf.random.stateless_normal((2, *shape, 1), [downs, 0])
        made = network(images, training=False)
        assert made.shape == images.shape and np.abs(made).max() <= 1
        np.testing.assert_array_equal(made, network(images, training=False))
    innermost = keras.Model(network.input, network.get_layer(f"down{downs - 1}").output)
    assert innermost(tf.zeros((1, side, side, 1))).shape == (1, 1, 1, 2 * min(2 ** (downs - 1), 8))


def test_the_global_generator():
    """Size, range and layers of pix2pixHD; its borders are mirrored, so a constant image stays flat up to the edge."""
    network = global_generator(2, 2, first=4)
    images = 3 * tf.random.stateless_normal((2, 12, 20, 1), [0, 0])
    made = network(images)
    assert made.shape == images.shape and np.abs(made).max() <= 1
    first = keras.Model(network.input, network.get_layer("first").output)(tf.ones((1, 12, 12, 1))).numpy()
    np.testing.assert_allclose(first, np.broadcast_to(first[:, :1, :1], first.shape), rtol=1e-5)


@pytest.mark.usefixtures("unfilled_weights")
def test_published_parameters_of_the_global_generator():
    """Counted by hand from the published layout: 64 first channels, 4 halvings, 9 blocks of 1024 channels."""
    one, two = (global_generator(blocks=blocks).count_params() for blocks in (1, 2))  # nine would be slow to draw
    assert one + 8 * (two - one) == 182_430_721


def test_the_innermost_map_sees_the_whole_image():
    network = unet_generator(5, first=2)
    innermost = keras.Model(network.input, network.get_layer("down4").output)
    image = tf.random.stateless_normal((1, 32, 32, 1), [0, 0])
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(innermost(image) ** 2)
    assert (tape.gradient(value, image).numpy() != 0).mean() > 0.99


def test_dropout_only_in_training():
    network = unet_generator(6, first=2, dropout=0.5)
    image = tf.random.stateless_normal((1, 64, 64, 1), [0, 0])
    one, other = (network(image, training=True).numpy() for _ in range(2))
    assert (one != other).any()


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_of_slices_and_of_volumes(dims):
    """The same layers; a kernel of 4^3 has four times the weights of one of 4^2, biases stay."""
    generator, critic = unet_generator(3, 2, first=2, dims=dims), patch_critic(2, 3, first=2, dims=dims)
    shape = (1, *(24, 16, 8)[:dims])
    assert generator(tf.zeros((*shape, 2))).shape == (*shape, 1)
    assert critic(tf.zeros((1, *[32] * dims, 3))).shape == (1, *[6] * dims, 1)
    for network, flat in ((generator, unet_generator(3, 2, first=2)), (critic, patch_critic(2, 3, first=2))):
        sizes = [[int(np.prod(v.shape)) for v in net.trainable_weights] for net in (network, flat)]
        kernels = [len(v.shape) > 1 for v in network.trainable_weights]
        assert sizes[0] == [n * 4 ** (dims - 2) if k else n for n, k in zip(sizes[1], kernels, strict=True)]
