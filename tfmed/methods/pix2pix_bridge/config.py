"""Config: the numbers of M->C, C->M, pix2pix, pix2pixHD and CycleGAN."""

from typing import Literal

import pydantic
from pydantic import Field, PositiveInt

from tfmed.config import Interval, MethodConfig


class Config(MethodConfig):
    """Numbers of M->C and C->M: [P] the paper, [C] the public pix2pix code, the others are left open by both."""

    architecture: Literal["pix2pix", "pix2pixhd", "cyclegan"] = "pix2pix"  # [P] the others are baselines
    direction: Literal["m2c", "c2m"] = "m2c"
    # losses
    unpaired_critic: bool = True  # [P] of real images; M->C: CTs, C->M: MRs
    paired_critic: bool = False  # [P] of C->M; [C] of pix2pix
    anchor_weight: float = Field(50.0, ge=0)  # [P] lambda of the L1 loss; C->M: 100
    coin: float = Field(0.5, ge=0, le=1)  # [P] C->M: chance that a step begins with real CTs and not with MRCATs
    cycle_weight: float = Field(10.0, ge=0)  # [C] of CycleGAN
    identity_weight: float = Field(5.0, ge=0)  # [C] of CycleGAN
    history: int = Field(50, ge=0)  # [C] of CycleGAN: older translations kept for the critics; 0: none
    feature_weight: float = Field(10.0, ge=0)  # [C] of pix2pixHD: feature matching
    # networks
    downs: int = Field(9, ge=1, le=10)  # [P] unet_512; pix2pixHD: 4
    blocks: int = Field(9, ge=1, le=100)  # [P] pix2pixHD's residual blocks
    critic_scales: int = Field(2, ge=1, le=4)  # [P] pix2pixHD's critics, each of images half as large as the one before
    generator_first: PositiveInt = 64  # [C] channels
    dropout: float = Field(0.5, ge=0, lt=1)  # [C] middle levels of the decoder, in training
    critic_layers: int = Field(3, ge=1, le=6)  # [P] 3, 4, 5: patches of 70, 142, 286 pixels
    critic_first: PositiveInt = 64  # [C] channels
    # intensities
    window_hu: Interval = (-1000.0, 1000.0)  # HU mapped to [-1, 1]
    mr_percentile: float = Field(99.5, gt=0, le=100)  # of an MR's voxels above 0, mapped to 1; 0 to -1
    # augmentation
    size: PositiveInt = 512  # pixels per side of what the networks are trained on
    zoom: tuple[float, float] = (0.6, 1.4)  # [P]
    flip: float = Field(0.5, ge=0, le=1)  # chance of a flip left-right
    # optimisation
    learning_rate: float = Field(2e-4, gt=0)  # [P]
    beta_1: float = Field(0.5, ge=0, lt=1)  # [C]
    beta_2: float = Field(0.999, ge=0, lt=1)  # [C]

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if self.size % 2**self.downs:
            raise ValueError(f"size: {self.size} pixels cannot be halved {self.downs} times; change size or downs")
        halvings = self.critic_scales - 1 if self.architecture == "pix2pixhd" else 0
        if self.size < 2 ** (self.critic_layers + 2 + halvings):
            raise ValueError(f"critic_layers: too many for {self.size} pixels; lower critic_layers, or raise size")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("zoom: the lower bound comes first, and is above 0")
        if self.architecture == "cyclegan":
            return self
        if self.architecture == "pix2pixhd" and self.critics != ("paired_critic",):
            raise ValueError("architecture: pix2pixhd learns from pairs alone: set paired_critic to true, and "
                             "unpaired_critic to false (m2c) or coin to 0 (c2m)")  # fmt: skip
        if self.architecture != "pix2pixhd" and self.downs < 2:
            raise ValueError("downs: a U-Net halves at least twice; set it to 2 or more")
        alone = self.unpaired_critic if self.direction == "m2c" else False
        if self.uses_pairs and not (alone or self.paired_critic or self.anchor_weight):
            raise ValueError("anchor_weight: pairs have no loss; set it above 0, or paired_critic, or (c2m) coin to 1")
        if self.uses_ct and not self.unpaired_critic:
            raise ValueError("unpaired_critic: real CTs have no loss without it; set it to true, or coin to 0")
        return self

    @property
    def uses_ct(self):
        """Whether training looks at unpaired CTs."""
        if self.architecture == "cyclegan":
            return True
        return self.unpaired_critic if self.direction == "m2c" else self.coin > 0

    @property
    def uses_pairs(self):
        """Whether some step begins with a pair."""
        return self.direction == "m2c" or self.coin < 1

    @property
    def uses_anchor(self):
        """Whether there is an L1 loss."""
        return self.uses_pairs and self.anchor_weight > 0

    @property
    def critics(self):
        """Names of the critics that some step trains."""
        paired = self.paired_critic and self.uses_pairs
        return (("critic",) if self.uses_ct else ()) + (("paired_critic",) if paired else ())

    @property
    def source(self):
        """The modality that is translated."""
        return "mr" if self.direction == "m2c" else "ct"

    @property
    def target(self):
        """The modality that it becomes."""
        return "ct" if self.direction == "m2c" else "mr"
