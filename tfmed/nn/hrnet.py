"""HRNet (Sun et al. 2019): streams of four resolutions side by side, which exchange what they know again and again."""

import math
from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer

STRIDE = 32  # of the coarsest stream: sides are multiples of it
_HEAD_DEVIATION = 0.001  # of a head's first weights, as in the public code of pose estimation


def hrnet(
    channels: int,
    size: Sequence[int | None] = (None, None),
    widths: Sequence[int] = (32, 64, 128, 256),
    modules: Sequence[int] = (1, 4, 3),
    blocks: int = 4,
    norm: str = "batch",
    name: str = "hrnet",
) -> keras.Model:
    """Images `(n, height, width, channels)` -> features of the finest stream `(n, height / 4, width / 4, widths[0])`.

    Two convolutions with stride 2 and four bottlenecks of 256 channels come first. Stage s of 2 to 4 then has s streams
    at 1/4, 1/8, ... of the sides; each of its modules is `blocks` residual blocks per stream, after which every stream
    is the sum of all (finer ones by convolutions with stride 2, coarser ones by 1 x 1 convolutions and repetition).
    Convolutions are followed by a norm and have no bias; stride 2 pads a pixel on both sides, as the published networks
    do. The default is HRNet-W32 of pose estimation; (18, 36, 72, 144) is W18.

    Args:
        channels: of an image.
        size: (height, width), None where unknown; multiples of 32.
        widths: channels of the four streams.
        modules: of stages 2, 3 and 4.
        blocks: residual blocks of two convolutions, per stream and module.
        norm: "batch", "instance", "layer" or "none".

    Raises:
        ValueError: not four widths and three stages, or sides that are no multiples of 32.

    Example:
        >>> hrnet(3, (64, 96), (8, 16, 32, 64), (1, 1, 1)).output_shape
        (None, 16, 24, 8)
    """
    if len(widths) != 4 or len(modules) != 3:
        found = f"got {len(widths)} and {len(modules)}"
        raise ValueError(f"widths of 4 streams and modules of 3 stages are needed, {found}")
    for side in size:
        if side is not None and side % STRIDE:
            raise ValueError(f"size {tuple(size)}: a side of {side} is no multiple of {STRIDE}")
    x = inputs = keras.Input((*size, channels))
    for i in range(2):
        x = _conv(x, 64, 3, 2, norm, f"stem{i}")
    for i in range(4):
        x = _bottleneck(x, 64, norm, f"stage1_block{i}")
    streams = [_conv(x, widths[0], 3, 1, norm, "stage2_enter0")]
    for stage, count in enumerate(modules, 2):
        last = x if stage == 2 else streams[-1]
        streams.append(_conv(last, widths[stage - 1], 3, 2, norm, f"stage{stage}_enter{stage - 1}"))
        for module in range(count):
            label = f"stage{stage}_module{module}"
            for i, width in enumerate(widths[:stage]):
                for block in range(blocks):
                    streams[i] = _basic(streams[i], width, norm, f"{label}_stream{i}_block{block}")
            finest_only = (stage, module) == (4, count - 1)
            into = range(1 if finest_only else stage)
            streams = [_fused(streams, i, widths, norm, f"{label}_fuse{i}") for i in into]
    return keras.Model(inputs, streams[0], name=name)


def hrnet_features(
    channels: int,
    maps: int,
    size: Sequence[int | None] = (None, None),
    widths: Sequence[int] = (18, 36, 72, 144),
    modules: Sequence[int] = (1, 4, 3),
    blocks: int = 4,
    norm: str = "batch",
    name: str = "hrnet_features",
) -> keras.Model:
    """Images `(n, height, width, channels)` -> features `(n, height / 4, width / 4, maps)`.

    The finest stream of `hrnet` goes through a 1 x 1 convolution, a norm and ReLU.

    Args:
        maps: number of features per pixel.
        channels, size, widths, modules, blocks, norm: see `hrnet`.
    """
    inputs = keras.Input((*size, channels))
    x = _conv(hrnet(channels, size, widths, modules, blocks, norm)(inputs), maps, 1, 1, norm, "features")
    return keras.Model(inputs, x, name=name)


def hrnet_maps(
    channels: int,
    classes: int,
    size: Sequence[int | None] = (None, None),
    widths: Sequence[int] = (32, 64, 128, 256),
    modules: Sequence[int] = (1, 4, 3),
    blocks: int = 4,
    norm: str = "batch",
    prior: float = 0.5,
    name: str = "hrnet_maps",
) -> keras.Model:
    """Images `(n, height, width, channels)` -> logits `(n, height, width, classes)`, float32.

    The features of `hrnet` go through a 1 x 1 convolution, the layer "head", and are enlarged four times linearly.

    Args:
        classes: number of logits per pixel.
        channels, size, widths, modules, blocks, norm: see `hrnet`.
        prior: what the logits' sigmoid is at first, everywhere: the head's weights begin near 0, as published, and its
            offsets so (Lin et al. 2017, Sect. 4.1). Where few pixels are above 0 a small one keeps the first steps from
            driving all of them to 0 for good.
    """
    backbone = hrnet(channels, size, widths, modules, blocks, norm)
    inputs = keras.Input((*size, channels))
    starts = {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=_HEAD_DEVIATION),
        "bias_initializer": keras.initializers.Constant(math.log(prior / (1.0 - prior))),
    }
    x = keras.layers.Conv2D(classes, 1, name="head", **starts)(backbone(inputs))
    x = keras.layers.UpSampling2D(4, interpolation="bilinear", name="enlarged")(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="logits")(x), name=name)


def _fused(streams: Sequence[KerasTensor], i: int, widths: Sequence[int], norm: str, label: str) -> KerasTensor:
    """Stream i after the exchange: the sum of all streams at its resolution, then ReLU."""
    moved = []
    for j, x in enumerate(streams):
        if j > i:
            x = _conv(x, widths[i], 1, 1, norm, f"{label}_from{j}", activate=False)
            x = keras.layers.UpSampling2D(2 ** (j - i), name=f"{label}_from{j}_up")(x)
        for step in range(i - j):
            last = step == i - j - 1
            width = widths[i] if last else widths[j]
            x = _conv(x, width, 3, 2, norm, f"{label}_from{j}_{step}", activate=not last)
        moved.append(x)
    return keras.layers.ReLU(name=f"{label}_relu")(keras.layers.Add(name=f"{label}_sum")(moved))


def _basic(x: KerasTensor, width: int, norm: str, label: str) -> KerasTensor:
    """Two 3 x 3 convolutions, and what came in added."""
    y = _conv(x, width, 3, 1, norm, f"{label}_0")
    return _added(x, _conv(y, width, 3, 1, norm, f"{label}_1", activate=False), label)


def _bottleneck(x: KerasTensor, width: int, norm: str, label: str) -> KerasTensor:
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the last to four times the width; what came in is brought to that width."""
    y = _conv(_conv(x, width, 1, 1, norm, f"{label}_0"), width, 3, 1, norm, f"{label}_1")
    y = _conv(y, 4 * width, 1, 1, norm, f"{label}_2", activate=False)
    if x.shape[-1] != 4 * width:
        x = _conv(x, 4 * width, 1, 1, norm, f"{label}_shortcut", activate=False)
    return _added(x, y, label)


def _added(x: KerasTensor, y: KerasTensor, label: str) -> KerasTensor:
    return keras.layers.ReLU(name=f"{label}_relu")(keras.layers.Add(name=f"{label}_sum")([x, y]))


def _conv(
    x: KerasTensor, width: int, kernel: int, stride: int, norm: str, label: str, activate: bool = True
) -> KerasTensor:
    if stride > 1:
        x = keras.layers.ZeroPadding2D(1, name=f"{label}_pad")(x)
    how = {"padding": "valid" if stride > 1 else "same", "use_bias": False, "kernel_initializer": "he_normal"}
    x = keras.layers.Conv2D(width, kernel, stride, name=f"{label}_conv", **how)(x)
    x = norm_layer(norm, f"{label}_norm")(x)
    return keras.layers.ReLU(name=f"{label}_conv_relu")(x) if activate else x
