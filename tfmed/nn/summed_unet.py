"""A residual U-Net whose ways are summed, not joined, for slices of any size (Saparov et al. 2021)."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer


def summed_unet(
    channels: int,
    classes: int,
    size: Sequence[int | None] = (None, None),
    widths: Sequence[int] = (8, 16, 32, 64, 128, 256),
    norm: str = "batch",
    name: str = "summed_unet",
) -> keras.Model:
    """Images `(n, height, width, channels)` -> logits `(n, height, width, classes)`, float32; no side is too odd.

    Level i has two residual blocks, w_i -> w_i -> w_(i+1), on the way down and two, w_(i+1) -> w_i -> w_i, on the way
    up; between them lies a bridge w -> 2 w -> w of the last width. A residual block is norm, ReLU, convolution, twice,
    plus its input (through a 1 x 1 convolution where the width changes). Halves of sides are rounded up, and what comes
    up is resized bilinearly to the skip that it is added to. One channel and one class make 8,226,121 parameters.

    Args:
        channels: of an image.
        classes: number of logits per pixel.
        size: (height, width), None where unknown.
        widths: from the finest level; the last one is the bridge's.
        norm: "batch", "instance", "layer" or "none".
    """
    inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(widths[0], 3, padding="same", use_bias=False, name="first")(inputs)
    skips = []
    for i, (width, wider) in enumerate(itertools.pairwise(widths)):
        x = _blocks(x, (width, wider), norm, f"down{i}")
        skips.append(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{i}")(x)
    x = _blocks(x, (2 * widths[-1], widths[-1]), norm, "bridge")
    for i, skip in reversed(list(enumerate(skips))):
        x = keras.layers.Add(name=f"up{i}_sum")([ResizeTo(name=f"up{i}_resize")([x, skip]), skip])
        x = _blocks(x, (widths[i], widths[i]), norm, f"up{i}")
    x = _blocks(x, (widths[0],), norm, "head")
    x = keras.layers.ReLU(name="head_relu")(norm_layer(norm, "head_norm")(x))
    x = keras.layers.Conv2D(classes, 1, name="head_conv")(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="logits")(x), name=name)


@keras.utils.register_keras_serializable("tfmed")
class ResizeTo(keras.layers.Layer):
    """[features, others], both `(n, height, width, channels)`: the features resized bilinearly to the others' size."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """The features, in their dtype."""
        features, others = inputs
        resized = tf.image.resize(features, tf.shape(others)[1:3])
        return tf.cast(tf.ensure_shape(resized, (None, *others.shape[1:3], features.shape[-1])), features.dtype)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        """The shape of the output."""
        features, others = input_shape
        return (*others[:3], features[-1])


def _blocks(x: KerasTensor, widths: Sequence[int], norm: str, label: str) -> KerasTensor:
    for i, width in enumerate(widths):
        x = _residual(x, width, norm, f"{label}_{i}")
    return x


def _residual(x: KerasTensor, width: int, norm: str, label: str) -> KerasTensor:
    start = x
    for j in range(2):
        x = keras.layers.ReLU(name=f"{label}_relu{j}")(norm_layer(norm, f"{label}_norm{j}")(x))
        x = keras.layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{label}_conv{j}")(x)
    if start.shape[-1] != width:
        start = keras.layers.Conv2D(width, 1, name=f"{label}_shortcut")(start)
    return keras.layers.Add(name=f"{label}_sum")([x, start])
