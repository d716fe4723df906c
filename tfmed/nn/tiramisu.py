"""FC-DenseNet, "Tiramisu": a U-Net of densely connected blocks for 2-D segmentation."""

from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dropout import Dropout, seeds

DECODERS = {"stated": (12, 10, 7, 5, 4), "code": (15, 12, 10, 7, 5)}


def fc_densenet(
    channels: int,
    classes: int,
    size: Sequence[int | None] = (None, None),
    growth: int = 16,
    first: int = 48,
    encoder_layers: Sequence[int] = (4, 5, 7, 10, 12),
    bottom_layers: int = 15,
    decoder_layers: str | Sequence[int] = "stated",
    dropout: float = 0.2,
    spatial_dropout: bool = False,
    norm: str = "batch",
    seed: int = 0,
    name: str = "fc_densenet",
) -> keras.Model:
    """Images `(n, height, width, channels)` -> logits `(n, height, width, classes)`, float32.

    Jegou et al. 2017 ("The One Hundred Layers Tiramisu"); the defaults are FC-DenseNet-103 as EquiReg uses it (Table
    2). That table prints the layers 12, 10, 7, 5, 4 for the decoder beside widths that need 15, 12, 10, 7 there: both
    can be had. With four channels and four classes the network has 9,319,956 (`stated`) or 11,119,684 (`code`)
    trainable parameters. Both sides of an image must be multiples of 2 ** len(encoder_layers), 32 by default.

    Args:
        channels: of an image.
        classes: number of logits per pixel.
        size: (height, width), None where any multiple will do.
        growth: maps that one layer adds (k).
        first: maps of the first convolution.
        encoder_layers: layers of each dense block on the way down.
        bottom_layers: layers of the block between the ways.
        decoder_layers: layers of each block on the way up, from the coarsest: "stated", "code", or as many numbers as
            `encoder_layers` has.
        dropout: rate after each convolution of a dense layer and of a transition down.
        spatial_dropout: drop whole maps.
        norm: "batch", "instance", "layer" or "none".
        seed: of the dropout masks.
    """
    decoder_layers = DECODERS.get(decoder_layers, decoder_layers) if isinstance(decoder_layers, str) else decoder_layers
    if isinstance(decoder_layers, str) or len(decoder_layers) != len(encoder_layers):
        known = ", ".join(DECODERS)
        raise ValueError(f"decoder_layers is {decoder_layers!r}; it may be {known} or {len(encoder_layers)} numbers")
    multiple = 2 ** len(encoder_layers)
    if any(side is not None and side % multiple for side in size):
        raise ValueError(f"image size {tuple(size)}: both sides must be multiples of {multiple}")
    drawn = seeds(seed)

    def layer(x: KerasTensor, width: int, kernel: int, label: str) -> KerasTensor:
        x = keras.layers.ReLU()(norm_layer(norm, f"{label}_norm")(x))
        x = _conv(width, kernel, f"{label}_conv")(x)
        return Dropout(dropout, spatial_dropout, seed=next(drawn), name=f"{label}_dropout")(x)

    def block(x: KerasTensor, layers: int, label: str) -> tuple[KerasTensor, KerasTensor]:
        """The new maps of a dense block, and its input with them."""
        made = []
        for i in range(layers):
            made.append(layer(x, growth, 3, f"{label}_{i}"))
            x = _join([x, made[-1]], label if i == layers - 1 else None)
        return _join(made, f"{label}_new"), x

    inputs = keras.Input((*size, channels))
    x = _conv(first, 3, "first")(inputs)
    skips = []
    for i, layers in enumerate(encoder_layers):
        _, x = block(x, layers, f"down{i}")
        skips.append(x)
        x = layer(x, x.shape[-1], 1, f"transition{i}")
        x = keras.layers.MaxPooling2D(2, name=f"transition{i}")(x)
    x, _ = block(x, bottom_layers, "bottom")
    for i, layers in reversed(list(enumerate(decoder_layers[::-1]))):
        x = keras.layers.Conv2DTranspose(
            x.shape[-1], 3, 2, "same", kernel_initializer="he_normal", name=f"transition_up{i}"
        )(x)
        x = _join([x, skips[i]], f"joined{i}")
        x, _ = block(x, layers, f"up{i}")
    x = _conv(classes, 1, "head")(x)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="logits")(x), name=name)


def _conv(width: int, kernel: int, name: str) -> keras.layers.Layer:
    return keras.layers.Conv2D(width, kernel, padding="same", kernel_initializer="he_normal", name=name)


def _join(branches: Sequence[KerasTensor], name: str | None = None) -> KerasTensor:
    return keras.layers.Concatenate(name=name)(branches) if len(branches) > 1 else branches[0]
