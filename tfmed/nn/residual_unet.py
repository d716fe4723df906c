"""The residual U-Net with averaged skips of box-supervised segmentation (Kervadec et al. 2020)."""

import math
from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor, leaky_relu
from tfmed.nn.blocks import norm_layer


def residual_unet(
    channels: int,
    classes: int,
    size: Sequence[int | None] = (None, None),
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    norm: str = "batch",
    name: str = "residual_unet",
) -> keras.Model:
    """Images `(n, height, width, channels)` -> logits `(n, height, width, classes)`, float32.

    C is a 3 x 3 convolution, norm and activation. A residual block is h = C(x) and C(h + r), where r is C(C(h)), once
    more convolved and normalised. Each level on the way down is a block and a 2 x 2 max-pooling; on the way up a
    transposed convolution doubles the sides, and the mean of what it makes and of the level's features enters a block.
    LeakyReLU(0.2) on the way down, ReLU on the way up. Three channels and two classes make 19.7 million parameters.

    Args:
        channels: of an image.
        classes: number of logits per pixel.
        size: (height, width), None where unknown; multiples of 2 ** (len(widths) - 1).
        widths: of the levels, from the finest; the last one is the bridge's.
        norm: "batch", "instance", "layer" or "none".
    """
    x = inputs = keras.Input((*size, channels))
    skips = []
    for i, width in enumerate(widths[:-1]):
        x = _block(x, width, norm, "leaky_relu", f"down{i}")
        skips.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{i}")(x)
    x = _block(x, widths[-1], norm, "leaky_relu", "bridge")
    for i, skip in reversed(list(enumerate(skips))):
        how = {"kernel_initializer": _normal(widths[i]), "name": f"up{i}_transposed"}
        x = keras.layers.Conv2DTranspose(widths[i], 3, 2, "same", **how)(x)
        x = _activated(norm_layer(norm, f"up{i}_norm")(x), "relu")
        x = keras.layers.Average(name=f"up{i}_mean")([x, skip])
        x = _block(x, widths[i], norm, "relu", f"up{i}")
    how = {"kernel_initializer": _normal(classes), "name": "head"}
    x = keras.layers.Conv2D(classes, 3, padding="same", **how)(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="logits")(x), name=name)


def _block(x: KerasTensor, width: int, norm: str, activation: str, label: str) -> KerasTensor:
    start = x = _activated(_conv(x, width, norm, f"{label}_0"), activation)
    for j in (1, 2):
        x = _activated(_conv(x, width, norm, f"{label}_{j}"), activation)
    x = keras.layers.Add(name=f"{label}_sum")([start, _conv(x, width, norm, f"{label}_3")])
    return _activated(_conv(x, width, norm, f"{label}_4"), activation)


def _conv(x: KerasTensor, width: int, norm: str, label: str) -> KerasTensor:
    how = {"kernel_initializer": _normal(width), "name": f"{label}_conv"}
    return norm_layer(norm, f"{label}_norm")(keras.layers.Conv2D(width, 3, padding="same", **how)(x))


def _activated(x: KerasTensor, activation: str) -> KerasTensor:
    return leaky_relu(0.2)(x) if activation == "leaky_relu" else keras.layers.ReLU()(x)


def _normal(width: int) -> keras.initializers.Initializer:
    """He's initialisation by the number of outputs, which keeps the size of gradients."""
    return keras.initializers.RandomNormal(stddev=math.sqrt(2.0 / (9 * width)))
