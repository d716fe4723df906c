"""Small layers that many networks share."""

import keras


def norm_layer(kind, name=None):
    """A normalisation layer by name.

    Args:
        kind: "batch" (statistics over all replicas: sharing a batch changes nothing), "instance", "layer", "none".
        name: the layer's name.
    """
    if kind == "batch":
        return keras.layers.BatchNormalization(synchronized=True, name=name)
    if kind == "instance":
        return keras.layers.GroupNormalization(groups=-1, name=name)
    if kind == "layer":
        return keras.layers.GroupNormalization(groups=1, name=name)
    if kind == "none":
        return keras.layers.Activation("linear", name=name)
    raise ValueError(f"unknown norm {kind!r}; known: batch, instance, layer, none")


def conv_init():
    """DCGAN's initialisation, N(0, 0.02), as in the designs that most GANs here build on."""
    return keras.initializers.RandomNormal(stddev=0.02)
