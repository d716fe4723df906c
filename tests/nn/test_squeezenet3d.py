"""3D-SqueezeNet: its published size, its maps, its bypasses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.squeezenet3d import squeezenet3d

pytestmark = pytest.mark.current


def test_it_has_the_published_number_of_parameters():
    """2.15 million with 600 classes of films (Köpüklü et al. 2019, Table 2)."""
    film = squeezenet3d(channels=3, outputs=600, strides=(1, 2, 2))
    assert film.count_params() / 1e6 == pytest.approx(2.15, abs=0.01)
    widths = {layer.name: layer.output.shape[-1] for layer in film.layers if isinstance(layer, keras.layers.Conv3D)}
    assert [widths[f"fire{i}{k}_squeeze"] for i in range(4) for k in "ab"] == [16, 16, 32, 32, 48, 48, 64, 64]
    assert [widths[f"fire{i}b_expand3"] for i in range(4)] == [64, 128, 192, 256]


def test_a_volume_is_halved_five_times_and_any_size_will_do():
    network = squeezenet3d(first=4, fires=((2, 4), (2, 4), (2, 4), (2, 4)))
    maps = keras.Model(network.input, network.get_layer("last").output)
    assert maps(tf.zeros((1, 96, 64, 32, 1))).shape == (1, 3, 2, 1, 1)
    assert network(tf.zeros((2, 40, 33, 17, 1))).shape == (2, 1)


def test_the_second_module_of_a_pair_adds_its_input():
    """With the expansions' norms at zero, a module is a ReLU of its input where it has a bypass, else zero."""
    network = squeezenet3d(first=4, fires=((2, 4),), dropout=0)
    for name in ("fire0a", "fire0b"):
        for part in ("expand1", "expand3"):
            norm = network.get_layer(f"{name}_{part}_norm")
            norm.gamma.assign(tf.zeros_like(norm.gamma))
    first = network.get_layer("fire0a_expand1_norm")
    first.beta.assign(tf.fill((4,), 3.0))
    adds = [layer for layer in network.layers if isinstance(layer, keras.layers.Add)]
    assert len(adds) == 1
    found = keras.Model(network.input, adds[0].output)(tf.ones((1, 8, 8, 8, 1))).numpy()
    np.testing.assert_allclose(found, np.broadcast_to([3.0] * 4 + [0.0] * 4, found.shape))
