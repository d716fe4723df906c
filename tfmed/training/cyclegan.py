"""CycleGAN (Zhu et al. 2017): two generators, there and back, learn to translate without pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.losses.adversarial import least_squares_critic, least_squares_generator
from tfmed.training.adversarial import SharedForwardModel
from tfmed.training.image_pool import ImagePool


class CycleGANModel(SharedForwardModel):
    """A generator there and one back, each with a critic of what it makes; least-squares losses, identity, cycle.

    Critics go first, and are shown older translations among the newest.

    A subclass sets `generator`, `back_generator`, `critic` and `back_critic`, then calls `finish_cycle`.

    Args:
        source, target: names of the images in a batch, `(b, *size, channel)` in [-1, 1], of different patients.
        cycle_weight, identity_weight: of the L1 losses beside the adversarial one.
    """

    generator: keras.Model
    back_generator: keras.Model
    critic: keras.Model
    back_critic: keras.Model

    def __init__(
        self, source: str, target: str, cycle_weight: float = 10.0, identity_weight: float = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.target = source, target
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight

    def finish_cycle(self, optimizers: Sequence[Any], history: int, shape: Sequence[int]) -> None:
        """Set image pools and optimizers up; call it last.

        Args:
            optimizers: of the critics, of the generators.
            history: older translations that are kept for each critic; 0: none.
            shape: of an image.
        """
        self.histories = [ImagePool(history, shape, self, tag) for tag in range(2)] if history else None
        critics, generators = optimizers
        self.finish_building(
            {"critic": (critics, [self.critic, self.back_critic]),
             "generator": (generators, [self.generator, self.back_generator])},
            ["critic_loss", "generator_critic", "cycle", "identity"],
        )  # fmt: skip

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        turns = self.turns | {"critic": self.critic_loss_with_history}
        return self.log(self.update_in_turn(self.made, turns, batch))

    def made(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Translations there of a batch's sources, and back of its targets."""
        return self.generator(batch[self.source], training=True), self.back_generator(batch[self.target], training=True)

    def critic_loss_with_history(self, batch: dict[str, tf.Tensor], fake: Any) -> Any:
        """`critic_loss` of translations of which some are replaced by older ones."""
        if self.histories:
            fake = [history.shown(images, batch, self) for history, images in zip(self.histories, fake, strict=True)]
        return self.critic_loss(batch, fake)

    def critic_loss(self, batch: Mapping[str, tf.Tensor], fake: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Both critics: real images against translations."""
        there, back = fake
        loss = _against(self.critic, batch[self.target], there) + _against(self.back_critic, batch[self.source], back)
        return loss, {"critic_loss": loss}

    def generator_loss(self, batch: Mapping[str, tf.Tensor], fake: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Both generators: fool the critics, come back to where one started, leave what is there already."""
        source, target, (there, back) = batch[self.source], batch[self.target], fake
        scores = (self.critic(there, training=True), self.back_critic(back, training=True))
        fooled = sum(2.0 * tf.reduce_mean(least_squares_generator(score)) for score in scores)
        cycle = _l1(self.back_generator(there, training=True), source) + _l1(
            self.generator(back, training=True), target)  # fmt: skip
        same = _l1(self.generator(target, training=True), target) + _l1(
            self.back_generator(source, training=True), source)  # fmt: skip
        total = fooled + self.cycle_weight * cycle + self.identity_weight * same
        return total, {"generator_critic": fooled, "cycle": cycle, "identity": same}


def _against(critic: keras.Model, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(least_squares_critic(critic(real, training=True), critic(fake, training=True)))


def _l1(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.abs(one - other))
