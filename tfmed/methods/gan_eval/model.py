"""ImageGAN: the training step of DCGAN, LSGAN, WGAN-GP and AC-GAN (Table 2), and their networks (Table 3)."""

import functools

import tensorflow as tf

from tfmed.losses.adversarial import LOSSES, class_loss
from tfmed.nn.adam import Adam
from tfmed.nn.gan2d import critic2d, generator2d, residual_critic2d, residual_generator2d
from tfmed.ops import draws
from tfmed.training.adversarial import AdversarialModel


def build_network(config, name):
    """A bare network: "generator" or "critic"."""
    c, classes = config, len(config.classes) if config.class_conditional else 0
    if name == "generator":
        make = residual_generator2d if c.residual else generator2d
        return make(c.noise_size + classes, c.base_size, c.generator_channels, c.generator_kernel,
                    c.generator_activation)  # fmt: skip
    if c.residual:
        return residual_critic2d(c.size, c.critic_first, c.critic_channels, c.critic_kernel, classes)
    return critic2d(c.size, c.critic_channels, c.critic_kernel, classes)


class ImageGAN(AdversarialModel):
    """One generator and its critic; with `class_conditional` the critic also tells the class (AC-GAN).

    Args:
        config: the method's `Config`.
        rates: learning rate or schedule of (generator, critic); default the config's.

    A training batch holds `image` `(b, size, size, 1)` in [-1, 1] and `label` `(b,)`, the number of its class.
    """

    def __init__(self, config, rates=None, **kwargs):
        super().__init__(critic_steps=config.critic_steps, ema_decay=config.ema_decay, **kwargs)
        self.config = config
        make = functools.partial(build_network, config, "generator")
        self.generator, self.average_generator = make(), self.average_of(make)
        self.critic = build_network(config, "critic")
        self.start_averages([(self.average_generator, self.generator)])
        rates = rates or (config.learning_rate_generator, config.learning_rate_critic)
        adam = [Adam(rate, config.beta_1, config.beta_2) for rate in rates]
        logged = ["critic_loss", "generator_loss"]
        logged += ["critic_class", "generator_class"] if config.class_conditional else []
        logged += ["critic_penalty"] if config.loss == "wasserstein" else []
        self.finish_building({"critic": (adam[1], [self.critic]), "generator": (adam[0], [self.generator])}, logged)

    def latent(self, noise, label):
        """Noise, with the class one-hot behind it when the generator is told: `(b, latent)`."""
        if not self.config.class_conditional:
            return noise
        return tf.concat([noise, tf.one_hot(label, len(self.config.classes), dtype=noise.dtype)], axis=1)

    def generate(self, batch, tag):
        """Images of fresh noise and of the batch's own classes."""
        noise = self.noise(batch, (self.config.noise_size,), 2 * tag)
        return self.generator(self.latent(noise, batch["label"]), training=True)

    def judge(self, images):
        """(score `(b, 1)`, class logits `(b, k)` or None)."""
        found = self.critic(images, training=True)
        return found if self.config.class_conditional else (found, None)

    def critic_loss(self, batch, tag):
        real, fake = batch["image"], tf.stop_gradient(self.generate(batch, tag))
        (real_score, real_class), (fake_score, fake_class) = self.judge(real), self.judge(fake)
        loss = functools.partial(LOSSES[self.config.loss][0], real_score, fake_score)
        value = tf.reduce_mean(loss(self.config.label_smoothing) if self.config.loss == "js" else loss())
        total, logs = value, {"critic_loss": value}
        if self.config.class_conditional:
            classes = class_loss(real_class, batch["label"]) + class_loss(fake_class, batch["label"])
            logs["critic_class"] = tf.reduce_mean(classes)
            total += logs["critic_class"]
        if self.config.loss == "wasserstein":
            weight = self.config.penalty_weight
            logs["critic_penalty"] = self.gradient_penalty(
                "wgan-gp", lambda x: self.judge(x)[0], real, fake, weight, batch, 2 * tag + 1
            )
            total += logs["critic_penalty"]
        return total, logs

    def generator_loss(self, batch, tag):
        score, classes = self.judge(self.generate(batch, tag))
        value = tf.reduce_mean(LOSSES[self.config.loss][1](score))
        if not self.config.class_conditional:
            return value, {"generator_loss": value}
        wrong = tf.reduce_mean(class_loss(classes, batch["label"]))
        return value + wrong, {"generator_loss": value, "generator_class": wrong}

    @tf.function(reduce_retracing=True)
    def decode(self, latent):
        """Images `(n, size, size, 1)` in [-1, 1] of latents `(n, latent)`, in inference mode."""
        return (self.average_generator or self.generator)(latent, training=False)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int64)] * 3 + [tf.TensorSpec((), tf.int32)])
    def images_of(self, seed, first, count, label):
        """Images number first .. first + count - 1 of a seed, `(count, size, size)` in [-1, 1], of one class."""
        noise = draws.normals((self.config.noise_size,), seed, first + tf.range(count))
        return self.decode(self.latent(noise, tf.fill([count], label)))[..., 0]

    def call(self, latent, training=False):
        """Images of latents."""
        return self.decode(latent)
