"""Toy: the smallest method that the engine can train, for tests of what is around a method.

Paper: none.

Task: generation of volumes
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import MethodConfig
from tfmed.data.checks import CaseSpec
from tfmed.data.preprocess import Orient, Resample
from tfmed.engine.abilities import Count, Evaluation, Seed, Split
from tfmed.engine.exporting import ExportModule
from tfmed.io import Volume
from tfmed.nn.adam import Adam
from tfmed.pictures.volumes import Picture
from tfmed.tasks.generation import GenerationMethod, unit_window
from tfmed.training.adversarial import AdversarialModel


class Config(MethodConfig):
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (8, 8, 8)  # voxels
    units: PositiveInt = 3
    recurrent: bool = False  # along the slices: a loop in the graph
    learning_rate: float = Field(1e-3, gt=0)
    scores: tuple[float, ...] = ()  # what the validations say, one after the other


class Toy(AdversarialModel):
    """A linear critic, and a generator of slices from noise."""

    def __init__(self, config, rate, **options):
        super().__init__(**options)
        self.config = config
        first = keras.layers.LSTM if config.recurrent else keras.layers.Dense
        layers = [first(config.units, **({"return_sequences": True} if config.recurrent else {})),
                  keras.layers.Dense(config.shape[1] * config.shape[2], activation="tanh", dtype="float32"),
                  keras.layers.Reshape((*config.shape, 1))]  # fmt: skip
        self.generator = keras.Sequential([keras.Input((config.shape[0], 4)), *layers])
        self.critic = keras.Sequential([keras.Input((*config.shape, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        sides = {"critic": (Adam(rate), [self.critic]), "generator": (Adam(rate), [self.generator])}
        self.finish_building(sides, ["critic_loss", "critic_real", "generator"])

    def generated(self, batch, tag):
        return self.generator(self.noise(batch, (self.config.shape[0], 4), tag), training=True)

    def critic_loss(self, batch, tag):
        fake, real = (tf.cast(self.critic(v), tf.float32) for v in (self.generated(batch, tag), batch["volume"]))
        loss = tf.reduce_mean(fake) - tf.reduce_mean(real) + tf.reduce_mean(real**2 + fake**2)
        return loss, {"critic_loss": loss, "critic_real": tf.reduce_mean(real)}

    def generator_loss(self, batch, tag):
        loss = -tf.reduce_mean(tf.cast(self.critic(self.generated(batch, tag)), tf.float32))
        return loss, {"generator": loss}

    def volume(self, seed, index):
        """`shape`, in [-1, 1]."""
        noise = tf.random.stateless_normal((1, self.config.shape[0], 4), (seed, index), alg="philox")
        return self.generator(noise)[0, ..., 0]


class ToyMethod(GenerationMethod):
    Config = Config
    case_spec = CaseSpec(images=("ct",), minimum_shape=(8, 8, 8))
    made_to_size = True
    window = unit_window((-1000, 400))

    def preprocessing(self):
        return (*super().preprocessing(), Orient(to="RAS"), Resample(shape=self.config.shape), self.window)

    def stages(self):
        scores = iter(self.config.scores)
        validation = (lambda model: {"score": next(scores)}) if self.config.scores else None
        samples = functools.partial(self.whole_images, self.config.shape)
        yield self.stage("gan", Toy, samples, self.config.learning_rate, validation=validation)

    def validated(self):
        return ("score",) if self.config.scores else ()

    def sample(self, count, seed=0):
        for index in range(count):
            array = np.rint(self.window.invert(self.model.volume(seed, index).numpy())).astype(np.int16)
            yield Volume(array, self.real(self.cases["train"][0]).affine)

    def previews(self):
        real = self.real(self.cases["train"][0])
        shown = {"generated 1": next(self.sample(1)), "training 1": real.replace(array=self.window.invert(real.array))}
        return {"volumes": Picture(shown, self.window.window_hu, "HU")}

    def evaluate(self, methods, count: Count = 4, seed: Seed = 0, part: Split = "test"):
        """Mean absolute differences in HU between each case of a part and what a run generates."""
        rows = []
        for name, method in methods.items():
            volumes = [volume.array.astype(float) for volume in method.sample(count, seed)]
            for case in self.prepared(part):
                real = self.window.invert(self.real(case).array)
                rows.append(
                    {"run": name, "case": case.id, "HU": float(np.mean([abs(real - v).mean() for v in volumes]))}
                )
        runs = [{"source": name, "HU mean": float(np.mean([row["HU"] for row in rows if row["run"] == name]))}
                for name in methods]  # fmt: skip
        return Evaluation({"evaluation": runs, "cases": rows})

    def export_module(self):
        model, numbers = self.model, [tf.TensorSpec((), tf.int64, name) for name in ("seed", "index")]
        return ExportModule(
            [model], {"serving_default": (lambda seed, index: {"volume": model.volume(seed, index)}, numbers)}
        )


METHOD = ToyMethod
