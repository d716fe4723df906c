"""Segmentation: a U-Net that sets itself up for a folder of scans and label maps.

Paper: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
Nature Methods 18, 2021.

Task: supervised segmentation, 2-D and 3-D

Idea: what a network for a data set has to be like follows by rules from what the data are: voxel size, patch, depth,
normalisation. `tfmed plan FOLDER` shows the choices with their reasons; `tfmed fit segmentation data.root=FOLDER` makes
them, and what the settings say stays as it is.

Reproduces: no figure of the paper. Beside nnU-Net itself, within the same minutes on two CPU cores, it was ahead; what
was measured stands in docs/results/segmentation.md.

Deviates: the idea is reimplemented, not the code, as a tool beside the collection's papers. One network and no
cross-validation of several configurations; Adam and instance norm with a budget of minutes in place of 1000 epochs;
transforms are drawn once per sample for image and label together, intensities are changed inside the training step.
"""

import logging
import os
import time

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt

from tfmed.augment import intensity
from tfmed.augment.paired import Policy, VolumePolicy, sample_grid
from tfmed.config import with_values
from tfmed.data import sources
from tfmed.data.fingerprint import fingerprint
from tfmed.data.labels import only_largest
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream
from tfmed.engine.memory import check_step
from tfmed.losses import segmentation as losses
from tfmed.metrics.segmentation import dice
from tfmed.nn.adam import Adam
from tfmed.nn.unet import unet
from tfmed.ops.warp import warp_array
from tfmed.tasks import planning
from tfmed.tasks.backbones import UNet
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_settings import SegmentationConfig
from tfmed.training.single_network import SingleNetworkModel

log = logging.getLogger("tfmed")
_MOVES = Stream("segmentation.moves")
_TIMED = 5  # steps by which a step's time is measured
_LONG = 5.0  # minutes, from which on the chosen network's speed is measured too, which takes a good part of one
_PREPARING = 1.5  # times as long as looking at a case
_STARTING = 15.0  # seconds in which a process starts, makes the graph of its step, and writes its report


class Config(SegmentationConfig):
    """Whatever the settings leave open is chosen by looking at the data, as long as `plan` is true."""

    plan: bool = True  # a run's own settings say false: its choices are made
    minutes: float = Field(20.0, gt=0, le=60 * 24 * 30)  # until the network is trained, for the plan's number of steps
    network: UNet = UNet()
    deep_supervision: NonNegativeInt = 2  # coarser levels that learn as well, each with half the weight
    learning_rate: float = Field(2e-3, gt=0)  # of Adam
    flip: bool = True  # mirror samples along all axes; false where left and right are classes of their own
    rotate_degrees: float = Field(20.0, ge=0, le=180)
    scale: tuple[float, float] = (0.8, 1.25)  # magnification
    intensities: bool = True  # change contrast, gamma and noise of samples


def build_network(config, deep_supervision=0, seed=0):
    """Images `(n, *patch, channels)` -> logits `(n, *patch, classes)`, or a list of them from the finest level."""
    options = config.network.model_dump(exclude={"name", "widths"})
    size = (None,) * len(config.patch)
    return unet(len(config.modalities), config.classes, size, config.network.widths, seed=seed,
                deep_supervision=deep_supervision, **options)  # fmt: skip


class SelfConfigured(SingleNetworkModel):
    """A U-Net trained by Dice plus cross-entropy at several levels.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule.

    A batch holds `image` `(n, *patch, channel)` and `label` `(n, *patch)`.
    """

    def __init__(self, config, rate, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        levels = min(config.deep_supervision, len(config.network.widths) - 2)
        self.trained = build_network(config, max(levels, 0), self.noise_seed)
        outputs = self.trained.outputs if levels > 0 else self.trained.outputs[:1]
        self.network = keras.Model(self.trained.inputs, outputs[0])
        self.shares = [0.5**level for level in range(len(outputs))]
        self.finish_building({"network": (Adam(rate), [self.trained])}, ["loss", "dice_loss", "cross_entropy"])

    def network_loss(self, batch):
        """sum_k 2^-k (L_Dice + L_CE) over the levels k, the weights made to add up to 1."""
        images = self.changed(batch["image"], batch["index"]) if self.config.intensities else batch["image"]
        found = self.trained(images, training=True)
        found = found if isinstance(found, (list, tuple)) else [found]
        terms = [self.terms(logits, at_level(batch["label"], logits)) for logits in found]
        weights = np.array(self.shares) / sum(self.shares)
        dice, entropy = (tf.add_n([float(w) * term for w, term in zip(weights, column, strict=True)])
                         for column in zip(*terms, strict=True))  # fmt: skip
        return dice + entropy, {"loss": dice + entropy, "dice_loss": dice, "cross_entropy": entropy}

    def terms(self, logits, labels):
        """(Dice loss over all samples together: a slice holds few of the classes; mean cross-entropy), scalars."""
        dice = losses.batch_dice(logits, labels, total=self.sum_over_replicas)
        return dice, tf.reduce_mean(losses.cross_entropy(logits, labels))

    def changed(self, images, index):
        """Images with other intensities, each by its own sample index."""
        seeds = tf.stack([index, tf.fill(tf.shape(index), tf.cast(self.noise_seed, index.dtype))], 1)
        images = intensity.contrast(images, seeds, (0.75, 1.3))
        images = intensity.gamma(images, seeds, (0.7, 1.5))
        return intensity.noise(images, seeds, (0.0, 0.15))


def at_level(labels, logits):
    """Labels `(n, *size)` at the resolution of a level's logits: every second voxel, or every fourth, ..."""
    steps = [full // coarse for full, coarse in zip(labels.shape[1:], logits.shape[1:-1], strict=True)]
    return labels[(slice(None), *(slice(None, None, step) for step in steps))]


class SegmentationByPlan(SegmentationMethod):
    """Supervised segmentation whose settings follow from the data."""

    Config = Config
    chosen_flips = ()  # by the validation cases, where the settings have none

    @classmethod
    def leaves_open(cls, settings):
        """Whether the plan is still to be made."""
        return settings.model.plan

    @classmethod
    def planned(cls, settings, stored=None, progress=lambda items, text: items):
        """The settings with every choice made that they leave open.

        Args:
            settings: the run's.
            stored: the settings of the run that goes on: its choices hold.
            progress: shows what is looked at.
        """
        if not cls.leaves_open(settings):
            return settings
        if stored is not None:
            keys = [choice for choice in PLANNED if not _is_set(settings, choice)]
            return with_values(settings, {key: _get(stored, key) for key in keys} | {"model.plan": False})
        settings = with_source(settings)
        return made(settings, cls.choices(settings, progress))

    @classmethod
    def choices(cls, settings, progress=lambda items, text: items, found=None):
        """The `Choice`s of a plan that the settings leave open, for their data or a `Fingerprint` of them."""
        data = settings.data
        if found is None:
            found = fingerprint(sources.open(data.source, data.root, **data.options), progress)
            for one in found.warnings:
                log.warning("%s: %s", ", ".join(one.cases[:3]), one.text)
        model, begun = settings.model, time.monotonic()
        said = {name: getattr(model, name) for name in ("network", "patch") if _is_set(settings, f"model.{name}")}

        # Preparing a case takes longer than looking at it: it is looked at, resampled and written.
        preparing = _PREPARING * found.seconds / len(found.ids) * found.cases
        share = settings.data.split.validation

        def budget():
            spent = found.seconds + time.monotonic() - begun + preparing + _STARTING
            return planning.Budget(model.minutes, spent, round(share * found.labelled))

        def left_open(choices):
            return {choice.key: choice for choice in choices if not _is_set(settings, choice.key)}

        def speed():
            return cls.seconds_per_voxel(made(settings, choices.values()))

        choices = left_open(planning.plan(found, budget(), **said))
        if "train.steps" in choices:  # by the speed of a usual network, and then of that which was chosen by it
            choices = left_open(planning.plan(found, budget(), speed(), **said))
        if "train.steps" in choices and model.minutes >= _LONG:
            choices |= left_open(planning.timetable(found, made(settings, choices.values()), budget(), speed()))
        if not _is_set(settings, "data.preprocess"):
            planning.check(found, made(settings, choices.values()))
        return list(choices.values())

    @classmethod
    def seconds_per_voxel(cls, settings):
        """What a training step takes on this machine for each voxel of its batch, by steps on noise.

        With the time in which its samples are made: on few cores nothing runs beside the step for nothing.
        """
        config, size = settings.model, settings.train.batch_size
        sizes = {"index": (), "image": (*config.patch, len(config.modalities)), "label": config.patch}
        dtypes = {"index": tf.int64, "image": tf.float32, "label": tf.int32}
        model = next(iter(cls(settings).stages())).model()
        step = tf.function(model.train_step, autograph=False)
        specs = {name: tf.TensorSpec((size, *shape), dtypes[name]) for name, shape in sizes.items()}
        check_step(step, (specs,), model, sizes, settings)
        batch = {
            "index": tf.range(size, dtype=tf.int64),
            "image": tf.random.stateless_normal(specs["image"].shape, (0, 0)),
            "label": tf.zeros(specs["label"].shape, tf.int32),
        }
        for _ in range(2):  # the graph is made, and the kernels chosen
            step(batch)
        image, label = batch["image"][0].numpy(), batch["label"][0].numpy()
        begun = time.perf_counter()
        for _ in range(_TIMED):
            step(batch)
        stepped = time.perf_counter()
        for index in range(_TIMED):
            moved(image, label, index, moves(config))
        sampling = (time.perf_counter() - stepped) * size / (os.cpu_count() or 1)
        return (stepped - begun + sampling) / _TIMED / np.prod((size, *config.patch))

    def stages(self):
        options = {"validation": self.validation}
        yield self.stage("segmenter", SelfConfigured, self.samples, self.config.learning_rate, **options)
        steps = self.settings.train.steps
        kept = self.records.recall(f"after-{steps}", self.chosen_after_training) or {}
        self.chosen_flips, self.single = tuple(kept.get("flips", ())), tuple(kept.get("single", ()))

    @property
    def flips(self):
        return self.chosen_flips or self.config.flips

    def chosen_after_training(self):
        """{"flips", "single"} by which predictions are nearer to the validation cases' labels.

        The axes of all flips, where their mean is; numbers of the classes whose largest component alone is.
        """
        config, cases = self.config, self.validation_cases()
        if not cases:
            return {}
        every = ("z", "y", "x")[-len(config.patch) :]
        found = {}
        for self.chosen_flips in ((), every) if config.flip and not config.flips else ((),):
            found[self.chosen_flips] = [self._with_and_alone(self.open(case)) for case in cases]
        best = max(found, key=lambda flips: np.mean([with_all for with_all, _ in found[flips]]))
        with_all, alone = (np.mean(rows, axis=0) for rows in zip(*found[best], strict=True))
        single = [number for number, gain in enumerate((alone - with_all).tolist(), 1) if gain > 0]
        return {"flips": list(best), "single": single}

    def _with_and_alone(self, prepared):
        """Dice of each class in a prepared case, and of its largest component alone."""
        found, label, classes = self.labels(prepared.image), np.asarray(prepared.label), self.config.classes
        alone = only_largest(found, range(1, classes))
        return dices(found, label, classes), dices(alone, label, classes)

    def samples(self):
        """Samples `image` `(*patch, channel)` float32 and `label` `(*patch)` int32, moved together."""
        config, seed = self.config, self.settings.seed
        labelled, _ = self.training_cases
        draw, shape = self.patches(labelled), config.patch
        policy = moves(config)

        def read(index):
            image, label, _ = draw(index)
            return moved(
                self.flat(image).astype(np.float32), self.flat(label), _MOVES(seed, index).integers(2**31), policy
            )

        spec = {"image": ((*shape, len(config.modalities)), "float32"), "label": (shape, "int32")}
        return Samples(read, spec, self.settings.train.batch_size)


def moved(image, label, seed, policy):
    """{"image", "label"} of a patch `(*patch, channel)` float32 and its labels `(*patch)`, moved alike."""
    grid = sample_grid(seed, label.shape, policy)
    return {"image": warp_array(image, grid, order=1, fill="edge"),
            "label": warp_array(label[..., None], grid, 0, "edge")[..., 0]}  # fmt: skip


def dices(found, label, classes):
    """Dice of each class but the background, of two maps of class numbers."""
    return [dice(found == number, label == number) for number in range(1, classes)]


def moves(config):
    """How samples are moved: turned, magnified and, if allowed, mirrored."""
    turn = (-config.rotate_degrees, config.rotate_degrees)
    if len(config.patch) == 2:
        return Policy(flip=0.5 if config.flip else None, shift=None, rotate=turn, scale=config.scale)
    flip = (0.5, 0.5, 0.5) if config.flip else None
    return VolumePolicy(flip=flip, shift=None, rotate=turn, scale=config.scale)


# --- settings that are left open --------------------------------------------------------------------------------------

PLANNED = (
    "data.source", "data.options", "data.split", "data.preprocess", "model.modalities", "model.labels", "model.patch",
    "model.network", "model.foreground", "train.steps", "train.batch_size", "train.schedule", "train.validate_every",
    "train.preview_every", "train.log_every", "train.checkpoint_every_steps",
)  # fmt: skip
_INSTEAD = {"model.labels": ("model.labels", "model.label_values")}  # names of what was said in another way


def with_source(settings):
    """The settings with the source that reads their folder, found by looking at it."""
    if settings.data.root is None or _is_set(settings, "data.source"):
        return settings
    source, options = sources.detect(settings.data.root)
    found = {"data.source": source, "data.options": options | dict(settings.data.options)}
    if "test_folder" in options and not _is_set(settings, "data.split"):
        found["data.split"] = {"given": True}
    return with_values(settings, found)


def _is_set(settings, key):
    return any(_says(settings, name) for name in _INSTEAD.get(key, (key,)))


def _says(settings, key):
    section, name = key.split(".")
    return name in getattr(settings, section).model_fields_set


def _get(settings, key):
    section, name = key.split(".")
    return getattr(getattr(settings, section), name)


def made(settings, choices):
    """The settings with choices made, so that nothing is left to plan."""
    return with_values(settings, {choice.key: choice.value for choice in choices} | {"model.plan": False})


METHOD = SegmentationByPlan
