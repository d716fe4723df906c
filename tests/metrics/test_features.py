"""Feature networks: the random one repeats, files are checked, and numbers carry the right name."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.errors import DataError
from tfmed.metrics.features import FeatureNet, open_features

pytestmark = pytest.mark.current


def images(n=5, size=32, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, size, size)).astype("float32")


@pytest.fixture(scope="module")
def network():
    return open_features("random:0")


def test_shapes_and_probabilities(network):
    features, probabilities = network(images())
    assert features.shape == (5, 2 * (32 + 64 + 128 + 256)) and probabilities.shape == (5, 64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.isfinite(features).all() and (features >= 0).all() and features.std() > 0


def test_the_seed_decides(network):
    same, other = open_features("random:0"), open_features("random:1")
    np.testing.assert_array_equal(network(images())[0], same(images())[0])
    assert np.abs(network(images())[0] - other(images())[0]).max() > 1e-3


def test_the_numbers_do_not_change_between_versions():
    """Written down once, so that distances of different runs and machines can be compared."""
    x = np.linspace(-1, 1, 2 * 16 * 16, dtype="float32").reshape(2, 16, 16)
    assert open_features("random:7")(x)[0].sum(dtype="float64") == pytest.approx(253.1069, rel=1e-4)


def test_batches_and_channels_change_nothing(network):
    x = images(7)
    whole = network(x)[0]
    for size in (1, 3, 100):
        np.testing.assert_allclose(FeatureNet("n", network.function, size)(x)[0], whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(network(x[..., None])[0], whole)
    np.testing.assert_array_equal(network(np.repeat(x[..., None], 3, axis=-1))[0], whole)


def test_texture_is_seen(network):
    """Smooth and noisy images lie further apart than two sets of noisy ones."""
    noise, more, smooth = images(20), images(20, seed=1), 0 * images(20)
    means = [network(x)[0].mean(axis=0) for x in (noise, more, smooth)]
    assert np.linalg.norm(means[0] - means[2]) > 5 * np.linalg.norm(means[0] - means[1])


def test_names(network):
    assert (network.number("frechet"), network.number("inception")) == ("FD[random-0]", "IS[random-0]")
    real = FeatureNet("inception", None)
    assert (real.number("frechet"), real.number("inception")) == ("FID", "IS")


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    def __call__(self, x):
        return {"features": 2 * tf.reduce_mean(x, axis=(1, 2))}


@pytest.fixture
def saved(tmp_path):
    def save(name, module=None):
        module = module or Doubler()
        tf.saved_model.save(module, str(tmp_path / name))
        return tmp_path / name

    return save


def test_a_network_of_ones_own(saved):
    network = open_features(f"savedmodel:{saved('mine')}")
    features, probabilities = network(images())
    np.testing.assert_allclose(features, np.repeat(2 * images().mean(axis=(1, 2))[:, None], 3, axis=1), atol=1e-5)
    np.testing.assert_allclose(probabilities, np.full((5, 3), 1 / 3), rtol=1e-5)
    assert network.number("frechet") == "FD[savedmodel-mine]"


def test_a_folder_called_inception_makes_no_fid(saved):
    assert open_features(f"savedmodel:{saved('inception')}").number("frechet") == "FD[savedmodel-inception]"


def test_saved_models_that_cannot_be_used(saved, tmp_path):
    bare, broken = saved("bare", tf.Module()), saved("broken")
    (broken / "saved_model.pb").write_bytes(b"\x00damaged" * 9)
    for folder, words in ((bare, "has no signature"), (broken, "cannot be loaded"), (tmp_path, "is not a SavedModel")):
        with pytest.raises(DataError, match=words) as caught:
            open_features(f"savedmodel:{folder}")
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "random", "random:", "random:-1", "random:x", "random:12345678901", "random:²", "vgg:0", "fid"]
)
def test_unknown_addresses(address):
    with pytest.raises(DataError) as caught:
        open_features(address)
    assert "\n" not in str(caught.value) and "inception" in str(caught.value)


def test_files_that_hold_no_inception_weights(tmp_path):
    file = tmp_path / "weights.h5"
    file.write_bytes(b"no weights")
    with pytest.raises(DataError, match="does not hold InceptionV3 weights"):
        open_features(f"inception:{file}")
    with pytest.raises(DataError, match="no such weights file"):
        open_features(f"inception:{tmp_path / 'absent.h5'}")
