"""Gated linear units (Dauphin et al. 2017)."""

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("tfmed")
class GLU(keras.layers.Layer):
    """The first half of the channels times the sigmoid of the second half."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`(..., 2 c)` -> `(..., c)`."""
        value, gate = tf.split(inputs, 2, axis=-1)
        return value * tf.sigmoid(gate)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], input_shape[-1] // 2)
