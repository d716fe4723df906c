"""The settings that methods share which find points: images, heatmaps, and how points come of them."""

from typing import Any, Literal

import pydantic
from pydantic import Field

from tfmed.config import MethodConfig, PathText, Strict, Voxels
from tfmed.ops.heatmaps import blob_points
from tfmed.tasks.backbones import Network, UNet


class Decoding(Strict):
    """From a heatmap to points; see `tfmed.ops.heatmaps.blob_points`."""

    post: Literal["threshold", "otsu", "otsu+open", "otsu+open+cut"] = "otsu+open+cut"
    cut_ratio: float = Field(1.0, ge=1, le=1000)  # components larger than so many times the mean are cut in two
    guard: float = Field(0.5, ge=0, le=1)  # an image whose heatmap nowhere reaches this has no points
    threshold: float = Field(0.5, ge=0, lt=1)  # of post `threshold`

    def points(self, heatmap):
        """(x, y) of each point of a heatmap `(y, x)` in [0, 1], float64 `(n, 2)`."""
        return blob_points(heatmap, **self.model_dump())


class ImageSet(Strict):
    """A further set of annotated images, all of which train."""

    source: str = "phantom_endoscopy"  # a name of tfmed.data.sources
    root: PathText | None = None  # the data set's folder; built-in phantoms need none
    options: dict[str, Any] = Field(default_factory=dict)  # the source's own options


class LandmarksConfig(MethodConfig):
    """What every method has in its `model` section that finds any number of points in one heatmap."""

    modalities: tuple[str, ...] = Field(("red", "green", "blue"), min_length=1)  # names of a case's images
    size: tuple[Voxels, Voxels] = (288, 512)  # rows and columns of the images that train
    intensities: tuple[float, float] = (0.0, 255.0)  # values in files that become 0 and 1
    network: Network = UNet()
    sigma: float = Field(2.0, gt=0.1, le=100)  # px, of the Gaussians of a heatmap
    overlap: Literal["max", "sum_clip"] = "max"  # of Gaussians that overlap: the largest, or their sum up to 1
    most_points: int = Field(32, gt=0, le=10_000)  # of an image
    decoding: Decoding = Decoding()
    radius_px: float = Field(6.0, gt=0, le=10_000)  # a found point that is closer than this is right

    @pydantic.model_validator(mode="after")
    def _sections_fit(self):
        low, high = self.intensities
        if low >= high:
            raise ValueError(f"intensities: {low:g}, {high:g} is no range; the lower value comes first")
        try:
            multiples = self.network.multiple(2)
        except ValueError as error:
            raise ValueError(f"network: {error}") from None
        for side, multiple in zip(self.size, multiples, strict=True):
            if side % multiple or side < self.network.least:
                by = f", or other {self.network.levels_by}" if self.network.levels_by else ""
                raise ValueError(
                    f"size: {side} is no multiple of {multiple}, as network {self.network.name} needs; try "
                    f"{max(1, round(side / multiple)) * multiple}{by}"
                )
        return self
