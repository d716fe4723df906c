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
