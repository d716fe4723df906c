"""A classifier of images trained to tell synthetic ones from real ones, and its features, for distances."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed import compat
from tfmed.nn.adam import Adam
from tfmed.nn.gan2d import image_classifier


class Discriminator:
    """A trained classifier of images.

    Args:
        network: see `tfmed.nn.gan2d.image_classifier`.
        batch_size: images at a time.
    """

    def __init__(self, network: keras.Model, batch_size: int = 128) -> None:
        self.network, self.batch_size = network, batch_size
        self._call = tf.function(lambda x: network(x, training=False), reduce_retracing=True, autograph=False)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Penultimate layer's outputs `(n, d)` of images `(n, H, W)` in [0, 1]."""
        return self._outputs(images, 0)

    def probability(self, images: np.ndarray) -> np.ndarray:
        """Probability `(n,)` that each of the images `(n, H, W)` is synthetic."""
        return 1.0 / (1.0 + np.exp(-np.clip(self._outputs(images, 1)[:, 0], -500, 500)))

    def _outputs(self, images: np.ndarray, which: int) -> np.ndarray:
        starts = range(0, len(images), self.batch_size)
        batches = (np.asarray(images[i : i + self.batch_size], np.float32)[..., None] for i in starts)
        return np.concatenate([self._call(tf.constant(x))[which].numpy().astype(np.float64) for x in batches])


def train_discriminator(
    real: np.ndarray,
    synthetic: np.ndarray,
    seed: int = 0,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    **network: Any,
) -> Discriminator:
    """A Discriminator trained to tell synthetic images (1) from real ones (0): binary cross-entropy, Adam, no stopping.

    Args:
        real, synthetic: `(n, H, W)` and `(m, H, W)` in [0, 1], arrays or memory maps; batches are read as needed.
        seed: of weights and order: the same numbers again with the same seed.
        network: of `image_classifier`: `channels`, `features`.

    Raises:
        ValueError: sets that are empty or differ in size, or values outside of [0, 1].
    """
    _check(real, synthetic)
    model = image_classifier(np.shape(real)[1:], seed=seed, **network)
    optimizer = Adam(learning_rate)
    optimizer.build(model.trainable_variables)
    variables = [compat.tensor_variable(v) for v in model.trainable_variables]

    @tf.function(reduce_retracing=True, autograph=False)
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = tf.cast(model(images, training=True)[1][:, 0], tf.float32)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        compat.apply_gradients(optimizer, tape.gradient(loss, variables), model.trainable_variables)

    rng, count = np.random.default_rng(seed), len(real) + len(synthetic)
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count, batch_size):
            chosen = np.sort(order[start : start + batch_size])  # sorted: memory maps are read forwards
            own, made = chosen[chosen < len(real)], chosen[chosen >= len(real)] - len(real)
            images = np.concatenate([real[own], synthetic[made]]).astype(np.float32)[..., None]
            step(tf.constant(images), tf.constant(np.repeat([0.0, 1.0], [len(own), len(made)]), tf.float32))
    return Discriminator(model, batch_size)


def _check(real: np.ndarray, synthetic: np.ndarray) -> None:
    for name, images in (("real", real), ("synthetic", synthetic)):
        if np.ndim(images) != 3 or not len(images):
            raise ValueError(f"{name}: images must be (n, H, W), at least one; got shape {np.shape(images)}")
        low, high = np.min(images), np.max(images)
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(f"{name}: values {low:.4g} .. {high:.4g} lie outside of [0, 1]; rescale the images")
    if np.shape(real)[1:] != np.shape(synthetic)[1:]:
        raise ValueError(f"real {np.shape(real)[1:]} and synthetic {np.shape(synthetic)[1:]} images differ in size")
