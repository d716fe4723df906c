"""The baseline of Table 1: a vanilla 3D GAN whose volumes are resized afterwards."""

import numpy as np
import tensorflow as tf

from tfmed.data.preprocess import resample
from tfmed.io import Volume
from tfmed.losses.adversarial import LOSSES
from tfmed.nn.adam import Adam
from tfmed.nn.gan3d import dcgan3d_critic, dcgan3d_generator
from tfmed.ops import draws
from tfmed.ops.resize import linear_resize
from tfmed.training.adversarial import AdversarialModel


class Vanilla3DGAN(AdversarialModel):
    """3D DCGAN with the losses of the config; it generates `baseline_size`^3 voxels (4 * 2**n).

    Args:
        config: CT-SGAN's `Config`; the channels double from the widest resolution down, starting at 64.
        rate: learning rate or schedule; default the config's.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(critic_steps=config.critic_steps, ema_decay=config.ema_decay, **kwargs)
        self.config = config
        depth = int(np.log2(config.baseline_size // 4))
        widths = config.generator_channels[-depth:] if depth <= len(config.generator_channels) else (512,) * depth
        self.latent = config.patient_noise_size

        def make():
            return dcgan3d_generator(self.latent, widths, norm=config.generator_norm)

        self.generator, self.average_generator = make(), self.average_of(make)
        self.critic = dcgan3d_critic(config.baseline_size, widths[::-1])
        self.start_averages([(self.average_generator, self.generator)])
        rate = config.learning_rate if rate is None else rate
        adam = {name: Adam(rate, config.beta_1, config.beta_2) for name in ("critic", "generator")}
        networks = {"critic": [self.critic], "generator": [self.generator]}
        self.finish_building(
            {name: (adam[name], networks[name]) for name in adam},
            ["critic_volume", "penalty_volume", "generator_volume"],
        )

    def generate(self, batch, tag):
        return self.generator(self.noise(batch, (self.latent,), 4 * tag), training=True)

    def judge(self, volumes):
        return self.critic(volumes, training=True)

    def critic_loss(self, batch, tag):
        real, fake = batch["volume"], tf.stop_gradient(self.generate(batch, tag))
        value = tf.reduce_mean(LOSSES[self.config.loss][0](self.judge(real), self.judge(fake)))
        gp, weight = self.config.gp, self.config.gp_weight
        penalty = self.gradient_penalty(gp, self.judge, real, fake, weight, batch, 4 * tag + 3)
        return value + penalty, {"critic_volume": value, "penalty_volume": penalty}

    def generator_loss(self, batch, tag):
        value = tf.reduce_mean(LOSSES[self.config.loss][1](self.judge(self.generate(batch, tag))))
        return value, {"generator_volume": value}

    @tf.function(reduce_retracing=True)
    def decode(self, z):
        return (self.average_generator or self.generator)(z, training=False)

    def generate_small(self, seed, index):
        """One volume `(s, s, s)` in [-1, 1], as generated."""
        return self.decode(draws.normal((1, self.latent), seed, index))[0, ..., 0]

    def sample(self, seed=0, index=0, length=None, chunk=32, fixed=None, convert=None, dtype="float32"):
        """One volume, resized trilinearly to the config's volume_shape; `chunk` and `fixed` have no meaning here."""
        small = Volume(self.generate_small(seed, index).numpy(), np.eye(4))
        wanted = (length or self.config.volume_shape[0], *self.config.volume_shape[1:])
        volume = resample(small, wanted).array
        return (convert(volume) if convert else volume).astype(dtype)

    def volume(self, seed, index, convert, dtype):
        """As `sample`, of tensors."""
        small = self.generate_small(seed, index)
        for axis, size in enumerate(self.config.volume_shape):
            small = linear_resize(small, axis, size)
        return convert(small)

    def call(self, z, training=False):
        """Volumes `(n, s, s, s, 1)` of latents `(n, latent)`."""
        return self.decode(z)
