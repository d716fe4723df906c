"""Branches on the last features of a network."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.branches import Branched, branch
from tfmed.nn.unet import unet
from tfmed.nn.vnet import vnet

pytestmark = pytest.mark.current

NETWORKS = {
    "unet": (lambda: unet(1, 2, (None,) * 3, (4, 8), factors=(1, 2, 2)), "head0", (3, 8, 8)),
    "vnet": (lambda: vnet(1, 2, width=2, norm="none"), "head", (16, 16, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_networks_and_features_are_what_its_head_sees(name):
    make, head, size = NETWORKS[name]
    network = make()
    model = Branched(network, {"more": lambda shape: branch(shape, 3, "tanh", convolutions=1)})
    images = tf.random.stateless_normal((2, *size, 1), [1, 2])
    found = model(images)
    np.testing.assert_allclose(found["logits"], network(images), atol=1e-6)
    layer = network.get_layer("decoder").get_layer(head)
    np.testing.assert_allclose(layer(found["features"]), found["logits"], atol=1e-5)
    assert found["more"].shape == (2, *size, 3) and np.abs(found["more"]).max() <= 1
    for kind in ("weights", "trainable_weights"):  # the two views of the network share theirs
        assert len(getattr(model, kind)) == len(getattr(network, kind)) + len(getattr(model.branches["more"], kind))
