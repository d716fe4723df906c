"""Painters: conditional GANs that paint a masked part of images anew (Isola et al. 2017; Jin et al., MICCAI 2018)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.losses.adversarial import js_critic, js_generator
from tfmed.training.adversarial import SharedForwardModel


class PainterModel(SharedForwardModel):
    """A generator that paints the middle of a cube anew, and a critic of (what it was shown, the cube): 3-D pix2pix.

    A subclass says what the generator is `shown`.

    Args:
        generator, critic: cubes -> cubes; two cubes as channels -> logits.
        optimizers: of the critic, of the generator.
        l1_weight, mask_l1_weight: of the L1 distance in the whole cube, and in its mask on top of that.

    A training batch holds `voi` `(b, s, s, s, 1)` in [-1, 1], `mask` (1 where something is to be painted, else 0) and
    `weight` (of pasting, in [0, 1]), both of the same shape.
    """

    def __init__(
        self, generator: keras.Model, critic: keras.Model, optimizers: Sequence[Any], l1_weight: float,
        mask_l1_weight: float, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.generator, self.critic = generator, critic
        self.l1_weight, self.mask_l1_weight = l1_weight, mask_l1_weight
        networks = zip(("critic", "generator"), optimizers, (critic, generator), strict=True)
        self.finish_building(
            {name: (optimizer, [network]) for name, optimizer, network in networks},
            ["critic_loss", "generator_critic", "l1", "l1_mask"],
        )

    def shown(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What the generator is shown of a batch's cubes."""
        raise NotImplementedError

    def call(self, cubes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """What the generator is shown `(n, s, s, s, 1)` -> painted cubes, likewise."""
        return self.generator(cubes, training=training)

    @tf.function(reduce_retracing=True, autograph=False)
    def painted(self, cubes: tf.Tensor) -> tf.Tensor:
        """The same in a graph, at inference."""
        return self.generator(cubes, training=False)

    def made(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """(what the generator is shown, what it paints)."""
        shown = self.shown(batch)
        return shown, self.generator(shown, training=True)

    def critic_loss(self, batch: Mapping[str, tf.Tensor], made: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Half the cross-entropy of (shown, real) against (shown, painted)."""
        shown, painted = made
        scores = [self.critic(tf.concat([shown, cube], -1), training=True) for cube in (batch["voi"], painted)]
        loss = 0.5 * tf.reduce_mean(js_critic(*scores))
        return loss, {"critic_loss": loss}

    def generator_loss(self, batch: Mapping[str, tf.Tensor], made: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The critic's word, and the L1 distances in the cube and in its mask."""
        shown, painted = made
        fooled = tf.reduce_mean(js_generator(self.critic(tf.concat([shown, painted], -1), training=True)))
        error, axes = tf.abs(batch["voi"] - painted), (1, 2, 3, 4)
        whole = tf.reduce_mean(error)
        inside = tf.reduce_sum(error * batch["mask"], axes) / tf.reduce_sum(batch["mask"], axes)
        inside = tf.reduce_mean(inside)
        loss = fooled + self.l1_weight * whole + self.mask_l1_weight * inside
        return loss, {"generator_critic": fooled, "l1": whole, "l1_mask": inside}


def hidden(cubes: Any, mask: Any) -> Any:
    """Cubes with 0, which lung is not, where the mask is 1; arrays or tensors."""
    return cubes * (1.0 - mask)
