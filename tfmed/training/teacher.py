"""Mean teachers (Tarvainen & Valpola 2017): a second network that follows a student, and sees noisier images."""

import keras
import tensorflow as tf

from tfmed.training.model import move_average


def start(teacher: keras.Model, student: keras.Model) -> None:
    """Give a teacher its student's weights; no optimizer moves them."""
    teacher.set_weights(student.get_weights())
    teacher.trainable = False


def follow(teacher: keras.Model, student: keras.Model, step: tf.Tensor, decay: float) -> None:
    """The moving average after a step (int64 scalar): `decay`, and early on less, 1 - 1 / (step + 1)."""
    move_average(teacher, student, tf.minimum(1.0 - 1.0 / (tf.cast(step, tf.float32) + 1.0), decay))


def with_clipped_noise(images: tf.Tensor, normal: tf.Tensor, deviation: float, limit: float) -> tf.Tensor:
    """Images with noise of a standard deviation, clipped to +-`limit`; `normal` holds standard normal numbers."""
    return images + tf.clip_by_value(deviation * normal, -limit, limit)
