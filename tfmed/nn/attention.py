"""Attention among the channels of features."""

from typing import Any

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("tfmed")
class ChannelAttention(keras.layers.Layer):
    """Each channel becomes a mean of all, weighted by how alike they are, plus itself (Fu et al. 2019, Eq. 3 and 4).

    Features A `(voxels, channel)` give energies A^T A, and a softmax along their rows gives R, `(channel, channel)`.
    The output is scale * A R^T + A: channel j is scale * sum_i R_ji A_i + A_j. The cost grows with voxels * channels^2.

    Args:
        scale: "learned" (a weight that begins at 0, so that the layer begins as the identity) or "none" (1).
        energy: "plain", or "max_minus": the row's largest minus the energy, so that unlike channels are mixed, as the
            dual attention network's public code does.
        normalise: divide energies by the number of voxels. Without, the softmax picks one channel alone in large
            volumes.

    Raises:
        ValueError: an unknown option.

    Example:
        >>> ChannelAttention()(tf.constant([[[1.0, 2.0], [3.0, 4.0]]])).numpy().tolist()  # the scale is 0 at first
        [[[1.0, 2.0], [3.0, 4.0]]]
    """

    def __init__(self, scale: str = "learned", energy: str = "plain", normalise: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if scale not in ("learned", "none"):
            raise ValueError(f"scale is {scale!r}; it may be learned or none")
        if energy not in ("plain", "max_minus"):
            raise ValueError(f"energy is {energy!r}; it may be plain or max_minus")
        self.scale, self.energy, self.normalise = scale, energy, normalise

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the scale, if it is learned."""
        if self.scale == "learned":
            self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Features `(n, *size, channel)` -> the same shape and dtype."""
        voxels = tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1]))
        mixed = tf.matmul(voxels, tf.cast(self.weights_of(voxels), x.dtype), transpose_b=True)
        if self.scale == "learned":
            mixed *= tf.cast(self.gamma, x.dtype)
        return tf.reshape(mixed + voxels, tf.shape(x))

    def weights_of(self, voxels: tf.Tensor) -> tf.Tensor:
        """R `(n, channel, channel)` float32 of features `(n, voxels, channel)`; every row adds up to 1."""
        voxels = tf.cast(voxels, tf.float32)
        energy = tf.matmul(voxels, voxels, transpose_a=True)
        if self.normalise:
            energy /= tf.cast(tf.shape(voxels)[1], tf.float32)
        if self.energy == "max_minus":
            energy = tf.reduce_max(energy, -1, keepdims=True) - energy
        return tf.nn.softmax(energy)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "scale": self.scale, "energy": self.energy, "normalise": self.normalise}
