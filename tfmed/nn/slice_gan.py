"""Networks of GANs that make volumes slice by slice, as MoCoGAN makes films: of slices, and of slabs of them."""

from collections.abc import Sequence

import keras

from tfmed.compat import leaky_relu
from tfmed.nn.blocks import conv_init, norm_layer


def slice_generator(
    latent: int, channels: Sequence[int], base: int = 7, norm: str = "batch", slice_channels: int = 3,
    name: str = "slice_generator",
) -> keras.Model:  # fmt: skip
    """A DCGAN generator: `(n, latent)` -> `(n, size, size, slice_channels)` in [-1, 1] (float32).

    The size is base * 2 ** len(channels).

    Args:
        latent: entries of the noise.
        channels: of the dense stage and of each transposed convolution but the last; the paper size has five.
        norm: "batch", "instance" or "none".
    """
    biased = norm == "none"
    inputs = keras.Input((latent,))
    x = keras.layers.Dense(base * base * channels[0], use_bias=biased, kernel_initializer=conv_init(), name="stage0")(
        inputs
    )
    x = keras.layers.Reshape((base, base, channels[0]))(x)
    x = keras.layers.ReLU()(norm_layer(norm, "norm0")(x))
    for i, width in enumerate(channels[1:], start=1):
        x = _up(width, biased, f"stage{i}")(x)
        x = keras.layers.ReLU()(norm_layer(norm, f"norm{i}")(x))
    x = _up(slice_channels, True, f"stage{len(channels)}")(x)
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def slice_critic(
    size: int, channels: Sequence[int], norm: str = "none", slice_channels: int = 3, position: bool = True,
    name: str = "slice_critic",
) -> keras.Model:  # fmt: skip
    """A critic of slices: `(n, size, size, slice_channels [+ 1])` -> score `(n, 1)`.

    Args:
        channels: of the stride-2 convolutions.
        norm: "none", "instance" or "layer" (a penalty per image forbids batch statistics); not in the first block.
        position: whether a constant channel tells the slice's position, -1 (lowest) to 1.
    """
    inputs = keras.Input((size, size, slice_channels + int(position)))
    x = inputs
    for i, width in enumerate(channels):
        x = keras.layers.Conv2D(width, 4, 2, "same", kernel_initializer=conv_init(), name=f"block{i}")(x)
        x = leaky_relu(0.2)(norm_layer(norm if i else "none")(x))
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=conv_init(), name="score")(x), name=name)


def slab_critic(
    length: int, size: int, channels: Sequence[int], depth_kernel: int = 4, norm: str = "none",
    name: str = "slab_critic",
) -> keras.Model:  # fmt: skip
    """A critic of slabs: `(n, length, size, size, 1)` -> patch scores `(n, depth, height, width, 1)`.

    Kernels are valid along the body axis and stride 2 within the slice (MoCoGAN's video critic).

    Args:
        length: slices in a slab.
        depth_kernel: kernel size along the body axis; `length > (len(channels) + 1) * (depth_kernel - 1)`.
    """
    inputs = keras.Input((length, size, size, 1))
    x = inputs
    for i, width in enumerate(channels):
        x = keras.layers.ZeroPadding3D((0, 1, 1))(x)
        kernel = (depth_kernel, 4, 4)
        x = keras.layers.Conv3D(width, kernel, (1, 2, 2), kernel_initializer=conv_init(), name=f"block{i}")(x)
        x = leaky_relu(0.2)(norm_layer(norm if i else "none")(x))
    x = keras.layers.Conv3D(1, (depth_kernel, 4, 4), kernel_initializer=conv_init(), name="score")(x)
    return keras.Model(inputs, x, name=name)


def _up(channels: int, use_bias: bool, name: str) -> keras.layers.Layer:
    return keras.layers.Conv2DTranspose(
        channels, 4, 2, "same", use_bias=use_bias, kernel_initializer=conv_init(), name=name
    )
