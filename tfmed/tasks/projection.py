"""Projection of a volume into style and noise (Hong et al. 2021, Sect. 2.1): one w, and a noise volume per layer."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from tfmed import compat
from tfmed.nn.adam import Adam
from tfmed.tasks.latents import Latents

_MAPPED = 10_000  # z whose w give the start and the scale of the exploration
_LEVELS = 127.5  # losses are of grey values 0 .. 255, as in the authors' code


@dataclasses.dataclass(frozen=True)
class Projection:
    """What was found.

    Args:
        latents: style and noise.
        array: the volume `(d, h, w)` made from them, in [-1, 1].
        losses: per step {"step", "mse" at full size, "mse_pooled", "learning_rate"}, of grey values 0 .. 255.
    """

    latents: Latents
    array: np.ndarray
    losses: list


class _Unknowns(keras.layers.Layer):
    """w `(1, latent)` and the noise volumes, as variables."""

    def __init__(self, w, noise):
        super().__init__(dtype="float32")
        values = [w, *noise]
        self.built = True
        for i, value in enumerate(values):
            start = keras.initializers.Constant(0.0)
            variable = self.add_weight(name=f"unknown{i}", shape=tuple(value.shape), initializer=start)
            variable.assign(value)

    def call(self, inputs):
        return inputs


class Projector:
    """Minimises MSE(x, g(w, n)) + MSE(pooled x, pooled g(w, n)) by Adam.

    The rate warms up over 5 % of the steps and falls along a cosine over the last 25 %; w starts at the mean and is
    explored with noise that dies away at 75 %; noise volumes get mean 0 and variance 1 again after every step.

    Args:
        model: a style-based generator of volumes, with averaged networks.
        target: `(d, h, w)` in [-1, 1].
        steps: updates.
        rate: peak learning rate.
        pooled_weight: of the second term; 0 leaves it out.
        seed: of the noise.
    """

    def __init__(self, model, target, steps=1000, rate=0.3, pooled_weight=1.0, seed=0):
        self.model, self.steps, self.rate, self.pooled_weight, self.seed = model, steps, rate, pooled_weight, seed
        self.target = tf.constant(target, tf.float32)[None, ..., None]
        self.pool = min(8, 2 ** (model.config.levels - 1))  # 8 voxels in the paper; never below the base
        z = tf.random.stateless_normal((_MAPPED, model.config.latent_size), (seed, 0x3D), alg="philox")
        w = model.map(z)
        mean = tf.reduce_mean(w, axis=0, keepdims=True)
        self.spread = tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(w - mean), axis=1)))
        self.unknowns = _Unknowns(mean, model.noise_maps(seed, 0))
        self.optimizer = Adam(rate)
        self.optimizer.build(self.unknowns.trainable_variables)

    def run(self, progress=lambda steps: steps):
        """A Projection; `progress` wraps the iteration over the steps."""
        losses = []
        for step in progress(range(self.steps)):
            t = step / self.steps
            rate = self.rate * learning_rate_ramp(t)
            strength = self.spread * 0.05 * max(0.0, 1.0 - t / 0.75) ** 2
            full, pooled = self._step(tf.constant(step), tf.constant(rate, tf.float32), strength)
            losses.append({"step": step, "mse": float(full), "mse_pooled": float(pooled), "learning_rate": rate})
        w, *noise = (tf.convert_to_tensor(v) for v in self.unknowns.trainable_variables)
        latents = Latents("projection", self.model.styles(w), tuple(noise))
        array = self.model.synthesise(latents.styles, latents.noise)[0, ..., 0].numpy()
        return Projection(latents, array, losses)

    def losses(self, w, noise):
        """(mean squared error, the same after pooling), grey values 0 .. 255."""
        volume = self.model.average_synthesis(self.model.styles(w), noise)
        difference = (volume - self.target) * _LEVELS
        pooled = tf.nn.avg_pool3d(difference, self.pool, self.pool, "VALID")
        return tf.reduce_mean(tf.square(difference)), tf.reduce_mean(tf.square(pooled))

    @tf.function(autograph=False)
    def _step(self, step, rate, strength):
        variables = self.unknowns.trainable_variables
        tensors = [compat.tensor_variable(variable) for variable in variables]
        seed = tf.stack([self.seed, step])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            w, *noise = (tf.convert_to_tensor(tensor) for tensor in tensors)
            explored = w + strength * tf.random.stateless_normal(w.shape, seed, alg="philox")
            full, pooled = self.losses(explored, tuple(noise))
            loss = full + self.pooled_weight * pooled
        gradients = tape.gradient(loss, tensors, unconnected_gradients="zero")
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        for noise in tensors[1:]:
            noise.assign(standardised(noise))
        return full, pooled


def learning_rate_ramp(t):
    """Share of the peak learning rate at a share t of the steps."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - t) / 0.25))
    return down * min(1.0, t / 0.05)


def standardised(noise):
    """With mean 0 and variance 1."""
    centred = noise - tf.reduce_mean(noise)
    return centred * tf.math.rsqrt(tf.reduce_mean(tf.square(centred)) + 1e-12)
