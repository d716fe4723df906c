"""Synthesizer: the training step of MR-to-CT synthesis, with and without a critic (Eq. 1-3)."""

import tensorflow as tf

from tfmed.losses.adversarial import relativistic_critic, relativistic_generator
from tfmed.methods.fsmr2ct.networks import build_network
from tfmed.nn.adam import Adam
from tfmed.training.adversarial import SharedForwardModel

PRETRAIN, ADVERSARIAL = "pretrain", "adversarial"


class Synthesizer(SharedForwardModel):
    """The synthesis network, and where the config says so a critic.

    Args:
        config: the method's `Config`.
        rate: learning rate or `Schedule`; default the config's.
        steps: training steps of the run; the first `pretrain_fraction` of them have no critic.

    A training batch holds `mr`, `ct` and `high` (the CT's high frequencies), each `(b, *patch, 1)`.
    """

    def __init__(self, config, rate=None, steps=1, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.pretraining = round(config.pretrain_fraction * steps)
        rate = config.learning_rate if rate is None else rate
        self.generator = build_network(config)
        networks = {"generator": self.generator}
        if config.adv != "none":
            self.critic = networks["critic"] = build_network(config, "critic")
        logged = ["reconstruction", "ct_l1"] + (["high_l1"] if config.head == "freq" else [])
        self.phases = {PRETRAIN: logged, ADVERSARIAL: [*logged, "critic_loss", "generator_critic"]}
        optimizers = {name: (Adam(rate, config.beta_1, config.beta_2, 1e-8), [network])
                      for name, network in networks.items()}  # fmt: skip
        self.finish_building(optimizers, self.phases[PRETRAIN if config.adv == "none" else ADVERSARIAL])

    def call(self, images, training=False):
        """MR `(n, z, y, x, 1)` -> `(n, z, y, x, k)`, see `build_network`."""
        return self.generator(images, training=training)

    def parts(self, step):
        """The phase of a training step."""
        return (PRETRAIN if step < self.pretraining or self.config.adv == "none" else ADVERSARIAL,)

    @property
    def turns(self):
        """The critic, where there is one, and the generator."""
        return {name: loss for name, loss in super().turns.items() if name in self.updaters}

    def train_step(self, batch, phase=ADVERSARIAL):
        losses = self.turns if phase == ADVERSARIAL else {}
        losses["generator"] = lambda part, made: self.generator_loss(part, made, phase)
        means = self.log(self.update_in_turn(self.made, losses, batch))
        return {name: means[name] for name in self.phases[phase]}

    def made(self, batch):
        """What the generator makes of a batch's MR."""
        return self.generator(batch["mr"], training=True)

    # --- losses -----------------------------------------------------------------------------------------------------

    def generator_loss(self, batch, made, phase=ADVERSARIAL):
        """L_rec (Eq. 1), and in the second phase the weighted adversarial term (Eq. 3)."""
        logs = {"ct_l1": _l1(made[..., :1], batch["ct"])}
        total = logs["ct_l1"]
        if self.config.head == "freq":
            logs["high_l1"] = _l1(made[..., 2:], batch["high"])
            total += logs["high_l1"]
        logs["reconstruction"] = total
        if phase == ADVERSARIAL and self.config.adv != "none":
            scores = self.scores(batch, made)
            logs["generator_critic"] = tf.reduce_mean(relativistic_generator(*scores))
            total += self.config.adv_weight * logs["generator_critic"]
        return total, logs

    def critic_loss(self, batch, made):
        """The critic's relativistic average loss (Eq. 2)."""
        loss = tf.reduce_mean(relativistic_critic(*self.scores(batch, made)))
        return loss, {"critic_loss": loss}

    def scores(self, batch, made):
        """(real, fake, mean of real, mean of fake) scores; the means are those over the whole batch."""
        real, fake = (self.score(batch, image) for image in self.judged(batch, made))
        return real, fake, self.shared_mean(tf.reduce_mean(real)), self.shared_mean(tf.reduce_mean(fake))

    def judged(self, batch, made):
        """(real, made) as the critic sees them: high frequencies alone, or whole CTs."""
        if self.config.adv == "high":
            return batch["high"], made[..., 2:]
        return batch["ct"], made[..., :1]

    def score(self, batch, image):
        """The critic's logits `(n, 1)` of images."""
        if self.config.d_condition == "channel":
            image = tf.concat([image, tf.cast(batch["mr"], image.dtype)], -1)
        return self.critic(image, training=True)


def _l1(made, real):
    return tf.reduce_mean(tf.abs(tf.cast(made, tf.float32) - real))
