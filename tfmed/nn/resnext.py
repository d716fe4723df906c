"""ResNeXt (Xie et al. 2017) as the encoder of a U-Net: bottlenecks whose 3 x 3 convolutions are in groups."""

from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer
from tfmed.nn.unet import Upsample


def resnext_encoder(
    channels: int,
    blocks: Sequence[int] = (3, 4, 6, 3),
    first: int = 64,
    groups: int = 32,
    group_width: int = 4,
    name: str = "encoder",
) -> keras.Model:
    """Images `(n, h, w, channels)` -> list of features at 1/2, 1/4, 1/8, ... of their size, each `(n, h', w', c)`.

    By default ResNeXt-50 32x4d without its classifier, of 22,979,904 trainable parameters for three channels: a 7 x 7
    convolution of 64 maps at 1/2, then stages of 256, 512, 1024 and 2048 maps from 1/4 on.

    Args:
        channels: of an image.
        blocks: bottlenecks of each stage; every side of an image is a multiple of 2 ** (stages + 1).
        first: maps of the first convolution; stage i gives 4 * first * 2^i.
        groups: of the 3 x 3 convolutions ("cardinality").
        group_width: maps of a group in the first stage; they double from stage to stage.
    """
    inputs = keras.Input((None, None, channels))
    x = _conv_norm(inputs, first, 7, "stem", strides=2)
    features = [x]
    x = keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage and not block else 1
            width, out = groups * group_width * 2**stage, 4 * first * 2**stage
            x = bottleneck(x, width, out, groups, strides, f"stage{stage}_block{block}")
        features.append(x)
    return keras.Model(inputs, features, name=name)


def bottleneck(x: KerasTensor, width: int, out: int, groups: int, strides: int, name: str) -> KerasTensor:
    """1 x 1 to `width` maps, 3 x 3 in groups, 1 x 1 to `out`, and the shortcut added; all with batch norm, and ReLU."""
    y = _conv_norm(x, width, 1, f"{name}_reduce")
    y = _conv_norm(y, width, 3, f"{name}_grouped", strides, groups)
    y = _conv_norm(y, out, 1, f"{name}_expand", relu=False)
    if strides > 1:  # TensorFlow 2.15's gradient of a 1 x 1 convolution with stride 2 writes where it must not, on CPUs
        x = keras.layers.MaxPooling2D(1, strides, name=f"{name}_shortcut_pixels")(x)
    if strides > 1 or x.shape[-1] != out:
        x = _conv_norm(x, out, 1, f"{name}_shortcut", relu=False)
    return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_sum")([x, y]))


def resnext_unet(
    channels: int,
    classes: int,
    blocks: Sequence[int] = (3, 4, 6, 3),
    first: int = 64,
    groups: int = 32,
    group_width: int = 4,
    decoder: Sequence[int] = (256, 128, 64, 32, 16),
    name: str = "unet_resnext",
) -> keras.Model:
    """Images `(n, h, w, channels)` -> logits `(n, h, w, classes)`, float32: a U-Net on `resnext_encoder`.

    Each step on the way up repeats pixels twice along each axis, joins the encoder's features of that size (none at
    the full size), and has two 3 x 3 convolutions with batch norm and ReLU.

    Args:
        classes: number of logits per pixel.
        blocks, first, groups, group_width: see `resnext_encoder`.
        decoder: maps of each step, from the coarsest; one more than there are stages.

    Raises:
        ValueError: `decoder` has another length.
    """
    if len(decoder) != len(blocks) + 1:
        raise ValueError(f"decoder has {len(decoder)} numbers for {len(blocks)} stages; give one more than stages")
    encoder = resnext_encoder(channels, blocks, first, groups, group_width)
    inputs = keras.Input((None, None, channels))
    *skips, x = encoder(inputs)
    for step, width in enumerate(decoder):
        x = Upsample((2, 2), "nearest", name=f"up{step}_upsample")(x)
        if skips:
            x = keras.layers.Concatenate(name=f"up{step}_joined")([skips.pop(), x])
        for k in range(2):
            x = _conv_norm(x, width, 3, f"up{step}_conv{k}")
    x = keras.layers.Conv2D(classes, 1, kernel_initializer="he_normal", name="head")(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="logits")(x), name=name)


def _conv_norm(
    x: KerasTensor, width: int, kernel: int, name: str, strides: int = 1, groups: int = 1, relu: bool = True
) -> KerasTensor:
    conv = keras.layers.Conv2D(
        width, kernel, strides, "same", groups=groups, use_bias=False, kernel_initializer="he_normal", name=name
    )
    x = norm_layer("batch", f"{name}_norm")(conv(x))
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
