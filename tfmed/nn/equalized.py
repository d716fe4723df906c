"""StyleGAN2's layers in 3-D: equalised learning rates, modulated convolution, noise, minibatch deviation.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020. Weights are drawn from N(0, 1) and
scaled by 1 / sqrt(fan in) when they are used, so that one learning rate suits all layers.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed.nn.resample3d import FILTER, downsample3d, fir3d, upsample3d

_ACTIVATION_GAIN = np.sqrt(2.0)  # keeps the variance through a leaky rectifier with slope 0.2


def activate(x: tf.Tensor) -> tf.Tensor:
    """Leaky rectifier, slope 0.2, times sqrt(2)."""
    return tf.nn.leaky_relu(x, 0.2) * tf.cast(_ACTIVATION_GAIN, x.dtype)


@keras.utils.register_keras_serializable("tfmed")
class EqualizedDense(keras.layers.Layer):
    """Fully connected layer with an equalised learning rate: `(n, inputs)` -> `(n, units)`.

    Args:
        units: outputs.
        activation: "leaky" (see `activate`) or None.
        bias: what the bias starts at.
        rate: learning rate relative to other layers'.
    """

    def __init__(
        self, units: int, activation: str | None = None, bias: float = 0.0, rate: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.activation, self.bias_start, self.rate = units, activation, bias, rate

    def build(self, shape: tuple[Any, ...]) -> None:
        self.scale = self.rate / np.sqrt(shape[-1])
        normal = keras.initializers.RandomNormal(stddev=1.0 / self.rate)
        start = keras.initializers.Constant(self.bias_start / self.rate)
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.units), initializer=normal)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer=start)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        kernel, bias = (tf.cast(v, x.dtype) for v in (self.kernel, self.bias))
        y = x @ (kernel * tf.cast(self.scale, x.dtype)) + bias * tf.cast(self.rate, x.dtype)
        return activate(y) if self.activation == "leaky" else y

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "activation": self.activation, "bias": self.bias_start, "rate": self.rate}
        return super().get_config() | own


@keras.utils.register_keras_serializable("tfmed")
class EqualizedConv3D(keras.layers.Layer):
    """Convolution with an equalised learning rate, and twofold resampling if wanted.

    Args:
        filters: output channels.
        kernel_size: voxels per side, 1 or 3.
        resample: None, "up" (transposed convolution, then filter) or "down" (filter, then strided convolution).
        activation: "leaky" (see `activate`) or None.
        use_bias: whether there is a bias, which starts at 0.
        taps: the resampling filter of one axis.

    Input `(n, d, h, w, c)`; output `(n, d', h', w', filters)` with d' = d, 2d or d / 2.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        resample: str | None = None,
        activation: str | None = None,
        use_bias: bool = True,
        taps: Sequence[float] = FILTER,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.resample = filters, kernel_size, resample
        self.activation, self.use_bias, self.taps = activation, use_bias, tuple(taps)

    def build(self, shape: tuple[Any, ...]) -> None:
        normal = keras.initializers.RandomNormal(stddev=1.0)
        size = (*[self.kernel_size] * 3, shape[-1], self.filters)
        self.scale = 1.0 / np.sqrt(np.prod(size[:-1]))
        self.kernel = self.add_weight(name="kernel", shape=size, initializer=normal)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        y = convolve(x, tf.cast(self.kernel, x.dtype) * tf.cast(self.scale, x.dtype), self.resample, self.taps)
        if self.use_bias:
            y += tf.cast(self.bias, y.dtype)
        return activate(y) if self.activation == "leaky" else y

    def get_config(self) -> dict[str, Any]:
        names = ("filters", "kernel_size", "resample", "activation", "use_bias", "taps")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.utils.register_keras_serializable("tfmed")
class ModulatedConv3D(keras.layers.Layer):
    """Convolution whose kernel is scaled by a style, per sample and input channel, and brought back to unit norm.

    w'_kio = s_i w_kio, w'' = w' / sqrt(sum_ki w'^2 + 1e-8) (Karras et al. 2020, Eq. 1 and 3), with s = A w + b. In the
    form x * s -> convolution with w -> / norm, which is equal and needs no kernel of its own for each sample.

    Args:
        filters: output channels.
        kernel_size: voxels per side, 1 or 3.
        demodulate: whether kernels are brought back to unit norm.
        resample: None or "up".
        taps: the resampling filter of one axis.

    Call arguments:
        x: `(n, d, h, w, c)`.
        w: latents `(n, latent)`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        demodulate: bool = True,
        resample: str | None = None,
        taps: Sequence[float] = FILTER,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.filters, self.kernel_size, self.demodulate = filters, kernel_size, demodulate
        self.resample, self.taps = resample, tuple(taps)

    def build(self, shape: tuple[Any, ...]) -> None:
        size = (*[self.kernel_size] * 3, shape[-1], self.filters)
        self.scale = 1.0 / np.sqrt(np.prod(size[:-1]))
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.kernel = self.add_weight(name="kernel", shape=size, initializer=normal)
        self.style = EqualizedDense(shape[-1], bias=1.0, dtype="float32", name="style")

    def call(self, x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        style = self.style(w)
        kernel = tf.cast(self.kernel, tf.float32) * self.scale
        if self.demodulate and x.dtype == tf.float16:  # the norm takes this factor out again: no overflow
            style /= tf.stop_gradient(tf.reduce_max(tf.abs(style), axis=1, keepdims=True))
        x *= _per_channel(style, x.dtype)
        y = convolve(x, tf.cast(kernel, x.dtype), self.resample, self.taps)
        if not self.demodulate:
            return y
        # Summed over taps first: the squared norm is then a product of two small matrices.
        squares = tf.square(style) @ tf.reduce_sum(tf.square(kernel), axis=(0, 1, 2))
        return y * _per_channel(tf.math.rsqrt(squares + 1e-8), y.dtype)

    def get_config(self) -> dict[str, Any]:
        names = ("filters", "kernel_size", "demodulate", "resample", "taps")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.utils.register_keras_serializable("tfmed")
class NoiseBiasActivation(keras.layers.Layer):
    """x + strength * noise + bias, then `activate`; the strength (one number) and the bias start at 0.

    Args:
        use_noise: False: no noise, no strength.

    Call arguments:
        x: `(n, d, h, w, c)`.
        noise: `(n, d, h, w, 1)`, or None.
    """

    def __init__(self, use_noise: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_noise = use_noise

    def build(self, shape: tuple[Any, ...]) -> None:
        if self.use_noise:
            self.strength = self.add_weight(name="strength", shape=(), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(shape[-1],), initializer="zeros")

    def call(self, x: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype) + tf.cast(self.bias, self.compute_dtype)
        if self.use_noise and noise is not None:
            x += tf.cast(noise, x.dtype) * tf.cast(self.strength, x.dtype)
        return activate(x)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"use_noise": self.use_noise}


@keras.utils.register_keras_serializable("tfmed")
class MinibatchDeviation(keras.layers.Layer):
    """Joins one channel: how much the samples of a group differ (Karras et al., ICLR 2018, Sect. 3).

    The standard deviation over the group, averaged over voxels and channels. A group is `group` samples that follow
    each other, so a batch that replicas share in multiples of `group` has the same groups as an undivided one.

    Args:
        group: samples; the batch is a multiple of it.
    """

    def __init__(self, group: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group = group

    def call(self, x: tf.Tensor) -> tf.Tensor:
        groups = tf.reshape(tf.cast(x, tf.float32), (-1, self.group, *x.shape[1:]))
        variance = tf.reduce_mean(tf.square(groups - tf.reduce_mean(groups, 1, keepdims=True)), 1)
        deviation = tf.reduce_mean(tf.sqrt(variance + 1e-8), axis=(1, 2, 3, 4))
        deviation = tf.repeat(tf.cast(deviation, x.dtype), self.group)
        channel = tf.ones_like(x[..., :1]) * tf.reshape(deviation, (-1, 1, 1, 1, 1))
        return tf.concat([x, channel], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"group": self.group}


def convolve(x: tf.Tensor, kernel: tf.Tensor, resample: str | None = None, taps: Sequence[float] = FILTER) -> tf.Tensor:
    """Convolution with zero padding, and twofold resampling if wanted.

    Args:
        x: `(n, d, h, w, c)`.
        kernel: `(k, k, k, c, filters)`.
        resample: None, "up" or "down".
        taps: the resampling filter of one axis.
    """
    if resample is None:
        return tf.nn.conv3d(x, kernel, (1, 1, 1, 1, 1), "SAME")
    size, rest = kernel.shape[0], len(taps) - 2
    if size == 1:  # such a convolution and the filter may change places: it is done where there are fewer voxels
        plain = functools.partial(tf.nn.conv3d, filters=kernel, strides=(1, 1, 1, 1, 1), padding="SAME")
        return upsample3d(plain(x), taps) if resample == "up" else plain(downsample3d(x, taps))
    if resample == "up":
        # A transposed convolution is the convolution, with the mirrored kernel, of x with zeros between its voxels.
        mirrored = tf.transpose(kernel[::-1, ::-1, ::-1], (0, 1, 2, 4, 3))
        shape = (tf.shape(x)[0], *(2 * (n - 1) + size for n in x.shape[1:4]), kernel.shape[-1])
        extra = rest - size + 1
        spread = tf.nn.conv3d_transpose(x, mirrored, shape, 2, "VALID")
        return fir3d(spread, taps, 8.0, ((extra + 1) // 2 + 1, extra // 2 + 1))
    extra = rest + size - 1
    return tf.nn.conv3d(fir3d(x, taps, 1.0, ((extra + 1) // 2, extra // 2)), kernel, (1, 2, 2, 2, 1), "VALID")


def _per_channel(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(values, dtype)[:, None, None, None, :]
