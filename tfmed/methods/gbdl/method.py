"""Config and method of GBDL: two stages, augmentation, windows at inference, PAvPU."""

import dataclasses
from typing import Literal

import numpy as np
import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from tfmed.augment.paired import VolumePolicy
from tfmed.config import Layers, Voxels
from tfmed.data.distance import signed_distances
from tfmed.engine.method import Stage
from tfmed.errors import RunError
from tfmed.io.geometry import machine_memory
from tfmed.methods.gbdl.models import LatentLearner, Segmenter
from tfmed.methods.gbdl.networks import LRL
from tfmed.metrics.uncertainty import pavpu
from tfmed.tasks.backbones import MCUNet3D, Network
from tfmed.tasks.semi_supervised import SemiSupervisedConfig, SemiSupervisedMethod
from tfmed.tasks.semi_supervised_baselines import GBDL, LEARNERS, Architecture, Taught
from tfmed.training.schedules import Schedule

FLIPPED = VolumePolicy(flip=(0.0, 0.0, 0.5), shift=None)  # left-right
TURNED = VolumePolicy(flip=(0.0, 0.0, 0.5), shift=None, rotate=((-10, 10), (0, 0), (0, 0)))  # in the plane, degrees


class Config(SemiSupervisedConfig):
    """GBDL's own numbers: [P] is stated in the paper, [code] stands in the released code alone.

    `architecture` chooses what is trained: gbdl, supervised (labels alone), or another of the paper's baselines, with
    settings of its own; the latent model's settings and `samples` mean nothing to the others.
    """

    architecture: Architecture = GBDL()
    patch: tuple[Voxels, ...] = (32, 128, 128)  # [P] voxels (z, y, x)
    network: Network = MCUNet3D()  # [P] the segmenter
    labelled_batch: PositiveInt = 2
    unlabelled_pool: Literal["all", "rest"] = "rest"
    weak: Literal["flip_turn", "weak", "strong", "none"] = "flip_turn"  # [code] left-right, +-10 degrees in the plane
    jitter: float = Field(0.4, ge=0, lt=1)  # [code] of brightness and contrast, factors 1 +- jitter
    # latent model
    latent: Literal["full", "diagonal", "volume"] = (
        "full"  # [P] per slice; diagonal: IC-LRL; volume: one latent for all
    )
    latent_widths: Layers = Field((64, 128, 256, 512, 512), min_length=2)  # [code] from the finest
    latent_size: PositiveInt = 256  # [code] D, of a slice
    latent_floor: float = Field(0.1, gt=0)  # c in A = v v^T + c I; [code] 10, whose noise drowns what a latent says
    latent_dropout: float = Field(0.0, ge=0, lt=1)  # [code] of channels in its encoders and decoders, in training
    share_encoder: bool = False  # [P] true is an ablation: E_y is E_x
    share_decoder: bool = False  # [P] true is an ablation: D_y gives the image too, by further outputs
    image_skips: NonNegativeInt | None = None  # deepest levels of E_x that D_x sees beside z; null: all [code]
    reconstruction: Literal["linear", "tanh"] = "linear"  # tanh: [code], for images in [-1, 1]
    lambda_ce: float = Field(1.0, ge=0)  # [P]
    lambda_dice: float = Field(2.0, ge=0)  # [P]
    lambda_mse: float = Field(1.0, ge=0)  # [P]; 0: without the image's decoder
    lambda_kl: float = Field(0.005, ge=0)  # [P]
    latent_learning_rate: float = Field(1e-4, gt=0)  # [code] of Adam
    latent_decay: float = Field(1e-4, ge=0)  # [code] L2
    latent_steps: PositiveInt | None = None  # null: train.steps, as for the segmenter [code]
    # segmenter
    samples: PositiveInt = 5  # [P] M, latents of a pseudo label
    beta_ce: float = Field(1.0, ge=0)  # [P]
    beta_dice: float = Field(2.0, ge=0)  # [P]
    optimizer: Literal["adam", "sgd"] = "adam"  # [code]; sgd: momentum 0.9, as the baselines' papers have it
    learning_rate: float = Field(5e-4, gt=0)  # [code]
    decay: float = Field(1e-5, ge=0)  # [code] L2
    schedule_stretch: float = Field(2.0, ge=1)  # [code] a schedule is made for so many times a stage's steps
    # inference
    mc_passes: int = Field(5, ge=0, le=1000)  # [P] T
    stride: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None  # voxels; null: as overlap says
    blend: Literal["gaussian", "constant"] = "constant"  # [code]

    @pydantic.model_validator(mode="after")
    def _latent_model_fits(self):
        if len(self.patch) != 3:
            raise ValueError(f"patch: {list(self.patch)} is a slice; give (z, y, x), as volumes are segmented")
        multiple = 2 ** len(self.latent_widths)
        wrong = [side for side in self.patch[1:] if side % multiple]
        if self.architecture.name == "gbdl" and wrong:
            raise ValueError(
                f"patch: {wrong[0]} is no multiple of {multiple}, as a latent model of {len(self.latent_widths)} "
                f"latent_widths needs; try {max(1, round(wrong[0] / multiple)) * multiple}"
            )
        if self.image_skips is not None and self.image_skips >= len(self.latent_widths):
            raise ValueError(f"image_skips: {self.image_skips}; there are {len(self.latent_widths) - 1}, lower it")
        if self.share_decoder and (self.image_skips is not None or not self.lambda_mse):
            raise ValueError(
                "share_decoder: needs lambda_mse above 0 and image_skips: null, for it reconstructs with all"
            )
        if self.stride and any(step > side for step, side in zip(self.stride, self.patch, strict=True)):
            raise ValueError(f"stride: {list(self.stride)} is more than patch {list(self.patch)}; windows would gape")
        return self


def build_network(config, part="segmenter", channels=None, classes=None, seed=0, norm="instance"):
    """A network of the method: images `(b, n, height, width, channels)` -> logits `(..., classes)`.

    Args:
        config: the method's `Config`.
        part: "segmenter", or "latent" (an `LRL`, whose height and width are those of `config.patch`).
        channels, classes: default the config's.
        seed: of the dropout.
        norm: of the latent model, "instance" or "none".
    """
    channels = len(config.modalities) if channels is None else channels
    classes = config.classes if classes is None else classes
    if part == "latent":
        return LRL(config, channels, classes, norm, seed)
    return config.network.build(channels, classes, len(config.patch), seed)


class GBDLMethod(SemiSupervisedMethod):
    """Semi-supervised segmentation of volumes."""

    Config = Config

    @classmethod
    def check(cls, settings):
        super().check(settings)
        model, batch = settings.model, settings.train.batch_size
        name, labelled = model.architecture.name, model.labelled_batch
        if name == "supervised" and labelled != batch:
            raise ValueError(f"model.labelled_batch: supervised training takes labels alone; set it to {batch}")
        if name in LEARNERS and labelled == batch:
            raise ValueError(
                f"model.labelled_batch: {name} needs unlabelled volumes too; set it below train.batch_size {batch}"
            )

    @classmethod
    def patch_multiples(cls, config):
        found = super().patch_multiples(config)
        if config.architecture.name != "gbdl":
            return found
        latent = 2 ** len(config.latent_widths)  # in the plane; all of these are powers of 2
        return (found[0], *(max(multiple, latent) for multiple in found[1:]))

    def prepared(self, part, progress=None):
        """As `SemiSupervisedMethod.prepared`; first of all it is seen whether the latents fit into memory."""
        self._check_memory()
        return super().prepared(part, progress)

    def _check_memory(self):
        config = self.config
        count = self.settings.train.batch_size * config.samples * config.patch[0] * config.latent_size
        needed, there = 2 * 4 * count / 2**30, machine_memory() / 2**30  # float32, drawn and dealt out
        if config.architecture.name == "gbdl" and needed > there:
            raise RunError(
                f"model.samples: {config.samples} latents of a batch take {needed:.1f} GiB, and this machine has "
                f"{there:.1f} GiB; lower it (the paper has 5)"
            )

    def stages(self):
        config, steps = self.config, self.settings.train.steps
        baseline = LEARNERS.get(config.architecture.name)
        if baseline:
            yield self._stage("segmenter", baseline, steps, config.learning_rate, self._baseline_options)
            return
        teacher = {}
        if config.architecture.name == "gbdl":
            yield self._stage("latent", LatentLearner, config.latent_steps or steps, config.latent_learning_rate)
            # A method of a network, not a network: the segmenter's checkpoints do not hold its teacher.
            teacher = {"pseudo_labels": self.models["latent"].network.pseudo_labels}
        yield self._stage("segmenter", Segmenter, steps, config.learning_rate, lambda: teacher)

    def _baseline_options(self):
        """What a baseline's learner needs beside a network: the number of steps, and a network for its teacher."""
        options = {"steps": self.settings.train.steps}
        if not isinstance(self.config.architecture, Taught):
            return options
        return options | {"twin": build_network(self.config, seed=self.settings.seed + 1)}

    def _stage(self, name, learner, steps, rate, options=dict):
        train, seed = self.settings.train, self.settings.seed

        def model():
            network = build_network(self.config, name, seed=seed)
            shared = dict(seed=seed, gradient_accumulation=train.gradient_accumulation)
            return learner(self.config, self.streams, network, self._rate(rate, steps), **shared, **options())

        return Stage(name, model, self.samples, steps, self.validation)

    def samples(self):
        """As `SemiSupervisedMethod.samples`, with `distance` `(*patch, classes - 1)` if a baseline learns from it."""
        samples, classes = super().samples(), self.config.classes
        if not getattr(LEARNERS.get(self.config.architecture.name), "wants_distance", False):
            return samples

        def read(index):
            sample = samples.read(index)
            return sample | {"distance": signed_distances(sample["label"], classes)}

        spec = samples.spec | {"distance": ((*self.config.patch, classes - 1), "float32")}
        return dataclasses.replace(samples, read=read, spec=spec)

    def _rate(self, base, steps):
        """A stage's learning rate: with the code's stretch of 2 and a cosine, it sees the first half of it."""
        schedule = self.settings.train.schedule
        if schedule.kind == "constant" and not schedule.warmup_steps:
            return base
        return Schedule(base, self.config.schedule_stretch * steps, **schedule.model_dump())

    def transform(self, seed):
        """The policy of a sample: a flip, and for half of them a turn."""
        if self.config.weak != "flip_turn":
            return super().transform(seed)
        return TURNED if seed % 2 else FLIPPED

    def _windows(self):
        windows, stride = super()._windows(), self.config.stride
        if stride is None:
            return windows
        return windows | {"overlap": tuple(1 - s / side for s, side in zip(stride, self.config.patch, strict=True))}

    def extra_scores(self, case, segmentation, reference, seed):
        """PAvPU of each region: are the patches that the network is sure of the right ones?"""
        entropy = segmentation.entropy.array
        return {
            name: {"PAvPU": pavpu(entropy, np.isin(segmentation.labels.array, classes), np.isin(reference, classes))}
            for name, classes in self.config.scored.items()
        }
