"""The three networks of 3D-StyleGAN (Sect. 2 and Fig. 1): mapping m, synthesis g, critic D.

Every level has the same number of channels, `filters` (the paper's "filter depth"). Networks are built when they are
made, on a few voxels: no weight but the critic's last ones depends on the volume's size.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from tfmed.nn.equalized import (
    EqualizedConv3D,
    EqualizedDense,
    MinibatchDeviation,
    ModulatedConv3D,
    NoiseBiasActivation,
)
from tfmed.nn.recompute import recompute
from tfmed.nn.resample3d import FILTER, upsample3d

MAPPING_RATE = 0.01  # learning rate of the mapping network relative to the others'


class Mapping(keras.Model):
    """m: z `(n, latent)` -> w `(n, latent)`, float32. z is divided by its RMS, so m(c z) = m(z) for c > 0.

    Args:
        latent: entries of z, of w and of the hidden layers.
        layers: fully connected layers; the figure calls them "fully-convolutional".
    """

    def __init__(self, latent, layers=8, name="mapping"):
        super().__init__(name=name)
        options = {"activation": "leaky", "rate": MAPPING_RATE, "dtype": "float32"}
        self.dense = [EqualizedDense(latent, name=f"dense{i}", **options) for i in range(layers)]
        self.built = True
        self(tf.zeros((1, latent)))

    def call(self, z):
        x = z * tf.math.rsqrt(tf.reduce_mean(tf.square(z), axis=1, keepdims=True) + 1e-8)
        for layer in self.dense:
            x = layer(x)
        return x


class SynthesisLevel(keras.layers.Layer):
    """One resolution of g: modulated 3^3 convolutions, each with noise, bias and leaky rectifier.

    Args:
        filters: channels.
        first: the lowest level: one convolution at the size of the input; the others have two, the first of which
            doubles the size.
        residual: add the input, doubled, to the output.

    Call arguments:
        x: `(n, d, h, w, filters)`.
        w: latents `(n, 1 or 2, latent)`.
        noise: one or two `(n, d', h', w', 1)` of the output's size, or none.
        checkpointing: compute the inner values of each convolution again in the backward pass.
    """

    def __init__(self, filters, first, residual=False, use_noise=True, taps=FILTER, **kwargs):
        super().__init__(autocast=False, **kwargs)
        ways = [None] if first else ["up", None]
        self.convolutions = [
            ModulatedConv3D(filters, resample=way, taps=taps, name=f"conv{i}") for i, way in enumerate(ways)
        ]
        self.activations = [NoiseBiasActivation(use_noise, name=f"activation{i}") for i in range(len(ways))]
        self.skip = None
        if residual and not first:
            self.skip = EqualizedConv3D(filters, 1, "up", use_bias=False, taps=taps, name="skip")

    def call(self, x, w, *noise, checkpointing=False):
        y = x
        for i in range(len(self.convolutions)):
            inputs = (y, w[:, i], *noise[i : i + 1])
            block = functools.partial(self.convolved, i)
            y = recompute(block, *inputs) if checkpointing else block(*inputs)
        return y if self.skip is None else (y + self.skip(x)) * tf.cast(np.sqrt(0.5), y.dtype)

    def convolved(self, i, x, w, noise=None):
        """What the i-th convolution and its activation make."""
        return self.activations[i](self.convolutions[i](x, w), noise)


class ToImage(keras.layers.Layer):
    """Modulated 1^3 convolution without demodulation, to one channel, linear, with bias; float32."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.convolution = ModulatedConv3D(1, 1, demodulate=False, name="conv")

    def build(self, shape):
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")

    def call(self, x, w):
        return tf.cast(self.convolution(x, w), tf.float32) + tf.cast(self.bias, tf.float32)


class Synthesis(keras.Model):
    """g: a latent per style layer, and noise -> volumes `(n, *volume_shape, 1)`, float32, about [-1, 1].

    Args:
        filters: channels at every level.
        latent: entries of w.
        base: voxels of the learned constant from which all grows, (5, 6, 7) in the paper.
        levels: resolutions; the volume has base * 2 ** (levels - 1) voxels.
        architecture: "orig" (one output convolution), "skip" (an image per level; they are summed) or "resnet".
        use_noise: False: no noise at all.
        taps: the resampling filter of one axis.
        checkpointing: compute each convolution's inner values again in the backward pass in place of keeping them.

    Call arguments:
        w: `(n, 2 * levels, latent)`.
        noise: 2 * levels - 1 volumes `(n, *noise_shapes[i])`, or () for none.
        twice: the gradient will be differentiated again, for which all is kept: nothing is computed again.
    """

    def __init__(
        self, filters, latent, base, levels, architecture="orig", use_noise=True, taps=FILTER, checkpointing=False,
        name="synthesis",
    ):  # fmt: skip
        super().__init__(name=name, autocast=False)  # w stays in float32
        self.taps, self.checkpointing = tuple(taps), checkpointing
        shapes = [tuple(size * 2**level for size in base) for level in range(levels)]
        self.volume_shape = shapes[-1]
        self.noise_shapes = [(*shapes[0], 1), *((*shape, 1) for shape in shapes[1:] for _ in range(2))]
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.constant = self.add_weight(name="constant", shape=(1, *base, filters), initializer=normal)
        residual = architecture == "resnet"
        self.steps = [
            SynthesisLevel(filters, i == 0, residual, use_noise, taps, name=f"level{i}") for i in range(levels)
        ]
        shown = range(levels) if architecture == "skip" else [levels - 1]
        self.to_image = [ToImage(name=f"to_image{i}") if i in shown else None for i in range(levels)]
        self.built = True
        few = tf.zeros((1, 2, 2, 2, filters))
        for level, image in zip(self.steps, self.to_image, strict=True):
            level(few, tf.zeros((1, 2, latent)))
            if image is not None:
                image(few, tf.zeros((1, latent)))

    def call(self, w, noise=(), twice=False):
        x, image = tf.repeat(tf.cast(self.constant, tf.float32), tf.shape(w)[0], axis=0), None
        for i, (level, to_image) in enumerate(zip(self.steps, self.to_image, strict=True)):
            first, last = max(2 * i - 1, 0), 2 * i + 1
            inputs = (x, w[:, first:last], *noise[first:last])
            x = level(*inputs, checkpointing=self.checkpointing and not twice)
            if to_image is not None:
                image = to_image(x, w[:, last]) + (0.0 if image is None else upsample3d(image, self.taps))
            elif image is not None:
                image = upsample3d(image, self.taps)
        return image


class CriticLevel(keras.layers.Layer):
    """One resolution of D: 3^3 convolution, then one that halves the size; with a 1^3 skip when `residual`.

    Input `(n, 2d, 2h, 2w, filters)`; output `(n, d, h, w, filters)`; `checkpointing` as in `SynthesisLevel`.
    """

    def __init__(self, filters, residual=True, taps=FILTER, **kwargs):
        super().__init__(**kwargs)
        self.first = EqualizedConv3D(filters, activation="leaky", name="conv0")
        self.second = EqualizedConv3D(filters, resample="down", activation="leaky", taps=taps, name="conv1")
        self.skip = None
        if residual:
            self.skip = EqualizedConv3D(filters, 1, "down", use_bias=False, taps=taps, name="skip")

    def call(self, x, checkpointing=False):
        y = x
        for layer in (self.first, self.second):
            y = recompute(layer, y) if checkpointing else layer(y)
        return y if self.skip is None else (y + self.skip(x)) * tf.cast(np.sqrt(0.5), y.dtype)


class Critic(keras.Model):
    """D: volumes `(n, *volume_shape, 1)` -> scores `(n, 1)`, float32.

    Args:
        filters, base, levels, taps, checkpointing: as in `Synthesis`.
        architecture: "resnet" (the paper) or "orig" (no skips).
        group: samples whose deviation from each other the critic sees; n is a multiple of it.

    Call argument `twice`: as in `Synthesis`.
    """

    def __init__(
        self, filters, base, levels, architecture="resnet", group=4, taps=FILTER, checkpointing=False, name="critic"
    ):
        super().__init__(name=name)
        self.checkpointing = checkpointing
        self.from_image = EqualizedConv3D(filters, 1, activation="leaky", name="from_image")
        self.steps = [
            CriticLevel(filters, architecture == "resnet", taps, name=f"level{i}") for i in reversed(range(1, levels))
        ]
        self.deviation = MinibatchDeviation(group, name="deviation")
        self.last = EqualizedConv3D(filters, activation="leaky", name="conv")
        self.dense = EqualizedDense(filters, "leaky", dtype="float32", name="dense")
        self.score = EqualizedDense(1, dtype="float32", name="score")
        self.built = True
        for level in (self.from_image, *self.steps):
            level(tf.zeros((1, 4, 4, 4, 1 if level is self.from_image else filters)))
        self.judge(tf.zeros((group, *base, filters)))

    def call(self, volumes, twice=False):
        checkpointing = self.checkpointing and not twice
        x = recompute(self.from_image, volumes) if checkpointing else self.from_image(volumes)
        for level in self.steps:
            x = level(x, checkpointing=checkpointing)
        return self.judge(x)

    def judge(self, x):
        """Score of what is left at the base's size."""
        x = self.last(self.deviation(x))
        return self.score(self.dense(tf.reshape(x, (-1, np.prod(x.shape[1:])))))
