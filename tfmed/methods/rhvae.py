"""RHVAE: pictures of rare classes from a variational autoencoder whose latent space has a metric.

Paper: C. Chadebec, S. Allassonniere, "Data Augmentation with Variational Autoencoders and Manifold Sampling",
DGM4MICCAI 2021; the model is that of C. Chadebec, C. Mantoux, S. Allassonniere, arXiv 2010.11518.

Task: generation of pictures by class, to augment classes with tens of images.

Idea: One autoencoder per class. Networks give each training picture a place in the latent space and a matrix; kernels
around them make a metric, and the posterior is refined by Hamiltonian steps that feel it. New pictures are decoded not
from the prior but from where the metric says that there is data: from the density sqrt(det G^-1), by Hamiltonian Monte
Carlo.

Reproduces: Table 3 (OASIS, 220 + 70 training slices: balanced accuracy of a perceptron 80.7 % on real, 88.6 % on 500
synthetic pictures per class alone) and Table 2 (500 digits: 89.9 % on real, 94.3 % with 2000 synthetic per class). The
paper names neither hardware nor time.

Deviates: the sampler's gradient and the sign of the geodesics' force are those of the equations, not of the released
code (`geodesic_sign: published` shows its geodesics). The step in z is implicit, and gradients pass through all steps
(`implicit: false`, `through_forces: false` for the released code's). The metric is that of one clean pass over the
training pictures at each validation, not what an epoch collected. Samples stay in the centroids' box, enlarged by
3 T: the compact set that Eq. 3 asks for. Left out: the VAMP prior, and one model for all classes.
"""

import functools
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveFloat, model_validator

from tfmed.config import Layers
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.engine.exporting import ExportModule
from tfmed.nn.adam import Adam
from tfmed.nn.gaussian import gaussian_head, log_density, reparametrised
from tfmed.ops import draws, riemann
from tfmed.ops.triangle import lower_triangular
from tfmed.pictures.latent_plane import LatentPlane
from tfmed.tasks.class_generation import ClassGenerationConfig, ClassGenerationMethod
from tfmed.training.model import TrainingModel

Way = Literal["metric_hmc", "random_walk", "wrapped_normal", "prior"]
LATENT, MOMENTUM = 0, 1  # tags of noise
_AT_ONCE = 256  # pictures that are decoded together
_EACH = 2**40  # sample numbers of a class


class Config(ClassGenerationConfig):
    """RHVAE's numbers; [P] is stated in the paper, [C] read from the released code."""

    # networks
    latent_size: int = Field(10, ge=1, le=256)  # [C] d; 2 for pictures of the latent space
    hidden: Layers = (400,)  # [C] of encoder, decoder and metric
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"  # [C]
    # objective
    objective: Literal["reference", "exact", "vae"] = "reference"  # [C]; the exact bound; a plain autoencoder
    leapfrog_steps: int = Field(3, ge=0, le=100)  # [C] K
    leapfrog_size: PositiveFloat = 0.01  # [C] epsilon
    tempering: float = Field(0.3, gt=0, le=1)  # [C] sqrt(beta_0)
    fixed_points: int = Field(3, ge=1, le=50)  # [C] iterations of implicit equations
    implicit: bool = True  # the step in z; false: [C]
    through_forces: bool = True  # gradients of the loss pass through the forces; false: [C]
    temperature: PositiveFloat = 1.5  # [C] T of the metric's kernels; 0.8 for d = 2
    regularisation: PositiveFloat = 1e-3  # [C] lambda
    learning_rate: float = Field(1e-3, gt=0)  # [C] of Adam
    # sampling
    ways: tuple[Way, ...] = Field(("metric_hmc", "prior"), min_length=1)  # the first is the usual one
    hmc_steps: int = Field(400, ge=1, le=100_000)  # [C] proposals of a chain
    hmc_leapfrog_steps: int = Field(15, ge=1, le=1000)  # [C]
    hmc_size: PositiveFloat = 0.05  # [C]
    walk_steps: int = Field(100, ge=1, le=100_000)  # of the random walk
    walk_variance: PositiveFloat = 0.5  # [C] s of its velocities, and of the wrapped normal's
    geodesic_steps: int = Field(10, ge=1, le=1000)  # [C] of the exponential map
    geodesic_sign: Literal["correct", "published"] = "correct"

    @model_validator(mode="after")
    def _has_a_metric(self):
        if self.objective == "vae" and self.ways != ("prior",):
            raise ValueError(
                "a plain autoencoder (objective: vae) has no metric to sample by; set model.ways to [prior]"
            )
        return self


def build_network(config, name):
    """A bare network: "encoder" (pictures -> mean, log variance), "metric" (pictures -> logarithms of the diagonal, and
    what is below it), or "decoder" (latents -> logits `(n, y, x, 1)`)."""
    inputs = keras.Input((config.latent_size,) if name == "decoder" else (*config.size, 1))
    x = inputs if name == "decoder" else keras.layers.Flatten()(inputs)
    for i, width in enumerate(config.hidden, 1):
        x = keras.layers.Dense(width, "relu", name=f"hidden{i}")(x)
    if name == "encoder":
        outputs = gaussian_head(x, config.latent_size)
    elif name == "metric":
        d = config.latent_size
        outputs = [keras.layers.Dense(d, dtype="float32", name="diagonal")(x)]
        outputs += [keras.layers.Dense(d * (d - 1) // 2, dtype="float32", name="below")(x)] if d > 1 else []
    else:
        x = keras.layers.Dense(config.size[0] * config.size[1], dtype="float32", name="pixels")(x)
        outputs = keras.layers.Reshape((*config.size, 1), dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


class RHVAE(TrainingModel):
    """Encoder, decoder and metric of one class.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        count: how many training pictures there are, each of which is a centroid of the metric.

    A training batch holds `image` `(n, y, x, 1)` in [0, 1].

    Example:
        >>> model = RHVAE(Config(size=(8, 8), latent_size=2, hidden=(16,), hmc_steps=5), count=3)
        >>> model.keep_metric(np.zeros((3, 8, 8, 1), "float32"))
        >>> model.sample(5, seed=0).numpy().shape
        (5, 8, 8, 1)
    """

    def __init__(self, config, rate=None, count=1, **kwargs):
        super().__init__(**kwargs)
        self.config, d = config, config.latent_size
        self.encoder, self.decoder = build_network(config, "encoder"), build_network(config, "decoder")
        networks, logged = [self.encoder, self.decoder], ["loss", "likelihood"]
        if config.objective != "vae":
            self.factor = build_network(config, "metric")
            networks.append(self.factor)
            self.centroids = self.add_weight(name="centroids", shape=(count, d), initializer="zeros", trainable=False)
            self.matrices = self.add_weight(name="matrices", shape=(count, d, d), initializer="zeros", trainable=False)
        rate = config.learning_rate if rate is None else rate
        self.finish_building({"network": (Adam(rate, 0.9, 0.999), networks)}, logged)

    def call(self, latents, training=False):
        """Latents `(n, d)` -> pictures `(n, y, x, 1)` in [0, 1]."""
        return tf.sigmoid(self.decoder(latents, training=training))

    # --- training -------------------------------------------------------------------------------------------------

    @property
    def objectives(self):
        """The negative bound."""
        return {"network": self.network_loss}

    def network_loss(self, batch):
        """(mean of minus the bound of the evidence in nats, what to log)."""
        images, size = batch["image"], (self.config.latent_size,)
        noise, momentum = self.noise(batch, size, LATENT), self.noise(batch, size, MOMENTUM)
        bound, likelihood = self.bound(images, noise, momentum)
        loss = -tf.reduce_mean(bound)
        return loss, {"loss": loss, "likelihood": tf.reduce_mean(likelihood)}

    def bound(self, images, noise, momentum_noise, metric=None):
        """(bound of the evidence, log p(x | z)) `(n,)` each, in nats, by one draw per picture.

        Args:
            images: `(n, y, x, 1)`.
            noise, momentum_noise: standard normal `(n, d)`.
            metric: a `riemann.KernelMetric`; None: that of these pictures themselves, as in training.
        """
        c = self.config
        mean, log_variance = self.encoder(images, training=True)
        z = reparametrised(mean, log_variance, noise)
        log_q = log_density(noise) - 0.5 * tf.reduce_sum(log_variance, -1)
        if c.objective == "vae":
            likelihood = self.log_likelihood(images, z)
            return likelihood + log_density(z) - log_q, likelihood
        lower = self.lower(images)
        if metric is None:
            metric = self.metric_of(self.of_all_replicas(mean), self.of_all_replicas(lower @ _transposed(lower)))
        start = metric.at(z)
        spread = lower if c.objective == "reference" else tf.linalg.cholesky(start.matrix)
        rho = tf.linalg.matvec(spread, momentum_noise) / c.tempering
        how = dict(fixed_points=c.fixed_points, implicit=c.implicit, through_forces=c.through_forces)
        force = lambda at: self.potential_gradient(images, at)  # noqa: E731
        z, rho = riemann.leapfrog(metric, force, z, rho, c.leapfrog_steps, c.leapfrog_size, c.tempering, **how)
        end, likelihood = metric.at(z), self.log_likelihood(images, z)
        log_rho = log_density(tf.zeros_like(rho)) + end.log_volume - end.kinetic(rho)
        bound = likelihood + log_density(z) + log_rho - log_q
        if c.objective == "exact":  # minus the density of the first momentum
            bound -= log_density(momentum_noise) + start.log_volume
        return bound, likelihood

    def log_likelihood(self, images, z):
        """log p(x | z), summed over pixels, `(n,)`."""
        logits = self.decoder(z, training=True)
        if self.config.likelihood == "bernoulli":
            each = -tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(images, logits.dtype), logits)
            return tf.reduce_sum(each, (1, 2, 3))
        flat = tf.reshape(tf.sigmoid(logits), (-1, self.config.size[0] * self.config.size[1]))
        return log_density(tf.reshape(images, tf.shape(flat)), flat)

    def potential_gradient(self, images, z):
        """Gradient of -log p(x, z) in z."""
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = self.log_likelihood(images, z) + log_density(z)
        return -tape.gradient(value, z)

    # --- the metric -----------------------------------------------------------------------------------------------

    def lower(self, images):
        """Lower triangular matrices L `(n, d, d)` with positive diagonals."""
        diagonal, *below = self.factor(images, training=True)
        return lower_triangular(tf.exp(diagonal), *below)

    def metric_of(self, centroids, matrices):
        """A `riemann.KernelMetric` with the config's numbers."""
        return riemann.KernelMetric(centroids, matrices, self.config.temperature, self.config.regularisation)

    @property
    def metric(self):
        """That of the training pictures, as `keep_metric` left it."""
        return self.metric_of(tf.convert_to_tensor(self.centroids), tf.convert_to_tensor(self.matrices))

    def keep_metric(self, images):
        """Make the training pictures `(count, y, x, 1)` the centroids of the metric that is sampled by."""
        if self.config.objective != "vae":
            lower = self.lower(images)
            self.centroids.assign(self.encoder(images, training=False)[0])
            self.matrices.assign(lower @ _transposed(lower))

    # --- sampling -------------------------------------------------------------------------------------------------

    def latents(self, count, seed, first=0, way=None):
        """Latents `(count, d)` of the samples from number `first` on; each is a function of (seed, its number)."""
        c, way = self.config, way or self.config.ways[0]
        numbers = tf.cast(first, tf.int64) + tf.range(count, dtype=tf.int64)
        steps = {"metric_hmc": c.hmc_steps, "random_walk": c.walk_steps, "wrapped_normal": 1, "prior": 0}[way]
        noise = draws.normals((1 + steps, c.latent_size + 1), seed, numbers)
        if way == "prior":
            return noise[:, 0, :-1]
        metric = self.metric
        share = tf.exp(riemann.log_uniform(noise[:, 0, -1]))
        places = tf.cast(share * tf.cast(tf.shape(metric.centroids)[0], tf.float32), tf.int32)
        start = tf.gather(metric.centroids, tf.minimum(places, tf.shape(metric.centroids)[0] - 1))
        directions, choices = tf.transpose(noise[:, 1:, :-1], (1, 0, 2)), tf.transpose(noise[:, 1:, -1])
        if way == "metric_hmc":
            density = riemann.volume_density(metric)
            how = (c.hmc_leapfrog_steps, c.hmc_size)
            return riemann.hamiltonian_monte_carlo(density, start, directions, choices, *how)[0]
        velocities, sign = c.walk_variance**0.5 * directions, 1.0 if c.geodesic_sign == "correct" else -1.0
        if way == "random_walk":
            return riemann.random_walk(metric, start, velocities, choices, c.geodesic_steps, sign)[0]
        return riemann.exponential_map(metric, start, velocities[0], c.geodesic_steps, sign)[0]

    def sample(self, count, seed=0, first=0, way=None):
        """Pictures `(count, y, x, 1)` in [0, 1]; see `latents`."""
        return self(self.latents(count, seed, first, way))


def _transposed(matrices):
    return tf.linalg.matrix_transpose(matrices)


class RHVAEMethod(ClassGenerationMethod):
    """A generator per class, and the classifier that is trained with what they make."""

    Config = Config

    # --- training -------------------------------------------------------------------------------------------------

    def stages(self):
        for number in range(len(self.config.classes)):
            yield self.class_stage(number, self.of_class("train", number))

    def class_stage(self, number, images):
        """The Stage of a class with so many training pictures; a batch holds no picture twice."""
        train = self.settings.train
        share = (train.replicas or 1) * train.gradient_accumulation
        per_step = max(min(train.batch_size, len(images) // share * share), share)

        def samples():
            read = lambda index: {"image": images[shuffled(self.settings.seed, index, len(images))]}  # noqa: E731
            return Samples(read, {"image": (images.shape[1:], "float32")}, per_step)

        def validation(model):
            return self.validation(model, images, number)

        rate = self.config.learning_rate
        return self.stage(
            f"class{number}", RHVAE, samples, rate, per_step=per_step, validation=validation, count=len(images)
        )

    def validated(self):
        """Names of what `validation` gives."""
        return ("train_loss", "loss") if self.validation_cases() else ("train_loss",)

    def validation(self, model, images, number):
        """{"train_loss", "loss"}: minus the bound in nats, of a class's training and validation pictures; the metric
        is made anew before."""
        model.keep_metric(images)
        parts = {"train_loss": images, "loss": self.of_class("validation", number)}
        found = {name: self.loss_of(model, pictures) for name, pictures in parts.items() if len(pictures)}
        return {name: found.get(name, float("nan")) for name in self.validated()}

    def loss_of(self, model, images):
        """Minus the bound, by one draw per picture that is the same each time."""
        metric = None if self.config.objective == "vae" else model.metric
        noise = draws.normals((2, self.config.latent_size), self.settings.seed, range(len(images)))
        return float(-tf.reduce_mean(model.bound(tf.constant(images), noise[:, 0], noise[:, 1], metric)[0]))

    # --- using trained models -------------------------------------------------------------------------------------

    def ways(self):
        """How latents are drawn, the usual way first."""
        return self.config.ways

    def model_of(self, number):
        """The model of a class; None where it has not been trained yet."""
        return self.models.get(f"class{number}")

    def known(self):
        """Numbers of the classes that have a model by now."""
        return [number for number in range(len(self.config.classes)) if self.model_of(number) is not None]

    def generate(self, count, number, seed=0, way=None):
        """`count` pictures of a class, `(count, y, x, 1)` in [0, 1]; the k-th is a function of (seed, class, k)."""
        model, way = self.model_of(number), way or self.config.ways[0]
        takes = [tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.int64)]
        sample = self.compiled(f"sample-{number}-{way}", model.decoder, functools.partial(model.sample, way=way), takes)
        parts = [sample(tf.constant(min(_AT_ONCE, count - first)), tf.constant(seed, tf.int64),
                        tf.constant(number * _EACH + first, tf.int64)).numpy()
                 for first in range(0, count, _AT_ONCE)]  # fmt: skip
        return np.concatenate(parts) if parts else np.zeros((0, *self.config.size, 1), np.float32)

    def previews(self):
        """Real and generated pictures of each class that has a model by now."""
        for number in self.known():
            self.model_of(number).keep_metric(self.of_class("train", number))
        flat = self.config.latent_size == 2 and self.config.objective != "vae"
        return super().previews() | ({"latents": self.latent_plane()} if flat else {})

    def latent_plane(self, count=100, side=64):
        """Of each class, volumes sqrt(det G^-1) over the plane of two latents, with what lies there."""
        planes, points, paths = {}, {}, {}
        for number in self.known():
            model, name = self.model_of(number), self.config.classes[number]
            metric, seed = model.metric, self.settings.seed
            drawn = {way: model.latents(count, seed, number * _EACH, way).numpy() for way in self.config.ways[:2]}
            points[name] = {"training pictures": metric.centroids.numpy()} | drawn
            every = np.concatenate(list(points[name].values()))
            (left, bottom), (right, top) = every.min(0) - 0.5, every.max(0) + 0.5
            x, y = np.meshgrid(np.linspace(left, right, side), np.linspace(bottom, top, side))
            grid = tf.constant(np.stack([x, y], -1).reshape(-1, 2), tf.float32)
            planes[name] = (left, right, bottom, top), metric.log_volume(grid).numpy().reshape(side, side)
            paths[name] = self.geodesics(metric)
        caption = (
            "Two latents of each class: bright where the metric's volumes sqrt(det G^-1) are large, which is where "
            "pictures are sampled; green, geodesics from training pictures in eight directions."
        )
        return LatentPlane(planes, points, paths, caption)

    def geodesics(self, metric, starts=3, directions=8, points=12):
        """Lines `(points, 2)` from training pictures of a metric, of the random walk's usual length."""
        angles = 2 * np.pi * np.arange(directions) / directions
        ahead = self.config.walk_variance**0.5 * np.stack([np.cos(angles), np.sin(angles)], 1)
        places = np.linspace(0, metric.centroids.shape[0] - 1, starts).astype(int)
        start = np.repeat(metric.centroids.numpy()[places], directions * points, 0)
        shares = np.linspace(0, 1, points)
        velocity = np.tile((shares[None, :, None] * ahead[:, None]).reshape(-1, 2), (starts, 1))
        sign = 1.0 if self.config.geodesic_sign == "correct" else -1.0
        steps = self.config.geodesic_steps
        end = riemann.exponential_map(metric, tf.constant(start), tf.constant(velocity, tf.float32), steps, sign)[0]
        return list(end.numpy().reshape(starts * directions, points, 2))

    def export_module(self):
        """Its `sample(seed, count)` gives `pictures` `(classes, count, y, x, 1)` float32 in [0, 1]."""
        models = [self.model_of(number) for number in range(len(self.config.classes))]

        def sample(seed, count):
            made = [model.sample(count, seed, number * _EACH) for number, model in enumerate(models)]
            return {"pictures": tf.stack(made)}

        takes = [tf.TensorSpec((), tf.int64, "seed"), tf.TensorSpec((), tf.int32, "count")]
        return ExportModule(models, {"sample": (sample, takes)}, {"classes": list(self.config.classes)})


METHOD = RHVAEMethod
