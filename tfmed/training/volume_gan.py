"""A plain GAN of whole volumes."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.losses.adversarial import LOSSES
from tfmed.ops import draws
from tfmed.training.adversarial import AdversarialModel


class VolumeGANModel(AdversarialModel):
    """A GAN of a generator and a critic of whole volumes.

    A training batch holds `volume` `(b, s, s, s, 1)` in [-1, 1].

    Args:
        make: makes the generator, `(n, latent)` -> volumes; a second one may average it.
        critic: makes the critic, volumes -> scores.
        latent: entries of the noise.
        optimizers: of the critic, of the generator.
        loss: a name of `losses.adversarial.LOSSES`.
        penalty: (a name of `losses.adversarial.PENALTIES` or "none", its weight).
    """

    def __init__(
        self, make: Callable[[], keras.Model], critic: Callable[[], keras.Model], latent: int,
        optimizers: Sequence[Any], loss: str, penalty: tuple[str, float], **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.latent, self.loss_name, self.penalty = latent, loss, penalty
        self.generator, self.average_generator = make(), self.average_of(make)
        self.critic = critic()
        self.start_averages([(self.average_generator, self.generator)])
        networks = zip(("critic", "generator"), optimizers, (self.critic, self.generator), strict=True)
        self.finish_building(
            {name: (optimizer, [network]) for name, optimizer, network in networks},
            ["critic_volume", "penalty_volume", "generator_volume"],
        )

    def generate(self, batch: dict[str, tf.Tensor], tag: int) -> tf.Tensor:
        """Volumes of fresh noise."""
        return self.generator(self.noise(batch, (self.latent,), 4 * tag), training=True)

    def judge(self, volumes: tf.Tensor) -> tf.Tensor:
        """The critic's scores."""
        return self.critic(volumes, training=True)

    def critic_loss(self, batch: dict[str, tf.Tensor], tag: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss with its gradient penalty."""
        real, fake = batch["volume"], tf.stop_gradient(self.generate(batch, tag))
        value = tf.reduce_mean(LOSSES[self.loss_name][0](self.judge(real), self.judge(fake)))
        kind, weight = self.penalty
        penalty = self.gradient_penalty(kind, self.judge, real, fake, weight, batch, 4 * tag + 3)
        return value + penalty, {"critic_volume": value, "penalty_volume": penalty}

    def generator_loss(self, batch: dict[str, tf.Tensor], tag: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """What the critic says of new volumes."""
        value = tf.reduce_mean(LOSSES[self.loss_name][1](self.judge(self.generate(batch, tag))))
        return value, {"generator_volume": value}

    @tf.function(reduce_retracing=True, autograph=False)
    def decode(self, z: tf.Tensor) -> tf.Tensor:
        """Volumes of latents, at inference."""
        return (self.average_generator or self.generator)(z, training=False)

    def generated(self, seed: Any, index: Any) -> tf.Tensor:
        """One volume `(s, s, s)` in [-1, 1], a function of (seed, index)."""
        return self.decode(draws.normal((1, self.latent), seed, index))[0, ..., 0]

    def call(self, z: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Volumes `(n, s, s, s, 1)` of latents `(n, latent)`."""
        return self.decode(z)
