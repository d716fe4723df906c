"""Translator: the training steps of both directions (Eq. 1-7)."""

import tensorflow as tf

from tfmed.data.sampling import Stream
from tfmed.losses.adversarial import js_critic, js_generator
from tfmed.nn.adam import Adam
from tfmed.nn.translation import global_generator, patch_critic, unet_generator
from tfmed.training.adversarial import SharedForwardModel
from tfmed.training.schedules import Schedule

_COIN = Stream("pix2pix_bridge.coin", 0xC014)


def build_network(config, name, seed=0):
    """A bare network: "generator", "critic" (sees an image) or "paired_critic" (sees a source and its translation)."""
    if name == "generator" and config.architecture == "pix2pixhd":
        return global_generator(config.downs, config.blocks, 1, 1, config.generator_first)
    if name == "generator":
        return unet_generator(config.downs, 1, 1, config.generator_first, config.dropout, seed)
    return patch_critic(config.critic_layers, 2 if name == "paired_critic" else 1, config.critic_first, name)


def coin(seed, step, chance):
    """Whether a step of C->M takes the CT path: a pure function of the run's seed and the step."""
    return bool(_COIN(seed, step).random() < chance)


class SliceTranslator(SharedForwardModel):
    """A model whose `generator` translates slices; what training adds is a subclass's.

    Args:
        config: the method's `Config`.
    """

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config = config

    @tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.float32)])
    def translated(self, slices):
        """Translations of slices `(z, y, x)` in [-1, 1], any size: padded with background, and cut back."""
        size, side = tf.shape(slices)[1:], 2**self.config.downs
        extra = -size % side
        before = extra // 2
        widths = tf.concat([[[0, 0]], tf.stack([before, extra - before], 1)], 0)
        padded = tf.pad(slices, widths, constant_values=-1.0)

        def one(image):
            return self.generator(image[None, ..., None], training=False)[0, ..., 0]

        made = tf.map_fn(one, padded, parallel_iterations=1)
        return made[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]

    def call(self, images, training=False):
        """Translations of images `(n, h, w, 1)`."""
        return self.generator(images, training=training)


class Translator(SliceTranslator):
    """A generator, a critic of real images and a critic of pairs; those that the config's losses need.

    A path is a way through the losses: "paired" begins with an image of a pair; "unpaired" (only C->M) with a real CT.

    Args:
        config: the method's `Config`.
        rate: learning rate or `Schedule`; default the config's.

    A training batch holds `mr` and `mrcat`, a pair, and `ct`, of another patient, each `(b, size, size, 1)` in [-1, 1].
    """

    def __init__(self, config, rate=None, seed=0, **kwargs):
        super().__init__(config, seed=seed, **kwargs)
        rate = config.learning_rate if rate is None else rate
        networks = {name: build_network(config, name, seed) for name in ("generator", *config.critics)}
        for name, network in networks.items():
            setattr(self, name, network)
        logged = [f"{name}_loss" for name in config.critics]
        logged += [f"generator_{name}" for name in config.critics] + (["l1"] if config.uses_anchor else [])
        self.finish_building({name: (self._adam(name, rate), [net]) for name, net in networks.items()}, logged)

    def _adam(self, name, rate):
        """Adam; a network that is updated on some steps only goes through the schedule in as few updates as it gets."""
        c = self.config
        if isinstance(rate, Schedule) and c.direction == "c2m" and name != "generator":
            rate = rate.scaled(1.0, c.coin if name == "critic" else 1.0 - c.coin)
        return Adam(rate, c.beta_1, c.beta_2, 1e-8)

    # --- which way a step goes --------------------------------------------------------------------------------------

    def parts(self, step):
        """The one path of a training step."""
        unpaired = self.config.direction == "c2m" and coin(self.noise_seed, step, self.config.coin)
        return ("unpaired" if unpaired else "paired",)

    def ends(self, path):
        """Names of (source, its aligned target or None) of a path."""
        if self.config.direction == "m2c":
            return "mr", "mrcat"
        return ("ct", None) if path == "unpaired" else ("mrcat", "mr")

    def critics_of(self, path):
        """Names of the critics that a path trains, and is trained by."""
        if self.config.direction == "m2c":
            return self.config.critics
        wanted = "critic" if path == "unpaired" else "paired_critic"
        return tuple(name for name in self.config.critics if name == wanted)

    @property
    def turns(self):
        """All critics, and then the generator, on the paired path."""
        losses = {"critic": self.critic_loss, "paired_critic": self.paired_critic_loss}
        return {name: losses[name] for name in self.config.critics} | {"generator": self.generator_loss}

    def train_step(self, batch, path="paired"):
        losses = {name: loss for name, loss in self.turns.items() if name in self.critics_of(path)}
        losses["generator"] = lambda part, fake: self.generator_loss(part, fake, path)
        return self.log(self.update_in_turn(lambda part: self.made(part, path), losses, batch))

    def made(self, batch, path="paired"):
        """Translations of a path's sources."""
        return self.generator(batch[self.ends(path)[0]], training=True)

    # --- losses -----------------------------------------------------------------------------------------------------

    def critic_loss(self, batch, fake):
        """Real images of the target modality, of any patient, against translations (Eq. 1, 4)."""
        real = batch["ct" if self.config.direction == "m2c" else "mr"]
        loss = _halved(self.critic(real, training=True), self.critic(fake, training=True))
        return loss, {"critic_loss": loss}

    def paired_critic_loss(self, batch, fake):
        """(source, target) against (source, translation) (Eq. 5)."""
        source, target = (batch[name] for name in self.ends("paired"))
        scores = (self.paired_critic(tf.concat([source, image], -1), training=True) for image in (target, fake))
        loss = _halved(*scores)
        return loss, {"paired_critic_loss": loss}

    def generator_loss(self, batch, fake, path="paired"):
        """The adversarial terms of a path, and lambda times the L1 distance to what the source is aligned with."""
        source, target = self.ends(path)
        total, logs = 0.0, {}
        for name in self.critics_of(path):
            shown = tf.concat([batch[source], fake], -1) if name == "paired_critic" else fake
            value = tf.reduce_mean(js_generator(getattr(self, name)(shown, training=True)))
            total, logs[f"generator_{name}"] = total + value, value
        if target and self.config.uses_anchor:
            logs["l1"] = tf.reduce_mean(tf.abs(batch[target] - fake))
            total += self.config.anchor_weight * logs["l1"]
        return total, logs


def _halved(real, fake):
    """Half of a critic's loss, as in the public code: critics learn half as fast."""
    return 0.5 * tf.reduce_mean(js_critic(real, fake))
