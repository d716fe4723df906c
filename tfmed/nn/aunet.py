"""The anisotropic U-Net ("au-net") of uncertainty slice sampling: valid convolutions, the fine levels in the plane."""

from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dropout import Dropout, seeds

FLAT = 2  # so many levels, from the finest, convolve and pool in the plane only


def aunet(
    channels: int = 1,
    classes: int = 2,
    size: Sequence[int | None] = (None, None, None),
    widths: Sequence[int] = (20, 40, 80, 160, 320),
    dropout: float = 0.25,
    norm: str = "batch",
    seed: int = 0,
    name: str = "aunet",
) -> keras.Model:
    """Volumes `(n, z, y, x, channels)` -> logits `(n, *output, classes)`, float32 (Chlebus et al. 2022, Fig. 1).

    The output has `margin` voxels less on each side: (20, 92, 92) for five levels. A level has two convolutions of
    extent 3, each followed by a norm and ReLU; the two finest levels convolve in the plane, deeper ones in the plane
    and then along z. Transposed convolutions go up and keep their channels, the cropped features of the encoder are
    joined, and single entries drop out at the end of each level of the decoder.

    `aunet(...).get_layer("encoder")` and `.get_layer("decoder")` are its halves; `tfmed.nn.dropout.mc_mean` uses them.
    The paper's figure, which shows the widths, is not at hand: these make 5,125,702 trainable parameters (the paper's
    network has 4,975,346).

    Args:
        channels: of an image.
        classes: number of logits per voxel.
        size: (z, y, x) of an input, None where unknown.
        widths: channels of each level, from the finest, at least two.
        dropout: rate.
        norm: "batch", "instance", "layer" or "none".
        seed: of the dropout masks.

    Raises:
        ValueError: no output has an input of this size.
    """
    check_input(size, len(widths))
    inputs = keras.Input((*size, channels))
    encoder = _encoder(channels, size, widths, norm)
    decoder = _decoder(encoder.output, classes, dropout, norm, seed)
    return keras.Model(inputs, decoder(encoder(inputs)), name=name)


def margin(levels: int = 5) -> tuple[int, ...]:
    """Voxels (z, y, x) on each side that the output lacks.

    Example:
        >>> margin(levels=5)
        (20, 92, 92)
    """
    return tuple(side // 2 for side in _loss(levels, 0))


def output_sizes(levels: int = 5) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """((z, y, x) multiple, (z, y, x) remainder): an output is `multiple * k + remainder` large along each axis.

    Five levels: z = 4 k (4, 8, ...), y and x = 16 k + 4 (4, 20, ..., 180, ...).
    """
    multiple = [1, 1, 1]
    for level in range(levels - 1):
        multiple = [m * f for m, f in zip(multiple, _factors(level), strict=True)]
    small = _way_up([0, 0, 0], levels, 0)
    return tuple(multiple), tuple(side % m for side, m in zip(small, multiple, strict=True))


def check_input(size: Sequence[int | None], levels: int) -> None:
    """Raise a ValueError that says which sizes there are, where a known side of an input is none of them."""
    edges, (multiples, remainders) = margin(levels), output_sizes(levels)
    for side, edge, multiple, remainder in zip(size, edges, multiples, remainders, strict=True):
        if side is not None and (side <= 2 * edge or (side - 2 * edge - remainder) % multiple):
            first = 2 * edge + (remainder or multiple)
            raise ValueError(
                f"size {tuple(size)}: {side} is no side of an input of {levels} levels; there are {first}, "
                f"{first + multiple}, {first + 2 * multiple}, ..."
            )


def _factors(level: int) -> tuple[int, int, int]:
    """By how much a level is smaller than the one above it, (z, y, x)."""
    return (1, 2, 2) if level < FLAT else (2, 2, 2)


def _shrinks(level: int) -> tuple[int, int, int]:
    """Voxels (z, y, x) that the two convolutions of a level take away."""
    return (0, 4, 4) if level < FLAT else (4, 4, 4)


def _way_up(bottom: Sequence[int], levels: int, level: int) -> list[int]:
    """Size of a level's output of the decoder, from that of the deepest level's convolutions."""
    size = list(bottom)
    for i in reversed(range(level, levels - 1)):
        size = [s * f - lost for s, f, lost in zip(size, _factors(i), _shrinks(i), strict=True)]
    return size


def _loss(levels: int, level: int) -> list[int]:
    """Voxels (z, y, x), both sides together, between a level's features of the encoder and its output of the decoder.

    At level 0 the convolutions of the encoder count as well: it is the loss of the network.
    """
    loss = list(_shrinks(levels - 1))
    for i in reversed(range(level, levels - 1)):
        loss = [s * f + lost for s, f, lost in zip(loss, _factors(i), _shrinks(i), strict=True)]
        loss = [s + lost for s, lost in zip(loss, _shrinks(i), strict=True)]
    return loss


def _encoder(channels: int, size: Sequence[int | None], widths: Sequence[int], norm: str) -> keras.Model:
    """Volumes -> list of features, one per level, from the finest, each cropped to what the decoder joins."""
    x = inputs = keras.Input((*size, channels))
    features, levels = [], len(widths)
    for i, width in enumerate(widths):
        if i:
            x = keras.layers.MaxPooling3D(_factors(i - 1), name=f"pool{i}")(x)
        x = _convolutions(x, width, i, norm, f"down{i}")
        if i < levels - 1:
            below = [s * f for s, f in zip(_loss(levels, i + 1), _factors(i), strict=True)]
            features.append(keras.layers.Cropping3D([side // 2 for side in below], name=f"down{i}_cropped")(x))
        else:
            features.append(x)
    return keras.Model(inputs, features, name="encoder")


def _decoder(features: Sequence[KerasTensor], classes: int, dropout: float, norm: str, seed: int) -> keras.Model:
    """List of features -> logits."""
    drawn = seeds(seed)
    inputs = [keras.Input(feature.shape[1:]) for feature in features]
    x = inputs[-1]
    for i, skip in reversed(list(enumerate(inputs[:-1]))):
        up = keras.layers.Conv3DTranspose(
            x.shape[-1], _factors(i), _factors(i), kernel_initializer="he_normal", name=f"up{i}_transposed"
        )
        x = keras.layers.Concatenate(name=f"up{i}_joined")([skip, up(x)])
        x = _convolutions(x, skip.shape[-1], i, norm, f"up{i}")
        x = Dropout(dropout, seed=next(drawn), name=f"up{i}_dropout")(x)
    x = keras.layers.Conv3D(classes, 1, kernel_initializer="he_normal", name="head")(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="logits")(x), name="decoder")


def _convolutions(x: KerasTensor, width: int, level: int, norm: str, label: str) -> KerasTensor:
    kernels = {"plane": (1, 3, 3)} if level < FLAT else {"plane": (1, 3, 3), "z": (3, 1, 1)}
    for j in range(2):
        for direction, kernel in kernels.items():
            name = f"{label}_{direction}{j}"
            x = keras.layers.Conv3D(width, kernel, use_bias=False, kernel_initializer="he_normal", name=name)(x)
            x = keras.layers.Activation("relu")(norm_layer(norm, f"{name}_norm")(x))
    return x
