"""The settings: where boxes come from, how they are corrected, what is asked of a segmentation."""

import math
from typing import Literal

import pydantic
from pydantic import Field, PositiveInt

from tfmed.config import PathText, Voxels
from tfmed.data.patch_votes import Filter, Uncovered
from tfmed.tasks.backbones import Network, ResidualUNet
from tfmed.tasks.segmentation_settings import SegmentationConfig

_HARDEST = 1e4  # of barriers
Source = Literal["corrected", "wide", "tight", "oracle"]


class Config(SegmentationConfig):
    """The paper's numbers; those of the losses are their authors'. The data are the Decathlon's livers."""

    modalities: tuple[str, ...] = ("ct",)
    patch: tuple[Voxels, ...] = Field((512, 512), min_length=2, max_length=2)  # pixels (y, x); a whole slice, or more
    network: Network = ResidualUNet()
    slices: Literal[1, 3, 5] = 3  # that the networks see, the middle one is segmented
    statistics_from: Literal["annotated", "all_train"] = "annotated"  # masks under which HU are measured
    # boxes
    box_source: Source = "corrected"  # wide: of the 3-D box; tight, oracle: known from masks, for comparison
    boxes: PathText | None = None  # CSV of 3-D boxes (columns case, z_first, z_last, ...); null: those of the masks
    annotated: PositiveInt = 5  # training patients with masks
    box_patch: int = Field(16, ge=2, le=512)  # p, pixels of a patch's side; patches are half of it apart
    box_filter: Filter = "none"  # votes that count
    uncovered: Uncovered = "keep"  # slices where no patch votes: keep the wide box, or drop it
    box_margin: int = Field(0, ge=0, le=2**12)  # pixels by which all boxes grow on each side
    # patch classifier
    classifier_width: PositiveInt = 64  # channels of its first block; 64 is VGG-16
    classifier_weights: Literal["random", "imagenet"] = "random"
    classifier_dropout: float = Field(0.5, ge=0, lt=1)
    classifier_epochs: PositiveInt = 50  # through all patches of the annotated volumes
    classifier_steps: PositiveInt | None = None  # in their place
    # losses
    supervision: Literal["boxes", "box_masks", "masks"] = "boxes"  # losses on boxes; filled boxes or masks as targets
    use_masks: bool = False  # annotated volumes' masks train too, by cross-entropy and Dice
    stripe: int = Field(5, ge=1, le=2**12)  # w, lines
    tightness: float = Field(1e-4, ge=0)  # lambda_t, of the stripes
    size: float = Field(1e-2, ge=0)  # lambda_s, of the size
    cross_entropy: float = Field(1.0, ge=0)  # lambda_c, of the pixels outside
    emptiness: float = Field(0.0, ge=0)  # of the sum outside; the losses' authors use it in place of cross-entropy
    size_shares: tuple[float, float] = (0.5, 0.9)  # a, b: least and greatest size, of the box
    barrier_start: float = Field(5.0, ge=1, le=_HARDEST)  # t in the first epoch
    barrier_growth: float = Field(1.1, ge=1, le=10)  # of t after each epoch
    barrier_epochs: int = Field(50, ge=1, le=10_000)  # equal parts of train.steps
    flip: bool = False  # slices, along y and along x, each half of the time
    learning_rate: float = Field(1e-4, gt=0)  # of Adam, for both networks

    @pydantic.model_validator(mode="after")
    def _barrier_stays_finite(self):
        hardest = math.log(self.barrier_start) + (self.barrier_epochs - 1) * math.log(self.barrier_growth)
        if hardest > math.log(_HARDEST) + 1e-9:
            raise ValueError(
                f"barrier_start, barrier_growth, barrier_epochs: t would end at e^{hardest:.0f}; keep it at "
                f"{_HARDEST:g} or below"
            )
        low, high = self.size_shares
        if not 0 <= low < high <= 1:
            raise ValueError(f"size_shares: {low:g}, {high:g} are no shares of a box, the least one first")
        if self.classifier_weights == "imagenet" and (self.channels != 3 or self.classifier_width != 64):
            raise ValueError("classifier_weights: imagenet is for slices 3 and classifier_width 64; set it to random")
        return self

    @property
    def neighbours(self):
        return self.slices // 2

    @property
    def weights(self):
        """{name of a loss on boxes: its weight}, of those that count."""
        named = {name: getattr(self, name) for name in ("tightness", "size", "cross_entropy", "emptiness")}
        return {name: weight for name, weight in named.items() if weight}
