"""How far images are apart for a network that is not trained: features for content, their Gram matrices for style.

A `FeatureNetwork` is VGG-16 or 19 with a file of its ImageNet weights or, since no weights are shipped or downloaded,
with weights drawn from a seed. Numbers made with it are named after it. Layers are given with their weights, as in
`{"block1_conv1": 0.1, "block5_conv1": 10.0}`; those of weight 0 and all that only they need are never computed.
"""

import pathlib
from collections.abc import Mapping, Sequence

import h5py
import keras
import numpy as np
import tensorflow as tf

from tfmed.errors import DataError
from tfmed.nn.vgg import vgg_features

_MEANS = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red, which Keras' VGG takes away

Features = Mapping[str, tf.Tensor]


class FeatureNetwork:
    """Images `(n, y, x, 1 or 3)` in [0, 1] -> the features of some layers of VGG, float32.

    Grey is repeated, images are resized (bilinear) and prepared as Keras prepares them for VGG. The network is frozen,
    and no part of a model that holds it: neither saved nor counted with it.

    Args:
        layers: names such as "block1_conv1"; of a mapping to weights, those whose weight is not 0.
        weights: "random:SEED", or a file of ImageNet weights for Keras' VGG (.h5, with or without the top).
        architecture: "vgg16" or "vgg19".
        side: pixels to which images are resized; None leaves them as they are.
        width: channels of the first block; other than 64 only with random weights.

    Raises:
        DataError: the file is not there, or holds no weights of this network.
        ValueError: an unknown architecture or layer.

    Example:
        >>> network = FeatureNetwork(["block1_conv2"], width=4, side=None)
        >>> network(tf.zeros((2, 8, 8, 1)))["block1_conv2"].shape.as_list()
        [2, 8, 8, 4]
    """

    def __init__(
        self,
        layers: Sequence[str] | Mapping[str, float],
        weights: str = "random:0",
        architecture: str = "vgg16",
        side: int | None = 224,
        width: int = 64,
    ):
        self.layers = tuple(name for name in layers if not isinstance(layers, Mapping) or layers[name] != 0)
        kind, _, seed = weights.partition(":")
        random = kind == "random" and seed.isdecimal()
        self.name = f"{architecture}-{weights.replace(':', '-')}" if random else architecture
        self.side = side
        self.model = None
        if self.layers:
            self.model = vgg_features(self.layers, architecture, width, int(seed) if random else 0)
            if not random:
                _load(self.model, weights, architecture)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        if self.model is None:
            return {}
        x = tf.cast(images, tf.float32)
        if x.shape[-1] == 1:
            x = tf.repeat(x, 3, axis=-1)
        if self.side is not None and tuple(x.shape[1:3]) != (self.side, self.side):
            x = tf.image.resize(x, (self.side, self.side))
        x = 255.0 * x[..., ::-1] - tf.constant(_MEANS)
        found = self.model(x, training=False)
        return dict(zip(self.layers, found if isinstance(found, list | tuple) else [found], strict=True))


def gram(features: tf.Tensor) -> tf.Tensor:
    """Gram matrices `(n, c, c)` float32 of features `(n, y, x, c)`, over c y x (Gatys et al. 2016).

    Example:
        >>> gram(tf.ones((1, 4, 4, 2))).numpy().tolist()
        [[[0.5, 0.5], [0.5, 0.5]]]
    """
    shape = tf.shape(features)
    rows = tf.reshape(tf.cast(features, tf.float32), (shape[0], shape[1] * shape[2], features.shape[-1]))
    size = tf.cast(shape[1] * shape[2] * shape[3], tf.float32)
    return tf.matmul(rows, rows, transpose_a=True) / size


def feature_loss(one: Features, other: Features, weights: Mapping[str, float]) -> tf.Tensor:
    """Sum over layers of weight times the mean squared difference of features; `(n,)`.

    Args:
        one, other: what a `FeatureNetwork` gives.
        weights: of the layers.

    Raises:
        ValueError: no layer has a weight.
    """
    return _sum([weight * _mean((one[name] - other[name]) ** 2) for name, weight in _weighted(weights)])


def style_loss(one: Features, other: Features, weights: Mapping[str, float]) -> tf.Tensor:
    """Sum over layers of weight times half the mean squared difference of Gram matrices; `(n,)`.

    Args:
        one, other: what a `FeatureNetwork` gives.
        weights: of the layers.

    Raises:
        ValueError: no layer has a weight.
    """
    return _sum([0.5 * weight * _mean((gram(one[k]) - gram(other[k])) ** 2) for k, weight in _weighted(weights)])


def _weighted(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, weight) for name, weight in weights.items() if weight != 0]


def _sum(terms: list[tf.Tensor]) -> tf.Tensor:
    if not terms:
        raise ValueError("no layer has a weight; leave the loss out instead")
    return tf.add_n(terms)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=tuple(range(1, len(values.shape))))


def _load(model: keras.Model, file: str, architecture: str) -> None:
    """Fill convolutions by their names from a file that Keras wrote for the whole network."""
    if not pathlib.Path(file).is_file():
        raise DataError(f"{file}: no such weights file; give {architecture}'s ImageNet weights (.h5), or random:SEED")
    try:
        with h5py.File(file, "r") as opened:
            held = _convolutions(opened)
    except OSError:
        raise DataError(f"{file}: is not an HDF5 file of weights; give {architecture}'s from Keras (.h5)") from None
    count = sum(name.startswith("block") for name in held)
    for layer in model.layers:
        if not layer.weights:
            continue
        expected = [tuple(weight.shape) for weight in layer.weights]
        found = held.get(layer.name, [])
        if [each.shape for each in found] != expected:
            shapes = " and ".join(str(each.shape) for each in found) or "nothing"
            wanted = " and ".join(map(str, expected))
            raise DataError(
                f"{file}: holds {shapes} for {layer.name}, where {architecture} has {wanted}; give {architecture}'s "
                f"ImageNet weights from Keras (this file has {count} such layers)"
            )
        layer.set_weights(found)


def _convolutions(opened: h5py.File) -> dict[str, list[np.ndarray]]:
    """Name of each convolution -> [kernel, bias]."""
    root = opened.get("model_weights", opened)  # of a file of the whole model
    found = {}
    for name, group in root.items():
        held: list[np.ndarray] = []

        def keep(_: str, each: h5py.Group | h5py.Dataset, held: list[np.ndarray] = held) -> None:
            if isinstance(each, h5py.Dataset):
                held.append(each[()])

        if isinstance(group, h5py.Group):
            group.visititems(keep)
        found[name] = sorted(held, key=lambda each: -each.ndim)
    return found
