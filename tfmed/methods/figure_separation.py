"""Compound figures of papers cut into their panels: a detector learns from figures that are pasted together.

Paper: Yao, Qu, Liu, Deng, Tian, Xu, Jha, Bao, Zhao, Fogo, Landman, Chang, Yang & Huo, "Compound Figure Separation of
Biomedical Images with Side Loss", DALI (MICCAI workshop) 2021.

Task: detection of the panels of figures, with classes, 2-D

Idea: single images of known classes are cheap, boxes in figures are not. Figures are therefore simulated: rows or
columns of images that keep their proportions, often without a gap, some all of one class. A box that reaches into the
neighbour spoils what is cut out, and overlap hardly minds; a side loss punishes what sticks out of the true panel.

Reproduces: AP50:95 on 917 figures of a journal of nephrology: 80.3 learnt from 9947 simulated figures, 79.2 from real
ones (69.8 without the side loss); ImageCLEF 2016: 88.9 AP50 and 71.2. The paper names no hardware or times.

Deviates: the detector is KerasCV's YOLOv8; it has no objectness, so of the paper's four weights only the ratio of the
side loss to the box loss is kept (1/30; the public code has 1/20). `detector: {name: yolov5}` is the paper's, with all
gains (0.05 of the box loss, as released, where the paper prints 0.5), from random weights. No moving average of
weights; flips alone augment, and in `yolov5.yaml` what YOLOv5's code does (mosaic, scale, translation, hues), but not
in its demo. The layout's numbers are open in the paper. Averages leave out classes that no true panel has, such as
"others". Panels are cut out with scores from 0.25, and never a pixel beyond their box.
"""

import functools
from typing import Annotated, Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, NonNegativeInt

from tfmed.augment.boxes import weak
from tfmed.augment.mosaic import mosaic, other_hues, placed
from tfmed.config import Strict, Voxels
from tfmed.data import preprocess, sources, splits
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.classes import by_class
from tfmed.data.objects import annotated, between_images, numbers_of, of_case, plain
from tfmed.data.panels import FigureSimulator, PanelStyle
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess.geometry import Shrink
from tfmed.data.sampling import Stream, shuffled
from tfmed.errors import DataError
from tfmed.io.itk import LPS_RAS
from tfmed.io.objects import Objects
from tfmed.io.volume import Volume
from tfmed.losses.boxes import complete_iou_and_side
from tfmed.metrics.detection import match, overshoot
from tfmed.nn.adam import Adam
from tfmed.nn.sgd import SGD
from tfmed.tasks.detection import DetectionConfig, DetectionMethod
from tfmed.tasks.detectors import Detector, YoloV8
from tfmed.tasks.landmark_settings import ImageSet
from tfmed.training.single_network import SingleNetworkModel

PANEL = "panel"  # the class of all panels, with `one_class`
_FLIPS = Stream("figure_separation.flips")
_CHANGES = Stream("figure_separation.changes")
_Least = tuple[Voxels, Voxels]
_Share = Annotated[float, Field(ge=0, le=1)]


class ModeCounts(Strict):
    """How many figures of each kind are simulated."""

    mixed: NonNegativeInt = 5000  # [P] panels of any class
    intra_class: NonNegativeInt = 2000  # [P] all of one class: where one ends is harder to see
    single: NonNegativeInt = 2947  # [P] one panel alone

    @pydantic.model_validator(mode="after")
    def _some(self):
        if not self.mixed + self.intra_class + self.single:
            raise ValueError("mixed, intra_class, single: all are 0; give one of them a number")
        return self


class Layout(Strict):
    """Of simulated figures; all of it is open in the paper but the proportions. See `tfmed.data.panels.PanelStyle`."""

    keep_ratio: bool = True  # [P] False: panels are stretched to cells of equal width (Tsutsui & Crandall 2017)
    sides: _Least | None = None  # px of each side of a figure, drawn, then letterboxed; null: `size`
    lines: _Least = (1, 4)  # rows or columns
    weights: tuple[float, float] = (0.5, 1.5)  # of their heights or widths
    attached: float = Field(0.5, ge=0, le=1)  # share of figures without gaps
    gaps: _Least = (2, 20)  # px
    per_line: _Least = (1, 4)  # panels, without keep_ratio

    @pydantic.model_validator(mode="after")
    def _in_order(self):
        for name in ("sides", "lines", "weights", "gaps", "per_line"):
            low, high = getattr(self, name) or (1, 1)
            if not 0 < low <= high <= 10_000:
                raise ValueError(f"{name}: {low:g}, {high:g} must be above 0, the lower one first")
        return self


class Config(DetectionConfig):
    """The paper's numbers are [P], those of YOLOv5's code [Y]; others are open."""

    train_data: Literal["simulated", "real"] = "simulated"  # real: data holds figures with boxes, not single images
    mode_counts: ModeCounts = ModeCounts()
    held_out: ModeCounts = ModeCounts(mixed=100, intra_class=50, single=20)  # figures of validation, and of test images
    layout: Layout = Layout()
    figures: ImageSet | None = None  # real figures with boxes that `evaluate` scores, in the place of simulated ones
    one_class: bool = False  # panels have no classes, as in ImageCLEF; figures are simulated by class nevertheless
    size: tuple[Voxels, Voxels] = (640, 640)  # [P]
    detector: Detector = YoloV8()
    side_ratio: float = Field(1 / 30, ge=0, allow_inf_nan=False)  # [P] of the side loss to the box loss; 0: none
    flip: float = Field(0.5, ge=0, le=1)  # [Y] chance of left-right
    mosaic: float = Field(0.0, ge=0, le=1)  # chance of four figures around a point as one; [Y] 1
    scale: float = Field(0.0, ge=0, lt=1)  # figures are 1 - scale to 1 + scale times as large; [Y] 0.5
    translate: float = Field(0.0, ge=0, lt=0.5)  # they are moved by up to this share of a side; [Y] 0.1
    hsv: tuple[_Share, _Share, _Share] = (0.0, 0.0, 0.0)  # most change of hue, saturation, value; [Y] 0.015, 0.7, 0.4
    optimizer: Literal["sgd", "adam"] = "sgd"  # [P] sgd; adam, with its own learning_rate, for small sets
    learning_rate: float = Field(1e-2, gt=0)  # [P]
    momentum: float = Field(0.937, ge=0, lt=1)  # [P] of SGD, after Nesterov [Y]
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)  # [P] of SGD, as a penalty in the gradient
    least_score: float = Field(0.001, ge=0, lt=1)  # [Y] of a box that is scored
    overlap: float = Field(0.6, gt=0, le=1)  # [Y] where boxes are scored
    cut_score: float = Field(0.25, ge=0, lt=1)  # [Y] least score of a panel that is cut out
    cut_overlap: float = Field(0.45, gt=0, le=1)  # [Y] where panels are cut out
    shown_score: float = Field(0.25, ge=0, lt=1)  # of boxes in pictures, counts, and the overshoot

    @pydantic.model_validator(mode="after")
    def _figures_fit(self):
        if self.train_data == "simulated":
            side, lines = min(self.layout.sides or self.size), self.layout.lines[1]
            lines = lines if self.layout.keep_ratio else max(lines, self.layout.per_line[1])
            if self.layout.gaps[1] * (lines - 1) + lines > side:
                raise ValueError(f"layout.gaps: {self.layout.gaps[1]} px between {lines} lines leave nothing of {side} "
                                 "px; choose smaller ones")  # fmt: skip
        if self.side_ratio and self.detector.name == "retinanet":
            raise ValueError("detector: retinanet learns offsets, which no side loss sees; choose {name: yolov8} or "
                             "{name: yolov5}, or set side_ratio=0")  # fmt: skip
        return self


def build_detector(config, classes, seed=0):
    """The `tfmed.nn.detectors.Detector`, whose box loss has the side loss."""
    box_loss = complete_iou_and_side(config.side_ratio) if config.side_ratio else None
    return config.detector.build(classes, config.size, seed, box_loss)


class FigureSeparator(SingleNetworkModel):
    """A detector of panels.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        classes: how many.

    A batch holds `image` uint8 `(n, *size, 3)`, `boxes` `(n, most, 4)` and `classes` `(n, most)`, -1 beyond them.
    """

    def __init__(self, config, rate=None, *, classes=1, **kwargs):
        super().__init__(**kwargs)
        self.detector = build_detector(config, classes, self.noise_seed)
        self.network = self.detector.network
        rate = config.learning_rate if rate is None else rate
        optimizer = Adam(rate) if config.optimizer == "adam" else SGD(
            rate, config.momentum, config.weight_decay, nesterov=config.momentum > 0)  # fmt: skip
        self.finish_building({"network": (optimizer, [self.network])}, ["loss", *self.detector.terms])

    def network_loss(self, batch):
        """Box loss with its side loss, class loss, and of YOLOv5 that of the objectness."""
        outputs = self.network(tf.cast(batch["image"], tf.float32), training=True)
        logs = self.detector.losses(outputs, batch["boxes"], batch["classes"], self.sum_over_replicas)
        loss = tf.add_n(list(logs.values()))
        return loss, logs | {"loss": loss}


class FigureSeparationMethod(DetectionMethod):
    """Simulated figures of single images, or real ones; panels are found, scored, and cut out."""

    Config = Config
    usual_outputs = ("boxes", "picture", "crops")

    @property
    def simulates(self):
        """Whether figures are simulated."""
        return self.config.train_data == "simulated"

    def stages(self):
        options = {"validation": self.validation, "classes": len(self.classes)}
        yield self.stage("detector", FigureSeparator, self.samples, self.config.learning_rate, **options)

    @property
    def scoring(self):
        return self.config.least_score, self.config.overlap

    @property
    def using(self):
        return self.config.cut_score, self.config.cut_overlap

    def measured(self, found, true):
        """{"overshoot_px": by which panels that are right stick out of their true boxes, over all sides, the mean}."""
        rows = [overshoot(found.boxes[ours][where >= 0], true.boxes[theirs][where[where >= 0]])
                for name in set(found.names)
                for ours, theirs in [(_named(found, name), _named(true, name))]
                for where in [match(found.boxes[ours], found.scores[ours], true.boxes[theirs])]]  # fmt: skip
        away = np.concatenate([*rows, []])
        return {"overshoot_px": float(away.mean()) if len(away) else float("nan")}

    # --- data ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def cases(self):
        """Single images, split alike in each class; of real training the figures."""
        if not self.simulates:
            return super().cases
        data = self.settings.data
        found = sources.open(data.source, data.root, **data.options)
        for case in found:
            if "class" not in case.meta:
                raise DataError(f"source {data.source}: {case.id} has no class; give single images in a folder for "
                                "each class (data.source=image_folder), or set model.train_data=real")  # fmt: skip
            if lost := [name for name in self.config.modalities if name not in case.images]:
                raise DataError(f"source {data.source}: gives no image {lost[0]!r}, only {', '.join(case.images)}; "
                                "set data.options.colour=true")  # fmt: skip
        return splits.joined(self.split(by_class(found)))

    @property
    def classes(self):
        return (PANEL,) if self.config.one_class and self.simulates else super().classes

    def _found_classes(self):
        if not self.simulates:
            return super()._found_classes()
        return sorted({case.meta["class"] for part in splits.PARTS for case in self.cases[part]})

    @functools.cached_property
    def cache(self):
        """Of single images as they are pasted, shrunk to the largest figure; of real training as of all detectors."""
        if not self.simulates:
            return super().cache
        data, largest = self.settings.data, self.config.layout.sides
        shrink = Shrink(size=(largest[1], largest[1]) if largest else self.config.size)
        return Cache(data.cache_folder(), (*data.preprocess, shrink), data.cache_dtype)

    def check_objects(self, cases):
        """As of all detectors; of single images, that their classes are those that are listed."""
        if not self.simulates:
            return super().check_objects(cases)
        for case in cases:
            if not self.config.one_class and case.meta["class"] not in self.classes:
                raise DataError(
                    f"{case.id}: is of class {case.meta['class']!r}, which model.classes does not list; add it"
                )
        return None

    @functools.cached_property
    def simulators(self):
        """{part: `FigureSimulator` of its single images, or None without any}; held-out figures are never stretched."""
        config, found = self.config, {}
        for number, part in enumerate(splits.PARTS):
            singles = {}
            for case in self.cases[part]:
                singles.setdefault(case.meta["class"], []).append(case)
            layout = config.layout.model_dump()
            layout |= {"size": None if layout["sides"] else config.size, "sides": layout["sides"] or (32, 32),
                       "keep_ratio": layout["keep_ratio"] or part != "train", "most": config.most_boxes}  # fmt: skip
            counts = (config.mode_counts if part == "train" else config.held_out).model_dump()
            seed = 3 * self.settings.seed + number
            found[part] = FigureSimulator(singles, self.single, counts, seed, PanelStyle(**layout)) if singles else None
        return found

    def single(self, case):
        """A single image as it is pasted, uint8 `(y, x, 3)`."""
        return np.rint(np.clip(self.cache.stack(case, self.case_spec).image[0], 0, 255)).astype(np.uint8)

    def simulated(self, part, number):
        """(image uint8 `(y, x, 3)`, its `Objects`) of a simulated figure, in its own pixels."""
        figure = self.simulators[part](number)
        names = (PANEL,) * len(figure.names) if self.config.one_class else figure.names
        return figure.image, Objects(figure.boxes, names)

    def scored(self, part):
        """Real figures where there are some; simulated ones of the part's single images."""
        if not self.simulates:
            return super().scored(part)
        return self._figures if part == "test" and self.config.figures else self._held_out(part)

    @functools.cached_property
    def _figures(self):
        one = self.config.figures
        found = annotated(sources.open(one.source, one.root, **one.options))
        if not found:
            raise DataError("model.figures: no figure has boxes; check its root and options")
        return found

    @functools.cache  # noqa: B019 - as long as the method
    def _held_out(self, part):
        simulator, found = self.simulators[part], []
        for number in range(0 if simulator is None else min(len(simulator), 10_000 if part != "train" else 4)):
            meta = {"objects": plain(self.simulated(part, number)[1]), "figure": [part, number]}
            found.append(Case(f"{part}-{number:04d}", "simulated", {}, None, meta))
        return found

    def volumes(self, case):
        if "figure" not in case.meta:
            return super().volumes(case)
        image, _ = self.simulated(*case.meta["figure"])
        return [Volume(np.ascontiguousarray(image[None, ..., k]).astype(np.int16), LPS_RAS) for k in range(3)]

    def open(self, case):
        if "figure" not in case.meta:
            return super().open(case)
        return self.seen(*self.simulated(*case.meta["figure"]))[0]

    def objects(self, case):
        if "figure" not in case.meta:
            return super().objects(case)
        boxes = self.seen(*self.simulated(*case.meta["figure"]))[1]
        return boxes, numbers_of(of_case(case).names, self.classes, case.id)

    def seen(self, image, objects):
        """(image, boxes) of a figure as the detector sees it: letterboxed where it has another size."""
        if image.shape[:2] == tuple(self.config.size):
            return image, objects.boxes
        volumes = [Volume(np.ascontiguousarray(image[None, ..., k]).astype(np.float32), LPS_RAS) for k in range(3)]
        changed, _ = preprocess.run_together(self.preprocessing()[-1:], volumes)
        boxes = between_images(objects.boxes, volumes[0].affine, changed[0].affine)
        return np.rint(np.stack([one.array[0] for one in changed], -1)).astype(np.uint8), boxes

    @property
    def most_boxes(self):
        return self.config.most_boxes * (4 if self.config.mosaic else 1)

    def figure(self, cases, number):
        """(image, boxes, classes) of a training figure: of one of the cases, or simulated."""
        if not self.simulates:
            return self.open(cases[number]), *self.objects(cases[number])
        image, objects = self.simulated("train", number)
        return *self.seen(image, objects), numbers_of(objects.names, self.classes, f"figure {number}")

    def samples(self):
        """Samples of figures, each in turn, changed as the settings say; a mosaic has three others beside."""
        config, seed, cases = self.config, self.settings.seed, self.prepared("train")
        count = len(self.simulators["train"]) if self.simulates else len(cases)

        def read(index):
            draw = _CHANGES(seed, index)
            image, boxes, classes = self.figure(cases, shuffled(seed, index, count))
            four = draw.random() < config.mosaic
            if four:
                others = draw.integers(count, size=3)
                parts = [(image, boxes, classes), *(self.figure(cases, int(other)) for other in others)]
                image, boxes, rows = mosaic([part[:2] for part in parts], draw)
                classes = np.concatenate([part[2] for part in parts])[rows]
            if four or config.scale or config.translate:
                image, boxes, rows = placed(image, boxes, draw, config.size, config.scale, config.translate)
                classes = classes[rows]
            if any(config.hsv):
                image = other_hues(image, draw, config.hsv)
            return self.as_sample(*weak(image, boxes, _FLIPS(seed, index), config.flip), classes)

        return Samples(read, self.spec, self.settings.train.batch_size)


def _named(objects, name):
    return np.array([one == name for one in objects.names], bool)


METHOD = FigureSeparationMethod
