"""Injector, eraser and classifier: their networks and training steps."""

import tensorflow as tf

from tfmed.losses.adversarial import js_critic, js_generator
from tfmed.nn.adam import Adam
from tfmed.nn.squeezenet3d import squeezenet3d
from tfmed.nn.translation import patch_critic, unet_generator
from tfmed.training.adversarial import SharedForwardModel
from tfmed.training.single_network import SingleNetworkModel


def build_network(config, name, seed=0):
    """A bare network: "generator" (cube -> cube), "critic" (two cubes -> logits) or "classifier" (volume -> logit)."""
    c = config
    if name == "generator":
        return unet_generator(c.downs, 1, 1, c.generator_first, c.dropout, seed, dims=3)
    if name == "critic":
        return patch_critic(c.critic_layers, 2, c.critic_first, dims=3)
    return squeezenet3d(1, 1, c.classifier_first, c.fires, c.classifier_strides, c.classifier_dropout, seed)


class Painter(SharedForwardModel):
    """A generator that paints the middle of a cube anew, and a critic of (what it was shown, the cube): 3-D pix2pix.

    A subclass says what the generator is `shown`.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A training batch holds `voi` `(b, s, s, s, 1)` in [-1, 1], `mask` (1 where the nodule and its rim are, else 0) and
    `weight` (of pasting, in [0, 1]), both of the same shape.
    """

    def __init__(self, config, rate=None, seed=0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.config = config
        self.generator, self.critic = (build_network(config, name, seed) for name in ("generator", "critic"))
        rate = config.learning_rate if rate is None else rate
        self.finish_building(
            {
                name: (Adam(rate, config.beta_1, config.beta_2), [getattr(self, name)])
                for name in ("critic", "generator")
            },
            ["critic_loss", "generator_critic", "l1", "l1_mask"],
        )

    def call(self, cubes, training=False):
        """What the generator is shown `(n, s, s, s, 1)` -> painted cubes, likewise."""
        return self.generator(cubes, training=training)

    @tf.function(reduce_retracing=True)
    def painted(self, cubes):
        """The same in a graph, at inference."""
        return self.generator(cubes, training=False)

    def made(self, batch):
        """(what the generator is shown, what it paints)."""
        shown = self.shown(batch)
        return shown, self.generator(shown, training=True)

    def critic_loss(self, batch, made):
        """Half the cross-entropy of (shown, real) against (shown, painted)."""
        shown, painted = made
        scores = [self.critic(tf.concat([shown, cube], -1), training=True) for cube in (batch["voi"], painted)]
        loss = 0.5 * tf.reduce_mean(js_critic(*scores))
        return loss, {"critic_loss": loss}

    def generator_loss(self, batch, made):
        """The critic's word, and the L1 distances in the cube and in its mask."""
        c, (shown, painted) = self.config, made
        fooled = tf.reduce_mean(js_generator(self.critic(tf.concat([shown, painted], -1), training=True)))
        error, axes = tf.abs(batch["voi"] - painted), (1, 2, 3, 4)
        whole = tf.reduce_mean(error)
        inside = tf.reduce_sum(error * batch["mask"], axes) / tf.reduce_sum(batch["mask"], axes)
        inside = tf.reduce_mean(inside)
        loss = fooled + c.l1_weight * whole + c.mask_l1_weight * inside
        return loss, {"generator_critic": fooled, "l1": whole, "l1_mask": inside}


class Injector(Painter):
    """Cubes around real nodules; the generator is shown them with the nodule hidden."""

    def shown(self, batch):
        """The cubes, 0 in their masks."""
        return hidden(batch["voi"], batch["mask"])


class Eraser(Painter):
    """Healthy cubes; the generator is shown them with an injected nodule.

    Args:
        inject: hidden cubes -> cubes with nodules; a function, so that the injector's weights are none of this model's.
    """

    def __init__(self, *arguments, inject, **kwargs):
        super().__init__(*arguments, **kwargs)
        self.inject = inject

    def shown(self, batch):
        """The cubes with nodules pasted into them as into a scan."""
        made = tf.stop_gradient(self.inject(hidden(batch["voi"], batch["mask"])))
        return batch["voi"] + batch["weight"] * (made - batch["voi"])


def hidden(cubes, mask):
    """Cubes with 0, which lung is not, where the mask is 1."""
    return cubes * (1.0 - mask)


class Classifier(SingleNetworkModel):
    """3D-SqueezeNet with binary cross-entropy: has a volume nodules?

    Args:
        config: the method's `Config`.
        start: weights to go on from, as `network.get_weights()` gives them; None for new ones.

    A training batch holds `volume` `(b, z, y, x, 1)` in [0, 1] and `label` `(b,)`, 0 or 1.
    """

    def __init__(self, config, seed=0, start=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.network = build_network(config, "classifier", seed)
        if start is not None:
            self.network.set_weights(start)
        adam = Adam(config.classifier_learning_rate, 0.9, 0.999)
        self.finish_building({"network": (adam, [self.network])}, ["loss", "accuracy"])

    @tf.function(reduce_retracing=True)
    def logits(self, volumes):
        """Logits `(n,)` at inference."""
        return self.network(volumes, training=False)[:, 0]

    def network_loss(self, batch):
        """Mean cross-entropy."""
        logits = self.network(batch["volume"], training=True)[:, 0]
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(batch["label"], logits))
        right = tf.reduce_mean(tf.cast((logits > 0) == (batch["label"] > 0.5), tf.float32))
        return loss, {"loss": loss, "accuracy": right}
