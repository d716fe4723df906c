"""The detectors as settings: `detector: {name: retinanet, widths: [64, 128, 256, 512]}` in a method's section."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field, PositiveInt

from tfmed.config import TAG, PathText, Strict, name_tag
from tfmed.nn import detectors
from tfmed.nn.yolov5 import ANCHORS, GAINS, yolov5

Four = Annotated[tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt], Field()]
_Even = Annotated[int, Field(gt=0, multiple_of=2)]
_Gain = Annotated[float, Field(ge=0, le=1e6)]
_Side = Annotated[float, Field(gt=0, le=1e5)]


class RetinaNet(Strict):
    """RetinaNet (Lin et al. 2017) with a ResNet; the defaults are ResNet-50."""

    name: Literal["retinanet"] = "retinanet"
    widths: Four = (64, 128, 256, 512)  # of the backbone's stages; a block puts out four times as many maps
    blocks: Four = (3, 4, 6, 3)  # of each stage
    pyramid: PositiveInt = 256  # maps of the feature pyramid and the heads
    convolutions: int = Field(3, ge=0, le=16)  # of a head, before its last one
    anchors: tuple[_Side, _Side, _Side, _Side, _Side] = (32.0, 64.0, 128.0, 256.0, 512.0)  # px, at strides 8 to 128
    pretrained: PathText | None = None  # weights of the backbone, of keras_cv.models.ResNetBackbone.save_weights
    frozen: bool = False  # first convolution, first stage and batch normalisation stay as they are

    def build(self, classes, size, seed, box_loss=None):
        """The `tfmed.nn.detectors.Detector`."""
        if box_loss is not None:
            raise ValueError(
                "retinanet learns offsets, not boxes; choose detector: {name: yolov8} or {name: yolov5} for this loss"
            )
        return detectors.retinanet(classes, size, seed=seed, **self.model_dump(exclude={"name"}))


class YoloV8(Strict):
    """YOLOv8 (Ultralytics 2023); the defaults are its small backbone."""

    name: Literal["yolov8"] = "yolov8"
    widths: Four = (32, 64, 128, 256)  # maps of the backbone's stages
    depths: Four = (1, 2, 2, 1)  # blocks of each stage
    pyramid: PositiveInt = Field(1, le=16)  # depth of the blocks of the feature pyramid
    pretrained: PathText | None = None  # weights of the backbone, of keras_cv.models.YOLOV8Backbone.save_weights

    def build(self, classes, size, seed, box_loss=None):
        """The `tfmed.nn.detectors.Detector`; `box_loss` as of `tfmed.nn.detectors.YoloV8`."""
        return detectors.yolov8(classes, size, seed=seed, box_loss=box_loss, **self.model_dump(exclude={"name"}))


class YoloV5(Strict):
    """YOLOv5 (Ultralytics, release 5.0, 2021); the defaults are its small form."""

    name: Literal["yolov5"] = "yolov5"
    # of the first convolution and the stages
    widths: tuple[_Even, _Even, _Even, _Even, _Even] = (32, 64, 128, 256, 512)
    depths: Four = (1, 3, 3, 1)  # blocks of each stage; the last number is also that of the feature pyramid
    # px (x, y), three for each stride
    anchors: tuple[tuple[_Side, _Side], ...] = Field(ANCHORS, min_length=9, max_length=9)
    gains: tuple[_Gain, _Gain, _Gain] = GAINS  # of box, objectness and class loss; the paper prints 0.5, 1 and 0.5

    def build(self, classes, size, seed, box_loss=None):
        """The `tfmed.nn.detectors.Detector`; `box_loss` as of `tfmed.nn.yolov5.YoloV5`."""
        return yolov5(classes, size, seed=seed, box_loss=box_loss, **self.model_dump(exclude={"name"}))


Detector = Annotated[
    Annotated[RetinaNet, pydantic.Tag(TAG + "retinanet")]
    | Annotated[YoloV8, pydantic.Tag(TAG + "yolov8")]
    | Annotated[YoloV5, pydantic.Tag(TAG + "yolov5")],
    pydantic.Discriminator(name_tag),
]
