"""Instance norm by TensorFlow's fused kernel of batch norm."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfmed")
class InstanceNorm(keras.layers.GroupNormalization):
    """Each channel of each sample of `(b, ..., channel)` to mean 0 and variance 1 (Ulyanov et al. 2016, Eq. 7).

    That is batch norm of one sample that has all channels of the batch, for which TensorFlow has one kernel for the
    values and one for all gradients: faster than Keras' layer (`benchmarks/speed/norm.py`), the same numbers up to
    rounding. Moments are float32 in every precision. Arguments are those of Keras' layer but for `groups`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "groups": -1})

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`inputs`, normalised."""
        shape = tf.shape(inputs)
        samples, channels = shape[0], inputs.shape[-1]
        places = tf.reduce_prod(shape[1:-1])
        swapped = tf.transpose(tf.reshape(inputs, (samples, places, channels)), (1, 0, 2))
        scale, offset = (
            tf.fill([channels], value) if weight is None else tf.cast(weight, tf.float32)
            for weight, value in ((self.gamma, 1.0), (self.beta, 0.0))
        )
        made, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(swapped, (1, places, 1, samples * channels)),
            scale=tf.tile(scale, [samples]), offset=tf.tile(offset, [samples]),
            mean=tf.zeros(0), variance=tf.zeros(0), epsilon=self.epsilon, is_training=True,
        )  # fmt: skip
        made = tf.transpose(tf.reshape(made, (places, samples, channels)), (1, 0, 2))
        return tf.ensure_shape(tf.reshape(made, shape), inputs.shape)
