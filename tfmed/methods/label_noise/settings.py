"""The settings: which errors are made, which segmenter learns from them, how."""

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from tfmed.augment import corrupt
from tfmed.config import TAG, Strict, name_tag
from tfmed.tasks.backbones import CompressedUNet, UNet
from tfmed.tasks.segmentation_settings import SegmentationConfig


class Named(Strict):
    """Settings that `name` tells apart; a name alone will do."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value):
        return {"name": value} if isinstance(value, str) else value


class Clean(Named):
    """No error."""

    name: Literal["clean"] = "clean"


class Corruption(Named):
    """An error of an annotator, made each time that a mask is loaded."""

    resample: Literal["per_load", "frozen"] = "per_load"  # another draw each epoch, or one draw per slice
    when: Literal["before", "after"] = "after"  # the geometric augmentation, which may mirror an error

    def once(self, mask, draw, slope=None):
        """A corrupted mask `(H, W)`, its randomness that of a Generator."""
        raise NotImplementedError


class Warp(Corruption):
    """Elastic deformation."""

    name: Literal["warp"] = "warp"
    sigma: float = Field(20.0, ge=0, le=1000)  # pixels, standard deviation of the control points
    control: Literal["bspline_coeff", "interpolate_nodes"] = "bspline_coeff"

    def once(self, mask, draw, slope=None):
        return corrupt.warp(mask, self.sigma, draw, self.control)


class Shift(Corruption):
    """The whole mask moves."""

    name: Literal["shift"] = "shift"
    pixels: int = Field(5, ge=-10_000, le=10_000)  # towards larger rows or columns
    axis: Literal["row", "column"] = "column"
    amount: Literal["constant", "either_way", "uniform"] = "constant"  # so far; or back, by chance; or from -n to n

    def once(self, mask, draw, slope=None):
        n = abs(self.pixels)
        drawn = {"constant": [self.pixels], "either_way": [-n, n], "uniform": range(-n, n + 1)}[self.amount]
        return corrupt.shift(mask, drawn[draw.integers(len(drawn))], ("row", "column").index(self.axis))


class Crop(Corruption):
    """A part of each connected tumour goes."""

    name: Literal["crop"] = "crop"
    kind: Literal["left", "rand_0.5", "rand_0"] = "left"  # rand: a rectangle, its edges at least so long (of the box's)
    fraction: float = Field(0.5, ge=0, le=1)  # of the box's columns (left)
    slope: float | Literal["calibrate"] | None = None  # of the edges' density; calibrate: half of the training masks
    when: Literal["before", "after"] = "before"

    @property
    def least(self):
        return 0.5 if self.kind == "rand_0.5" else 0.0

    @pydantic.model_validator(mode="after")
    def _slope_fits(self):
        if self.kind == "left" and self.slope is not None:
            raise ValueError("slope: is of the rectangles of rand_0 and rand_0.5; leave it out for left")
        most = 2 / (1 - self.least) ** 2
        if isinstance(self.slope, float) and abs(self.slope) > most:
            raise ValueError(f"slope: is at most {most:g} either way for {self.kind}, where a density becomes negative")
        return self

    def once(self, mask, draw, slope=None):
        if self.kind == "left":
            return corrupt.crop_left(mask, self.fraction)
        return corrupt.crop_rectangle(mask, draw, self.least, slope)


class Flip(Corruption):
    """Pixels change sides, each on its own."""

    name: Literal["flip"] = "flip"
    probability: float = Field(0.1, ge=0, le=1)

    def once(self, mask, draw, slope=None):
        return corrupt.flip(mask, self.probability, draw)


class Permute(Named):
    """Some slices have another one's mask, in the whole run."""

    name: Literal["permute"] = "permute"
    fraction: float = Field(0.5, ge=0, le=1)  # of the annotated slices
    pairing: Literal["derangement", "reversed"] = "derangement"


class Drop(Named):
    """The slices that `permute` would take are left out: its control."""

    name: Literal["drop"] = "drop"
    fraction: float = Field(0.5, ge=0, lt=1)  # of the annotated slices


class SegmenterSettings(Named):
    """What is common: how a batch is shared by annotated slices and others, and that in words."""

    shares: ClassVar[tuple[int, ...]] = (1, 1)
    sees: ClassVar[str] = "as many annotated as other slices"


class Supervised(SegmenterSettings):
    """The segmenter alone, on annotated slices."""

    shares = (1, 0)
    sees = "annotated slices"

    name: Literal["supervised"] = "supervised"


class AutoEncoder(SegmenterSettings):
    """A second decoder restores the image, of annotated and of other slices."""

    name: Literal["autoencoder"] = "autoencoder"
    weight: float = Field(1.0, ge=0)  # lambda_rec, of the mean absolute error


class MeanTeacher(SegmenterSettings):
    """The segmenter agrees with its own moving average on slices without labels."""

    name: Literal["mean_teacher"] = "mean_teacher"
    weight: float = Field(0.01, ge=0)  # of the squared difference of probabilities
    decay: float = Field(0.99, ge=0, lt=1)  # of the teacher's moving average


class GenSeg(SegmenterSettings):
    """A translator between diseased and healthy slices, whose residual is the tumour; its mask's decoder shares weights
    with that of the residual. Weights are those of one configuration of the public code; the study's is not known."""

    shares = (1, 1, 2)
    sees = "as many annotated as other diseased slices, and as many healthy ones as of both"

    name: Literal["genseg"] = "genseg"
    adversarial: float = Field(3.0, ge=0)  # of the critics' scores
    image: float = Field(50.0, ge=0)  # of the mean absolute errors of restored slices, diseased and healthy
    cycle: float = Field(50.0, ge=0)  # of that of healthy slices that were given a tumour and freed of it
    code: float = Field(1.0, ge=0)  # of those of codes found again
    mask: float = Field(0.01, ge=0)  # of the supervised loss
    unique: float = Field(0.25, gt=0, lt=1)  # share of the code that only diseased slices have: 128 of 512
    critic_widths: tuple[int, ...] = Field((64, 128, 256, 512), min_length=1)
    least_tissue: float = Field(0.25, ge=0, lt=1)  # of a healthy slice


AnyNetwork = Annotated[
    Annotated[CompressedUNet, pydantic.Tag(TAG + "compressed_unet")] | Annotated[UNet, pydantic.Tag(TAG + "unet")],
    pydantic.Discriminator(name_tag),
]
AnySegmenter = Annotated[
    Annotated[Supervised, pydantic.Tag(TAG + "supervised")]
    | Annotated[AutoEncoder, pydantic.Tag(TAG + "autoencoder")]
    | Annotated[MeanTeacher, pydantic.Tag(TAG + "mean_teacher")]
    | Annotated[GenSeg, pydantic.Tag(TAG + "genseg")],
    pydantic.Discriminator(name_tag),
]
AnyCorruption = Annotated[
    Annotated[Clean, pydantic.Tag(TAG + "clean")]
    | Annotated[Warp, pydantic.Tag(TAG + "warp")]
    | Annotated[Shift, pydantic.Tag(TAG + "shift")]
    | Annotated[Crop, pydantic.Tag(TAG + "crop")]
    | Annotated[Flip, pydantic.Tag(TAG + "flip")]
    | Annotated[Permute, pydantic.Tag(TAG + "permute")]
    | Annotated[Drop, pydantic.Tag(TAG + "drop")],
    pydantic.Discriminator(name_tag),
]


class Config(SegmentationConfig):
    """The paper's numbers, where it gives none those of its public code; the data are BraTS 2017's."""

    modalities: tuple[str, ...] = ("flair", "t1", "t1ce", "t2")
    patch: tuple[int, ...] = Field((240, 120), min_length=2, max_length=2)  # pixels (y, x)
    network: AnyNetwork = CompressedUNet()
    segmenter: AnySegmenter = Supervised()
    corruption: AnyCorruption = Clean()  # of the training masks
    least_foreground: float = Field(0.01, ge=0, lt=1)  # annotated slices have more, of the pixels that are not 0
    loss: Literal["dice", "cross_entropy", "absolute_error", "noise_robust_dice"] = "dice"
    learning_rate: float = Field(1e-3, gt=0)  # of Adam with AMSGrad
    beta_1: float = Field(0.5, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)  # decoupled
    # augmentation, of image and mask together; the image goes on mirrored
    flip: bool = True  # along both axes
    rotate_degrees: float = Field(3.0, ge=0, le=180)
    zoom: float = Field(0.1, ge=0, lt=1)  # to either side of 1
    warp_pixels: float = Field(5.0, ge=0, le=1000)  # standard deviation of the control points
    intensity: float = Field(0.1, ge=0)  # what is added to each channel, to either side

    @pydantic.model_validator(mode="after")
    def _fits_genseg(self):
        if isinstance(self.segmenter, GenSeg):
            if not isinstance(self.network, CompressedUNet):
                raise ValueError("segmenter: genseg is made of the parts of network compressed_unet; take that")
            width = self.network.widths[-1]
            if not 1 <= round(self.segmenter.unique * width) < width:
                raise ValueError(
                    f"segmenter.unique: {self.segmenter.unique:g} of {width} channels leaves one side none"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _one_structure(self):
        if self.classes != 2:
            raise ValueError(
                f"label_values: errors are made in masks of one structure, and these are {self.classes - 1}; "
                "join them by model.labels, as in labels: {tumour: [1, 2, 4]}"
            )
        return self
