"""Further outputs of a segmentation network, made of the features that its last convolution sees."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tfmed.nn.blocks import norm_layer
from tfmed.nn.unet import CONV


class Branched(keras.Model):
    """A network and branches: images -> {"logits", "features", name of a branch: its output}.

    `network` stays usable alone. `features` `(n, *size, channels)` are what its last convolution sees.

    Args:
        network: images -> logits; has two layers "encoder" and "decoder", as `unet` and `vnet` make them.
        branches: name -> function of the features' shape `(*size, channels)` that makes the branch, see `branch`.
    """

    def __init__(
        self,
        network: keras.Model,
        branches: Mapping[str, Callable[[tuple[int | None, ...]], keras.Model]] | None = None,
        name: str = "branched",
    ) -> None:
        super().__init__(name=name)
        decoder = network.get_layer("decoder")
        features = [layer for layer in decoder.layers if hasattr(layer, "kernel")][-1].input
        self.network = network
        self.halves = keras.Model(decoder.inputs, [features, decoder.outputs[0]], name="halves")
        self.branches = {key: make(features.shape[1:]) for key, make in (branches or {}).items()}
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """All outputs."""
        encoded = self.network.get_layer("encoder")(images, training=training)
        features, logits = self.halves(encoded, training=training)
        further = {name: branch(features, training=training) for name, branch in self.branches.items()}
        return {"logits": logits, "features": features} | further


def branch(
    shape: tuple[int | None, ...],
    outputs: int,
    activation: str = "linear",
    convolutions: int = 0,
    norm: str = "instance",
    name: str = "branch",
) -> keras.Model:
    """A model features `(n, *shape)` -> `(n, *size, outputs)` float32.

    Args:
        shape: `(*size, channels)` of the features.
        outputs: channels of the last convolution, which has a kernel of one voxel.
        activation: of the output.
        convolutions: levels of convolution, norm and ReLU before it, as wide as the features.
        norm: see `norm_layer`.
    """
    rank, width = len(shape) - 1, shape[-1]
    x = inputs = keras.Input(shape)
    for j in range(convolutions):
        x = CONV[rank](width, 3, padding="same", kernel_initializer="he_normal", name=f"conv{j}")(x)
        x = keras.layers.ReLU()(norm_layer(norm, f"norm{j}")(x))
    x = CONV[rank](outputs, 1, kernel_initializer="he_normal", name="head")(x)
    return keras.Model(inputs, keras.layers.Activation(activation, dtype="float32", name="output")(x), name=name)
