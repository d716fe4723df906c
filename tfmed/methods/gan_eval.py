"""Evaluating GANs in medical imaging: four GANs of 80 x 80 images, and the table that tells them apart.

Paper: L. Tronchin, R. Sicilia, E. Cordelli, S. Ramella, P. Soda, "Evaluating GANs in Medical Imaging", DGM4MICCAI 2021.

Task: DCGAN, LSGAN, WGAN-GP, AC-GAN, and how to judge generators.

Idea: No feature network of natural images judges medical ones. Instead a network is trained, per generator, to tell
synthetic from real images: how well it does, and how far the two sets lie apart in its features, say how good the
generator is; nearest similarities among synthetic and real images show memorising and collapse.

Reproduces: Table 4 (50 runs; DCGAN, adaptive: recall .82 +- .13, specificity .78 +- .12, Mahalanobis 20.45 +- 1.12,
Frechet 19.20 +- 14.12) as `python -m tfmed.evaluate RUN --compare RUN ...`. The paper's 123 patients are private and it
names no hardware.

Deviates: layers, smoothing (0.1) and first width of the evaluator (32) are not given in the paper. The least-squares
and AC-GAN losses are misprinted there; here they are those of their own papers. Every distance has beside it what
halves of the real images score. A flag needs a significant difference (`flag_level`); equal medians, which a perfect
generator has, would raise it every other time.
"""

import functools
from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import Interval, Layers, MethodConfig
from tfmed.data.checks import CaseSpec
from tfmed.data.classes import of_class
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Crop
from tfmed.data.sampling import shuffled
from tfmed.engine.abilities import Evaluation, Seed
from tfmed.engine.exporting import ExportModule
from tfmed.io import Volume
from tfmed.losses.adversarial import LOSSES, class_loss
from tfmed.nn.adam import Adam
from tfmed.nn.gan2d import critic2d, generator2d, residual_critic2d, residual_generator2d
from tfmed.ops import draws
from tfmed.pictures.images import ImageGrid
from tfmed.tasks import judging
from tfmed.tasks.generation import GenerationMethod, unit_window
from tfmed.training.adversarial import AdversarialModel

_CHUNK = 64  # images generated at a time


class Config(MethodConfig):
    """Numbers of the GANs [P: Tables 2, 3; T: the first author's thesis code] and of the evaluation."""

    classes: tuple[str, ...] = ("adaptive", "non-adaptive")  # [P] as the data source names them
    image: str = "ct"  # which image of a case
    size: PositiveInt = 80  # [P] pixels per side; images are cut or padded to it
    window: Interval = (-1000.0, 400.0)  # values (HU) mapped to [-1, 1]
    # networks
    residual: bool = False  # [T] for WGAN-GP
    class_conditional: bool = False  # [P] AC-GAN: one model of all classes, else one model per class
    noise_size: PositiveInt = 100  # [P]
    base_size: PositiveInt = 5  # pixels; doubled once per entry of generator_channels
    generator_channels: Layers = (512, 256, 128, 64)
    generator_kernel: PositiveInt = 3  # [P]
    generator_activation: Literal["leaky_relu", "relu"] = "leaky_relu"  # [P]
    critic_first: PositiveInt = 64  # channels before the residual blocks
    critic_channels: Layers = (64, 128, 256, 512)
    critic_kernel: PositiveInt = 5  # [P]
    # losses and optimisation
    loss: Literal["js", "least_squares", "wasserstein"] = "js"  # [P]
    label_smoothing: float = Field(0.1, ge=0, lt=1)  # [P: yes for DCGAN] real images are to score 1 minus this (js)
    penalty_weight: float = Field(10.0, gt=0)  # [T] lambda of WGAN-GP
    learning_rate_generator: float = Field(1e-4, gt=0)  # [P]
    learning_rate_critic: float = Field(1e-4, gt=0)  # [P]
    beta_1: float = Field(0.5, ge=0, lt=1)  # [P]
    beta_2: float = Field(0.99, ge=0, lt=1)  # [P]
    critic_steps: int = Field(2, gt=0, le=1000)  # [P] per generator step
    ema_decay: float = Field(0.0, ge=0, lt=1)  # of the generator; 0: off
    # evaluation
    runs: PositiveInt = 50  # [P] trainings of the evaluator per model and class
    evaluator_channels: Layers = (32, 64, 128, 256)  # [P] doubling
    evaluator_features: PositiveInt = 128  # [P]
    evaluator_epochs: PositiveInt = 20  # [P]
    evaluator_batch: PositiveInt = 128
    feature_net: Literal["own", "shared"] = "own"  # [P] own: a network per model
    auxiliary: bool = True  # [P] also plain classifiers on the features
    most_neighbours: PositiveInt | None = None  # images per set whose nearest ones are looked for; null: all
    flag_level: float | None = Field(0.01, gt=0, lt=1)  # of a significant flag; null: medians are compared

    @pydantic.model_validator(mode="after")
    def _fits(self):
        made = self.base_size * 2 ** len(self.generator_channels)
        if made != self.size:
            raise ValueError(
                f"size: {self.size} pixels cannot be made; base_size * 2**len(generator_channels) is {made}: change one"
            )
        deepest = max(len(self.critic_channels), len(self.evaluator_channels))
        if self.size >> deepest < 1:
            raise ValueError(f"critic_channels, evaluator_channels: too many blocks for {self.size} pixels")
        if len(set(self.classes)) < len(self.classes) or not self.classes:
            raise ValueError("classes: give at least one, each once")
        if self.class_conditional and len(self.classes) < 2:
            raise ValueError("class_conditional: needs at least two classes")
        return self


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

    @tf.function(reduce_retracing=True, autograph=False)
    def decode(self, latent):
        """Images `(n, size, size, 1)` in [-1, 1] of latents `(n, latent)`, in inference mode."""
        return (self.average_generator or self.generator)(latent, training=False)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int64)] * 3 + [tf.TensorSpec((), tf.int32)], autograph=False)
    def images_of(self, seed, first, count, label):
        """Images number first .. first + count - 1 of a seed, `(count, size, size)` in [-1, 1], of one class."""
        noise = draws.normals((self.config.noise_size,), seed, first + tf.range(count))
        return self.decode(self.latent(noise, tf.fill([count], label)))[..., 0]

    def call(self, latent, training=False):
        """Images of latents."""
        return self.decode(latent)


class GANEvalMethod(GenerationMethod):
    """Generation of 2D images of given classes, and the comparison of generators."""

    Config = Config

    @property
    def case_spec(self):
        """One image per case."""
        return CaseSpec(images=(self.config.image,), minimum_shape=(1, 8, 8))

    @property
    def window(self):
        """Values -> [-1, 1]."""
        return unit_window(self.config.window)

    def preprocessing(self):
        size, low = self.config.size, self.config.window[0]
        return (*super().preprocessing(), Crop(shape=(1, size, size), fill=low), self.window)

    # --- data -----------------------------------------------------------------------------------------------------

    def of_class(self, part, label):
        """The cases of a part of the split that are of one class; DataError when there is none."""
        return of_class(self.cases, part, label)

    @property
    def modality(self):
        """Which image of a case is learnt."""
        return self.config.image

    def array(self, case):
        """A case's prepared image `(size, size)` in [-1, 1]."""
        return self.real(case).array[0]

    def samples(self, labels):
        """Samples of the classes `labels`: an image and the number of its class."""
        self.prepared("train")
        cases = [(case, number) for number, label in enumerate(labels) for case in self.of_class("train", label)]

        def read(index):
            case, number = cases[shuffled(self.settings.seed, index, len(cases))]
            return {"image": self.array(case)[..., None], "label": number}

        size = self.config.size
        spec = {"image": ((size, size, 1), "float32"), "label": ((), "int32")}
        return Samples(read, spec, self.settings.train.batch_size * self.config.critic_steps)

    # --- training -------------------------------------------------------------------------------------------------

    def stages(self):
        """One model of all classes (AC-GAN), or one per class."""
        c = self.config
        rates = (c.learning_rate_generator, c.learning_rate_critic)
        for number, labels in enumerate([c.classes] if c.class_conditional else [(label,) for label in c.classes]):
            samples, seed = functools.partial(self.samples, labels), self.settings.seed + number
            per_step = self.settings.train.batch_size * c.critic_steps
            yield self.stage(self.stage_of(labels[0]), ImageGAN, samples, rates, per_step=per_step, seed=seed)

    def stage_of(self, label):
        """Name of the stage whose model makes images of a class."""
        return "all" if self.config.class_conditional else f"class{self.config.classes.index(label)}"

    # --- using trained models -------------------------------------------------------------------------------------

    def generate(self, count, label=None, seed=0):
        """`count` images of a class `(count, size, size)` in [0, 1]: what any generator gives to be judged."""
        label = self.config.classes[0] if label is None else label
        model = self.models[self.stage_of(label)]
        number = self.config.classes.index(label)
        chunks = [model.images_of(seed, first, min(_CHUNK, count - first), number).numpy()
                 for first in range(0, count, _CHUNK)]  # fmt: skip
        return np.clip((np.concatenate(chunks) + 1) / 2, 0, 1)

    def sample(self, count, seed=0):
        """`count` Volumes of one slice, one at a time, of each class in turn; float32 values as in the files."""
        for index in range(count):
            label = self.config.classes[index % len(self.config.classes)]
            model = self.models[self.stage_of(label)]
            image = model.images_of(seed, index, 1, self.config.classes.index(label)).numpy()
            yield Volume(self.window.invert(image), np.eye(4))

    def previews(self):
        """Generated and real images of every class whose model there is."""
        rows = {}
        for label in self.config.classes:
            if self.stage_of(label) in self.models:
                rows[f"generated, {label}"] = list(self.generate(8, label, self.settings.seed))
                rows[f"training, {label}"] = [(self.array(case) + 1) / 2 for case in self.of_class("train", label)[:8]]
        low, high = (f"{value:g}" for value in self.config.window)
        return {"images": ImageGrid(rows, (0, 1), f"Rows: {', '.join(rows)}. Black is {low}, white {high}.")}

    def evaluate(self, methods, seed: Seed = 0):
        """The tables of `tasks.judging`: {"evaluation": the paper's Table 4 with null references, ...}.

        Args:
            methods: name of the run -> its Method, this one among them.
        """
        return Evaluation(*judging.compare(self, methods, seed))

    def export_module(self):
        """Its `sample(seed, label, n)` gives n `images` `(n, size, size)` float32, in the values of the files."""
        models, window = [self.models[self.stage_of(label)] for label in self.config.classes], self.window

        def of(number, seed, n):
            return lambda: models[number].images_of(seed, 0, tf.cast(n, tf.int64), number)

        def sample(seed, label, n):
            return {"images": window.invert(tf.switch_case(label, [of(k, seed, n) for k in range(len(models))]))}

        numbers = (("seed", tf.int64), ("label", tf.int32), ("n", tf.int32))
        takes = [tf.TensorSpec((), dtype, name) for name, dtype in numbers]
        return ExportModule(list(dict.fromkeys(models)), {"sample": (sample, takes)})


METHOD = GANEvalMethod
