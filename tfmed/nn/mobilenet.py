"""MobileNetV2 (Sandler et al., CVPR 2018) with running statistics that are right after hundreds of steps."""

import keras

from tfmed import compat

_EPSILON, _MOMENTUM = 1e-5, 0.9


def mobilenet_v2(width: float = 1.0, channels: int = 3, name: str = "mobilenet_v2") -> keras.Model:
    """Images `(n, y, x, channels)` -> features `(n, 1280)`: the mean over the plane at 1/32; weights are random.

    Keras' own, but for its batch norms: their momentum of 0.999 leaves after 475 steps 62 % of what running statistics
    started from, so that a network of a small training set says nothing at inference. Here it is 0.9, epsilon 1e-5, and
    statistics are those of all replicas.

    Args:
        width: by which the channels of all layers are multiplied; above 1 there are more features.
        channels: of an image.
    """
    shape = (None, None, channels)
    network = keras.applications.MobileNetV2(shape, width, include_top=False, weights=None, pooling="avg")
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum, layer.epsilon = _MOMENTUM, _EPSILON
            compat.synchronize(layer)
    return keras.Model(network.input, network.output, name=name)
