"""The 2-D segmenter with compressed long skips of Vorontsov et al. 2019 (arXiv 1904.01636)."""

from collections.abc import Callable, Sequence
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


def residual_decoder(
    features: Sequence[KerasTensor],
    channels: int,
    classes: int,
    kernel: int = 5,
    normalise: bool = True,
    name: str = "residual_decoder",
) -> keras.Model:
    """List of an encoder's features -> [image `(n, height, width, channels)` in [-1, 1], logits `(n, height, width,
    classes)`], float32: one decoder in two modes, which share their convolutions (Vorontsov et al. 2019, GenSeg).

    The first makes an image of the coarsest features. The second, with norms and a last convolution of its own, makes
    logits of the same features; what the first had at each level comes in through a 1 x 1 convolution of its own.

    Args:
        features: from the finest; only their shapes matter, and of all but the coarsest only the sizes.
        channels: of the image.
        classes: the background's included, whose logit is 0.
        kernel: side of the shared convolutions, in pixels.
        normalise: layer norm, or none.
        name: of the model.
    """
    inner, inputs = "layer" if normalise else "none", [keras.Input(feature.shape[1:]) for feature in features]
    levels = list(reversed(list(enumerate(inputs[:-1]))))
    wide = {level: _shared_conv(fine.shape[-1], kernel, f"up{level}") for level, fine in levels}
    straight = {level: _shared_conv(fine.shape[-1], 1, f"up{level}_shortcut") for level, fine in levels[1:]}

    def way(mode: str, past: Sequence[KerasTensor]) -> tuple[KerasTensor, list[KerasTensor]]:
        x, seen = inputs[-1], []
        for number, (level, fine) in enumerate(levels):
            y = _activated(x, inner, f"{mode}{level}") if number else x
            y = wide[level](Upsample((2, 2), "nearest", name=f"{mode}{level}_double")(y))
            if number:
                double = Upsample((2, 2), "nearest", name=f"{mode}{level}_shortcut_double")(x)
                y = keras.layers.Add(name=f"{mode}{level}_sum")([y, straight[level](double)])
            x = _CutTo(name=f"{mode}{level}_cut")([y, fine])
            if past:
                skip = _conv(past[number], fine.shape[-1], 1, name=f"skip{level}")
                x = keras.layers.Add(name=f"{mode}{level}_joined")([x, skip])
            seen.append(x)
        return _activated(x, inner, f"{mode}_last"), seen

    x, seen = way("residual", ())
    image = keras.layers.Activation("tanh", dtype="float32", name="image")(_conv(x, channels, 7, name="image"))
    y, _ = way("mask", seen)
    logits = _conv(_conv(y, 4, 7, name="mask_last"), classes - 1, 1, name="mask_out")
    return keras.Model(inputs, [image, _WithBackground(name="logits", dtype="float32")(logits)], name=name)


def _shared_conv(width: int, kernel: int, name: str) -> Callable[[KerasTensor], KerasTensor]:
    """As `_conv`, of one set of weights however often it is called."""
    he = dict(kernel_initializer="he_normal", padding="valid", name=f"{name}_conv")
    layer, edge = keras.layers.Conv2D(width, kernel, **he), _Mirrored(kernel // 2, name=f"{name}_mirrored")
    return lambda x: layer(edge(x) if kernel > 1 else x)


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
