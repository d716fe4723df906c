"""Stochastic gradient descent with an L2 penalty in its gradients, as "weight decay" of most published trainings is."""

from typing import Any

import keras
import tensorflow as tf

from tfmed import compat


class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` that adds `penalty` times a weight to its gradient, before the momentum.

    Keras' own `weight_decay` takes from the weights beside the momentum: with momentum m the same number acts
    1 / (1 - m) times as strongly here.

    Args:
        learning_rate, momentum: as of Keras.
        penalty: of each weight, also of norms and offsets; the loss has penalty / 2 times the sum of their squares.
    """

    def __init__(self, learning_rate: Any, momentum: float = 0.0, penalty: float = 0.0, **options: Any) -> None:
        super().__init__(learning_rate, momentum, **options)
        self.penalty = penalty

    def update_step(self, gradient: tf.Tensor, variable: Any, *rate: Any) -> None:
        if self.penalty:
            weight = tf.convert_to_tensor(compat.tensor_variable(variable))
            gradient = tf.convert_to_tensor(gradient) + tf.cast(self.penalty * weight, gradient.dtype)
        super().update_step(gradient, variable, *rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"penalty": self.penalty}
