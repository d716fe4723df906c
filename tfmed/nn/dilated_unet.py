"""Encoders that dilate where others halve, of blocks with attention: the U-Nets of Hung et al. 2021."""

from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.attention import gated
from tfmed.nn.blocks import norm_layer


def halved(dilations: Sequence[int]) -> list[bool]:
    """Which levels are followed by pooling: those that are not dilated, but for the last.

    Example:
        >>> halved([1, 1, 2, 2, 2, 4])
        [True, True, False, False, False, False]
    """
    return [rate == 1 and k < len(dilations) - 1 for k, rate in enumerate(dilations)]


def dilated_block(
    x: KerasTensor, width: int, dilation: int, attention: str = "cbam", clipped: bool = False, name: str = "block"
) -> KerasTensor:
    """Twice: convolution of 3 x 3, batch norm, swish, attention.

    Args:
        x: Keras features `(n, y, x, channel)`.
        width: channels of the output.
        dilation: of the convolutions.
        attention, clipped: kind and option of `attention.gated`.
    """
    for j in (1, 2):
        x = keras.layers.Conv2D(width, 3, dilation_rate=dilation, padding="same", name=f"{name}_conv{j}")(x)
        x = keras.layers.Activation("swish", name=f"{name}_swish{j}")(norm_layer("batch", f"{name}_norm{j}")(x))
        x = gated(x, attention, clipped=clipped, name=f"{name}_gate{j}_")
    return x


def dilated_encoder(
    inputs: int,
    widths: Sequence[int],
    dilations: Sequence[int],
    attention: str = "cbam",
    clipped: bool = False,
    name: str = "encoder",
) -> keras.Model:
    """`inputs` images `(n, y, x, 1)` -> features of each level, the finest first.

    Args:
        inputs: how many images, which are joined as channels.
        widths, dilations: of each level; levels are pooled as `halved` says.
        attention, clipped: of `dilated_block`.
    """
    images = [keras.Input((None, None, 1)) for _ in range(inputs)]
    x, features = keras.layers.Concatenate(name="seen")(images), []
    for k, (width, dilation, smaller) in enumerate(zip(widths, dilations, halved(dilations), strict=True)):
        x = dilated_block(x, width, dilation, attention, clipped, f"down{k}")
        features.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{k}")(x) if smaller else x
    return keras.Model(images, features, name=name)
