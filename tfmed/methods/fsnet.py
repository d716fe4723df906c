"""FS-Net: another labelled data set, of another organ even, trains the same network and keeps it from overfitting.

Paper: Guo, Yang & Ma, "FS-Net: A New Paradigm of Data Expansion for Medical Image Segmentation", DALI (MICCAI workshop)
2021.

Task: segmentation with the help of other labelled data sets, 3-D

Idea: a batch holds patches of a small target set and of an auxiliary one. Each set has input channels of its own, a
small module of its own that maps it into a shared feature space (1x1x1 convolution and channel attention), and classes
of its own in one softmax. The loss is 0.95 that of the target and 0.05 that of the auxiliary set.

Reproduces: Dice on HVSMR 2016 (4 test volumes) with M&Ms as the auxiliary set: blood pool 0.8202 and myocardium 0.8903,
against 0.7490 and 0.8559 of the target alone, 0.7613 and 0.8657 of pre-training; white matter lesions 0.7902 against
0.7825 (private set, with BraTS 2019). The paper names no hardware.

Deviates: open in the paper and chosen here: three poolings, in the plane only for hearts; one background for all sets;
module of 16 maps, convolution first; energies of the attention divided by the number of voxels, and a learned scale
that begins at 0 (`attention_scale: none` is the stated formula); Dice over a set's own classes and the background;
steps, spacings and z-scores. Other sets' logits are dropped before the softmax at inference.
"""

import functools
from typing import Annotated, Literal

import keras
import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt

from tfmed.config import Voxels
from tfmed.data.pipeline import Samples
from tfmed.data.several_sets import SetCoding, set_weights
from tfmed.data.streams import Mixture
from tfmed.losses.several_sets import set_loss, weighted
from tfmed.nn.adam import Adam
from tfmed.nn.attention import ChannelAttention
from tfmed.nn.channels import ChannelSlot, TakeChannels
from tfmed.nn.transfer import start_from
from tfmed.nn.unet import CONV
from tfmed.tasks.backbones import Network, UNet
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_settings import SegmentationConfig
from tfmed.tasks.several_sets import AuxiliarySet, OpenSet
from tfmed.training.single_network import SingleNetworkModel

TARGET = "target"
SMALL_UNET = UNet(
    widths=(16, 32, 64, 128), factors=(1, 2, 2), norm="batch", upsample="transposed", transposed_kernel=3,
    decoder_convolutions=1,
)  # fmt: skip
SetName = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class Config(SegmentationConfig):
    """FS-Net's own numbers; the target is HVSMR 2016, or a phantom with its labels."""

    modalities: tuple[str, ...] = ("mr",)
    label_values: tuple[int, ...] = (0, 1, 2)  # background, ventricular myocardium, blood pool
    patch: tuple[Voxels, ...] = Field((6, 128, 128), min_length=2, max_length=3)  # voxels (z, y, x)
    network: Network = SMALL_UNET
    foreground: float = Field(1 / 3, ge=0, le=1)  # share of the patches that are centred on a labelled voxel
    overlap: float = Field(0.5, ge=0, lt=1)
    # what trains
    auxiliary: dict[SetName, AuxiliarySet] = Field(default_factory=dict, max_length=16)  # name -> further data set
    training: Literal["joint", "target", "pretrain"] = "joint"  # pretrain: on auxiliary sets, then on the target alone
    pretrain_steps: PositiveInt | None = None  # of the first stage; null: train.steps
    # the three tricks
    channel_coding: Literal["slots", "shared"] = "slots"  # channels of its own for each set, or the same for all
    shared_background: bool = True  # false: a background of its own for each set
    features: NonNegativeInt = Field(16, le=1024)  # maps of the feature-space modules; 0: none
    attention_scale: Literal["learned", "none"] = "learned"  # of what attention adds
    attention_energy: Literal["plain", "max_minus"] = "plain"
    attention_normalise: bool = True  # energies per voxel
    target_weight: float = Field(0.95, ge=0, le=1)  # of the target's loss; the other sets share the rest
    loss: Literal["dice", "dice_cross_entropy"] = "dice"  # the latter for brains
    learning_rate: float = Field(5e-4, gt=0)  # of Adam

    @pydantic.field_validator("auxiliary", mode="before")
    @classmethod
    def _without_null(cls, value):
        """`auxiliary: {mnms: null}` takes out a set of the file that another one starts from."""
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value

    @pydantic.field_validator("auxiliary")
    @classmethod
    def _names_differ(cls, value):
        if TARGET in value:
            raise ValueError("target is the set of the data section; choose another name")
        return value

    def coding(self, names):
        """The SetCoding of some sets, by name."""
        sets = [self if name == TARGET else self.auxiliary[name] for name in names]
        channels, classes = [len(one.modalities) for one in sets], [one.classes for one in sets]
        return SetCoding(tuple(channels), tuple(classes), self.channel_coding == "slots", self.shared_background)


def build_network(config, channels=None, classes=None, seed=0):
    """The shared U-Net: features `(n, *patch, channels)` -> logits `(n, *patch, classes)` of all sets' classes."""
    coding = config.coding([TARGET, *config.auxiliary])
    channels = (config.features or coding.total_channels) if channels is None else channels
    classes = coding.total_classes if classes is None else classes
    return config.network.build(channels, classes, len(config.patch), seed)


def feature_space(config, channels, seed=0, name="feature_space"):
    """The module of one set: coded images `(n, *patch, channels)` -> features `(n, *patch, config.features)`."""
    axes = len(config.patch)
    inputs = keras.Input((*(None,) * axes, channels))
    he = keras.initializers.HeNormal(seed)
    x = CONV[axes](config.features, 1, kernel_initializer=he, name="convolution")(inputs)
    how = (config.attention_scale, config.attention_energy, config.attention_normalise)
    return keras.Model(inputs, ChannelAttention(*how, name="attention")(x), name=name)


class FSNet(SingleNetworkModel):
    """A U-Net that several sets share.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        sets: names of the sets, the one that is segmented first.
        mixture: the Mixture of their samples in a batch.
        weights: of their losses.
        trained: a network like the shared one whose weights are the start of this, or None.

    A batch holds `image` `(n, *patch, channel)` and `label` `(n, *patch)`, both coded. `network` segments images of the
    first set as they are: `(n, *patch, channel)` -> logits of its own classes.
    """

    def __init__(self, config, rate=None, *, sets, mixture, weights, trained=None, **kwargs):
        super().__init__(**kwargs)
        self.config, self.sets, self.mixture, self.shares = config, sets, mixture, weights
        self.coding = config.coding(sets)
        total = self.coding.total_channels
        self.shared = build_network(config, config.features or total, self.coding.total_classes, self.noise_seed)
        if trained is not None:
            start_from(self.shared, trained)
        seeds = [self.noise_seed * 100 + number for number in range(len(sets))] if config.features else []
        self.branches = [feature_space(config, total, seed, f"fs{number}") for number, seed in enumerate(seeds)]
        self.network = self.of_set(0)
        optimizer = Adam(config.learning_rate if rate is None else rate)
        logged = ["loss", *(f"loss_{name}" for name in sets)]
        self.finish_building({"network": (optimizer, [self.shared, *self.branches])}, logged)

    def of_set(self, number):
        """The network for images of one set, from its own channels to its own classes."""
        first, end = self.coding.slot(number)
        inputs = keras.Input((*(None,) * len(self.config.patch), end - first))
        coded = ChannelSlot(first, self.coding.total_channels, name="slot")(inputs)
        logits = self.shared(self.branches[number](coded) if self.branches else coded)
        own = TakeChannels(self.coding.numbers(number), name="own_classes", dtype="float32")
        return keras.Model(inputs, own(logits), name=f"set{number}")

    def network_loss(self, batch):
        """R = sum_m delta_m l(g(x_m), y_m) (Eq. 1), on one forward pass over the patches of all sets."""
        images, labels = (self.mixture.divide(batch[name]) for name in ("image", "label"))
        if self.branches:
            images = [branch(x, training=True) for branch, x in zip(self.branches, images, strict=True)]
        # One pass: batch normalisation sees all sets together.
        logits = tf.split(self.shared(tf.concat(images, 0), training=True), [tf.shape(y)[0] for y in labels])
        terms = [self.set_loss(number, *pair) for number, pair in enumerate(zip(logits, labels, strict=True))]
        loss = weighted(terms, self.shares)
        return loss, {"loss": loss} | {f"loss_{name}": term for name, term in zip(self.sets, terms, strict=True)}

    def set_loss(self, number, logits, labels):
        """l of one set's patches, a scalar."""
        return set_loss(logits, labels, self.coding.counted(number), self.config.loss, total=self.sum_over_replicas)


class FSNetMethod(SegmentationMethod):
    """Segmentation of the target set; auxiliary sets only train."""

    Config = Config
    takes_altered = False

    @classmethod
    def check(cls, settings):
        config, batch = settings.model, settings.train.batch_size
        if config.training != TARGET and not config.auxiliary:
            raise ValueError(
                f"model.auxiliary: is empty, and model.training {config.training} needs a further set; name one, as in "
                "auxiliary: {mnms: {source: mnms, root: FOLDER}}, or set training: target"
            )
        shares = (settings.train.replicas or 1) * settings.train.gradient_accumulation
        for count in {len(names) for names, _, _ in rounds(config)}:
            if batch % (count * shares):
                raise ValueError(
                    f"train.batch_size {batch} must be a multiple of {count * shares}: as many patches of each of "
                    f"{count} set(s), in {shares} equal parts"
                )

    @functools.cached_property
    def auxiliary(self):
        """{name: OpenSet}."""
        return {name: OpenSet(name, one, self) for name, one in self.config.auxiliary.items()}

    def prepared(self, part, progress=None):
        cases = super().prepared(part, progress)
        if part == "train" and self.config.training != TARGET:
            for one in self.auxiliary.values():
                one.prepared(progress)
        return cases

    def further_problems(self, progress=lambda items, text: items):
        if self.config.training == TARGET:
            return {}
        return {name: lines for one in self.auxiliary.values() for name, lines in one.problems(progress).items()}

    def stages(self):
        config, trained = self.config, None
        for names, name, steps in rounds(config):
            others = len(names) - 1
            weights = set_weights(config.target_weight if TARGET in names else 1 / len(names), others)
            mixture = Mixture((self.settings.train.batch_size // len(names),) * len(names))
            yield self.stage(
                name, FSNet, functools.partial(self.samples, names, mixture), config.learning_rate, steps=steps,
                validation=self.validation if TARGET in names else None, sets=names, mixture=mixture, weights=weights,
                trained=trained,
            )  # fmt: skip
            trained = self.models[name].shared if name in self.models else None

    def samples(self, names, mixture):
        """Samples `image` `(*patch, channel)` float32 and `label` `(*patch)` int32 of some sets, coded."""
        coding, config = self.config.coding(names), self.config
        draw = [self.patches_of(name, stream) for stream, name in enumerate(names)]

        def read(index):
            stream, number = mixture.place(index)
            image, label, _ = draw[stream](number)
            image = coding.image(self.flat(image).astype(np.float32), stream)
            return {"image": image, "label": coding.label(self.flat(label), stream)}

        around = config.per_axis(config.network.margin)
        seen = [side + 2 * more for side, more in zip(config.patch, around, strict=True)]
        spec = {"image": ((*seen, coding.total_channels), "float32"), "label": (config.patch, "int32")}
        return Samples(read, spec, mixture.per_step)

    def patches_of(self, name, stream):
        """The Patches of a set."""
        labelled, _ = self.training_cases
        if name == TARGET:
            return self.patches(labelled, stream)
        one = self.auxiliary[name]
        return self.patches(one.cases, stream, open_case=one.open)


def rounds(config):
    """[(names of the sets that train, name of the stage, its steps or None)]."""
    joint = (TARGET, *config.auxiliary)
    if config.training == "joint":
        return [(joint, "segmenter", None)]
    alone = [((TARGET,), "segmenter", None)]
    return alone if config.training == TARGET else [(joint[1:], "pretrained", config.pretrain_steps), *alone]


METHOD = FSNetMethod
