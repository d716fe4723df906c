"""DRAI's settings."""

import functools
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tfmed.config import Layers
from tfmed.tasks.class_generation import ClassGenerationConfig

Way = Literal["drawn", "mean"]
Weight = functools.partial(Field, ge=0, le=1e6)


class Config(ClassGenerationConfig):
    """DRAI's numbers; [P] is stated in the paper, [S] taken from StackGAN-v2."""

    colour: bool = False  # pictures of images "red", "green" and "blue"
    size: tuple[PositiveInt, PositiveInt] = (64, 64)  # [P] pixels
    content_size: int = Field(128, ge=1, le=4096)  # [S] of the content code
    style_size: int = Field(100, ge=1, le=4096)  # [S]
    generator_channels: Layers = Field((1024, 512, 256, 128, 64), min_length=2)  # [S] of the dense stage, each doubling
    encoder_channels: Layers = (64, 128, 256, 512)  # [S] of encoders and critics, each halving
    condition_size: int = Field(128, ge=1, le=4096)  # of codes and classes in a critic
    predictor: Layers = (256, 256)
    # objective
    objective: Literal["drai", "d_cinfogan", "d_cavae", "cinfogan", "cavae"] = "drai"  # d_: rivals with two codes
    gan_loss: Literal["least_squares", "log"] = "least_squares"  # [P]
    image_cycle: float = Weight(1.0)  # [P] weights of the terms
    feature_cycle: float = Weight(1.0)  # [P] 0 for DAI
    self_reg: float = Weight(1.0)  # [P] 0 for DAI
    mi_reg: float = Weight(1.0)  # [P] of the reversed gradient; 0 for DAI
    kl_weight: float = Weight(1.0)  # [P]
    kl_reduce: Literal["mean", "sum"] = "mean"  # over a code's dimensions
    repel_margin: PositiveFloat | None = None  # styles farther apart than this do not repel; null: [P]
    passes: Literal[1, 2] = 2  # [P] 2: every other step has the pictures of the last one, turned
    learning_rate: float = Field(1e-5, gt=0)  # [P]
    beta_1: float = Field(0.5, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)
    # data and evaluation
    binary: tuple[str, ...] = ()  # what else is told of a picture: names of the source's conditions, each 0 or 1
    pad: int = Field(4, ge=0, le=64)  # pixels by which training pictures are moved at most; they are flipped, too
    flip: bool = True  # [P]
    ways: tuple[Way, ...] = Field(("drawn", "mean"), min_length=1)  # of the content given the class; the first is usual
    features: str = "random:0"  # of the Frechet distance: random:SEED, inception:FILE or savedmodel:FOLDER

    @property
    def condition_width(self):
        """How many numbers tell what a picture shows: its class, one-hot, and two for each of `binary`."""
        return len(self.classes) + 2 * len(self.binary)

    @model_validator(mode="after")
    def _fits(self):
        for name in ("image_cycle", "feature_cycle", "self_reg", "mi_reg"):
            if self.objective != "drai" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is a weight of objective drai; leave it out, or take that objective")
        if self.objective == "d_cavae" and not self.kl_weight:
            raise ValueError("kl_weight: is all that teaches the content given the class; give a weight above 0")
        if len(set(self.binary)) < len(self.binary):
            raise ValueError("binary: give each name once")
        factor = 2 ** (len(self.generator_channels) - 1)
        if self.size[0] != self.size[1] or self.size[0] % factor:
            raise ValueError(
                f"size: {self.size} cannot be made by as many generator_channels; give two equal numbers, a multiple "
                f"of {factor}"
            )
        if self.size[0] >> len(self.encoder_channels) < 1:
            raise ValueError(f"encoder_channels: too many halvings for {self.size[0]} pixels")
        if self.pad >= self.size[0]:
            raise ValueError(f"pad: {self.pad} pixels move a picture of {self.size[0]} out of sight; give fewer")
        return self
