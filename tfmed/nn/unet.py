"""U-Nets in two and three dimensions, in two halves, so that Monte Carlo passes can reuse the encoder."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import KerasTensor, leaky_relu
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dropout import Dropout, seeds

CONV = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
TRANSPOSED = {2: keras.layers.Conv2DTranspose, 3: keras.layers.Conv3DTranspose}
POOL = {2: keras.layers.MaxPooling2D, 3: keras.layers.MaxPooling3D}


def mc_unet3d(
    channels: int = 1,
    classes: int = 2,
    size: Sequence[int | None] = (None, None, None),
    dropout: float = 0.3,
    seed: int = 0,
    name: str = "mc_unet3d",
) -> keras.Model:
    """The 3-D U-Net with Monte Carlo dropout of GBDL (Wang and Lukasiewicz 2022, released code).

    Volumes `(n, slices, height, width, channels)` -> logits `(n, slices, height, width, classes)`, with any number of
    slices, height and width multiples of 16. It pools in the plane only, has instance norm without scale and shift, and
    drops whole channels before each level of the decoder. The released code upsamples with aligned corners, this one
    with half-pixel centres. One channel and two classes make 9,596,738 parameters.
    """
    widths = (32, 64, 96, 192, 384)
    how = dict(factors=(1, 2, 2), norm="instance", affine=False, widen="second", dropout=dropout, seed=seed)
    return unet(channels, classes, size, widths, name=name, **how)


def unet(
    channels: int,
    classes: int,
    size: Sequence[int | None] = (None, None),
    widths: Sequence[int] = (32, 64, 128, 256),
    name: str = "unet",
    **options: Any,
) -> keras.Model:
    """Images `(n, *size, channels)` -> logits `(n, *size, classes)`, float32 (Ronneberger et al. 2015, padded).

    `unet(...).get_layer("encoder")` and `.get_layer("decoder")` are its halves; `tfmed.nn.dropout.mc_mean` uses them.

    Args:
        channels: of an image.
        classes: number of logits per voxel; 0: the finest features instead, `(n, *size, widths[0])`.
        size: (height, width) or (depth, height, width), None where unknown; its length decides between 2-D and 3-D.
        widths: channels of each level, from the finest. Every side is a multiple of factor ** (len(widths) - 1).
        options: see `unet_encoder` and `unet_decoder`, which both get all of them.

    Example:
        >>> network = unet(channels=1, classes=3, size=(32, 32), widths=(4, 8))
        >>> network(tf.zeros((2, 32, 32, 1))).shape.as_list()
        [2, 32, 32, 3]
    """
    known = {*inspect.signature(unet_encoder).parameters, *inspect.signature(unet_decoder).parameters}
    if unknown := sorted(set(options) - known):
        raise TypeError(f"unknown options of a U-Net: {', '.join(unknown)}")
    check_size(size, len(widths) - 1, options.get("factors", 2))
    encoder = unet_encoder(channels, size, widths, **options)
    decoder = unet_decoder(encoder.output, classes, **options)
    inputs = keras.Input((*size, channels))
    return keras.Model(inputs, decoder(encoder(inputs)), name=name)


def unet_encoder(
    channels: int,
    size: Sequence[int | None],
    widths: Sequence[int],
    factors: int | Sequence[int] = 2,
    norm: str = "instance",
    affine: bool = True,
    activation: str = "relu",
    residual: bool = False,
    widen: str = "first",
    dropout: float = 0.0,
    dropout_in: str = "decoder",
    spatial_dropout: bool = True,
    always: bool = False,
    seed: int = 0,
    activation_first: bool = False,
    conv_bias: bool = True,
    **decoder_options: Any,
) -> keras.Model:
    """Images `(n, *size, channels)` -> list of features, one per level, from the finest.

    Args:
        factors: by how much a level is smaller than the one above it, 1 or 2, one number or one per axis.
        norm: "batch", "instance", "layer" or "none"; every level has two of convolution, norm, activation.
        affine: instance and layer norm learn a scale and a shift.
        activation: "relu" or "leaky_relu" (slope 0.01).
        residual: add the input of a level's two convolutions to their output, before the last activation.
        widen: which of a level's two convolutions widens, "first" or "second"; "half": the first has half of the width
            (3-D U-Net, Cicek et al. 2016).
        dropout: rate.
        dropout_in: "decoder" (the joined input of each level on the way up), or "all" (that of each level but the
            first on the way down as well).
        spatial_dropout: drop whole channels.
        always: drop at inference too, whatever `training` says.
        seed: of the dropout masks.
        activation_first: convolution, activation, norm instead of convolution, norm, activation.
        conv_bias: convolutions in front of a norm have a bias.
    """
    if dropout_in not in ("decoder", "all"):
        raise ValueError(f"dropout_in is {dropout_in!r}; it may be decoder or all")
    drawn = seeds(seed)
    x = inputs = keras.Input((*size, channels))
    features = []
    for i, width in enumerate(widths):
        if i:
            x = POOL[len(size)](_per_axis(factors, len(size)), name=f"pool{i}")(x)
            if dropout_in == "all":
                x = Dropout(dropout, spatial_dropout, always, next(drawn), name=f"down{i}_dropout")(x)
        between = {"second": widths[max(i - 1, 0)], "half": max(width // 2, 1)}.get(widen, width)
        x = _level(x, (between, width), norm, affine, activation, residual, f"down{i}", activation_first, conv_bias)
        features.append(x)
    return keras.Model(inputs, features, name="encoder")


def unet_decoder(
    features: Sequence[KerasTensor],
    classes: int,
    factors: int | Sequence[int] = 2,
    norm: str = "instance",
    affine: bool = True,
    activation: str = "relu",
    residual: bool = False,
    upsample: str = "linear",
    dropout: float = 0.0,
    spatial_dropout: bool = True,
    always: bool = False,
    seed: int = 0,
    deep_supervision: int = 0,
    head_kernel: int = 1,
    transposed_kernel: int | None = None,
    decoder_convolutions: int = 2,
    up_kernel: int = 0,
    activation_first: bool = False,
    conv_bias: bool = True,
    without_skips: int = 0,
    **encoder_options: Any,
) -> keras.Model:
    """List of features -> logits `(n, *size, classes)`; with deep supervision a list of logits, from the finest.

    Args (others as for `unet_encoder`):
        features: the encoder's outputs (only their shapes matter).
        classes: number of logits per voxel; 0: no last convolution, the finest features are the output.
        upsample: "linear", "nearest", "transposed" (a transposed convolution to the width of the level above) or
            "transposed_same" (one that keeps its width, without bias: 3-D U-Net, Cicek et al. 2016).
        deep_supervision: number of coarser levels that give logits too.
        head_kernel: size of the last convolution.
        transposed_kernel: size of the transposed convolutions; None: the factors, so that no voxels overlap.
        decoder_convolutions: of convolution, norm, activation in each level on the way up, at least 1.
        up_kernel: size of a convolution to the width of the level above, with activation and norm, behind linear or
            nearest upsampling; 0 for none.
        without_skips: so many of the finest levels are made from the level below alone; the decoder takes `features`
            without theirs.
    """
    drawn = seeds(seed + 1)
    inputs = [keras.Input(feature.shape[1:]) for feature in features]
    rank = len(inputs[0].shape) - 2
    factors = _per_axis(factors, rank)
    x, outputs = inputs[-1], list[KerasTensor]()
    for i, skip in reversed(list(enumerate(inputs[:-1]))):
        width = skip.shape[-1]
        if upsample.startswith("transposed"):
            same = upsample == "transposed_same"
            he = dict(kernel_initializer="he_normal", use_bias=not same, name=f"up{i}_transposed")
            kernel = transposed_kernel or factors
            x = TRANSPOSED[rank](x.shape[-1] if same else width, kernel, factors, "same", **he)(x)
        else:
            x = Upsample(factors, upsample, name=f"up{i}_upsample")(x)
            if up_kernel:
                label = f"up{i}_reduced_"
                x = _convolved(x, width, norm, affine, activation, label, up_kernel, activation_first, conv_bias)
        x = keras.layers.Concatenate(name=f"up{i}_joined")([skip, x]) if i >= without_skips else x
        x = Dropout(dropout, spatial_dropout, always, next(drawn), name=f"up{i}_dropout")(x)
        widths = (width,) * decoder_convolutions
        x = _level(x, widths, norm, affine, activation, residual, f"up{i}", activation_first, conv_bias)
        if i <= deep_supervision and classes:
            y = CONV[rank](classes, head_kernel, padding="same", kernel_initializer="he_normal", name=f"head{i}")(x)
            outputs.insert(0, keras.layers.Activation("linear", dtype="float32", name=f"logits{i}")(y))
    outputs = outputs or [x]
    outputs = outputs if deep_supervision else outputs[0]
    return keras.Model(inputs[without_skips:], outputs, name="decoder")


@keras.utils.register_keras_serializable("tfmed")
class Upsample(keras.layers.Layer):
    """Doubles chosen axes of `(n, *size, channels)`: linearly (half-pixel centres, border continued) or by repeating.

    Args:
        factors: 1 or 2 for each spatial axis.
        interpolation: "linear" or "nearest".
    """

    def __init__(self, factors: Sequence[int], interpolation: str = "linear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if interpolation not in ("linear", "nearest") or not set(factors) <= {1, 2}:
            raise ValueError(f"cannot upsample {interpolation!r} by {tuple(factors)}; linear or nearest, by 1 or 2")
        self.factors, self.interpolation = tuple(factors), interpolation

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`x` with the chosen axes doubled."""
        for axis, factor in enumerate(self.factors, 1):
            if factor == 2:
                x = self._double(x, axis)
        return x

    def _double(self, x: tf.Tensor, axis: int) -> tf.Tensor:
        if self.interpolation == "nearest":
            return tf.repeat(x, 2, axis)
        first, rest = tf.split(x, [1, tf.shape(x)[axis] - 1], axis)
        most, last = tf.split(x, [tf.shape(x)[axis] - 1, 1], axis)
        before = 0.75 * x + 0.25 * tf.concat([first, most], axis)
        after = 0.75 * x + 0.25 * tf.concat([rest, last], axis)
        shape = tf.shape(x)
        both = tf.stack([before, after], axis + 1)
        both = tf.reshape(both, tf.concat([shape[:axis], [2 * shape[axis]], shape[axis + 1 :]], 0))
        static = x.shape.as_list()
        static[axis] = static[axis] and 2 * static[axis]
        return tf.ensure_shape(both, static)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the output."""
        size = tuple(side and side * f for side, f in zip(input_shape[1:-1], self.factors, strict=True))
        return (input_shape[0], *size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        return {**super().get_config(), "factors": self.factors, "interpolation": self.interpolation}


def _level(
    x: KerasTensor,
    widths: Sequence[int],
    norm: str,
    affine: bool,
    activation: str,
    residual: bool,
    label: str,
    activation_first: bool,
    bias: bool,
) -> KerasTensor:
    rank, start = len(x.shape) - 2, x
    for j, width in enumerate(widths):
        if not residual or j < len(widths) - 1:
            x = _convolved(x, width, norm, affine, activation, f"{label}_", 3, activation_first, bias, j)
            continue
        how = dict(padding="same", use_bias=bias, kernel_initializer="he_normal", name=f"{label}_conv{j}")
        conv = CONV[rank](width, 3, **how)
        x = norm_layer(norm, f"{label}_norm{j}", affine)(conv(x))
        if start.shape[-1] != width:
            start = CONV[rank](width, 1, kernel_initializer="he_normal", name=f"{label}_shortcut")(start)
        x = _activated(keras.layers.Add(name=f"{label}_sum")([x, start]), activation)
    return x


def _convolved(
    x: KerasTensor,
    width: int,
    norm: str,
    affine: bool,
    activation: str,
    label: str,
    kernel: int,
    activation_first: bool,
    bias: bool,
    number: int = 0,
) -> KerasTensor:
    """Convolution, norm and activation, in one of two orders."""
    rank = len(x.shape) - 2
    how = dict(padding="same", use_bias=bias, kernel_initializer="he_normal", name=f"{label}conv{number}")
    conv = CONV[rank](width, kernel, **how)
    normed = norm_layer(norm, f"{label}norm{number}", affine)
    return normed(_activated(conv(x), activation)) if activation_first else _activated(normed(conv(x)), activation)


def _activated(x: KerasTensor, activation: str) -> KerasTensor:
    return leaky_relu(0.01)(x) if activation == "leaky_relu" else keras.layers.Activation(activation)(x)


def _per_axis(factors: int | Sequence[int], rank: int) -> tuple[int, ...]:
    factors = (factors,) * rank if isinstance(factors, int) else tuple(factors)
    if len(factors) != rank or not set(factors) <= {1, 2}:
        raise ValueError(f"factors {factors}: one number, 1 or 2, for each of {rank} axes")
    return factors


def check_size(size: Sequence[int | None], halvings: int, factors: int | Sequence[int]) -> None:
    """Raise a ValueError that names the multiples, where a known side is none."""
    multiples = [factor**halvings for factor in _per_axis(factors, len(size))]
    if any(side is not None and side % multiple for side, multiple in zip(size, multiples, strict=True)):
        raise ValueError(f"size {tuple(size)}: the sides must be multiples of {tuple(multiples)}")
