"""Config: the numbers of the nodule experiment."""

from typing import Any, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from tfmed.config import Interval, MethodConfig, PathText, Strict, Voxels
from tfmed.data import sources

REGIMES = ("real", "synthetic", "finetuned")


class Scans(Strict):
    """More scans, beside those of the `data` section."""

    source: str = "phantom_chest_ct"  # a name of tfmed.data.sources
    root: PathText | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def cases(self):
        """The Cases of the source."""
        return sources.open(self.source, self.root, **self.options)


class Config(MethodConfig):
    """Numbers of the experiment; [P] is stated in the paper, the others it leaves open."""

    volume_shape: tuple[Voxels, Voxels, Voxels] = (224, 224, 224)  # [P] voxels (z, y, x)
    window_hu: Interval = (-1000.0, 400.0)  # mapped to [-1, 1], for the classifier to [0, 1] [P]
    healthy: Scans | None = None  # scans without nodules ([P] NLST); null: those of data.source that have none
    synthetic: Scans = Scans(options={"seed": 2, "cases": 10_000})  # volumes without nodules, in files
    synthetic_run: PathText | None = None  # run directory of a CT-SGAN that makes synthetic volumes in their place
    synthetic_volumes: PositiveInt = 10_000  # [P] that `synthetic_run` makes
    # volumes of interest
    voi: PositiveInt = 64  # voxels per side
    mask_scale: float = Field(1.25, ge=1)  # radius of the mask: so many times the nodule's,
    mask_margin: float = Field(2.0, ge=1)  # and so many voxels more
    blend: float = Field(2.0, ge=0)  # voxels inside the mask's rim over which what is pasted fades in
    # injector and eraser
    downs: int = Field(5, ge=2, le=8)  # levels of the U-Nets
    generator_first: PositiveInt = 32  # channels
    dropout: float = Field(0.5, ge=0, lt=1)  # middle levels of the decoder, in training
    critic_layers: int = Field(3, ge=1, le=6)
    critic_first: PositiveInt = 32  # channels
    l1_weight: float = Field(100.0, ge=0)  # of the whole cube
    mask_l1_weight: float = Field(100.0, ge=0)  # of the mask, on top of that
    learning_rate: float = Field(2e-4, gt=0)  # of Adam
    beta_1: float = Field(0.5, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)
    flip: bool = True  # cubes and volumes left-right, half of the time
    # classifier
    classifier_first: PositiveInt = 64  # channels of SqueezeNet's first convolution
    fires: tuple[tuple[PositiveInt, PositiveInt], ...] = Field(
        ((16, 64), (32, 128), (48, 192), (64, 256)), max_length=64
    )
    classifier_strides: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)  # of it; for films (1, 2, 2)
    classifier_dropout: float = Field(0.5, ge=0, lt=1)
    classifier_batch: int = Field(8, ge=2)
    classifier_learning_rate: float = Field(1e-4, gt=0)  # [P] of Adam with 0.9, 0.999
    classifier_steps: PositiveInt = 5000  # at most
    finetune_steps: PositiveInt | None = None  # of the third regime, after the second; null: classifier_steps
    # the experiment
    nodule_sizes_mm: tuple[PositiveFloat, ...] = Field((6, 8, 10, 12, 14, 16), min_length=1)  # [P] six; diameters
    seeds: PositiveInt = 3  # [P] of weights, and of the places and numbers of nodules in synthetic volumes
    regimes: tuple[Literal["real", "synthetic", "finetuned"], ...] = REGIMES  # [P]; []: injector and eraser alone

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if self.voi % 2**self.downs:
            raise ValueError(f"voi: {self.voi} voxels cannot be halved {self.downs} times; change voi or downs")
        if self.voi < 2 ** (self.critic_layers + 2):
            raise ValueError(f"critic_layers: too many for a voi of {self.voi} voxels; lower it, or raise voi")
        if self.l1_weight + self.mask_l1_weight == 0:
            raise ValueError("l1_weight: with no mask_l1_weight either nothing says what to fill in; set one above 0")
        if len(set(self.nodule_sizes_mm)) < len(self.nodule_sizes_mm):
            raise ValueError("nodule_sizes_mm: name each size once")
        if len(set(self.regimes)) < len(self.regimes):
            raise ValueError("regimes: name each once")
        if "finetuned" in self.regimes and "synthetic" not in self.regimes:
            raise ValueError("regimes: finetuned goes on with what synthetic learnt; add synthetic")
        return self
