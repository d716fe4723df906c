"""The last layers of several tasks on the features that they share, each with classes of its own."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import tensor_variable

NEVER = -1e9  # logit of a class that a task does not have


@keras.utils.register_keras_serializable("tfmed")
class TaskHeads(keras.layers.Layer):
    """A 1 x 1 convolution per task; each sample goes through that of its own task; in float32.

    Args:
        classes: number of classes of each task.
        seed: of the first kernels.

    Example:
        >>> heads = TaskHeads((2, 3))
        >>> logits = heads(tf.ones((2, 4, 4, 8)), tf.constant([1, 0]))  # the second sample has no third class
        >>> logits.shape.as_list(), bool((logits[1, ..., 2] < -1e8).numpy().all())
        ([2, 4, 4, 3], True)
    """

    def __init__(self, classes: Sequence[int], seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.classes, self.seed = tuple(classes), seed
        self.own: list[tuple[Any, Any]] = []  # (kernel, bias) of each task

    def build(self, features_shape: Sequence[int | None]) -> None:
        """Weights for features `(n, ..., channel)`."""
        for number, count in enumerate(self.classes):
            he = keras.initializers.HeNormal(self.seed * 1000 + number)
            kernel = self.add_weight(name=f"kernel{number}", shape=(features_shape[-1], count), initializer=he)
            bias = self.add_weight(name=f"bias{number}", shape=(count,), initializer="zeros")
            self.own.append((kernel, bias))
        self.built = True

    def padded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(kernels `(tasks, channels, most classes)`, biases `(tasks, most classes)`), as tensors; classes that a task
        does not have get the logit `NEVER`."""
        most = max(self.classes)
        kernels = [tf.pad(_tensor(kernel), [(0, 0), (0, most - kernel.shape[-1])]) for kernel, _ in self.own]
        biases = [tf.pad(_tensor(bias), [(0, most - bias.shape[0])], constant_values=NEVER) for _, bias in self.own]
        return tf.stack(kernels), tf.stack(biases)

    def call(self, features: tf.Tensor, tasks: tf.Tensor) -> tf.Tensor:
        """Features `(n, y, x, channel)` and each sample's task `(n,)` -> logits `(n, y, x, most classes)`."""
        kernels, biases = self.padded()
        own = tf.gather(biases, tasks)[:, None, None]
        return tf.einsum("nyxf,nfc->nyxc", tf.cast(features, tf.float32), tf.gather(kernels, tasks)) + own

    def compute_output_shape(self, features_shape: Sequence[int | None], *_: Any) -> tuple[int | None, ...]:
        """The shape of the logits."""
        return (*features_shape[:-1], max(self.classes))

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "classes": self.classes, "seed": self.seed}


def pointwise(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """A 1 x 1 convolution by tensors: `(n, ..., channel)`, `(channel, classes)` and `(classes,)` -> float32 logits."""
    return tf.tensordot(tf.cast(features, tf.float32), kernel, 1) + bias


def _tensor(variable: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(tensor_variable(variable)), tf.float32)
