"""CycleGAN (Zhu et al. 2017), the baseline that needs no pairs."""

import tensorflow as tf

from tfmed.losses.adversarial import least_squares_critic, least_squares_generator
from tfmed.methods.pix2pix_bridge.model import SliceTranslator, build_network
from tfmed.nn.adam import Adam
from tfmed.training.image_pool import ImagePool


class CycleGAN(SliceTranslator):
    """Two generators, there and back, each with a critic of what it makes; least-squares losses.

    Critics go first, as in pix2pix, and are shown older translations among the newest.

    Args:
        config: the method's `Config`.
        rate: learning rate or `Schedule`; default the config's.

    A training batch holds `mr` and `ct`, of different patients, each `(b, size, size, 1)` in [-1, 1].
    """

    def __init__(self, config, rate=None, seed=0, **kwargs):
        super().__init__(config, seed=seed, **kwargs)
        rate = config.learning_rate if rate is None else rate
        self.generator, self.back_generator = (build_network(config, "generator", seed + 7 * k) for k in range(2))
        self.critic, self.back_critic = (build_network(config, "critic") for _ in range(2))
        shape = (config.size, config.size, 1)
        self.histories = [ImagePool(config.history, shape, self, tag) for tag in range(2)] if config.history else None
        critics, generators = (Adam(rate, config.beta_1, config.beta_2, 1e-8) for _ in range(2))
        self.finish_building(
            {"critic": (critics, [self.critic, self.back_critic]),
             "generator": (generators, [self.generator, self.back_generator])},
            ["critic_loss", "generator_critic", "cycle", "identity"],
        )  # fmt: skip

    def train_step(self, batch):
        turns = self.turns | {"critic": self.critic_loss_with_history}
        return self.log(self.update_in_turn(self.made, turns, batch))

    def made(self, batch):
        """Translations there of a batch's sources, and back of its targets."""
        source, target = self.ends(batch)
        return self.generator(source, training=True), self.back_generator(target, training=True)

    def ends(self, batch):
        """(source images, target images) of a batch."""
        return batch[self.config.source], batch[self.config.target]

    def critic_loss_with_history(self, batch, fake):
        """`critic_loss` of translations of which some are replaced by older ones."""
        if self.histories:
            fake = [history.shown(images, batch, self) for history, images in zip(self.histories, fake, strict=True)]
        return self.critic_loss(batch, fake)

    def critic_loss(self, batch, fake):
        """Both critics: real images against translations."""
        (source, target), (there, back) = self.ends(batch), fake
        loss = tf.reduce_mean(_against(self.critic, target, there)) + tf.reduce_mean(
            _against(self.back_critic, source, back))  # fmt: skip
        return loss, {"critic_loss": loss}

    def generator_loss(self, batch, fake):
        """Both generators: fool the critics, come back to where one started, leave what is there already."""
        (source, target), (there, back) = self.ends(batch), fake
        scores = (self.critic(there, training=True), self.back_critic(back, training=True))
        fooled = sum(2.0 * tf.reduce_mean(least_squares_generator(score)) for score in scores)
        cycle = _l1(self.back_generator(there, training=True), source) + _l1(
            self.generator(back, training=True), target)  # fmt: skip
        same = _l1(self.generator(target, training=True), target) + _l1(
            self.back_generator(source, training=True), source)  # fmt: skip
        total = fooled + self.config.cycle_weight * cycle + self.config.identity_weight * same
        return total, {"generator_critic": fooled, "cycle": cycle, "identity": same}


def _against(critic, real, fake):
    return least_squares_critic(critic(real, training=True), critic(fake, training=True))


def _l1(one, other):
    return tf.reduce_mean(tf.abs(one - other))
