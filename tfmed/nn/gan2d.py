"""Plain 2D GAN networks: convolutional (DCGAN) and residual (as in WGAN-GP), and a small classifier of images."""

import itertools
from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor, leaky_relu
from tfmed.nn.blocks import norm_layer

_SLOPE = 0.2


def activation(name: str) -> keras.layers.Layer:
    """A layer: "leaky_relu" (slope 0.2) or "relu"."""
    return leaky_relu(_SLOPE) if name == "leaky_relu" else keras.layers.ReLU()


def _conv(width: int, kernel: int, stride: int = 1, name: str | None = None) -> keras.layers.Layer:
    return keras.layers.Conv2D(width, kernel, stride, "same", name=name)


def generator2d(
    latent: int, base: int, channels: Sequence[int], kernel: int, act: str = "leaky_relu", name: str = "generator"
) -> keras.Model:
    """`(n, latent)` -> `(n, s, s, 1)` in [-1, 1] (float32), with s = base * 2 ** len(channels); no normalisation.

    Args:
        base: side of the dense stage's maps.
        channels: of the dense stage and of each doubling but the last, which has one channel.
        kernel: side of the convolutions.
        act: see `activation`.
    """
    inputs = keras.Input((latent,))
    x = keras.layers.Dense(base * base * channels[0], name="stage0")(inputs)
    x = activation(act)(keras.layers.Reshape((base, base, channels[0]))(x))
    for i, width in enumerate((*channels[1:], 1), start=1):
        x = _conv(width, kernel, name=f"stage{i}")(keras.layers.UpSampling2D(2)(x))
        x = activation(act)(x) if i < len(channels) else x
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def critic2d(size: int, channels: Sequence[int], kernel: int, classes: int = 0, name: str = "critic") -> keras.Model:
    """`(n, size, size, 1)` -> score `(n, 1)`, with `classes` also logits `(n, classes)` in a list of two.

    Each entry of `channels` halves the map; no normalisation, so that a gradient penalty may be used.
    """
    inputs = keras.Input((size, size, 1))
    x = inputs
    for i, width in enumerate(channels):
        x = leaky_relu(_SLOPE)(_conv(width, kernel, 2, name=f"block{i}")(x))
    return _scored(inputs, x, classes, name)


def residual_generator2d(
    latent: int, base: int, channels: Sequence[int], kernel: int, act: str = "leaky_relu", name: str = "generator"
) -> keras.Model:
    """The same as `generator2d` of residual blocks with batch normalisation; `channels` are the doubling blocks'."""
    inputs = keras.Input((latent,))
    x = keras.layers.Dense(base * base * channels[0], name="stage0")(inputs)
    x = keras.layers.Reshape((base, base, channels[0]))(x)
    for i, width in enumerate(channels, start=1):
        up = keras.layers.UpSampling2D(2)
        straight = _conv(width, 1, name=f"skip{i}")(up(x))
        x = up(activation(act)(norm_layer("batch", f"norm{i}a")(x)))
        x = _conv(width, kernel, name=f"stage{i}a")(x)
        x = activation(act)(norm_layer("batch", f"norm{i}b")(x))
        x = keras.layers.Add()([straight, _conv(width, kernel, name=f"stage{i}b")(x)])
    x = _conv(1, kernel, name="image")(activation(act)(norm_layer("batch", "norm")(x)))
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def residual_critic2d(
    size: int, first: int, channels: Sequence[int], kernel: int, classes: int = 0, name: str = "critic"
) -> keras.Model:
    """The same as `critic2d` of residual blocks, after a convolution with `first` channels."""
    inputs = keras.Input((size, size, 1))
    x = _conv(first, kernel, name="first")(inputs)
    for i, width in enumerate(channels):
        half = keras.layers.AveragePooling2D(2)
        straight = _conv(width, 1, name=f"skip{i}")(half(x))
        x = _conv(width, kernel, name=f"block{i}a")(leaky_relu(_SLOPE)(x))
        x = _conv(width, kernel, name=f"block{i}b")(leaky_relu(_SLOPE)(x))
        x = keras.layers.Add()([straight, half(x)])
    return _scored(inputs, x, classes, name)


def _scored(inputs: KerasTensor, x: KerasTensor, classes: int, name: str) -> keras.Model:
    x = keras.layers.Flatten()(x)
    outputs = keras.layers.Dense(1, name="score")(x)
    if classes:
        outputs = [outputs, keras.layers.Dense(classes, name="class")(x)]
    return keras.Model(inputs, outputs, name=name)


def image_classifier(
    shape: Sequence[int],
    channels: Sequence[int] = (32, 64, 128, 256),
    features: int = 128,
    seed: int = 0,
    name: str = "classifier",
) -> keras.Model:
    """`(n, H, W, 1)` -> [features `(n, features)` after their activation, logit `(n, 1)`].

    Two 3 x 3 convolutions (LeakyReLU 0.2) and a max pooling per entry of `channels`; Glorot-uniform weights that
    depend on the seed alone.
    """

    def init() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=1000 * seed + next(count))

    count = itertools.count(1)
    inputs = keras.Input((*shape, 1))
    x = inputs
    for width in channels:
        for _ in range(2):
            x = leaky_relu(_SLOPE)(keras.layers.Conv2D(width, 3, padding="same", kernel_initializer=init())(x))
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Dense(features, kernel_initializer=init())(keras.layers.Flatten()(x))
    x = keras.layers.Activation("linear", dtype="float32")(leaky_relu(_SLOPE)(x))
    score = keras.layers.Dense(1, kernel_initializer=init(), dtype="float32", name="score")(x)
    return keras.Model(inputs, [x, score], name=name)
