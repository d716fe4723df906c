"""Adam, with one pass over the memory of each weight."""

from typing import Any

import keras
import tensorflow as tf

from tfmed import compat


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` (Kingma & Ba 2015) by TensorFlow's own kernel: the same numbers, up to rounding.

    Keras writes an update as a dozen operations, each of which goes through all weights and their running means; on a
    CPU that takes 3 to 4 times as long (`benchmarks/speed/adam.py`). Arguments are Keras'.
    """

    def update_step(self, gradient: tf.Tensor, variable: Any, *rate: Any) -> None:
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, *rate)
        kind = tf.as_dtype(variable.dtype)
        rate = tf.cast(rate[0] if rate else self.learning_rate, kind)
        mean, square = compat.moments(self, variable)
        betas = tf.constant(self.beta_1, kind), tf.constant(self.beta_2, kind)
        step = tf.cast(self.iterations, kind) + 1.0
        tf.raw_ops.ResourceApplyAdam(
            **{name: compat.tensor_variable(v).handle for name, v in (("var", variable), ("m", mean), ("v", square))},
            beta1_power=betas[0] ** step, beta2_power=betas[1] ** step, lr=rate, beta1=betas[0], beta2=betas[1],
            epsilon=tf.constant(self.epsilon, kind), grad=tf.cast(gradient, kind),
        )  # fmt: skip
