"""MetaHistoSeg: a segmenter of histology that has learnt from other tasks how to learn a new one from few images.

Paper: Yuan, Esteva & Xu, "MetaHistoSeg: A Python Framework for Meta Learning in Histopathology Image Segmentation",
DALI (MICCAI workshop) 2021.

Task: segmentation of a new task from few images, after other tasks, 2-D

Idea: one U-Net with a last layer per task. Meta-learning (MAML) takes a few images of one task, makes a gradient step
on them, and lowers what the network so changed loses on other images of the task: weights are sought from which one
step goes far. The rival is plain training on all tasks' images together. Either way the network then gets a new last
layer and is fine-tuned on the new task.

Reproduces: mIoU of each new task after all others, MAML / pooled: BreastPathQ 0.301 / 0.282, MoNuSeg 0.669 / 0.676,
GlaS 0.557 / 0.556, DigestPath 0.632 / 0.628 (single runs; over 16 pairs the means are 0.535 and 0.532). The paper has
four GPUs of 16 GB and up to 300 000 iterations; it has no row without pre-training, `training: scratch` is one.

Deviates: images smaller than a crop once resized are enlarged (the paper's factor cannot feed 768 pixels of GlaS);
`short_side` is the released code's reading. Episodes and epochs are drawn anew each time (`reproduce_released` draws as
the released samplers, which never change theirs). Models are selected on a part of their own, not on the test images,
and Gleason2019 is split without overlap. mIoU is pooled as stated; `miou: per_image_released` is the code's. Running
statistics are averaged over a step's episodes; all of Adam's running means share one count of steps. Whether "all
others" had Gleason2019 is not said: `sources` chooses.
"""

import functools
from typing import Annotated, Literal

import keras
import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt

from tfmed import compat
from tfmed.augment import intensity
from tfmed.config import Voxels
from tfmed.losses.segmentation import cross_entropy
from tfmed.nn.adam import Adam
from tfmed.nn.task_heads import TaskHeads, pointwise
from tfmed.tasks.backbones import UNet
from tfmed.tasks.learning_tasks import LearningTasksConfig, LearningTasksMethod
from tfmed.training.meta import adapt, tensors_of
from tfmed.training.model import TrainingModel, assign
from tfmed.training.single_network import SingleNetworkModel

UNET = UNet(
    widths=(32, 64, 128, 256, 512), norm="batch", upsample="transposed", conv_bias=False
)  # 7,763,008 parameters
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # means and deviations of red, green and blue in [0, 1]
Share = Annotated[float, Field(ge=0, lt=1)]


class Config(LearningTasksConfig):
    """The paper's numbers; [C] read from the released code, [O] open and chosen here."""

    network: UNet = UNET  # [C]
    patch: tuple[Voxels, Voxels] = (768, 768)  # pixels (y, x) of a crop
    training: Literal["maml", "transfer", "scratch"] = "maml"  # transfer: pooled images; scratch: the new task alone
    learning_rate: float = Field(1e-4, gt=0)  # of Adam, for MAML's outer steps and for pooled training
    # meta-learning
    inner_steps: NonNegativeInt = Field(1, le=64)  # K; 0: pooled training on the query images
    inner_rate: float = Field(0.01, ge=0, le=1e3)  # alpha
    first_order: bool = False  # inner gradients count as constants
    adapt: Literal["all", "head_only"] = "all"  # what inner steps and fine-tuning change
    # pooled training
    pooled_loss: Literal["sum_over_tasks", "mean_over_samples"] = "sum_over_tasks"  # [C]
    # intensities [C]: largest changes of factors of brightness, contrast and saturation, and shift of the hue's circle
    brightness: Share = 0.2
    contrast: Share = 0.2
    saturation: Share = 0.1
    hue: float = Field(0.1, ge=0, le=0.5)
    # fine-tuning
    fine_tune_rate: float = Field(1e-3, gt=0)  # [C] of Adam
    fine_tune_batch: PositiveInt = Field(32, le=2**16)  # [C] images
    fine_tune_epochs: PositiveInt = Field(50, le=10**6)  # [C]
    fine_tune_steps: PositiveInt | None = None  # in place of epochs
    selection_steps: NonNegativeInt | None = Field(None, le=10**6)  # [C] before a validation; null: an epoch; 0: none

    @pydantic.model_validator(mode="after")
    def _three_colours(self):
        if len(self.modalities) != 3:
            raise ValueError(f"modalities: {self.modalities} are not three; images of tissue are in colour")
        return self


# --- networks ---------------------------------------------------------------------------------------------------------


def build_trunk(config, seed=0):
    """Images `(n, y, x, 3)` with values 0 .. `white` -> features `(n, y, x, widths[0])`: what all tasks share."""
    inputs = keras.Input((None, None, 3))
    means, deviations = (np.array(one) for one in IMAGENET)
    scaled = keras.layers.Rescaling(
        (1 / (config.white * deviations)).tolist(), (-means / deviations).tolist(), dtype="float32", name="imagenet"
    )(inputs)
    return keras.Model(inputs, config.network.trunk(3, 2, seed)(scaled), name="trunk")


def build_network(config, classes=None, seed=0):
    """Images `(n, y, x, 3)` with values 0 .. `white` -> logits `(n, y, x, classes)`, float32."""
    inputs = keras.Input((None, None, 3))
    head = keras.layers.Conv2D(
        classes or config.classes, 1, kernel_initializer=keras.initializers.HeNormal(seed), dtype="float32", name="head"
    )
    return keras.Model(inputs, head(build_trunk(config, seed)(inputs)), name="segmenter")


# --- training ---------------------------------------------------------------------------------------------------------


def jittered(config, batch, seed):
    """A batch with other colours, each image by its own sample index; values stay in 0 .. `white`."""
    image, index = batch["image"] / config.white, batch["index"]
    seeds = tf.stack([index, tf.fill(tf.shape(index), tf.cast(seed, index.dtype))], 1)
    changes = [(intensity.exposure, config.brightness), (intensity.contrast, config.contrast),
               (intensity.saturation, config.saturation)]  # fmt: skip
    for change, most in changes:
        if most:
            image = tf.clip_by_value(change(image, seeds, (1 - most, 1 + most)), 0.0, 1.0)
    if config.hue:
        image = intensity.hue(image, seeds, (-config.hue, config.hue))
    return batch | {"image": image * config.white}


class Pretraining(TrainingModel):
    """A trunk with a head for each task; heads of tasks that a step does not see stay as they are.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        classes: number of classes of each task.

    A batch holds `image` `(n, *patch, 3)`, `label` `(n, *patch)` and the number of each one's `task`, `(n,)`.
    """

    logged: tuple[str, ...] = ("loss",)

    def __init__(self, config, rate=None, *, classes, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.trunk = build_trunk(config, self.noise_seed)
        self.heads = TaskHeads(classes, self.noise_seed, name="heads")
        self.heads.build((None, None, None, self.trunk.output_shape[-1]))
        optimizer = Adam(config.learning_rate if rate is None else rate)
        self.finish_building({"network": (optimizer, [self.trunk, self.heads])}, self.logged)

    def call(self, images, training=False):
        """Images -> features."""
        return self.trunk(images, training=training)

    @property
    def objectives(self):
        """The one loss."""
        return {"network": self.network_loss}

    def train_step(self, batch):
        """An update of the trunk and of the heads of those tasks that are in the batch."""
        batch = jittered(self.config, batch, self.noise_seed)
        seen = tf.one_hot(batch["task"], len(self.heads.classes))
        present = self.sum_over_replicas(tf.reduce_sum(seen, 0)) > 0
        kept = [(task, one, tf.identity(compat.tensor_variable(one)))
                for task, variables in enumerate(self._of_heads()) for one in variables]  # fmt: skip
        logs = self.update("network", self.network_loss, batch)
        # A gradient of zero would still move a head by what Adam remembers.
        for task, variable, before in kept:
            assign(variable, tf.where(present[task], compat.tensor_variable(variable), before))
        self.keep_statistics(logs)
        return self.log({name: logs[name] for name in self.logged})

    def keep_statistics(self, logs):
        """Write running statistics that a loss has left among the values to log."""

    def _of_heads(self):
        """For each task its head's weights and what Adam keeps of them."""
        optimizer = self.network_optimizer
        adam = getattr(optimizer, "inner_optimizer", optimizer)
        return [[one for weight in own for one in (weight, *compat.moments(adam, weight))] for own in self.heads.own]


class Pooled(Pretraining):
    """Training on the images of all tasks together."""

    def network_loss(self, batch):
        """sum_t of the mean cross-entropy of task t's images, over the tasks of the batch; or the mean over images."""
        logits = self.heads(self.trunk(batch["image"], training=True), batch["task"])
        each = cross_entropy(logits, batch["label"])
        if self.config.pooled_loss == "mean_over_samples":
            loss = tf.reduce_mean(each)
        else:
            own = tf.one_hot(batch["task"], len(self.heads.classes))
            counts = self.sum_over_replicas(tf.reduce_sum(own, 0))
            loss = tf.reduce_sum(self.sum_over_replicas(tf.linalg.matvec(own, each, True)) / tf.maximum(counts, 1.0))
        return loss, {"loss": loss}


class Maml(Pretraining):
    """Model-agnostic meta-learning; a step goes through its episodes one after the other.

    A batch holds whole episodes, each `config.support` and then `config.query` images of one task.
    """

    logged = ("loss", "support")

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(config, rate, **kwargs)
        for layer in compat.layers_within(self.trunk):
            if isinstance(layer, keras.layers.BatchNormalization):  # statistics of an episode's images alone
                compat.of_one_replica(layer)
        self.gradient_accumulation = self.per_step // (self.replicas * config.episode)
        self.statistics = [one for one in self.trunk.non_trainable_variables if tf.as_dtype(one.dtype).is_floating]

    def network_loss(self, batch):
        """The mean over episodes of CE(f(query; phi)), phi being the weights adapted to the episode's support."""
        size, count = self.config.episode, batch["image"].shape[0]
        episodes = 1 if count is None else count // size  # one where the batch is a part of a step's
        found = [self.episode_loss({name: value[k * size : (k + 1) * size] for name, value in batch.items()})
                 for k in range(episodes)]  # fmt: skip
        return tf.nest.map_structure(lambda *values: tf.add_n(values) / episodes, *found)

    def episode_loss(self, batch):
        """(loss of the query images after inner steps, values to log, running statistics among them)."""
        config, (theta, state) = self.config, tensors_of(self.trunk)
        support, query = ([batch[name][part] for name in ("image", "label")]
                          for part in (slice(None, config.support), slice(config.support, None)))  # fmt: skip
        kernels, biases = self.heads.padded()
        weights = [*theta, kernels[batch["task"][0]], biases[batch["task"][0]]]
        moving = [config.adapt == "all"] * len(theta) + [True, True]
        inner = functools.partial(adapt, rate=config.inner_rate, steps=config.inner_steps, moving=moving)
        adapted = inner(self.loss_on(*support), weights, state, first_order=config.first_order)
        value, state = self.loss_on(*query)(adapted.weights, adapted.state)
        first = adapted.losses[0] if adapted.losses else value
        pairs = zip(self.trunk.non_trainable_variables, state, strict=True)
        kept = [one for variable, one in pairs if tf.as_dtype(variable.dtype).is_floating]
        return value, {"loss": value, "support": first} | {f"state{k}": tf.identity(one) for k, one in enumerate(kept)}

    def loss_on(self, images, labels):
        """The mean cross-entropy of some images, as a function of weights and statistics."""

        def of(weights, state):
            features, after = compat.functional_call(self.trunk, weights[:-2], state, images, training=True)
            return tf.reduce_mean(cross_entropy(pointwise(features, *weights[-2:]), labels)), after

        return of

    def keep_statistics(self, logs):
        for k, variable in enumerate(self.statistics):
            assign(variable, self.mean_over_replicas(logs[f"state{k}"]))


class FineTuned(SingleNetworkModel):
    """The network of the new task.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        start: the trunk that it begins from, or None.

    A batch holds `image` `(n, *patch, 3)` and `label` `(n, *patch)`.
    """

    def __init__(self, config, rate=None, start=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = build_network(config, seed=self.noise_seed)
        if start is not None:
            self.network.get_layer("trunk").set_weights(start.get_weights())
        self.network.get_layer("trunk").trainable = config.adapt == "all"
        optimizer = Adam(config.fine_tune_rate if rate is None else rate)
        self.finish_building({"network": (optimizer, [self.network])}, ["loss"])

    def train_step(self, batch):
        """An update, on images with other colours."""
        return super().train_step(jittered(self.config, batch, self.noise_seed))

    def network_loss(self, batch):
        """The mean cross-entropy of all pixels."""
        loss = tf.reduce_mean(cross_entropy(self.network(batch["image"], training=True), batch["label"]))
        return loss, {"loss": loss}


# --- method -----------------------------------------------------------------------------------------------------------


class MetaHistoSegMethod(LearningTasksMethod):
    """Pre-training on the other tasks, and fine-tuning on the new one."""

    Config = Config

    @classmethod
    def check(cls, settings):
        config, train = settings.model, settings.train
        if config.training != "scratch" and not config.trained_on:
            where = "sources" if config.tasks else "tasks"
            raise ValueError(f"model.{where}: is empty, and model.training {config.training} learns from other tasks; "
                             "name some, as in tasks: {monuseg: {source: monuseg, root: FOLDER}}")  # fmt: skip
        replicas = train.replicas or 1
        if config.training == "maml" and train.batch_size % (config.episode * replicas):
            raise ValueError(f"train.batch_size {train.batch_size} must be a multiple of {config.episode * replicas}: "
                             "episodes of model.support and model.query images, as many for each replica")  # fmt: skip
        if config.training == "maml" and train.gradient_accumulation > 1:
            raise ValueError("train.gradient_accumulation: maml takes one episode after the other anyway; set it to 1")

    def stages(self):
        config = self.config
        if config.training != "scratch":
            model, samples = (Maml, self.episodes) if config.training == "maml" else (Pooled, self.pooled)
            yield self.stage("pretrained", model, samples, config.learning_rate, classes=self.task_classes,
                             validation=None if config.selection_steps == 0 else self.validation)  # fmt: skip
        steps, per_step = self.fine_tuning
        yield self.stage("fine_tuned", FineTuned, self.new_task, config.fine_tune_rate, steps=steps, per_step=per_step,
                         start=self.trunk, validation=self.validation)  # fmt: skip

    @property
    def trunk(self):
        """The pre-trained trunk, or None."""
        return self.models["pretrained"].trunk if "pretrained" in self.models else None

    def fresh(self):
        """A model of the new task that begins where fine-tuning begins."""
        return FineTuned(self.config, start=self.trunk, seed=self.settings.seed, per_step=self.fine_tuning[1])


METHOD = MetaHistoSegMethod
