"""Average pooling to a fixed size, whatever size comes in."""

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("tfmed")
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Features `(n, y, x, channel)` -> `(n, size, size, channel)`: window i of an axis of length H is the mean over
    floor(i H / size) .. ceil((i + 1) H / size) - 1.

    Windows overlap where the length is no multiple of `size`, and of an axis as long as `size` each is one place, so
    that nothing changes. As PyTorch's `AdaptiveAvgPool2d`.

    Args:
        size: of the result; 1 is the mean over everything.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size < 1:
            raise ValueError(f"size is at least 1; got {size}")
        self.size = size

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """As the class says."""
        if features.shape[1] == features.shape[2] == self.size:
            return features
        rows, columns = (tf.cast(windows(tf.shape(features)[axis], self.size), features.dtype) for axis in (1, 2))
        return tf.einsum("iy,jx,nyxc->nijc", rows, columns, features)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`size` in place of both axes."""
        return (input_shape[0], self.size, self.size, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "size": self.size}


def windows(length: int | tf.Tensor, size: int) -> tf.Tensor:
    """Weights `(size, length)` float32 of the places of an axis in each window's mean."""
    place, number = tf.range(length)[None], tf.range(size)[:, None]
    first = number * length // size
    behind = -(-(number + 1) * length // size)
    inside = tf.cast((place >= first) & (place < behind), tf.float32)
    return inside / tf.cast(behind - first, tf.float32)
