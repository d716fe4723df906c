"""Attention among the channels of features, and gates of channels and of places."""

from collections.abc import Sequence
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


@keras.utils.register_keras_serializable("tfmed")
class ChannelGate(keras.layers.Layer):
    """Each channel times a number from 0 to 1 that is made of all channels' pooled values.

    A perceptron, channels -> channels / reduction -> channels, sees the means, and the sum of its answers goes through
    a sigmoid. With `pools=("mean",)` that is squeeze and excitation (Hu et al. 2018), with both the first half of CBAM
    (Woo et al. 2018, Eq. 2).

    Args:
        reduction: of the channels in the hidden layer, which has at least one unit.
        pools: of "mean" and "max", over all places; one perceptron serves both.
        clipped: a ReLU behind the perceptron too, as in some public code; gates then are at least a half.

    Raises:
        ValueError: no pool, or an unknown one.
    """

    def __init__(
        self, reduction: int = 8, pools: Sequence[str] = ("mean", "max"), clipped: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not pools or not set(pools) <= {"mean", "max"}:
            raise ValueError(f"pools are {tuple(pools)}; they may be mean and max")
        self.reduction, self.pools, self.clipped = reduction, tuple(pools), clipped

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the perceptron's weights."""
        channels = input_shape[-1] or 0
        hidden = max(channels // self.reduction, 1)
        how = {"initializer": "glorot_uniform"}
        self.squeeze = self.add_weight(name="squeeze", shape=(channels, hidden), **how)
        self.squeeze_bias = self.add_weight(name="squeeze_bias", shape=(hidden,), initializer="zeros")
        self.excite = self.add_weight(name="excite", shape=(hidden, channels), **how)
        self.excite_bias = self.add_weight(name="excite_bias", shape=(channels,), initializer="zeros")
        self.built = True

    def gates(self, x: tf.Tensor) -> tf.Tensor:
        """Features `(n, *size, channel)` -> numbers `(n, channel)` in (0, 1)."""
        pooled = {"mean": tf.reduce_mean, "max": tf.reduce_max}
        places = list(range(1, len(x.shape) - 1))
        rows = tf.concat([pooled[name](x, places) for name in self.pools], 0)  # one perceptron for all
        weights = (self.squeeze, self.squeeze_bias, self.excite, self.excite_bias)
        squeeze, squeeze_bias, excite, excite_bias = (tf.cast(weight, x.dtype) for weight in weights)
        scores = tf.matmul(tf.nn.relu(tf.matmul(rows, squeeze) + squeeze_bias), excite) + excite_bias
        scores = tf.nn.relu(scores) if self.clipped else scores
        return tf.sigmoid(tf.add_n(tf.split(scores, len(self.pools))))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Features `(n, *size, channel)` -> the same shape and dtype."""
        gates = self.gates(x)
        return x * gates[(slice(None), *[tf.newaxis] * (len(x.shape) - 2))]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        own = {"reduction": self.reduction, "pools": self.pools, "clipped": self.clipped}
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable("tfmed")
class SpatialGate(keras.layers.Layer):
    """Each place of `(n, y, x, channel)` times a number from 0 to 1: the second half of CBAM (Woo et al. 2018, Eq. 3).

    A convolution sees the mean and the maximum over channels of the places around, and a sigmoid follows.

    Args:
        kernel: side of the convolution; 7 in the paper.
    """

    def __init__(self, kernel: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel = kernel

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the convolution's weights."""
        shape = (self.kernel, self.kernel, 2, 1)
        self.taps = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.offset = self.add_weight(name="bias", shape=(1,), initializer="zeros")
        self.built = True

    def gates(self, x: tf.Tensor) -> tf.Tensor:
        """Features `(n, y, x, channel)` -> numbers `(n, y, x, 1)` in (0, 1)."""
        pooled = tf.stack([tf.reduce_mean(x, -1), tf.reduce_max(x, -1)], -1)
        found = tf.nn.conv2d(pooled, tf.cast(self.taps, x.dtype), 1, "SAME")
        return tf.sigmoid(found + tf.cast(self.offset, x.dtype))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Features `(n, y, x, channel)` -> the same shape and dtype."""
        return x * self.gates(x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "kernel": self.kernel}


def gated(x: Any, kind: str, reduction: int = 8, kernel: int = 3, clipped: bool = False, name: str = "") -> Any:
    """Keras features behind the gates of a kind: "cbam" (channels, then places), "se" (channels) or "none".

    Args:
        x: `(n, y, x, channel)`.
        reduction, clipped: of the `ChannelGate`.
        kernel: of the `SpatialGate`.
        name: that the names of layers begin with.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in ("cbam", "se", "none"):
        raise ValueError(f"kind is {kind!r}; it may be cbam, se or none")
    if kind == "none":
        return x
    pools = ("mean", "max") if kind == "cbam" else ("mean",)
    x = ChannelGate(reduction, pools, clipped, name=f"{name}channels")(x)
    return SpatialGate(kernel, name=f"{name}places")(x) if kind == "cbam" else x
