"""Feature networks for perceptual distances: pluggable, because no weights are shipped or downloaded.

`open_features` understands `random:SEED` (a seeded random network), `inception:FILE` (InceptionV3 with a file of its
ImageNet weights) and `savedmodel:FOLDER` (a trained network of your own). A number is named after its features; only
with Inception weights is it called FID or IS.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfmed.errors import DataError, one_line


@dataclasses.dataclass(frozen=True)
class FeatureNet:
    """Images `(n, H, W)` or `(n, H, W, c)` in [-1, 1] -> features `(n, d)` and class probabilities `(n, k)`.

    Args:
        name: goes into the names of numbers made with it; "inception" for the real one.
        function: batch `(n, H, W, 3)` float32 -> (features, probabilities).
        batch_size: images at a time.
    """

    name: str
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    batch_size: int = 32

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batches = []
        for i in range(0, len(images), self.batch_size):
            batch = np.asarray(images[i : i + self.batch_size], np.float32)
            batch = batch[..., None] if batch.ndim == 3 else batch
            batch = np.repeat(batch, 3, axis=-1) if batch.shape[-1] == 1 else batch
            batches.append([np.asarray(output) for output in self.function(tf.constant(batch))])
        features, probabilities = (np.concatenate(column) for column in zip(*batches, strict=True))
        return features, probabilities

    def number(self, metric: str) -> str:
        """The name of a number made with these features: `FID` and `IS` with Inception, else e.g. `FD[random-0]`."""
        published = {"frechet": "FID", "inception": "IS"}
        local = {"frechet": "FD", "inception": "IS"}
        return published[metric] if self.name == "inception" else f"{local[metric]}[{self.name}]"


def open_features(address: str) -> FeatureNet:
    """A FeatureNet from `random:SEED`, `inception:FILE` or `savedmodel:FOLDER`.

    Raises:
        DataError: unknown kind, or a file that is not there or holds other weights.
    """
    kind, _, value = address.partition(":")
    if kind == "random" and value.isdecimal() and len(value) <= 10:
        return FeatureNet(f"random-{value}", _random_network(int(value)))
    if kind == "inception":
        return FeatureNet("inception", _inception(value))
    if kind == "savedmodel":
        return FeatureNet(f"savedmodel-{pathlib.Path(value).resolve().name}", _saved_model(value))
    raise DataError(f"features {address!r}: unknown; give random:SEED, inception:WEIGHTS_FILE or savedmodel:FOLDER")


def _random_network(
    seed: int, widths: Sequence[int] = (32, 64, 128, 256), classes: int = 64
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Convolutions with fixed random weights: no semantics, but a distance that sees texture at four scales."""
    rng = np.random.default_rng(seed)
    weights, channels = [], 3
    for width in widths:
        scale = np.sqrt(2.0 / (9 * channels))
        weights.append(tf.constant(rng.normal(0, scale, (3, 3, channels, width)), tf.float32))
        channels = width
    size = 2 * sum(widths)
    head = tf.constant(rng.normal(0, 1 / np.sqrt(size), (size, classes)), tf.float32)

    @tf.function(reduce_retracing=True, autograph=False)
    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, pooled = images, []
        for kernel in weights:
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "SAME"))
            pooled += [tf.reduce_mean(x, axis=(1, 2)), tf.math.reduce_std(x, axis=(1, 2))]
        features = tf.concat(pooled, axis=1)
        return features, tf.nn.softmax(10.0 * features @ head)

    return function


def _inception(file: str) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    if not pathlib.Path(file).is_file():
        raise DataError(f"{file or 'inception:'}: no such weights file; give InceptionV3's ImageNet weights (.h5)")
    try:
        model = keras.applications.InceptionV3(weights=None)
        model.load_weights(file)
    except Exception as error:  # Keras and h5py have no common one
        raise DataError(f"{file}: does not hold InceptionV3 weights ({_reason(error)}); give its file") from None
    pool = model.get_layer("avg_pool")
    both = keras.Model(model.input, [pool.output, model.output])

    @tf.function(reduce_retracing=True, autograph=False)
    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return both(tf.image.resize(images, (299, 299)), training=False)

    return function


def _reason(error: Exception) -> str:
    return one_line(str(error)[:200])[:80] or type(error).__name__


def _saved_model(folder: str) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    if not (pathlib.Path(folder) / "saved_model.pb").is_file():
        raise DataError(f"{folder}: is not a SavedModel folder (it has no saved_model.pb)")
    try:
        loaded = tf.saved_model.load(folder)
    except Exception as error:  # TensorFlow and protobuf have no common one
        raise DataError(f"{folder}: cannot be loaded ({_reason(error)}); export it again") from None
    if "serving_default" not in loaded.signatures:
        raise DataError(f"{folder}: has no signature 'serving_default'; export it with one that takes images")
    signature = loaded.signatures["serving_default"]

    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = signature(images)
        features = outputs.get("features", next(iter(outputs.values())))
        features = tf.reshape(features, (tf.shape(features)[0], -1))
        return features, tf.nn.softmax(features)

    function.keep = loaded  # type: ignore[attr-defined]  # its variables live as long as this object
    return function
