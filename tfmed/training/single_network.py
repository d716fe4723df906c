"""SingleNetworkModel: what training models of one network and one loss share."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfmed.training.model import TrainingModel


class SingleNetworkModel(TrainingModel):
    """A TrainingModel whose `network` is lowered by its `network_loss`; inference is a call of the network.

    A subclass sets `network`, finishes building with an optimizer named "network", and gives `network_loss`.
    """

    network: keras.Model

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images `(n, *size, channel)` -> what the network says of them."""
        return self.network(images, training=training)

    @property
    def objectives(self) -> dict[str, Any]:
        """The one loss."""
        return {"network": self.network_loss}

    def network_loss(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """(scalar mean loss, {name: scalar to log}) of a batch or micro-batch."""
        raise NotImplementedError

    def gradient_ratio(
        self, tape: tf.GradientTape, logits: tf.Tensor, further: tf.Tensor, supervised: tf.Tensor
    ) -> tf.Tensor:
        """How loud one loss is beside another: |d further / d logits| / |d supervised / d logits|, a scalar.

        Args:
            tape: a persistent tape, finished, that watched the logits.
            logits: of this replica's batch; the ratio is that of the global batch, or of a micro-batch by itself.
            further: scalar, weighted as it stands in the loss.
            supervised: scalar.
        """

        def squares(loss: tf.Tensor) -> tf.Tensor:
            pull = tape.gradient(loss, logits, unconnected_gradients="zero")
            own = tf.reduce_sum(tf.square(tf.cast(pull, tf.float32)))
            # Replicas cannot meet within a loop over micro-batches.
            return own if self.gradient_accumulation > 1 else self.mean_over_replicas(own)

        return tf.sqrt(tf.math.divide_no_nan(squares(further), squares(supervised)))
