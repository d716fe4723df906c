"""VGG-16 (Simonyan & Zisserman 2015) as a classifier of small patches, in any width."""

from collections.abc import Sequence
from typing import Literal

import keras

from tfmed.nn.dropout import Dropout

_BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))  # convolutions of a block, and its width over the first one's
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
    for i, (count, times) in enumerate(_BLOCKS, 1):
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


def _load_imagenet(convolutions: Sequence[keras.layers.Layer]) -> None:
    trained = keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3))
    for layer in convolutions:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
