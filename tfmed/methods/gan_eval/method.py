"""GANEvalMethod: settings, data, stages, pictures, evaluation and export of the four GANs."""

import functools
from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import MethodConfig
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Crop
from tfmed.data.sampling import shuffled
from tfmed.engine.abilities import Evaluation, Seed
from tfmed.engine.exporting import ExportModule
from tfmed.errors import DataError
from tfmed.io import Volume
from tfmed.methods.gan_eval import comparison
from tfmed.methods.gan_eval.model import ImageGAN
from tfmed.pictures.images import ImageGrid
from tfmed.tasks.generation import GenerationMethod, unit_window

_CHUNK = 64  # images generated at a time


class Config(MethodConfig):
    """Numbers of the GANs [P: Tables 2, 3; T: the first author's thesis code] and of the evaluation."""

    classes: tuple[str, ...] = ("adaptive", "non-adaptive")  # [P] as the data source names them
    image: str = "ct"  # which image of a case
    size: PositiveInt = 80  # [P] pixels per side; images are cut or padded to it
    window: tuple[float, float] = (-1000.0, 400.0)  # values (HU) mapped to [-1, 1]
    # networks
    residual: bool = False  # [T] for WGAN-GP
    class_conditional: bool = False  # [P] AC-GAN: one model of all classes, else one model per class
    noise_size: PositiveInt = 100  # [P]
    base_size: PositiveInt = 5  # pixels; doubled once per entry of generator_channels
    generator_channels: tuple[PositiveInt, ...] = (512, 256, 128, 64)
    generator_kernel: PositiveInt = 3  # [P]
    generator_activation: Literal["leaky_relu", "relu"] = "leaky_relu"  # [P]
    critic_first: PositiveInt = 64  # channels before the residual blocks
    critic_channels: tuple[PositiveInt, ...] = (64, 128, 256, 512)
    critic_kernel: PositiveInt = 5  # [P]
    # losses and optimisation
    loss: Literal["js", "least_squares", "wasserstein"] = "js"  # [P]
    label_smoothing: float = Field(0.1, ge=0, lt=1)  # [P: yes for DCGAN] real images are to score 1 minus this (js)
    penalty_weight: float = Field(10.0, gt=0)  # [T] lambda of WGAN-GP
    learning_rate_generator: float = Field(1e-4, gt=0)  # [P]
    learning_rate_critic: float = Field(1e-4, gt=0)  # [P]
    beta_1: float = Field(0.5, ge=0, lt=1)  # [P]
    beta_2: float = Field(0.99, ge=0, lt=1)  # [P]
    critic_steps: PositiveInt = 2  # [P] per generator step
    ema_decay: float = Field(0.0, ge=0, lt=1)  # of the generator; 0: off
    # evaluation
    runs: PositiveInt = 50  # [P] trainings of the evaluator per model and class
    evaluator_channels: tuple[PositiveInt, ...] = (32, 64, 128, 256)  # [P] doubling
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
        if self.window[0] >= self.window[1]:
            raise ValueError("window: the lower bound comes first and is smaller")
        return self


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
        found = [case for case in self.cases[part] if case.meta.get("class") == label]
        if not found:
            known = sorted({str(case.meta.get("class")) for cases in self.cases.values() for case in cases})
            raise DataError(f"no {part} image of class {label!r}; the source has {', '.join(known)}: set model.classes")
        return found

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
        parts = [model.images_of(seed, first, min(_CHUNK, count - first), number).numpy()
                 for first in range(0, count, _CHUNK)]  # fmt: skip
        return np.clip((np.concatenate(parts) + 1) / 2, 0, 1)

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
        """The tables of `comparison`: {"evaluation": the paper's Table 4 with null references, ...}.

        Args:
            methods: name of the run -> its Method, this one among them.
        """
        return Evaluation(*comparison.compare(self, methods, seed))

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
