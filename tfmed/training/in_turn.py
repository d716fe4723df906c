"""Critics and what they judge, updated in turn by what one forward pass makes."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfmed.training.model import TrainingModel

Loss = Callable[[Mapping[str, tf.Tensor], Any], tuple[tf.Tensor, dict[str, tf.Tensor]]]


class InTurnModel(TrainingModel):
    """A TrainingModel whose optimizers are updated in the order of `turns`; a subclass gives that and `made`."""

    @property
    def turns(self) -> dict[str, Loss]:
        """{optimizer's name: loss, a function of (batch, what was made of it)}: critics, and then what they judge."""
        raise NotImplementedError

    def made(self, batch: Mapping[str, tf.Tensor]) -> Any:
        """What a batch's forward pass makes, for all losses."""
        raise NotImplementedError

    @property
    def objectives(self) -> dict[str, Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]]:
        """What critics and the rest lower, each by a forward pass of its own."""
        return {name: lambda batch, loss=loss: loss(batch, self.made(batch)) for name, loss in self.turns.items()}

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update of each."""
        return self.log(self.update_in_turn(self.made, self.turns, batch))
