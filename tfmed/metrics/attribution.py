"""Where a classifier looks: class activation maps, Grad-CAM and guided Grad-CAM of one class of each image.

CAM: Zhou et al. 2016; Grad-CAM and guided Grad-CAM: Selvaraju et al. 2017. The networks are such whose named layer
gives maps at a coarse resolution; CAM wants the scores to be one dense layer behind the mean over them.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed.ops.resize import linear_resize


class Attribution:
    """Maps of what speaks for a class in an image, as large as the image.

    Args:
        network: images `(n, y, x, channels)` -> scores `(n, outputs)`.
        layer: name of the layer whose maps are weighed.
        guided: a network of the same weights with `GuidedReLU`s, for `guided_grad_cam`; None: it is not asked for.

    `classes` below are numbers int32 `(n,)`; of a network with one output, the score of the second class, 1 is this
    class, and 0 what speaks against it.
    """

    def __init__(self, network: keras.Model, layer: str, guided: keras.Model | None = None) -> None:
        self.network, self.guided = network, guided
        self.both = keras.Model(network.inputs, [network.get_layer(layer).output, network.outputs[0]])

    def cam(self, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """sum_k w_k A_k `(n, y, x)`, with the weights w of the class in the last layer; not bounded."""
        kernel = tf.cast(self.network.layers[-1].kernel, tf.float32)
        features, scores = self.both(images, training=False)
        weights = tf.transpose(tf.gather(_of_class(kernel, scores.shape[-1]), classes, axis=1))
        return _enlarged(tf.einsum("nyxc,nc->nyx", tf.cast(features, tf.float32), weights), images)

    def grad_cam(self, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """ReLU(sum_k a_k A_k) `(n, y, x)`, a the mean over the plane of the score's gradient."""
        return _enlarged(self._coarse(images, classes), images)

    def _coarse(self, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            features, scores = self.both(images, training=False)
            chosen = _chosen(scores, classes)
        alpha = tf.reduce_mean(tf.cast(tape.gradient(chosen, features), tf.float32), (1, 2))
        return tf.nn.relu(tf.einsum("nyxc,nc->nyx", tf.cast(features, tf.float32), alpha))

    def guided_grad_cam(self, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """Grad-CAM times the greatest of the colours' guided gradients, `(n, y, x)`, never below 0."""
        if self.guided is None:
            raise ValueError("guided Grad-CAM needs a network with GuidedReLUs")
        with tf.GradientTape() as tape:
            tape.watch(images)
            chosen = _chosen(self.guided(images, training=False), classes)
        backwards = tf.reduce_max(tf.nn.relu(tf.cast(tape.gradient(chosen, images), tf.float32)), -1)
        return self.grad_cam(images, classes) * backwards


def to_unit(maps: Any) -> np.ndarray:
    """Maps `(n, y, x)`, each brought to [0, 1]; one that is the same everywhere becomes 0."""
    maps = np.asarray(maps, np.float64)
    low = maps.min((1, 2), keepdims=True)
    span = maps.max((1, 2), keepdims=True) - low
    return ((maps - low) / np.where(span > 0, span, 1)).astype(np.float32)


def _of_class(kernel: tf.Tensor, outputs: int) -> tf.Tensor:
    """Weights `(channels, classes)`."""
    return tf.concat([-kernel, kernel], 1) if outputs == 1 else kernel


def _chosen(scores: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """The score of each image's class, `(n,)`."""
    scores = tf.concat([-scores, scores], 1) if scores.shape[-1] == 1 else scores
    return tf.gather(scores, classes, axis=1, batch_dims=1)


def _enlarged(maps: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Coarse maps `(n, h, w)` at the size of the images, linear in between."""
    return linear_resize(linear_resize(maps, 1, images.shape[1]), 2, images.shape[2])
