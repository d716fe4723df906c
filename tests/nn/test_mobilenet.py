"""MobileNetV2: its published size, and batch norms whose running statistics are there after hundreds of steps."""

import keras
import pytest

from tfmed.nn.mobilenet import mobilenet_v2

pytestmark = pytest.mark.one_stack


def test_size_and_norms():
    network = mobilenet_v2()
    assert network.count_params() == 2_257_984 and network.output.shape[-1] == 1280
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 52
    assert {(layer.momentum, layer.epsilon) for layer in norms} == {(0.9, 1e-5)}
