"""DRAI's networks: a generator with gated convolutions, two encoders, critics, and predictors of codes."""

import keras

from tfmed.compat import leaky_relu
from tfmed.nn.blocks import norm_layer
from tfmed.nn.gaussian import gaussian_head
from tfmed.nn.glu import GLU


def build_network(config, name):
    """A bare network, by name: "generator", "style_encoder", "content_encoder", "condition", a predictor
    "style_of_content" or "content_of_style", or a critic: "critic_image", and those of a picture with something else,
    "critic_class", "critic_style", "critic_content", "critic_class_style", "critic_class_content", "critic_cycle"."""
    c, channels = config, 3 if config.colour else 1
    sizes = {"class": c.condition_width, "style": c.style_size, "content": c.content_size}
    if name == "generator":
        return _generator(c, channels)
    if name == "condition":
        inputs = keras.Input((c.condition_width,))
        gated = GLU(name="gate")(keras.layers.Dense(4 * c.content_size, name="dense")(inputs))
        return keras.Model(inputs, gaussian_head(gated, c.content_size), name=name)
    if name.endswith("_encoder"):
        return _encoder(c, channels, sizes[name.removesuffix("_encoder")], name)
    if name.startswith("critic_"):
        joint = [sizes[kind] for kind in name.removeprefix("critic_").split("_") if kind in sizes]
        return _critic(c, 2 * channels if name == "critic_cycle" else channels, sum(joint) or None, name)
    target, _, source = name.partition("_of_")
    x = inputs = keras.Input((sizes[source],))
    for i, width in enumerate(c.predictor, 1):
        x = leaky_relu(0.2)(keras.layers.Dense(width, name=f"hidden{i}")(x))
    return keras.Model(inputs, keras.layers.Dense(sizes[target], dtype="float32", name="code")(x), name=name)


def _generator(c, channels):
    """(style, content) -> pictures in [-1, 1]: a dense stage, and doublings with gated convolutions."""
    inputs = [keras.Input((c.style_size,), name="style"), keras.Input((c.content_size,), name="content")]
    first, *rest = c.generator_channels
    base = c.size[0] >> len(rest)
    x = keras.layers.Dense(2 * first * base * base, use_bias=False, name="stage0")(keras.layers.Concatenate()(inputs))
    x = GLU(name="gate0")(norm_layer("batch", "norm0")(keras.layers.Reshape((base, base, 2 * first))(x)))
    for i, width in enumerate(rest, 1):
        x = keras.layers.UpSampling2D(2)(x)
        x = keras.layers.Conv2D(2 * width, 3, padding="same", use_bias=False, name=f"stage{i}")(x)
        x = GLU(name=f"gate{i}")(norm_layer("batch", f"norm{i}")(x))
    x = keras.layers.Conv2D(channels, 3, padding="same", name="picture")(x)
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name="generator")


def _trunk(c, x):
    """Halvings by convolutions with stride 2; no normalisation in the first."""
    for i, width in enumerate(c.encoder_channels):
        x = keras.layers.Conv2D(width, 4, 2, "same", use_bias=i == 0, name=f"conv{i}")(x)
        x = leaky_relu(0.2)(norm_layer("batch" if i else "none", f"norm{i}")(x))
    return x


def _encoder(c, channels, size, name):
    """Pictures in [-1, 1] -> (mean, log variance) of a code."""
    inputs = keras.Input((*c.size, channels))
    return keras.Model(inputs, gaussian_head(keras.layers.Flatten()(_trunk(c, inputs)), size), name=name)


def _critic(c, channels, joint, name):
    """Pictures, with `joint` also something of that size that is to belong to them -> score `(n, 1)`, no sigmoid."""
    inputs = [keras.Input((*c.size, channels), name="pictures")]
    x = _trunk(c, inputs[0])
    side = x.shape[1]
    if joint is not None:
        inputs.append(keras.Input((joint,), name="joint"))
        told = keras.layers.Dense(c.condition_size, name="told")(inputs[1])
        told = keras.layers.UpSampling2D(side)(keras.layers.Reshape((1, 1, c.condition_size))(told))
        width = c.encoder_channels[-1]
        x = keras.layers.Concatenate()([x, told])
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name="both")(x)
        x = leaky_relu(0.2)(norm_layer("batch", "norm_both")(x))
    x = keras.layers.Dense(1, dtype="float32", name="score")(keras.layers.Flatten()(x))
    return keras.Model(inputs if joint is not None else inputs[0], x, name=name)
