"""Partial convolutions, which see known pixels alone, and the U-Net of Liu et al. 2018 that fills holes with them."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import leaky_relu
from tfmed.nn.blocks import norm_layer


@keras.utils.register_keras_serializable("tfmed")
class PartialConv2D(keras.layers.Layer):
    """A convolution of the known values alone (Liu et al. 2018, Eq. 1 and 2), zero padded.

    Where a window has a known value: W^T (X M) area / sum(M) + b; elsewhere 0. What is beyond the border is unknown, so
    that borders are made up for as holes are. The mask that comes with it is 1 where the window had a known value.

    Args:
        filters: channels of the output.
        kernel: side of the window.
        strides: of the window.

    Example:
        >>> layer = PartialConv2D(1, 3)
        >>> values, known = layer([tf.ones((1, 4, 4, 1)), tf.zeros((1, 4, 4, 1))])
        >>> float(tf.reduce_max(tf.abs(values))), float(tf.reduce_max(known))
        (0.0, 0.0)
    """

    def __init__(self, filters: int, kernel: int = 3, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel, self.strides = filters, kernel, strides

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Make the convolution's weights."""
        shape = (self.kernel, self.kernel, input_shape[0][-1], self.filters)
        self.taps = self.add_weight(name="kernel", shape=shape, initializer="he_normal")
        self.offset = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.built = True

    def call(self, inputs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """[values `(n, y, x, c)`, mask `(n, y, x, 1 or c)`: 1 known, 0 not] -> (values `(n, y', x', filters)`, mask
        `(n, y', x', 1)`)."""
        x, known = inputs
        known = tf.cast(known, x.dtype)
        share = tf.reduce_mean(known, -1, keepdims=True)  # of a place's channels
        window = tf.ones((self.kernel, self.kernel, 1, 1), x.dtype) / self.kernel**2
        seen = tf.nn.conv2d(share, window, self.strides, "SAME")
        values = tf.nn.conv2d(x * known, tf.cast(self.taps, x.dtype), self.strides, "SAME")
        values = tf.math.divide_no_nan(values, seen) + tf.cast(self.offset, x.dtype)
        after = tf.cast(seen > 0, x.dtype)
        return values * after, after

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[tuple[int | None, ...], ...]:
        """Of the values and of the mask."""
        n, *sides, _ = input_shape[0]
        sides = [None if side is None else -(-side // self.strides) for side in sides]
        return (n, *sides, self.filters), (n, *sides, 1)

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        own = {"filters": self.filters, "kernel": self.kernel, "strides": self.strides}
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable("tfmed")
class JoinKnown(keras.layers.Layer):
    """Coarse features, made twice as large, and fine ones as channels of one, with a mask of each channel."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """[coarse, its mask, fine, its mask], masks of one channel -> (features, mask), both `(n, y, x, c)`."""
        coarse, coarse_known, fine, fine_known = inputs
        larger, larger_known = (tf.repeat(tf.repeat(one, 2, 1), 2, 2) for one in (coarse, coarse_known))
        masks = [tf.repeat(one, other.shape[-1], -1) for one, other in ((larger_known, larger), (fine_known, fine))]
        return tf.concat([larger, fine], -1), tf.concat(masks, -1)

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[tuple[int | None, ...], ...]:
        """Of the features and of the mask."""
        n, y, x, fine = input_shape[2]
        shape = (n, y, x, (input_shape[0][-1] or 0) + (fine or 0))
        return shape, shape


def partial_unet(channels: int = 1, widths: Sequence[int] = (64, 128, 256, 512), name: str = "partial_unet") -> Any:
    """[images `(n, y, x, channels)`, mask `(n, y, x, 1)`: 1 known] -> logits `(n, y, x, channels)`, float32.

    As Liu et al. 2018: partial convolutions of stride 2 on the way down, nearest neighbours and a partial convolution
    of the joined features on the way up, batch norm (but for the first level and the last). Kernels are 7, 5 and 3.

    Args:
        channels: of an image.
        widths: of the levels below the full size, each half as large as the one before; sides are multiples of
            2 ** len(widths).
    """
    image, known = inputs = [keras.Input((None, None, channels)), keras.Input((None, None, 1))]
    x, levels = image, [(image, known)]
    for i, width in enumerate(widths):
        kernel = {0: 7, 1: 5}.get(i, 3)
        x, known = PartialConv2D(width, kernel, 2, name=f"down{i}")([x, known])
        x = norm_layer("batch", f"down{i}_norm")(x) if i else x
        x = keras.layers.Activation("relu", name=f"down{i}_relu")(x)
        levels.append((x, known))
    for i in reversed(range(len(widths))):
        width = widths[i - 1] if i else channels
        joined = JoinKnown(name=f"join{i}")([x, known, *levels[i]])
        x, known = PartialConv2D(width, dtype=None if i else "float32", name=f"up{i}")(list(joined))
        if i:
            x = leaky_relu(0.2, f"up{i}_relu")(norm_layer("batch", f"up{i}_norm")(x))
    return keras.Model(inputs, x, name=name)
