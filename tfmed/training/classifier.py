"""Classifiers: a training step of one network, and one that is trained from new weights again and again."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed import compat
from tfmed.losses import classification as losses
from tfmed.nn.adam import Adam
from tfmed.training.plateau import Plateau
from tfmed.training.single_network import SingleNetworkModel


class ClassifierModel(SingleNetworkModel):
    """A network with cross-entropy.

    A training batch holds images `(n, ...)` under a name of their own and `label` `(n,)`, class numbers.

    Args:
        network: images -> scores, see `losses.classification`.
        optimizer: of the network.
        images: name of the images in a batch.
        plateau: lowers the optimizer's learning rate where the accuracy of training grows no more; None: nothing does.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: Any,
        images: str = "image",
        plateau: Plateau | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.network, self.images, self.plateau = network, images, plateau
        self.finish_building({"network": (optimizer, [network])}, ["loss", "accuracy"])

    @tf.function(reduce_retracing=True, autograph=False)
    def scores(self, images: tf.Tensor) -> tf.Tensor:
        """Scores `(n, outputs)` at inference."""
        return self.network(images, training=False)

    def network_loss(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Mean cross-entropy."""
        scores = self.network(batch[self.images], training=True)
        loss = tf.reduce_mean(losses.cross_entropy(scores, batch["label"]))
        right = losses.chosen_class(scores) == tf.cast(batch["label"], tf.int32)
        return loss, {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update; the plateau sees its accuracy."""
        logs = self.update("network", self.network_loss, batch)
        if self.plateau is not None:
            self.plateau.observe(self.mean_over_replicas(logs["accuracy"]), self.step_of(batch))
        return self.log(logs)


def input_change(network: keras.Model, images: tf.Tensor, expected: bool = False) -> tf.Tensor:
    """L1 norm of the cross-entropy's gradient in each image, float32 `(n,)`: the expected change of a model as J. Chong
    et al. (DALI 2021) measured it. Losses are summed, so that an image has the same norm in any batch.

    Args:
        network: images -> scores, see `losses.classification`.
        images: `(n, ...)`.
        expected: the mean over all labels, by their probabilities; otherwise the chosen class is taken for the label.
    """

    def norms(label: int | None) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = network(images, training=False)
            chosen = losses.chosen_class(scores) if label is None else tf.fill(tf.shape(scores)[:1], label)
            loss = tf.reduce_sum(losses.cross_entropy(scores, chosen))
        gradient = tf.abs(tf.cast(tape.gradient(loss, images), tf.float32))
        return tf.reduce_sum(gradient, list(range(1, len(images.shape))))

    if not expected:
        return norms(None)
    p = losses.probabilities(network(images, training=False))
    return tf.add_n([p[:, k] * norms(k) for k in range(p.shape[-1])])


class RepeatedClassifier:
    """A network that is trained from new weights again and again (tracing it once), on arrays in memory.

    Args:
        make: makes the network, inputs `(n, ...)` -> scores, see `losses.classification`.
        learning_rate: of Adam.
        batch: samples of a step.
        epochs: at most.
        patience: epochs without a better validation loss.
    """

    def __init__(
        self, make: Callable[[], keras.Model], learning_rate: float, batch: int, epochs: int, patience: int
    ) -> None:
        self.make, self.batch, self.epochs, self.patience = make, batch, epochs, patience
        self.network = make()
        self.network.compile(Adam(learning_rate), _loss)
        self.network.optimizer.build(self.network.trainable_variables)
        self._fresh = [v.numpy() for v in map(compat.tensor_variable, self._state())]

    def _state(self) -> list[Any]:
        return compat.optimizer_variables(self.network.optimizer)

    def fit(
        self, train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], seed: int
    ) -> "RepeatedClassifier":
        """Train until the validation loss grows no better, and take the best epoch's weights.

        Args:
            train, validation: (inputs, class numbers).
            seed: of the weights and of the order of the samples.
        """
        keras.utils.set_random_seed(seed)
        self.network.set_weights(self.make().get_weights())
        for variable, value in zip(map(compat.tensor_variable, self._state()), self._fresh, strict=True):
            variable.assign(value)
        stop = keras.callbacks.EarlyStopping("val_loss", patience=self.patience, restore_best_weights=True)
        how = dict(verbose=0, callbacks=[stop], validation_data=validation)
        self.network.fit(*train, self.batch, self.epochs, **how)
        if stop.best_weights is not None:  # Keras 2 gives them back only where it stops early
            self.network.set_weights(stop.best_weights)
        return self

    def chosen(self, inputs: np.ndarray) -> np.ndarray:
        """The most probable classes, int32 `(n,)`."""
        return losses.chosen_class(self.network.predict(inputs, verbose=0)).numpy()


def _loss(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    return losses.cross_entropy(scores, tf.reshape(labels, (-1,)))  # Keras gives labels a second axis
