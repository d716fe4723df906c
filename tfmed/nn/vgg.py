"""VGG (Simonyan & Zisserman 2015): 16 as a classifier of small patches in any width, and with batch normalisation for
images of any size; 16 and 19 for their features."""

from collections.abc import Sequence
from typing import Literal

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dropout import Dropout
from tfmed.nn.unet import Upsample

_WIDTHS = (1, 2, 4, 8, 8)  # of the blocks, over the first one's
CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # of each block
LAYERS = {
    name: tuple(f"block{i}_conv{j}" for i, count in enumerate(counts, 1) for j in range(1, count + 1))
    for name, counts in CONVOLUTIONS.items()
}
_BACK = ((4,), (4, 4, 4, 2), (2, 1), (1,))  # widths of each level on the way back from block4_conv1
SIDE = 32  # the least that five halvings leave a pixel of


def vgg16(
    channels: int = 3,
    outputs: int = 1,
    width: int = 64,
    side: int = SIDE,
    hidden: int = 256,
    dropout: float = 0.5,
    weights: Literal["random", "imagenet"] = "random",
    seed: int = 0,
    name: str = "vgg16",
) -> keras.Model:
    """Patches `(n, side, side, channels)` -> scores `(n, outputs)`, float32.

    Patches of another side than 32 are resized to that (bilinear). Behind the 13 convolutions come the mean over what
    is left of the plane, a hidden layer, dropout, and the scores. Weights are He's: without normalisation thirteen
    layers of Glorot's, which Keras' own VGG-16 has, take long to begin to learn.

    Args:
        channels: of a patch.
        outputs: scores; see `tfmed.losses.classification.outputs_of`.
        width: channels of the first block; 64 is VGG-16.
        hidden: units of the hidden layer.
        dropout: rate before the scores.
        weights: "imagenet" loads Keras' weights of the convolutions (a download; three channels and width 64).
        seed: of the dropout masks.
    """
    if weights == "imagenet" and (channels, width) != (3, 64):
        raise ValueError(f"weights of ImageNet are for 3 channels and width 64, not {channels} and {width}")
    x = inputs = keras.Input((side, side, channels))
    if side != SIDE:
        x = keras.layers.Resizing(SIDE, SIDE, name="resized")(x)
    convolutions = []
    for i, (count, times) in enumerate(zip(CONVOLUTIONS["vgg16"], _WIDTHS, strict=True), 1):
        for j in range(1, count + 1):
            how = {"kernel_initializer": "he_normal", "name": f"block{i}_conv{j}"}
            convolutions.append(keras.layers.Conv2D(times * width, 3, padding="same", activation="relu", **how))
            x = convolutions[-1](x)
        x = keras.layers.MaxPooling2D(2, name=f"block{i}_pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    x = keras.layers.Dense(hidden, "relu", kernel_initializer="he_normal", name="hidden")(x)
    x = Dropout(dropout, seed=seed, name="dropout")(x)
    x = keras.layers.Dense(outputs, dtype="float32", name="scores")(x)
    if weights == "imagenet":
        _load_imagenet(convolutions)
    return keras.Model(inputs, x, name=name)


def normalised_vgg(
    x: KerasTensor, width: int = 64, convolutions: Sequence[int] = CONVOLUTIONS["vgg16"], name: str = "block"
) -> KerasTensor:
    """The convolutions of a VGG with batch normalisation: features `(n, y, x, channel)` -> half the size per block.

    Each convolution has an offset and weights N(0, 2 / (9 outputs)); behind it stand the norm (momentum 0.9, epsilon
    1e-5) and a ReLU, behind each block a maximum over 2 x 2. VGG-16 of one channel has 14,721,984 weights so, without
    the running statistics.

    Args:
        x: images, symbolic.
        width: channels of the first block; later ones have 2, 4, 8 and 8 times as many, those behind them 8.
        convolutions: of each block; (2, 2, 3, 3, 3) is VGG-16.
        name: what the layers' names begin with.
    """
    for i, count in enumerate(convolutions):
        filters = width * _WIDTHS[min(i, len(_WIDTHS) - 1)]
        for j in range(1, count + 1):
            layer = f"{name}{i + 1}_conv{j}"
            scaled = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
            x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=scaled, name=layer)(x)
            x = norm_layer("batch", name=f"{layer}_norm")(x)
            x = keras.layers.ReLU(name=f"{layer}_relu")(x)
        x = keras.layers.MaxPooling2D(2, name=f"{name}{i + 1}_pool")(x)
    return x


def vgg_features(
    layers: Sequence[str], architecture: str = "vgg16", width: int = 64, seed: int = 0, name: str = "features"
) -> keras.Model:
    """Images `(n, y, x, 3)` -> a list of what the named layers give, float32, behind their ReLUs; frozen.

    The network ends at the deepest layer that is asked for. Weights are He's, drawn from `seed`.

    Args:
        layers: such as "block1_conv1", in any order; those of `LAYERS[architecture]`.
        architecture: "vgg16" or "vgg19".
        width: channels of the first block; 64 is VGG.

    Raises:
        ValueError: another architecture, no layer, or one that it lacks.
    """
    if architecture not in LAYERS:
        raise ValueError(f"architecture is {architecture!r}; it may be {' or '.join(LAYERS)}")
    unknown = [layer for layer in layers if layer not in LAYERS[architecture]]
    if unknown or not layers:
        given = unknown[0] if unknown else "none"
        raise ValueError(f"layers: {given}; those of {architecture} are {', '.join(LAYERS[architecture])}")
    deepest = max(map(LAYERS[architecture].index, layers))
    x = inputs = keras.Input((None, None, 3))
    found = {}
    for number, layer in enumerate(LAYERS[architecture][: deepest + 1]):
        block = int(layer[5])
        if layer.endswith("conv1") and block > 1:
            x = keras.layers.MaxPooling2D(2, dtype="float32", name=f"block{block - 1}_pool")(x)
        how = {"kernel_initializer": keras.initializers.HeNormal(seed=1000 * seed + number), "dtype": "float32"}
        filters = width * _WIDTHS[block - 1]
        x = found[layer] = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=layer, **how)(x)
    model = keras.Model(inputs, [found[layer] for layer in layers], name=name)
    model.trainable = False
    return model


def mirrored_vgg19(width: int = 64, name: str = "mirrored_decoder") -> keras.Model:
    """Features `(n, y, x, 8 width)` of VGG-19's block4_conv1 -> pictures `(n, 8 y, 8 x, 1)` in (0, 1), float32.

    The decoder of Huang & Belongie 2017: the way back, with nearest neighbours in place of pooling.
    """
    x = inputs = keras.Input((None, None, 8 * width))
    for level, widths in enumerate(_BACK):
        x = Upsample((2, 2), "nearest", name=f"up{level}")(x) if level else x
        for j, times in enumerate(widths):
            how = {"padding": "same", "activation": "relu", "name": f"level{level}_conv{j}"}
            x = keras.layers.Conv2D(times * width, 3, **how)(x)
    x = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", dtype="float32", name="picture")(x)
    return keras.Model(inputs, x, name=name)


def _load_imagenet(convolutions: Sequence[keras.layers.Layer]) -> None:
    trained = keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3))
    for layer in convolutions:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
