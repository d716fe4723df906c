"""ResNet-18 and ResNet-20 (He et al. 2016) of any width, and the ReLU of guided backpropagation (Springenberg et al.
2015)."""

from typing import Literal

import keras
import tensorflow as tf

from tfmed.nn.blocks import EverySecond, norm_layer

FEATURES = "features"  # name of the layer whose maps the scores are made of
STRIDE = 32


class GuidedReLU(keras.layers.Layer):
    """max(x, 0), through which only positive gradients pass, and only where x is positive."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """A tensor -> one of its shape."""

        @tf.custom_gradient
        def guided(x: tf.Tensor) -> tuple[tf.Tensor, object]:
            return tf.nn.relu(x), lambda upstream: tf.where((x > 0) & (upstream > 0), upstream, tf.zeros_like(upstream))

        return guided(x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """That of the input."""
        return input_shape


def resnet18(
    channels: int = 3,
    outputs: int | None = 1,
    width: int = 64,
    norm: str = "batch",
    guided: bool = False,
    blocks: tuple[int, ...] = (2, 2, 2, 2),
    name: str = "resnet18",
    stem: Literal["large", "small"] = "large",
) -> keras.Model:
    """Images `(n, y, x, channels)` -> scores `(n, outputs)`, float32; its layer `FEATURES` gives maps at 1/32.

    Convolution 7 x 7 at stride 2, pooling, four stages of two blocks, the mean over the plane, and the scores.

    Args:
        channels: of an image.
        outputs: scores; see `tfmed.losses.classification.outputs_of`. None: the means themselves, `(n, features)`.
        width: channels of the first stage, which double from stage to stage; 64 is ResNet-18.
        norm: as of `norm_layer`; batches of one picture have no good statistics: "instance" or "none".
        guided: with ReLUs of guided backpropagation, of the same weights.
        blocks: of each stage; fewer make a smaller network.
        stem: "small", for pictures of some 32 pixels: a convolution 3 x 3 at stride 1 and no pooling come first.

    Example:
        >>> resnet18(3, 1000).count_params()  # 11,689,512, and the running statistics of 4,800 channels
        11699112
    """

    def conv(x: tf.Tensor, wide: int, size: int, stride: int, label: str) -> tf.Tensor:
        how = {"use_bias": norm == "none", "kernel_initializer": "he_normal", "name": label}
        x = keras.layers.Conv2D(wide, size, stride, "same", **how)(x)
        return norm_layer(norm, f"{label}_norm")(x)

    def relu(x: tf.Tensor, label: str) -> tf.Tensor:
        return (GuidedReLU if guided else keras.layers.ReLU)(name=label)(x)

    inputs = keras.Input((None, None, channels))
    if stem == "small":
        x = relu(conv(inputs, width, 3, 1, "first"), "first_relu")
    else:
        x = relu(conv(inputs, width, 7, 2, "first"), "first_relu")
        x = keras.layers.MaxPooling2D(3, 2, "same", name="pool")(x)
    for stage, count in enumerate(blocks):
        wide = width << stage
        for block in range(count):
            label, stride = f"stage{stage}_{block}", 2 if stage and not block else 1
            y = relu(conv(x, wide, 3, stride, f"{label}a"), f"{label}a_relu")
            y = conv(y, wide, 3, 1, f"{label}b")
            if stride > 1 or x.shape[-1] != wide:
                x = EverySecond(name=f"{label}_thinned")(x) if stride > 1 else x
                x = conv(x, wide, 1, 1, f"{label}_short")
            x = keras.layers.Add(name=f"{label}_sum")([x, y])
            last = stage == len(blocks) - 1 and block == count - 1
            x = relu(x, FEATURES if last else f"{label}_relu")
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    if outputs is not None:
        x = keras.layers.Dense(outputs, dtype="float32", name="scores")(x)
    return keras.Model(inputs, x, name=name)


def resnet20(
    channels: int = 3,
    outputs: int | None = 10,
    width: int = 16,
    blocks: tuple[int, ...] = (3, 3, 3),
    name: str = "resnet20",
) -> keras.Model:
    """Small images `(n, y, x, channels)` -> scores `(n, outputs)`, float32, as J. Chong et al. (DALI 2021) built it.

    Convolution 3 x 3, three stages of three blocks at strides 1, 2 and 2, the maximum over the plane, and the scores.
    Convolutions have offsets before their norms, and a short cut is a bare convolution 1 x 1.

    Args:
        channels: of an image.
        outputs: scores; None: the maxima themselves, `(n, features)`.
        width: channels of the first stage, which double from stage to stage.
        blocks: of each stage.
    """

    def conv(x: tf.Tensor, wide: int, stride: int, label: str) -> tf.Tensor:
        x = keras.layers.Conv2D(wide, 3, stride, "same", kernel_initializer="he_normal", name=label)(x)
        return norm_layer("batch", f"{label}_norm")(x)

    inputs = keras.Input((None, None, channels))
    x = keras.layers.ReLU(name="first_relu")(conv(inputs, width, 1, "first"))
    for stage, count in enumerate(blocks):
        wide = width << stage
        for block in range(count):
            label, stride = f"stage{stage}_{block}", 2 if stage and not block else 1
            y = keras.layers.ReLU(name=f"{label}a_relu")(conv(x, wide, stride, f"{label}a"))
            y = conv(y, wide, 1, f"{label}b")
            if x.shape[-1] != wide:
                x = EverySecond(name=f"{label}_thinned")(x)
                how = {"use_bias": False, "kernel_initializer": "he_normal", "name": f"{label}_short"}
                x = keras.layers.Conv2D(wide, 1, **how)(x)
            x = keras.layers.ReLU(name=f"{label}_relu")(keras.layers.Add(name=f"{label}_sum")([x, y]))
    x = keras.layers.GlobalMaxPooling2D(name="maximum")(x)
    if outputs is not None:
        x = keras.layers.Dense(outputs, dtype="float32", name="scores")(x)
    return keras.Model(inputs, x, name=name)
