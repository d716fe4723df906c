"""MONAI's BasicUNet of Keras' and tfmed's layers, in the same order: its weights fit and its answers agree."""

import keras

from tfmed.compat import leaky_relu
from tfmed.nn.instance_norm import InstanceNorm

FEATURES = (16, 16, 32, 64, 128, 16)


def basic_unet(channels=1, classes=2, features=FEATURES):
    """Volumes `(n, z, y, x, channels)` -> logits `(n, z, y, x, classes)`; sides are multiples of 16."""
    x = inputs = keras.Input((64, 64, 64, channels))
    x = two_convolutions(x, features[0])
    levels = [x]
    for width in features[1:5]:
        x = two_convolutions(keras.layers.MaxPooling3D(2)(x), width)
        levels.append(x)
    ups = (features[4] // 2, features[3] // 2, features[2] // 2, features[1])
    outs = (features[3], features[2], features[1], features[5])
    for skip, up, out in zip(levels[-2::-1], ups, outs, strict=True):
        x = keras.layers.Conv3DTranspose(up, 2, 2)(x)
        x = two_convolutions(keras.layers.Concatenate()([skip, x]), out)
    return keras.Model(inputs, keras.layers.Conv3D(classes, 1)(x))


def two_convolutions(x, width):
    for _ in range(2):
        x = keras.layers.Conv3D(width, 3, padding="same")(x)
        x = InstanceNorm(epsilon=1e-5)(x)
        x = leaky_relu(0.1)(x)
    return x
