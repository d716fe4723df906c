"""Feature and Gram losses: against numpy and Keras' VGG, and what costs nothing."""

import itertools

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.errors import DataError
from tfmed.losses.perceptual import FeatureNetwork, feature_loss, gram, style_loss
from tfmed.nn.vgg import LAYERS, vgg_features

pytestmark = pytest.mark.current


def images(seed=0, channels=3, side=32):
    return np.random.default_rng(seed).random((2, side, side, channels), np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Keras' VGG-16 with random weights, and a file of them in the layout of the published one."""
    whole = keras.applications.VGG16(weights=None, include_top=False, input_shape=(None, None, 3))
    file = tmp_path_factory.mktemp("weights") / "vgg16_notop.h5"
    with h5py.File(file, "w") as opened:
        for layer in whole.layers:
            group = opened.create_group(layer.name)
            for suffix, value in zip(("W_1:0", "b_1:0"), layer.get_weights(), strict=False):
                group[f"{layer.name}_{suffix}"] = value
    return whole, str(file)


@pytest.mark.one_stack
def test_features_are_those_of_keras(weights):
    whole, file = weights
    names = ("block2_conv1", "block3_conv3")
    found = FeatureNetwork(names, file, side=48)(images())
    prepared = keras.applications.vgg16.preprocess_input(255.0 * tf.image.resize(images(), (48, 48)).numpy())
    for name in names:
        expected = keras.Model(whole.input, whole.get_layer(name).output)(prepared)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.one_stack
def test_files_of_other_weights_are_told(weights, tmp_path):
    _, file = weights
    with pytest.raises(DataError, match="nothing for block3_conv4, where vgg19 has"):
        FeatureNetwork(["block3_conv4"], file, "vgg19")
    with pytest.raises(DataError, match="no such weights file"):
        FeatureNetwork(["block1_conv1"], str(tmp_path / "none.h5"))
    (tmp_path / "text.h5").write_text("weights")
    with pytest.raises(DataError, match="is not an HDF5 file"):
        FeatureNetwork(["block1_conv1"], str(tmp_path / "text.h5"))
    for layers, architecture, said in ((["block6_conv1"], "vgg16", "block6_conv1"), ([], "vgg16", "none"),
                                       (["block1_conv1"], "vgg11", "vgg11")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            vgg_features(layers, architecture)


def test_layers_without_weight_are_never_computed():
    weights = {"block5_conv1": 0.0, "block1_conv2": 0.5, "block2_conv1": 0.0}
    network = FeatureNetwork(weights, width=2, side=None)
    assert [layer.name for layer in network.model.layers if layer.weights] == ["block1_conv1", "block1_conv2"]
    assert not network.model.trainable_weights and list(network(images())) == ["block1_conv2"]
    assert FeatureNetwork(dict.fromkeys(LAYERS["vgg19"], 0.0), architecture="vgg19")(images()) == {}
    with pytest.raises(ValueError, match="no layer has a weight"):
        style_loss({}, {}, {"block1_conv1": 0.0})


def test_losses_are_numpy_s():
    names = {"block1_conv1": 0.3, "block2_conv2": 2.0}
    network = FeatureNetwork(names, "random:4", width=3, side=None)
    one, other = network(images(1)), network(images(2))
    content = style = 0
    for name, weight in names.items():
        a, b = one[name].numpy().astype(float), other[name].numpy().astype(float)
        content = content + weight * ((a - b) ** 2).mean((1, 2, 3))
        matrices = [np.einsum("nyxu,nyxv->nuv", f, f) / f[0].size for f in (a, b)]
        style = style + weight * 0.5 * ((matrices[0] - matrices[1]) ** 2).mean((1, 2))
    np.testing.assert_allclose(feature_loss(one, other, names), content, rtol=1e-4)
    np.testing.assert_allclose(style_loss(one, other, names), style, rtol=1e-4)
    np.testing.assert_array_equal(style_loss(one, one, names), [0, 0])


def test_gram_matrices_do_not_know_where_features_are():
    features = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype("float32")
    found = gram(tf.constant(features)).numpy()
    np.testing.assert_allclose(found, found.transpose(0, 2, 1), atol=1e-7)
    assert (np.linalg.eigvalsh(found) > -1e-6).all()
    order = np.random.default_rng(1).permutation(30)
    moved = features.reshape(2, 30, 4)[:, order].reshape(features.shape)
    for other in (moved, np.roll(features, (2, 1), (1, 2))):
        np.testing.assert_allclose(gram(tf.constant(other)), found, atol=1e-6)
        assert feature_loss({"a": other}, {"a": features}, {"a": 1.0}).numpy().min() > 0.1


def test_grey_is_repeated_and_the_seed_decides():
    grey = images(channels=1)
    networks = [FeatureNetwork(["block1_conv1"], f"random:{seed}", width=2, side=16) for seed in (0, 0, 1)]
    first, again, another = (network(grey)["block1_conv1"].numpy() for network in networks)
    assert first.shape == (2, 16, 16, 2) and networks[2].name == "vgg16-random-1"
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, another)
    np.testing.assert_allclose(networks[0](np.repeat(grey, 3, -1))["block1_conv1"], first, rtol=1e-5)


def test_a_model_that_holds_one_has_none_of_its_weights():
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1)])
    model.features = FeatureNetwork(["block1_conv1"], width=2, side=None)
    assert len(model.weights) == 2
    with tf.GradientTape() as tape:
        images = model(tf.ones((1, 4, 4, 1)))
        loss = tf.reduce_sum(feature_loss(model.features(images), model.features(0.5 * images), {"block1_conv1": 1.0}))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in itertools.chain(gradients))
