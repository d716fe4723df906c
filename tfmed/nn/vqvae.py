"""Encoder and decoder of VQ-VAE-2 (Razavi et al. 2019) at a stride of two: residual blocks without normalisation."""

import keras
import tensorflow as tf


def residual_encoder(channels: int, width: int, narrow: int, blocks: int, size: int, name: str) -> keras.Model:
    """Images `(n, y, x, channels)` -> features `(n, y / 2, x / 2, size)`, float32.

    Conv 4 x 4 at stride 2, Conv 3 x 3, residual blocks, ReLU, and a 1 x 1 convolution.

    Args:
        channels: of the images.
        width: of the features within; the first convolution has half of it.
        narrow: width within a residual block.
        blocks: how many.
        size: of a feature: of a code.
    """
    x = inputs = keras.Input((None, None, channels))
    x = keras.layers.Conv2D(max(width // 2, 1), 4, 2, "same", activation="relu", name="halve")(x)
    x = keras.layers.Conv2D(width, 3, padding="same", name="conv")(x)
    x = _blocks(x, width, narrow, blocks)
    x = keras.layers.Conv2D(size, 1, dtype="float32", name="features")(x)
    return keras.Model(inputs, x, name=name)


def residual_decoder(channels: int, width: int, narrow: int, blocks: int, size: int, name: str) -> keras.Model:
    """Codes `(n, y, x, size)` -> images `(n, 2 y, 2 x, channels)`, float32 without bounds; arguments as above."""
    inputs = keras.Input((None, None, size))
    x = keras.layers.Conv2D(width, 3, padding="same", name="conv")(inputs)
    x = _blocks(x, width, narrow, blocks)
    x = keras.layers.Conv2DTranspose(channels, 4, 2, "same", dtype="float32", name="double")(x)
    return keras.Model(inputs, x, name=name)


def _blocks(x: tf.Tensor, width: int, narrow: int, blocks: int) -> tf.Tensor:
    """x + Conv 1 x 1 (ReLU (Conv 3 x 3 (ReLU x))), some times, and a ReLU."""
    for k in range(blocks):
        y = keras.layers.ReLU(name=f"block{k}_relu")(x)
        y = keras.layers.Conv2D(narrow, 3, padding="same", activation="relu", name=f"block{k}_conv")(y)
        y = keras.layers.Conv2D(width, 1, name=f"block{k}_wide")(y)
        x = keras.layers.Add(name=f"block{k}")([x, y])
    return keras.layers.ReLU(name="last_relu")(x)
