"""The settings that methods share which find points: images, heatmaps, and how points come of them."""

from typing import Any, ClassVar, Literal

import pydantic
from pydantic import Field

from tfmed.config import MethodConfig, PathText, Strict, Voxels
from tfmed.ops.heatmaps import blob_points, counted_peaks
from tfmed.tasks.backbones import Network, UNet


class PointDecoding(Strict):
    """From a heatmap to points, whatever the way.

    Attributes:
        means: the way in words, for those who decode by other programs.
    """

    means: ClassVar[str] = ""

    def points(self, heatmap):
        """(x, y) of each point of a heatmap `(y, x)` in [0, 1], float64 `(n, 2)`."""
        raise NotImplementedError


class Decoding(PointDecoding):
    """By blobs; see `tfmed.ops.heatmaps.blob_points`."""

    means = (
        "a mask (Otsu's threshold of the image's own 256 levels, unless no value reaches `guard`; or `threshold`), "
        "opened by a 3 x 3 cross, centroids of its components (8 neighbours), those larger than `cut_ratio` times the "
        "mean cut in two"
    )

    post: Literal["threshold", "otsu", "otsu+open", "otsu+open+cut"] = "otsu+open+cut"
    cut_ratio: float = Field(1.0, ge=1, le=1000)  # components larger than so many times the mean are cut in two
    guard: float = Field(0.5, ge=0, le=1)  # an image whose heatmap nowhere reaches this has no points
    threshold: float = Field(0.5, ge=0, lt=1)  # of post `threshold`

    def points(self, heatmap):
        """(x, y) of each point of a heatmap `(y, x)` in [0, 1], float64 `(n, 2)`."""
        return blob_points(heatmap, **self.model_dump())


class PeakDecoding(PointDecoding):
    """By peaks; see `tfmed.ops.heatmaps.counted_peaks`."""

    means = (
        "pixels that are the greatest of the `kernel` x `kernel` around them (of a plateau the first), in the order of "
        "their values; how many, by `rule` from the count of those that reach `threshold`: old max(old_least, count), "
        "new count within new_bounds, threshold count; never above `most`"
    )
    rule: Literal["old", "new", "threshold"] = "new"
    kernel: int = Field(11, gt=0, le=999)  # px, odd
    threshold: float = Field(0.1, ge=0, le=1)  # a peak of at least this counts
    most: int = Field(30, gt=0, le=10_000)  # points of an image, by any rule
    old_least: int = Field(10, ge=0, le=10_000)  # so many at least, by rule old
    new_bounds: tuple[int, int] = (4, 10)  # so many at least and at most, by rule new
    subpixel: Literal["none", "quadratic"] = "none"

    @pydantic.model_validator(mode="after")
    def _numbers_fit(self):
        low, high = self.new_bounds
        if not 0 <= low <= high:
            raise ValueError(f"new_bounds: {low}, {high} must be 0 or more, the lower one first")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: {self.kernel} has no middle; try {self.kernel + 1}")
        return self

    def points(self, heatmap):
        """(x, y) of each point of a heatmap `(y, x)` in [0, 1], float64 `(n, 2)`."""
        return counted_peaks(heatmap, **self.model_dump())


def decoding_of(values):
    """The PointDecoding of settings as they were written, {name: value}."""
    return (PeakDecoding if "rule" in values else Decoding)(**values)


class ImageSet(Strict):
    """A further set of annotated images, all of which train."""

    source: str = "phantom_endoscopy"  # a name of tfmed.data.sources
    root: PathText | None = None  # the data set's folder; built-in phantoms need none
    options: dict[str, Any] = Field(default_factory=dict)  # the source's own options


class MoreImages(ImageSet):
    """A further set of images, whose landmarks are not used."""

    source: str = "points_folder"


class NamedLandmarksConfig(MethodConfig):
    """What every method has in its `model` section that finds landmarks with names, each once in an image."""

    modalities: tuple[str, ...] = Field(("image",), min_length=1)  # names of a case's images
    size: tuple[Voxels, Voxels] = (512, 512)  # rows and columns that the network sees; images are letterboxed
    landmarks: tuple[str, ...] = ()  # names, in order; (): all that the data have
    labelled: int | None = Field(None, gt=0)  # training patients whose landmarks are used; null: data.labelled_share
    unlabelled: MoreImages | None = None  # images beside those of the data section
    network: Network = UNet()
    failure_share: float = Field(0.05, gt=0, le=1)  # an error of more than so much of an image's width is a failure
    # augmentation
    rotate_degrees: float = Field(15.0, ge=0, le=180)  # either way
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = Field(0.1, ge=0, le=0.5)  # along each axis, either way, of its length
    light: float = Field(0.2, ge=0, le=1)  # of contrast, and of brightness in standard deviations, either way
    flip: float = Field(0.0, ge=0, le=1)  # chance of left-right
    flip_pairs: tuple[tuple[str, str], ...] = ()  # landmarks that then stand for each other, such as both hips

    @pydantic.model_validator(mode="after")
    def _sections_fit(self):
        if len(set(self.landmarks)) < len(self.landmarks):
            raise ValueError("landmarks: one stands there twice; name each once")
        if not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise ValueError(f"scale: {self.scale[0]:g}, {self.scale[1]:g} must be 0.1 to 10, the lower one first")
        check_sides(self.network, self.size)
        return self


def check_sides(network, size):
    """ValueError unless a network takes images of a size (y, x)."""
    try:
        multiples = network.multiple(2)
    except ValueError as error:
        raise ValueError(f"network: {error}") from None
    for side, multiple in zip(size, multiples, strict=True):
        if side % multiple or side < network.least:
            by = f", or other {network.levels_by}" if network.levels_by else ""
            raise ValueError(
                f"size: {side} is no multiple of {multiple}, as network {network.name} needs; try "
                f"{max(1, round(side / multiple)) * multiple}{by}"
            )


class LandmarksConfig(MethodConfig):
    """What every method has in its `model` section that finds any number of points in one heatmap."""

    modalities: tuple[str, ...] = Field(("red", "green", "blue"), min_length=1)  # names of a case's images
    size: tuple[Voxels, Voxels] = (288, 512)  # rows and columns of the images that train
    intensities: tuple[float, float] = (0.0, 255.0)  # values in files that become 0 and 1
    network: Network = UNet()
    sigma: float = Field(2.0, gt=0.1, le=100)  # px, of the Gaussians of a heatmap
    overlap: Literal["max", "sum_clip"] = "max"  # of Gaussians that overlap: the largest, or their sum up to 1
    most_points: int = Field(32, gt=0, le=10_000)  # of an image
    decoding: PointDecoding = Decoding()
    radius_px: float = Field(6.0, gt=0, le=10_000)  # a found point that is closer than this is right

    @pydantic.model_validator(mode="after")
    def _sections_fit(self):
        low, high = self.intensities
        if low >= high:
            raise ValueError(f"intensities: {low:g}, {high:g} is no range; the lower value comes first")
        check_sides(self.network, self.size)
        return self
