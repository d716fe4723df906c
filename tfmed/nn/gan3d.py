"""Plain 3D GAN networks (3D DCGAN)."""

from collections.abc import Sequence

import keras

from tfmed.compat import leaky_relu
from tfmed.nn.blocks import conv_init, norm_layer


def dcgan3d_generator(
    latent: int, channels: Sequence[int], base: int = 4, norm: str = "batch", name: str = "generator3d"
) -> keras.Model:
    """`(n, latent)` -> `(n, s, s, s, 1)` in [-1, 1] (float32), with s = base * 2 ** len(channels).

    Args:
        channels: of the dense stage and of each transposed convolution but the last.
        norm: "batch", "instance" or "none".
    """
    biased = norm == "none"
    inputs = keras.Input((latent,))
    x = keras.layers.Dense(base**3 * channels[0], use_bias=biased, kernel_initializer=conv_init(), name="stage0")(
        inputs
    )
    x = keras.layers.Reshape((base, base, base, channels[0]))(x)
    x = keras.layers.ReLU()(norm_layer(norm, "norm0")(x))
    for i, width in enumerate(channels[1:], start=1):
        x = keras.layers.Conv3DTranspose(
            width, 4, 2, "same", use_bias=biased, kernel_initializer=conv_init(), name=f"stage{i}"
        )(x)
        x = keras.layers.ReLU()(norm_layer(norm, f"norm{i}")(x))
    x = keras.layers.Conv3DTranspose(1, 4, 2, "same", kernel_initializer=conv_init(), name=f"stage{len(channels)}")(x)
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def dcgan3d_critic(size: int, channels: Sequence[int], name: str = "critic3d") -> keras.Model:
    """`(n, size, size, size, 1)` -> score `(n, 1)`; no normalisation, so that a gradient penalty may be used."""
    inputs = keras.Input((size, size, size, 1))
    x = inputs
    for i, width in enumerate(channels):
        x = keras.layers.Conv3D(width, 4, 2, "same", kernel_initializer=conv_init(), name=f"block{i}")(x)
        x = leaky_relu(0.2)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=conv_init(), name="score")(x), name=name)
