"""Small classifiers of pictures `(n, y, x, channel)`: a perceptron, a convolutional network, a DenseNet."""

import keras
import tensorflow as tf

from tfmed.losses.classification import outputs_of

KINDS = ("mlp", "cnn", "densenet")


def picture_classifier(kind: str, size: tuple[int, int], classes: int, channels: int = 1) -> keras.Model:
    """Pictures `(n, y, x, channel)` -> scores `(n, outputs)` float32, see `losses.classification`.

    Args:
        kind: "mlp": one hidden layer of 400; "cnn": four blocks of two convolutions, of 16 to 128 channels; "densenet":
            depth 20, growth 10, bottlenecks, transitions that keep half of the channels (Huang et al., CVPR 2017).
        size: (y, x) pixels.
        classes: how many.

    Raises:
        ValueError: another kind.

    Example:
        >>> picture_classifier("mlp", (8, 8), 3).count_params()  # 65 * 400 + 401 * 3
        27203
    """
    body = {"mlp": _mlp, "cnn": _cnn, "densenet": _densenet}.get(kind)
    if body is None:
        raise ValueError(f"no classifier {kind!r}; known: {', '.join(KINDS)}")
    inputs = keras.Input((*size, channels))
    outputs = keras.layers.Dense(outputs_of(classes), dtype="float32", name="classes")(body(inputs))
    return keras.Model(inputs, outputs, name=kind)


def _mlp(x: tf.Tensor) -> tf.Tensor:
    return keras.layers.Dense(400, "relu", name="hidden")(keras.layers.Flatten()(x))


def _cnn(x: tf.Tensor) -> tf.Tensor:
    for level, width in enumerate((16, 32, 64, 128)):
        if level:
            x = keras.layers.MaxPooling2D(padding="same")(x)
        for k in range(2):
            x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{level}_{k}")(x)
    return keras.layers.GlobalAveragePooling2D()(x)


def _densenet(x: tf.Tensor, growth: int = 10, blocks: int = 3, layers: int = 2) -> tf.Tensor:
    x = keras.layers.Conv2D(2 * growth, 3, padding="same", use_bias=False, name="first")(x)
    for block in range(blocks):
        for k in range(layers):
            new = _normalised(x, f"block{block}_{k}a")
            new = keras.layers.Conv2D(4 * growth, 1, use_bias=False, name=f"block{block}_{k}a_conv")(new)
            new = _normalised(new, f"block{block}_{k}b")
            new = keras.layers.Conv2D(growth, 3, padding="same", use_bias=False, name=f"block{block}_{k}b_conv")(new)
            x = keras.layers.Concatenate()([x, new])
        if block < blocks - 1:
            x = _normalised(x, f"transition{block}")
            x = keras.layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"transition{block}_conv")(x)
            x = keras.layers.AveragePooling2D(padding="same")(x)
    return keras.layers.GlobalAveragePooling2D()(_normalised(x, "last"))


def _normalised(x: tf.Tensor, name: str) -> tf.Tensor:
    return keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"{name}_norm")(x))
