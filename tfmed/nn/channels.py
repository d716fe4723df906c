"""Layers that place channels among others, and that take some of them out."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("tfmed")
class ChannelSlot(keras.layers.Layer):
    """Puts channels among others that are 0.

    Args:
        first: the channel at which they begin.
        total: channels of the output.

    Example:
        >>> ChannelSlot(first=1, total=3)(tf.constant([[5.0]])).numpy().tolist()
        [[0.0, 5.0, 0.0]]
    """

    def __init__(self, first: int, total: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.total = first, total

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`(n, ..., channel)` -> `(n, ..., total)`."""
        # Not by tf.pad: TensorFlow's graph optimiser would fuse it with a convolution behind it, which then sees the
        # channels without their padding, and fails.
        after = self.total - self.first - x.shape[-1]
        zeros = [tf.repeat(tf.zeros_like(x[..., :1]), count, axis=-1) for count in (self.first, after)]
        return tf.concat([zeros[0], x, zeros[1]], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The same with other channels."""
        return (*input_shape[:-1], self.total)

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "first": self.first, "total": self.total}


@keras.utils.register_keras_serializable("tfmed")
class TakeChannels(keras.layers.Layer):
    """Some channels, in a given order.

    Args:
        numbers: of the channels, from 0.

    Example:
        >>> TakeChannels([0, 2])(tf.constant([[5.0, 6.0, 7.0]])).numpy().tolist()
        [[5.0, 7.0]]
    """

    def __init__(self, numbers: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.numbers = list(numbers)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`(n, ..., channel)` -> `(n, ..., len(numbers))`."""
        return tf.gather(x, self.numbers, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The same with other channels."""
        return (*input_shape[:-1], len(self.numbers))

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "numbers": self.numbers}
