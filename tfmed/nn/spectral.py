"""Spectral normalisation (Miyato et al. 2018), and critics of patches at several scales that have it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed.compat import layers_within, leaky_relu, tensor_variable
from tfmed.training.model import assign


@keras.utils.register_keras_serializable("tfmed")
class SpectralConv2D(keras.layers.Layer):
    """A convolution whose kernel, as a matrix (places and inputs, outputs), has a largest singular value of 1.

    The value is estimated by a vector that `follow` improves by one step of power iteration; call it once per update.

    Args:
        width: channels of the result.
        kernel: side, in pixels.
        stride: of both axes; borders are padded with zeros ("same").
        seed: of kernel and vector.
    """

    def __init__(self, width: int, kernel: int, stride: int = 1, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = {"width": width, "kernel": kernel, "stride": stride, "seed": seed}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Kernel, bias, and the vector."""
        width, side, seed = (self.arguments[name] for name in ("width", "kernel", "seed"))
        shape = (side, side, input_shape[-1], width)
        glorot = keras.initializers.GlorotUniform(seed)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=glorot)
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")
        kept = dict(shape=(width,), initializer="zeros", trainable=False, dtype="float32")
        self.direction = self.add_weight(name="direction", **kept)
        first = np.random.default_rng(seed).standard_normal(width).astype(np.float32)
        self.direction.assign(first / np.linalg.norm(first))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps `(n, y, x, channel)` -> `(n, y / stride, x / stride, width)`."""
        kernel = tf.cast(self.normalised(), x.dtype)
        return tf.nn.conv2d(x, kernel, self.arguments["stride"], "SAME") + tf.cast(tensor_variable(self.bias), x.dtype)

    def normalised(self) -> tf.Tensor:
        """The kernel W over |W u|, its largest singular value where u is the singular vector; u is a constant to the
        gradient (Eq. 8)."""
        matrix = self._matrix()
        value = tf.norm(tf.linalg.matvec(matrix, tensor_variable(self.direction)))
        return tf.reshape(matrix / value, self.kernel.shape)

    def follow(self) -> None:
        """One step of power iteration, within a training step."""
        matrix = self._matrix()
        other = tf.math.l2_normalize(tf.linalg.matvec(matrix, tensor_variable(self.direction)))
        assign(self.direction, tf.math.l2_normalize(tf.linalg.matvec(matrix, other, transpose_a=True)))

    def _matrix(self) -> tf.Tensor:
        return tf.reshape(tf.cast(tensor_variable(self.kernel), tf.float32), (-1, self.arguments["width"]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output."""
        stride = self.arguments["stride"]
        sides = tuple(side and -(-side // stride) for side in input_shape[1:3])
        return (input_shape[0], *sides, self.arguments["width"])

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return super().get_config() | self.arguments


def multi_scale_critic(
    channels: int, widths: Sequence[int] = (64, 128, 256, 512), scales: int = 3, seed: int = 0, name: str = "critic"
) -> keras.Model:
    """Images `(n, y, x, channels)` -> list of `scales` maps of scores `(n, ..., 1)`: of the images, of these at half
    their size, and so on; at each scale 4 x 4 convolutions of stride 2, LeakyReLU of 0.2, and a 1 x 1 convolution."""
    x = inputs = keras.Input((None, None, channels))
    maps = []
    for scale in range(scales):
        y = x = keras.layers.AveragePooling2D(2, padding="same", name=f"scale{scale}")(x) if scale else x
        for k, width in enumerate(widths):
            layer = SpectralConv2D(width, 4, 2, seed + 100 * scale + k, name=f"scale{scale}_conv{k}")
            y = leaky_relu(0.2, name=f"scale{scale}_leaky{k}")(layer(y))
        last = SpectralConv2D(1, 1, 1, seed + 100 * scale + len(widths), name=f"scale{scale}_score")
        maps.append(keras.layers.Activation("linear", dtype="float32")(last(y)))
    return keras.Model(inputs, maps, name=name)


def follow(network: keras.Model) -> None:
    """One step of power iteration in all spectral layers of a network, within a training step."""
    for layer in layers_within(network):
        if isinstance(layer, SpectralConv2D):
            layer.follow()
