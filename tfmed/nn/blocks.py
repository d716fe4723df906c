"""Small layers that many networks share."""

import keras
import tensorflow as tf

from tfmed.compat import sample_normalization
from tfmed.nn.instance_norm import InstanceNorm

# As where most methods here were published. Keras' momentum of 0.99 leaves in the running variance for 450 steps more
# than 1 % of the 1 that it starts from: of images in [0, 1], whose variance is as small, networks then see nothing.
_EPSILON, _MOMENTUM = 1e-5, 0.9


def norm_layer(kind: str, name: str | None = None, affine: bool = True) -> keras.layers.Layer:
    """A normalisation layer by name, with epsilon 1e-5; running statistics of "batch" have momentum 0.9.

    Args:
        kind: "batch" (statistics over all replicas: sharing a batch changes nothing), "instance", "layer", "none".
        name: the layer's name.
        affine: whether it has a scale and an offset for each channel ("batch" always does).
    """
    options = dict(epsilon=_EPSILON, center=affine, scale=affine, name=name)
    if kind == "batch":
        return keras.layers.BatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, synchronized=True, name=name)
    if kind == "instance":
        return InstanceNorm(**options)
    if kind == "layer":
        return sample_normalization(**options)
    if kind == "none":
        return keras.layers.Activation("linear", name=name)
    raise ValueError(f"unknown norm {kind!r}; known: batch, instance, layer, none")


def conv_init() -> keras.initializers.Initializer:
    """DCGAN's initialisation, N(0, 0.02), as in the designs that most GANs here build on."""
    return keras.initializers.RandomNormal(stddev=0.02)


@keras.utils.register_keras_serializable("tfmed")
class TwoClasses(keras.layers.Layer):
    """Logit z of a structure -> logits (0, z) of background and structure: their softmax is sigmoid(z)."""

    def call(self, logit: tf.Tensor) -> tf.Tensor:
        """`(..., 1)` -> `(..., 2)`."""
        return tf.concat([tf.zeros_like(logit), logit], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Two in place of one."""
        return (*input_shape[:-1], 2)


@keras.utils.register_keras_serializable("tfmed")
class EverySecond(keras.layers.Layer):
    """Every second row and column, from the first.

    For a 1 x 1 convolution of stride 2, whose gradient on a CPU writes beyond its memory (TensorFlow 2.15, oneDNN).
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`(n, y, x, channel)` -> half as large, rounded up."""
        return x[:, ::2, ::2]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output."""
        size = [None if side is None else (side + 1) // 2 for side in input_shape[1:-1]]
        return (input_shape[0], *size, input_shape[-1])
