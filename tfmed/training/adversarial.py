"""How adversarial models take turns: with fresh samples for every update, or on what one forward pass has made."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfmed.losses.adversarial import PENALTIES
from tfmed.training.model import TrainingModel, move_average


class AdversarialModel(TrainingModel):
    """A GAN: `critic_steps` critic updates on fresh samples, then one generator update, then the average of weights.

    A subclass builds its networks, calls `finish_building` with the optimizers "critic" and "generator", and writes
    `critic_loss(batch, tag)` and `generator_loss(batch, tag)`; each returns the scalar mean loss and what to log. `tag`
    tells the noise draws of a step apart.

    Args:
        critic_steps: critic updates per generator update; a step's batch holds the samples of all of them.
        ema_decay: decay of the averaged generator weights; 0 keeps none.
    """

    def __init__(self, critic_steps: int = 1, ema_decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.critic_steps = critic_steps
        self.ema_decay = ema_decay
        self.averages: list[tuple[keras.Model, keras.Model]] = []

    def average_of(self, make: Callable[[], keras.Model]) -> keras.Model | None:
        """A second generator network that follows the first by moving average; None when `ema_decay` is 0."""
        if not self.ema_decay:
            return None
        return make()

    def start_averages(self, pairs: Any) -> None:
        """Say which network follows which: list of (average, network). Both must be built."""
        self.averages = [(average, network) for average, network in pairs if average is not None]
        for average, network in self.averages:
            average.set_weights(network.get_weights())
            average.trainable = False

    @property
    def objectives(self) -> dict[str, Callable[..., Any]]:
        """What critic and generator lower, with the first draws of a step."""
        return {
            "critic": lambda batch: self.critic_loss(batch, 0),
            "generator": lambda batch: self.generator_loss(batch, 0),
        }

    def gradient_penalty(
        self,
        kind: str,
        judge: Callable[[tf.Tensor], tf.Tensor],
        real: tf.Tensor,
        fake: tf.Tensor,
        weight: float,
        batch: dict[str, tf.Tensor],
        tag: int,
    ) -> tf.Tensor:
        """The mean gradient penalty of a critic; images of one sample share the place between real and fake.

        Args:
            kind: a name of `tfmed.losses.adversarial.PENALTIES`, or "none".
            judge: images -> scores.
            real, fake: images `(k * b, ...)`, k to a sample.
            weight: of the penalty.
            batch: whose samples they are.
            tag: of the noise.
        """
        if kind == "none":
            return tf.constant(0.0)
        mix = self.noise(batch, (), tag, tf.random.stateless_uniform)
        mix = tf.repeat(mix, tf.shape(real)[0] // tf.shape(batch["index"])[0])
        mix = tf.reshape(mix, [-1] + [1] * (len(real.shape) - 1))
        return tf.reduce_mean(PENALTIES[kind](judge, real, fake, weight, mix))

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logs: dict[str, tf.Tensor] = {}
        for k in range(self.critic_steps):
            logs |= self.update("critic", lambda drawn, k=k: self.critic_loss(drawn, k), self.draw(batch, k))
        last = self.critic_steps
        logs |= self.update("generator", lambda drawn: self.generator_loss(drawn, last), self.draw(batch, 0))
        for average, network in self.averages:
            move_average(average, network, self.ema_decay)
        return self.log(logs)

    def draw(self, batch: dict[str, tf.Tensor], k: int) -> Any:
        """The k-th of `critic_steps` equal shares of this replica's batch: every `critic_steps`-th sample, so that all
        replicas' shares together are the same samples however many replicas there are."""
        return {name: value[k :: self.critic_steps] for name, value in batch.items()}


class SharedForwardModel(TrainingModel):
    """Networks that take turns on what one forward pass has made: critics first, and then what they judge.

    A subclass builds its networks, and gives `made` and `turns`; with `judged_first` critics come last.
    """

    judged_first = False

    def made(self, batch: dict[str, tf.Tensor]) -> Any:
        """What the forward pass makes of a batch, a tensor or a tuple of tensors."""
        raise NotImplementedError

    @property
    def turns(self) -> Any:
        """{optimizer's name: function of (batch, what was made of it) -> (scalar mean loss, what to log)}, in order."""
        return {"critic": self.critic_loss, "generator": self.generator_loss}

    @property
    def objectives(self) -> dict[str, Callable[..., Any]]:
        """The turns, each with a forward pass of its own."""
        return {name: lambda batch, loss=loss: loss(batch, self.made(batch)) for name, loss in self.turns.items()}

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self.log(self.update_in_turn(self.made, self.turns, batch, self.judged_first))
