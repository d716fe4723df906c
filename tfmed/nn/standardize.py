"""Image values on a common scale, as a layer: what a network was trained on is saved, and exported, with it."""

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("tfmed")
class Standardize(keras.layers.Layer):
    """Cut values at two ends, subtract a mean and divide by a deviation (nnU-Net's rule for CT); float32.

    Args:
        low, high: the ends, such as the 0.5 and 99.5 percentile of an organ's HU.
        mean, deviation: of the same voxels; `tfmed.data.intensities` measures all four.
    """

    def __init__(self, low: float, high: float, mean: float, deviation: float, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        if low >= high or deviation <= 0:
            raise ValueError(f"cannot scale values from {low:g} to {high:g} of deviation {deviation:g}")
        self.low, self.high, self.mean, self.deviation = low, high, mean, deviation

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """The same shape."""
        return (tf.clip_by_value(values, self.low, self.high) - self.mean) / self.deviation

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        known = {"low": self.low, "high": self.high, "mean": self.mean, "deviation": self.deviation}
        return {**super().get_config(), **known}


@keras.utils.register_keras_serializable("tfmed")
class StandardizeEach(keras.layers.Layer):
    """Each sample's values less their mean, divided by their deviation + 1e-6; of a constant one zeros; float32."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """The same shape, `(n, ..., channel)`."""
        axes = list(range(1, len(values.shape)))
        centred = values - tf.reduce_mean(values, axes, keepdims=True)
        return centred / (tf.sqrt(tf.reduce_mean(centred**2, axes, keepdims=True)) + 1e-6)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape
