"""StyleGAN3D: the training step (Sect. 2, Eq. 1) and synthesis with averaged weights."""

import functools

import tensorflow as tf

from tfmed.losses.adversarial import PENALTIES, js_critic, js_generator
from tfmed.losses.path_length import path_length_penalty, path_lengths
from tfmed.methods.stylegan3d.networks import Critic, Mapping, Synthesis
from tfmed.nn.adam import Adam
from tfmed.ops import draws
from tfmed.ops.styles import mix_styles, to_unit, truncate
from tfmed.training.adversarial import AdversarialModel
from tfmed.training.model import assign, move_average
from tfmed.training.schedules import Schedule

_FAKES, _GENERATOR, _PATH, _PENALTY = range(4)  # what noise is drawn for within a step


def build_network(config, name):
    """One bare network of 3D-StyleGAN: "mapping", "synthesis" or "critic"."""
    c = config
    if name == "mapping":
        return Mapping(c.latent_size, c.mapping_layers)
    shared = {"taps": c.resample_kernel, "checkpointing": c.checkpointing}
    if name == "synthesis":
        return Synthesis(
            c.filter_depth, c.latent_size, c.base_shape, c.levels, c.generator_architecture, c.noise, **shared
        )
    return Critic(c.filter_depth, c.base_shape, c.levels, c.critic_architecture, c.minibatch_group, **shared)


class StyleGAN3D(AdversarialModel):
    """m, g and D with their updates, and the average of m and g that is used afterwards.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        per_step: volumes of a step; each replica's part of it is a multiple of `config.minibatch_group`.

    A training batch holds `volume` `(b, d, h, w, 1)` in [-1, 1].

    Example:
        >>> from tfmed.methods.stylegan3d.method import Config
        >>> model = StyleGAN3D(Config(base_shape=(2, 2, 3), levels=3, filter_depth=8, latent_size=8), per_step=4)
        >>> model.synthesise(model.styles(model.latent(seed=0, index=0)), model.noise_maps(0, 0)).shape
        TensorShape([1, 8, 8, 12, 1])
    """

    def __init__(self, config, rate=None, **kwargs):
        per_step = kwargs.get("per_step", 1)
        super().__init__(ema_decay=0.5 ** (per_step / config.ema_half_life_images), **kwargs)
        self.config, self.layers_w = config, 2 * config.levels
        self._check_groups()
        self.mapping, self.synthesis, self.critic = (
            build_network(config, name) for name in ("mapping", "synthesis", "critic")
        )
        self.average_mapping = build_network(config, "mapping")
        self.average_synthesis = build_network(config, "synthesis")
        self.start_averages([(self.average_mapping, self.mapping), (self.average_synthesis, self.synthesis)])
        self.path_mean = self.add_weight(name="path_mean", shape=(), initializer="zeros", trainable=False)  # a of Eq. 1
        shape = (config.latent_size,)
        self.w_average = self.add_weight(name="w_average", shape=shape, initializer="zeros", trainable=False)
        rate = config.learning_rate if rate is None else rate
        self.finish_building(
            {
                "generator": (self._adam(rate, "path"), [self.mapping, self.synthesis]),
                "critic": (self._adam(rate, "penalty"), [self.critic]),
            },
            logged=["generator", "critic", "path_length", "path_penalty"]
            + (["critic_penalty"] if "penalty" in self._lazy() else []),
        )

    def _check_groups(self):
        share = self.per_step // (self.replicas * self.gradient_accumulation)
        if share % self.config.minibatch_group:
            raise ValueError(
                f"minibatch_group: groups of {self.config.minibatch_group} do not fit into the {share} volumes that a "
                "device sees at a time; choose a divisor"
            )

    # --- training -----------------------------------------------------------------------------------------------

    def _lazy(self):
        """{phase that runs on some steps only: how many steps from one to the next}."""
        c = self.config
        phases = {"path": c.g_reg_interval} if c.path_length_weight else {}
        return phases | ({"penalty": c.d_reg_interval} if c.d_reg != "none" else {})

    def phases_of(self, step):
        due = [name for name, interval in self._lazy().items() if step % interval == 0]
        return ("generator", *(["path"] if "path" in due else []), "critic", *(["penalty"] if "penalty" in due else []))

    def _adam(self, rate, phase):
        """Adam; with a lazy phase, k/(k + 1) of the rate and that power of the betas, for k + 1 updates in k steps."""
        c, interval = self.config, self._lazy().get(phase)
        share = interval / (interval + 1) if interval else 1.0
        if isinstance(rate, Schedule):
            rate = rate.scaled(share, 1.0 / share)
        else:
            rate *= share
        return Adam(rate, c.beta_1**share, c.beta_2**share, c.epsilon)

    @tf.autograph.experimental.do_not_convert
    def train_step(self, batch, phase):
        """One phase of a step: "generator", "path", "critic" (which ends with the averages) or "penalty"."""
        return self.log(getattr(self, f"{phase}_step")(batch))

    def generator_step(self, batch):
        logs = self.update("generator", lambda micro_batch: self.generator_loss(micro_batch, _GENERATOR), batch)
        w, decay = self.mean_over_replicas(logs.pop("w_mean")), self.config.w_average_decay
        assign(self.w_average, decay * self.w_average + (1.0 - decay) * w)
        return logs

    def path_step(self, batch):
        logs = self.update("generator", self.path_loss, batch, unconnected="zero")
        change = self.mean_over_replicas(logs["path_length"]) - self.path_mean
        assign(self.path_mean, self.path_mean + self.config.path_length_decay * change)
        return logs

    def critic_step(self, batch):
        logs = self.update("critic", lambda micro_batch: self.critic_loss(micro_batch, _FAKES), batch)
        for average, network in self.averages:
            move_average(average, network, self.ema_decay)
        return logs

    def penalty_step(self, batch):
        return self.update("critic", self.penalty_loss, batch, unconnected="zero")

    def draw_styles(self, batch, purpose):
        """Latents of all layers `(b, layers, latent)`, of another z from a random crossover on; and the first z's w."""
        c, tag = self.config, 64 * purpose
        first = self.mapping(self.noise(batch, (c.latent_size,), tag))
        if not c.style_mixing:
            return tf.repeat(first[:, None], self.layers_w, axis=1), first
        second = self.mapping(self.noise(batch, (c.latent_size,), tag + 1))
        uniform = self.noise(batch, (2,), tag + 2, tf.random.stateless_uniform)
        crossover = 1 + tf.cast(uniform[:, 1] * (self.layers_w - 1), tf.int32)
        crossover = tf.where(uniform[:, 0] < c.style_mixing, crossover, self.layers_w)
        return mix_styles(first[:, None], second[:, None], crossover[:, None], self.layers_w), first

    def draw_noise(self, batch, purpose):
        """Noise of all layers, or () without."""
        shapes = self.synthesis.noise_shapes if self.config.noise else ()
        return tuple(self.noise(batch, shape, 64 * purpose + 4 + i) for i, shape in enumerate(shapes))

    def generate(self, batch, purpose):
        """Volumes `(b, d, h, w, 1)`, and w `(b, latent)` of the first z."""
        styles, first = self.draw_styles(batch, purpose)
        return self.synthesis(styles, self.draw_noise(batch, purpose)), first

    def generator_loss(self, batch, purpose):
        """Non-saturating logistic loss."""
        volumes, w = self.generate(batch, purpose)
        value = tf.reduce_mean(js_generator(self.critic(volumes)))
        return value, {"generator": value, "w_mean": tf.reduce_mean(w, axis=0)}

    def critic_loss(self, batch, purpose):
        """Logistic loss on real volumes and new fakes."""
        fakes = tf.stop_gradient(self.generate(batch, purpose)[0])
        value = tf.reduce_mean(js_critic(self.critic(batch["volume"]), self.critic(fakes)))
        return value, {"critic": value}

    def path_loss(self, batch):
        """Path-length regularisation (Eq. 1) on every second sample, weighted for the steps that go without it."""
        half = {name: value[::2] for name, value in batch.items()}
        styles, _ = self.draw_styles(half, _PATH)
        noise = self.draw_noise(half, _PATH)
        y = self.noise(half, (*self.synthesis.volume_shape, 1), 64 * _PATH + 3)
        lengths = path_lengths(lambda w: self.synthesis(w, noise, twice=True), styles, y)
        penalty = tf.reduce_mean(path_length_penalty(lengths, self.path_mean))
        weight = self.config.path_length_weight * self.config.g_reg_interval
        return weight * penalty, {"path_length": tf.reduce_mean(lengths), "path_penalty": penalty}

    def penalty_loss(self, batch):
        """R1 or R2, weighted for the steps that go without it."""
        c = self.config
        fakes = tf.stop_gradient(self.generate(batch, _PENALTY)[0]) if c.d_reg == "r2" else None
        critic = functools.partial(self.critic, twice=True)
        value = tf.reduce_mean(PENALTIES[c.d_reg](critic, batch["volume"], fakes, c.d_reg_gamma))
        return c.d_reg_interval * value, {"critic_penalty": value}

    # --- synthesis ----------------------------------------------------------------------------------------------

    def latent(self, seed, index):
        """z `(1, latent)` of a sample."""
        return _normal((1, self.config.latent_size), seed, index, 0)

    def noise_maps(self, seed, index):
        """Noise of all layers for one sample, or () without."""
        shapes = self.synthesis.noise_shapes if self.config.noise else ()
        return tuple(_normal((1, *shape), seed, index, 1 + i) for i, shape in enumerate(shapes))

    @tf.function(reduce_retracing=True, autograph=False)
    def map(self, z, psi=1.0):
        """w `(n, latent)` of z, drawn towards the mean w: w_avg + psi (w - w_avg)."""
        return truncate(self.average_mapping(z), self.w_average, psi)

    def styles(self, w):
        """The same w `(n, latent)` for all layers: `(n, layers, latent)`."""
        return tf.repeat(tf.convert_to_tensor(w)[:, None], self.layers_w, axis=1)

    @tf.function(reduce_retracing=True, autograph=False)
    def synthesise(self, styles, noise=()):
        """Volumes `(n, d, h, w, 1)` in about [-1, 1] of latents `(n, layers, latent)`, with averaged weights."""
        return self.average_synthesis(styles, noise)

    def sample(self, seed=0, index=0, psi=1.0, fixed=None):
        """One volume `(d, h, w)` in [0, 1]; the same (seed, index) gives the same volume.

        Args:
            psi: truncation; 0 gives the mean w for every seed, 1 leaves w as it is.
            fixed: "style" or "noise": that is the same for all indices.
        """
        z = self.latent(seed, 0 if fixed == "style" else index)
        noise = self.noise_maps(seed, 0 if fixed == "noise" else index)
        return to_unit(self.synthesise(self.styles(self.map(z, psi)), noise))[0, ..., 0]

    def call(self, styles, training=False):
        """Volumes of latents `(n, layers, latent)` without noise."""
        return self.synthesise(styles)


def _normal(shape, seed, index, tag):
    return draws.normal(shape, seed, tf.cast(index, tf.int64) * 64 + tag)
