"""Doubling4: the transposed convolution of pix2pix's decoder, fast on the small maps in its middle."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

_LARGEST = 64  # pixels of a map that is multiplied as a matrix


@keras.saving.register_keras_serializable("tfmed")
class Doubling4(keras.layers.Conv2DTranspose):
    """`Conv2DTranspose(filters, 4, 2, "same")`: `(n, h, w, c)` -> `(n, 2 h, 2 w, filters)`.

    Kernels of 1024 x 512 channels are larger than the maps of 2 to 8 pixels that they meet, and TensorFlow's operation
    spends its time on moving them in memory. Such maps are multiplied by the kernel as it lies, and the products added
    up where they overlap: 1.4 to 6.5 times as fast on a CPU, forward and backward (`benchmarks/speed/upconv.py`).
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(filters, **{"kernel_size": 4, "strides": 2, "padding": "same"} | kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        height, width = x.shape[1:3]
        if None not in (height, width):
            return self._product(x) if height * width <= _LARGEST else super().call(x)
        pixels = tf.shape(x)[1] * tf.shape(x)[2]
        return tf.cond(pixels <= _LARGEST, lambda: self._product(x), lambda: super(Doubling4, self).call(x))

    def _product(self, x: tf.Tensor) -> tf.Tensor:
        height, width, channels = tf.shape(x)[1], tf.shape(x)[2], x.shape[3]
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), (-1, channels))  # lies as (4, 4, filters, channels)
        products = tf.matmul(tf.reshape(x, (-1, channels)), tf.cast(kernel, x.dtype), transpose_b=True)
        y = tf.reshape(products, (-1, height, width, 4, 4, self.filters))
        y = _folded(tf.transpose(y, (0, 1, 3, 2, 4, 5)), 1)
        y = _folded(tf.reshape(y, (-1, 2 * height, width, 4, self.filters)), 2)
        y = tf.reshape(y, (-1, 2 * height, 2 * width, self.filters))
        y = tf.nn.bias_add(y, tf.cast(tf.convert_to_tensor(self.bias), y.dtype)) if self.use_bias else y
        return self.activation(y)


def _folded(y: tf.Tensor, axis: int) -> tf.Tensor:
    """Place i, tap k (the axis after) is output 2 i - 1 + k: `(..., s, 4, ...)` -> `(..., s, 2, ...)`, even and odd."""
    taps, before = tf.unstack(y, axis=axis + 1), (slice(None),) * axis

    def moved(tap: tf.Tensor, width: Sequence[int], kept: slice) -> tf.Tensor:
        widths = [width if i == axis else [0, 0] for i in range(len(tap.shape))]
        return tf.pad(tap, widths)[(*before, kept)]

    even = taps[1] + moved(taps[3], [1, 0], slice(None, -1))
    odd = taps[2] + moved(taps[0], [0, 1], slice(1, None))
    return tf.stack([even, odd], axis + 1)
