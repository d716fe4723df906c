"""The 2-D segmenter with compressed long skips of Vorontsov et al. 2019 (arXiv 1904.01636)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import EverySecond, norm_layer
from tfmed.nn.dropout import Dropout, seeds
from tfmed.nn.unet import Upsample


def compressed_unet(
    channels: int,
    classes: int,
    widths: Sequence[int] = (16, 32, 64, 128, 256, 512),
    normalise: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """Images `(n, height, width, channels)` -> logits `(n, height, width, classes)` float32; sides: `least_side`.

    Residual blocks whose convolutions have stride 2 on the way down, and follow a nearest doubling on the way up. Of an
    encoder's features one channel alone goes over to the decoder. The background's logit is 0: with two classes the
    softmax is the sigmoid of the other. `.get_layer("encoder")` and `.get_layer("decoder")` are its halves.

    Args:
        channels: of an image.
        classes: the background's included.
        widths: channels of each level, from the finest.
        normalise: instance norm in the encoder and layer norm in the decoder, or none.
        dropout: rate, of single values before each block's convolution.
        seed: of the dropout masks.

    Example:
        >>> network = compressed_unet(channels=1, classes=2, widths=(4, 8, 16))
        >>> network(tf.zeros((2, 30, 15, 1))).shape.as_list()
        [2, 30, 15, 2]
    """
    how: dict[str, Any] = dict(normalise=normalise, dropout=dropout)
    inputs = keras.Input((None, None, channels))
    encoder = _encoder(channels, widths, seed=seed, **how)
    inner = image_decoder(encoder.outputs, classes - 1, skips=True, seed=seed + 1, **how)
    logits = _WithBackground(name="logits", dtype="float32")(inner.output)
    decoder = keras.Model(inner.inputs, logits, name="decoder")
    return keras.Model(inputs, decoder(encoder(inputs)), name="compressed_unet")


def least_side(levels: int) -> int:
    """Shortest side of an image that a network of so many levels takes: mirrored borders are narrower than images."""
    return max(4, 2 ** (levels - 2) + 1)


def _encoder(channels: int, widths: Sequence[int], normalise: bool, dropout: float, seed: int) -> keras.Model:
    """Images -> list of features, one per level, from the finest."""
    norm, drawn = "instance" if normalise else "none", seeds(seed)
    inputs = keras.Input((None, None, channels))
    x, features = _conv(inputs, widths[0], 3, name="first"), []
    for level, width in enumerate(widths[1:], 1):
        features.append(x)
        y = _activated(x, norm, f"down{level}")
        y = Dropout(dropout, False, False, next(drawn), name=f"down{level}_dropout")(y)
        y = _conv(y, width, 3, 2, name=f"down{level}")
        x = _conv(EverySecond(name=f"down{level}_thinned")(x), width, 1, name=f"down{level}_shortcut")
        x = keras.layers.Add(name=f"down{level}_sum")([y, x])
    return keras.Model(inputs, [*features, _activated(x, norm, "bottom")], name="encoder")


def image_decoder(
    features: Sequence[KerasTensor],
    channels: int,
    skips: bool,
    normalise: bool = True,
    dropout: float = 0.0,
    seed: int = 0,
    activation: str = "linear",
    name: str = "image_decoder",
) -> keras.Model:
    """List of an encoder's features -> `(n, height, width, channels)`, float32.

    Args:
        features: the encoder's outputs, from the finest; only their shapes matter.
        channels: of the result.
        skips: all features count, each compressed to one channel; else only the coarsest, and the sizes of the others.
        normalise, dropout, seed: as for `compressed_unet`.
        activation: of the result: "linear" after one more 1 x 1 convolution (for logits), or another (for images).
        name: of the model.
    """
    inner, drawn = "layer" if normalise else "none", seeds(seed)
    inputs = [keras.Input(feature.shape[1:]) for feature in features]
    x = inputs[-1]
    for level, fine in reversed(list(enumerate(inputs[:-1]))):
        width, first = fine.shape[-1], level == len(inputs) - 2
        y = x if first else _activated(x, inner, f"up{level}")
        y = Dropout(dropout, False, False, next(drawn), name=f"up{level}_dropout")(y)
        y = _conv(Upsample((2, 2), "nearest", name=f"up{level}_double")(y), width, 3, name=f"up{level}")
        if not first:
            wide = Upsample((2, 2), "nearest", name=f"up{level}_shortcut_double")(x)
            y = keras.layers.Add(name=f"up{level}_sum")([y, _conv(wide, width, 1, name=f"up{level}_shortcut")])
        x = _CutTo(name=f"up{level}_cut")([y, fine])
        if skips:
            norm = norm_layer("instance" if normalise else "none", f"skip{level}_norm")
            skip = _conv(norm(fine), 1, 1, name=f"skip{level}")
            x = keras.layers.Concatenate(name=f"up{level}_joined")([x, skip])
    x = _conv(_activated(x, inner, "head"), inputs[0].shape[-1], 3, name="head")
    x = _activated(x, inner, "last")
    if activation == "linear":
        x = _conv(_conv(x, 4, 7, name="last"), channels, 1, name="out")
    else:
        x = _conv(x, channels, 7, name="last")
    return keras.Model(inputs, keras.layers.Activation(activation, dtype="float32", name="outputs")(x), name=name)


def _activated(x: KerasTensor, norm: str, name: str) -> KerasTensor:
    return keras.layers.Activation("relu", name=f"{name}_relu")(norm_layer(norm, f"{name}_norm")(x))


def _conv(x: KerasTensor, width: int, kernel: int, stride: int = 1, *, name: str) -> KerasTensor:
    """A convolution of mirrored borders: as large as `x`, or half as large, rounded up."""
    if kernel > 1:
        x = _Mirrored(kernel // 2, name=f"{name}_mirrored")(x)
    he = dict(kernel_initializer="he_normal", padding="valid", name=f"{name}_conv")
    return keras.layers.Conv2D(width, kernel, stride, **he)(x)


@keras.utils.register_keras_serializable("tfmed")
class _Mirrored(keras.layers.Layer):
    """`(n, height, width, channel)` with so many mirrored pixels around it, fewer than it has itself."""

    def __init__(self, edge: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.edge = edge

    def call(self, x: tf.Tensor) -> tf.Tensor:
        around = [self.edge, self.edge]
        return tf.pad(x, [[0, 0], around, around, [0, 0]], "REFLECT")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output."""
        size = tuple(side and side + 2 * self.edge for side in input_shape[1:-1])
        return (input_shape[0], *size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "edge": self.edge}


@keras.utils.register_keras_serializable("tfmed")
class _CutTo(keras.layers.Layer):
    """[x, other] -> the first rows and columns of `x`, as many as `other` has."""

    def call(self, pair: Sequence[tf.Tensor]) -> tf.Tensor:
        x, other = pair
        size = tf.shape(other)
        return x[:, : size[1], : size[2]]

    def compute_output_shape(self, input_shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The shape of the output."""
        x, other = input_shapes
        return (*other[:-1], x[-1])


@keras.utils.register_keras_serializable("tfmed")
class _WithBackground(keras.layers.Layer):
    """Logits `(..., classes - 1)` with a 0 for the background before them."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[1, 0]])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output."""
        return (*input_shape[:-1], (input_shape[-1] or 0) + 1)
