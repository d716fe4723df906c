"""3-D networks that keep an image's size: volumes `(n, z, y, x, channels)` -> features of every voxel."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import KerasTensor, leaky_relu
from tfmed.nn.blocks import norm_layer

SLOPE = 0.2


def unet_features(
    widths: Sequence[int] = (32, 64, 128, 256), channels: int = 1, pool: str = "max", name: str = "unet_features"
) -> keras.Model:
    """A 3-D U-Net without its last layer: sides are multiples of 2^(levels - 1); features have `widths[0]` channels.

    Two of (convolution 3^3, instance norm, leaky ReLU 0.2) per level; up by transposed convolutions 4^3. One channel
    and the default widths make 11,344,736 parameters.

    Args:
        widths: channels per level, from the finest.
        channels: of a volume.
        pool: "max" or "average".
    """
    encoder = unet_encoder(widths, channels, pool)
    inputs = keras.Input((None, None, None, channels))
    *skips, x = _levels(encoder, inputs)
    for i, skip in reversed(list(enumerate(skips))):
        he = dict(use_bias=False, kernel_initializer="he_normal", name=f"up{i}_transposed")
        x = keras.layers.Conv3DTranspose(widths[i + 1], 4, 2, "same", **he)(x)
        x = leaky_relu(SLOPE)(instance_norm(f"up{i}_norm")(x))
        x = keras.layers.Concatenate(name=f"up{i}_joined")([skip, x])
        x = _twice(x, widths[i], f"up{i}")
    return keras.Model(inputs, x, name=name)


def unet_encoder(
    widths: Sequence[int] = (32, 64, 128, 256), channels: int = 1, pool: str = "max", name: str = "encoder"
) -> keras.Model:
    """The way down of `unet_features`: volumes -> list of features per level, from the finest; 3,515,040 parameters."""
    pooling = {"max": keras.layers.MaxPooling3D, "average": keras.layers.AveragePooling3D}[pool]
    x = inputs = keras.Input((None, None, None, channels))
    features = []
    for i, width in enumerate(widths):
        x = pooling(2, name=f"pool{i}")(x) if i else x
        x = _twice(x, width, f"down{i}")
        features.append(x)
    return keras.Model(inputs, features, name=name)


def encoder_critic(
    widths: Sequence[int] = (32, 64, 128, 256), channels: int = 1, pool: str = "max", name: str = "critic"
) -> keras.Model:
    """`unet_encoder`, the mean over all places, and one logit: volumes -> `(n, 1)` float32; 3,515,297 parameters."""
    inputs = keras.Input((None, None, None, channels))
    deepest = _levels(unet_encoder(widths, channels, pool), inputs)[-1]
    x = keras.layers.GlobalAveragePooling3D()(deepest)
    score = keras.layers.Dense(1, kernel_initializer="he_normal", dtype="float32", name="score")(x)
    return keras.Model(inputs, score, name=name)


def _levels(encoder: keras.Model, inputs: KerasTensor) -> list[KerasTensor]:
    """The list of an encoder's features; Keras 2 gives the only one of a single level as it is."""
    features = encoder(inputs)
    return features if isinstance(features, list) else [features]


def fcnet_features(
    widths: Sequence[int] = (32, 64, 32),
    kernels: Sequence[int] = (7, 5, 3),
    channels: int = 1,
    name: str = "fcnet_features",
) -> keras.Model:
    """Three convolutions, each with instance norm and leaky ReLU 0.2."""
    x = inputs = keras.Input((None, None, None, channels))
    for i, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
        x = _conv_norm_act(x, width, kernel, f"conv{i}")
    return keras.Model(inputs, x, name=name)


def highres_features(
    widths: Sequence[int] = (16, 32, 64),
    units: int = 3,
    last: int = 80,
    channels: int = 1,
    name: str = "highres_features",
) -> keras.Model:
    """HighRes3DNet (Li et al. 2017) without its last layer, with instance norm: features have `last` channels.

    Residual units of two (norm, ReLU, convolution 3^3); the k-th group is dilated by 2^k. Where a unit widens, its
    shortcut is filled up with channels of zeros.

    Args:
        widths: channels of each group of units.
        units: per group.
        last: channels of the closing convolution 1^3.
    """
    x = inputs = keras.Input((None, None, None, channels))
    x = _conv(widths[0], 3, "first")(x)
    for k, width in enumerate(widths):
        for unit in range(units):
            x = _residual(x, width, 2**k, f"group{k}_unit{unit}")
    x = keras.layers.ReLU()(instance_norm("last_norm")(x))
    return keras.Model(inputs, _conv(last, 1, "last")(x), name=name)


def instance_norm(name: str | None = None) -> keras.layers.Layer:
    """Instance normalisation with scale and shift, epsilon 1e-5."""
    return norm_layer("instance", name)


@keras.utils.register_keras_serializable("tfmed")
class MoreChannels(keras.layers.Layer):
    """`(n, z, y, x, channels)` -> `(n, z, y, x, total)`, the added channels all 0.

    Args:
        total: channels of the result.
    """

    def __init__(self, total: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.total = total

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`x` with channels of zeros behind its own."""
        return tf.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[0, self.total - x.shape[-1]]])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output."""
        return (*input_shape[:-1], self.total)

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "total": self.total}


def _residual(x: KerasTensor, width: int, dilation: int, label: str) -> KerasTensor:
    start = x if x.shape[-1] == width else MoreChannels(width, name=f"{label}_shortcut")(x)
    for j in range(2):
        x = keras.layers.ReLU()(instance_norm(f"{label}_norm{j}")(x))
        x = _conv(width, 3, f"{label}_conv{j}", dilation)(x)
    return keras.layers.Add(name=f"{label}_sum")([start, x])


def _twice(x: KerasTensor, width: int, label: str) -> KerasTensor:
    for j in range(2):
        x = _conv_norm_act(x, width, 3, f"{label}_conv{j}")
    return x


def _conv_norm_act(x: KerasTensor, width: int, kernel: int, label: str) -> KerasTensor:
    return leaky_relu(SLOPE)(instance_norm(f"{label}_norm")(_conv(width, kernel, label)(x)))


def _conv(width: int, kernel: int, name: str, dilation: int = 1) -> keras.layers.Layer:
    return keras.layers.Conv3D(
        width, kernel, padding="same", dilation_rate=dilation, kernel_initializer="he_normal", name=name
    )
