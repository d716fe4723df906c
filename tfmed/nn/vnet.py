"""V-Net as the mean-teacher line of semi-supervised segmentation uses it."""

from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dropout import Dropout, seeds
from tfmed.nn.unet import check_size

CONVOLUTIONS = (1, 2, 3, 3, 3)


def vnet(
    channels: int = 1,
    classes: int = 2,
    size: Sequence[int | None] = (None, None, None),
    width: int = 16,
    norm: str = "batch",
    residual: bool = False,
    dropout: float = 0.5,
    spatial_dropout: bool = True,
    always: bool = False,
    seed: int = 0,
    name: str = "vnet",
) -> keras.Model:
    """Volumes `(n, depth, height, width, channels)` -> logits `(n, depth, height, width, classes)`, float32.

    Milletari et al. 2016, in the form of UA-MT (Yu et al. 2019, released code), from which SASSNet, DTC and others
    start: kernels of 3, batch norm and ReLU; strided convolutions down and transposed ones up; skips are added, not
    joined; whole channels are dropped at the coarsest level and before the head. One channel and two classes make
    9,448,866 parameters. All sides are multiples of 16. `vnet(...).get_layer("encoder")` and `.get_layer("decoder")`
    are its halves; dropout sits in the decoder only, so `tfmed.nn.dropout.mc_mean` runs the encoder once.

    Args:
        channels: of a volume.
        classes: number of logits per voxel.
        size: (depth, height, width), None where unknown.
        width: channels of the finest level; each level below has twice as many.
        norm: "batch", "instance", "layer" or "none".
        residual: add a level's input to its output before the last ReLU (the original's; from the second level on).
        dropout: rate.
        spatial_dropout: drop whole channels.
        always: drop at inference too, whatever `training` says (batch norm then stays in inference mode).
        seed: of the dropout masks.
    """
    check_size(size, len(CONVOLUTIONS) - 1, 2)
    drawn = seeds(seed)
    x = inputs = keras.Input((*size, channels))
    features = []
    for i, layers in enumerate(CONVOLUTIONS):
        if i:
            x = keras.layers.Conv3D(width * 2**i, 2, 2, kernel_initializer="he_normal", name=f"pool{i}")(x)
            x = keras.layers.ReLU()(norm_layer(norm, f"pool{i}_norm")(x))
        x = _level(x, layers, width * 2**i, f"down{i}", norm, residual)
        features.append(x)
    encoder = keras.Model(inputs, features, name="encoder")

    skips = [keras.Input(feature.shape[1:]) for feature in features]
    x = Dropout(dropout, spatial_dropout, always, next(drawn), name="bottom_dropout")(skips[-1])
    for i in reversed(range(len(CONVOLUTIONS) - 1)):
        up = keras.layers.Conv3DTranspose(width * 2**i, 2, 2, kernel_initializer="he_normal", name=f"up{i}_transposed")
        x = keras.layers.ReLU()(norm_layer(norm, f"up{i}_transposed_norm")(up(x)))
        x = keras.layers.Add(name=f"up{i}_joined")([x, skips[i]])
        x = _level(x, CONVOLUTIONS[i], width * 2**i, f"up{i}", norm, residual)
    x = Dropout(dropout, spatial_dropout, always, next(drawn), name="head_dropout")(x)
    x = keras.layers.Conv3D(classes, 1, kernel_initializer="he_normal", name="head")(x)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(x)
    decoder = keras.Model(skips, logits, name="decoder")

    inputs = keras.Input((*size, channels))
    return keras.Model(inputs, decoder(encoder(inputs)), name=name)


def _level(x: KerasTensor, layers: int, width: int, label: str, norm: str, residual: bool) -> KerasTensor:
    start = x
    for j in range(layers):
        x = keras.layers.Conv3D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{label}_conv{j}")(x)
        x = norm_layer(norm, f"{label}_norm{j}")(x)
        if residual and j == layers - 1 and start.shape[-1] == width:
            x = keras.layers.Add(name=f"{label}_sum")([x, start])
        x = keras.layers.ReLU()(x)
    return x
