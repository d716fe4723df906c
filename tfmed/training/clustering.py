"""What networks share that learn from their own clusters: the grouping of the training images lies with the weights."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed.compat import optimizer_variables, tensor_variable
from tfmed.training.model import TrainingModel


class GroupingModel(TrainingModel):
    """A TrainingModel that knows the cluster of each of its training images; checkpoints hold it, and the centres.

    A subclass gives `network`, `features` and `renew_head`, and calls `begin_grouping` before `finish_building`.

    Attributes:
        network: images -> features.
        assignment: int64 `(images,)`, the clusters that the network learns at present.
        groups: likewise, of the newest grouping: another one than `assignment` at the end of the training alone.
        distances: float32 `(images,)`, of each image from its centre in `groups`.
        centres: float32 `(clusters, d)`.
        agreement: NMI of the newest grouping and the one before; NaN after the first.
        offset, projection: what is subtracted from features `(width,)`, and their matrix `(width, d)`, where they are
            reduced; else not there.
    """

    network: keras.Model

    def begin_grouping(self, images: int, clusters: int, width: int, reduced: int | None = None) -> None:
        """Make the state: so many images, clusters, features, and features after their reduction (None: there is none).

        Before the first grouping images are dealt to clusters in turn.
        """

        def state(name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
            return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

        self.width = width
        self.assignment, self.groups = (state(name, (images,), "int64") for name in ("assignment", "groups"))
        self.distances = state("distances", (images,))
        self.centres, self.agreement = state("centres", (clusters, reduced or width)), state("agreement", ())
        self.reduced = reduced
        if reduced:
            self.offset, self.projection = state("offset", (width,)), state("projection", (width, reduced))
        for each in (self.assignment, self.groups):
            put(each, np.arange(images) % clusters)

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Images `(n, y, x, channel)` -> features `(n, width)` float32, at inference."""
        raise NotImplementedError

    def renew_head(self, draw: np.random.Generator) -> None:
        """Forget what was learnt of the numbers of clusters, which mean nothing after a new grouping."""
        raise NotImplementedError

    def embedded(self, images: tf.Tensor) -> tf.Tensor:
        """Images -> what is compared with the centres: features, reduced if need be, of unit length."""
        found = self.features(images)
        if self.reduced:
            found = (found - tf.convert_to_tensor(self.offset)) @ tf.convert_to_tensor(self.projection)
        return found / tf.maximum(tf.norm(found, axis=1, keepdims=True), 1e-12)

    def centre_distances(self, images: tf.Tensor) -> tf.Tensor:
        """Images -> Euclidean distances `(n, clusters)` from all centres."""
        rows, centres = self.embedded(images), tf.convert_to_tensor(self.centres)
        squares = tf.reduce_sum(rows**2, 1)[:, None] - 2 * rows @ tf.transpose(centres) + tf.reduce_sum(centres**2, 1)
        return tf.sqrt(tf.maximum(squares, 0.0))

    def keep_grouping(self, groups: np.ndarray, centres: np.ndarray, distances: np.ndarray, agreement: float) -> None:
        """Take the newest grouping."""
        found = (groups, centres, distances, agreement)
        for variable, value in zip((self.groups, self.centres, self.distances, self.agreement), found, strict=True):
            put(variable, value)

    def keep_reduction(self, offset: np.ndarray, projection: np.ndarray) -> None:
        """Take how features are reduced."""
        put(self.offset, offset)
        put(self.projection, projection)

    def learn(self, labels: np.ndarray) -> None:
        """Learn these labels from now on."""
        put(self.assignment, labels)


def put(variable: Any, value: Any) -> None:
    """Assign numbers to a variable, on all replicas, from outside of a step."""
    variable = tensor_variable(variable)
    variable.assign(tf.cast(tf.constant(np.asarray(value)), variable.dtype))


def renew_dense(layer: Any, optimizer: Any, deviation: float, draw: np.random.Generator) -> None:
    """Give a dense layer new weights N(0, deviation^2) and offsets 0, and its optimizer new state.

    What the optimizer counts, by which a schedule of the learning rate goes, and the rate itself stay.
    """
    put(layer.kernel, draw.normal(0, deviation, layer.kernel.shape))
    put(layer.bias, np.zeros(layer.bias.shape))
    for variable in map(tensor_variable, optimizer_variables(optimizer)):
        if variable.shape.rank:
            put(variable, np.zeros(variable.shape))
