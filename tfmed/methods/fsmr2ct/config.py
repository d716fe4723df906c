"""Config: the numbers of frequency-supervised MR-to-CT synthesis, and of what it is compared with."""

from typing import Literal

import pydantic
from pydantic import Field, PositiveInt

from tfmed.config import Interval, Layers, MethodConfig, Voxels


class Config(MethodConfig):
    """[P] is stated in the paper, [C] stands in the authors' code alone, the others are left open by both."""

    # what is trained
    base: Literal["unet", "fcnet", "resnet"] = "unet"  # [P]
    head: Literal["plain", "boundary", "freq"] = "freq"  # [P] freq: frequency supervision
    adv: Literal["none", "full", "high"] = "high"  # [P] what a critic sees: nothing, whole CTs, their high frequencies
    # networks
    widths: Layers = Field((32, 64, 128, 256), min_length=1)  # [C] of U-Net and critic, per level
    pool: Literal["max", "average"] = "max"  # [C] the code with a critic has average
    output: Literal["linear", "tanh"] = "linear"  # [C] tanh: CTs are scaled to [-1, 1] and not to [0, 1]
    refine: Literal["factor", "stack", "large"] = "factor"  # [P] large 1-D kernels, stacked 3^3, or three large ones
    refine_size: PositiveInt = 13  # [P] factor: k in voxels; stack: layers; large: k
    refine_width: PositiveInt = 32  # [P] channels
    refine_norm: Literal["none", "instance"] = "none"  # [C] instance
    refine_activation: Literal["leaky_relu", "linear"] = "leaky_relu"  # [C]
    d_condition: Literal["none", "channel"] = "none"  # channel: the critic sees the MR as well
    # intensities and frequencies
    window_hu: Interval = (-1024.0, 2252.7)  # [P] HU mapped to [0, 1]
    lowpass: Literal["gaussian", "box"] = "gaussian"  # [P]; [C] box, which has zeros beyond the border
    lowpass_size: float = Field(15.0, gt=0)  # voxels: sigma of the gaussian [P], width of the box ([C]: 16)
    domain: Literal["volume", "crop"] = "volume"  # what is filtered; [C] crop
    # losses
    adv_weight: float = Field(0.001, gt=0)  # [C]
    pretrain_fraction: float = Field(0.2, ge=0, lt=1)  # [C] share of the steps without a critic
    # crops and augmentation
    patch: tuple[Voxels, Voxels, Voxels] = (64, 64, 64)  # [P] voxels (z, y, x)
    rotate_degrees: float = Field(10.0, ge=0, le=180)  # [P] about z, drawn from +- this
    rotate_chance: float = Field(1.0, ge=0, le=1)  # share of the crops that are rotated; [C] 0.35
    # optimisation
    learning_rate: float = Field(1e-3, gt=0)  # [P] of Adam
    beta_1: float = Field(0.9, ge=0, lt=1)  # [P]; [C] 0.5 with a critic
    beta_2: float = Field(0.999, ge=0, lt=1)  # [P]
    # inference
    overlap: float = Field(0.5, ge=0, lt=1)  # share of a window that its neighbour covers too
    blend: Literal["constant", "gaussian"] = "constant"  # [P]
    clip: bool = True  # to window_hu
    # evaluation
    edge_share: float = Field(0.2, gt=0, lt=1)  # share of voxels, of largest |high frequencies|, scored on their own

    @pydantic.model_validator(mode="after")
    def _fits(self):
        multiple = self.multiple
        for side in self.patch:
            if side % multiple:
                raise ValueError(
                    f"patch: {side} is no multiple of {multiple}, as {len(self.widths)} widths need; try "
                    f"{max(1, round(side / multiple)) * multiple}"
                )
            if multiple > 1 and side < 2 * multiple:
                raise ValueError(
                    f"patch: {side} voxels leave one at the deepest level, where nothing is normalised; give at least "
                    f"{2 * multiple}, or fewer widths"
                )
        if self.adv == "high" and self.head != "freq":
            raise ValueError("adv: high frequencies are only made by head freq; set adv to full or none, or head freq")
        if self.refine != "stack" and self.refine_size % 2 == 0:
            raise ValueError(f"refine_size: {self.refine_size} voxels have no middle; give an odd number")
        return self

    @property
    def multiple(self):
        """What each side of a patch is a multiple of."""
        return 2 ** (len(self.widths) - 1) if self.base == "unet" or self.adv != "none" else 1

    @property
    def range(self):
        """What HU are mapped to."""
        return (-1.0, 1.0) if self.output == "tanh" else (0.0, 1.0)
