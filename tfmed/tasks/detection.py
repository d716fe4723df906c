"""What methods share that find objects of classes by boxes: data, inference, validation, scores, pictures and export.

A case's objects are `meta["objects"]` (see `tfmed.data.objects`); a case without that entry is unlabelled: it trains or
is left out, as the method says, and is never scored. Images are letterboxed to the detector's size, whatever theirs.
"""

import dataclasses
import functools

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field

from tfmed.config import MethodConfig, Voxels
from tfmed.data import sources
from tfmed.data.checks import CaseSpec, prepare_cases
from tfmed.data.objects import annotated, between_images, numbers_of, of_case, padded, within
from tfmed.data.preprocess import Letterbox
from tfmed.data.readers import read_address
from tfmed.data.splits import Parts
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method
from tfmed.errors import DataError
from tfmed.metrics.detection import Boxes, average_precision
from tfmed.nn.detectors import check_size
from tfmed.pictures.objects import BoxedImages
from tfmed.tasks import detection_scores, mark_views
from tfmed.tasks.box_finder import OUTPUTS, USUAL, BoxFinder
from tfmed.tasks.detection_scores import boxed_image
from tfmed.tasks.detectors import Detector, RetinaNet
from tfmed.tasks.landmarks import grid_of

FILL = 125.0  # grey value around letterboxed images
_SHOWN = 4  # images of a picture


class DetectionConfig(MethodConfig):
    """What every method has in its `model` section that finds objects by boxes."""

    modalities: tuple[str, str, str] = ("red", "green", "blue")  # names of a case's images
    classes: tuple[str, ...] = Field((), max_length=1000)  # of objects; () with built-in phantoms: theirs
    size: tuple[Voxels, Voxels] = (512, 512)  # rows and columns that the detector sees; images are letterboxed to it
    detector: Detector = RetinaNet()
    most_boxes: int = Field(32, gt=0, le=10_000)  # of an image that trains
    least_score: float = Field(0.05, ge=0, lt=1)  # of a box that is found
    overlap: float = Field(0.5, gt=0, le=1)  # above which the worse of two boxes of a class goes
    most_found: int = Field(100, gt=0, le=10_000)  # boxes of an image
    shown_score: float = Field(0.5, ge=0, lt=1)  # least score of boxes that pictures show

    @pydantic.model_validator(mode="after")
    def _sections_fit(self):
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: one stands there twice; name each once")
        try:
            check_size(self.size)
        except ValueError as error:
            raise ValueError(f"size: {error}") from None
        return self


class DetectionMethod(Method, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that find objects; a subclass gives `stages`.

    Each of its models has a `detector`, a `tfmed.nn.detectors.Detector`.
    """

    Config = DetectionConfig
    outputs = OUTPUTS
    usual_outputs = USUAL  # where `tfmed predict` is told none

    def __init__(self, settings):
        super().__init__(settings)
        self._objects = {}  # id of a case -> its objects as they train

    @property
    def case_spec(self):
        return CaseSpec(self.config.modalities, "none", minimum_shape=(1, 8, 8), stack=True)

    def preprocessing(self):
        """The settings' steps, and the letterbox."""
        return (*super().preprocessing(), Letterbox(size=self.config.size, fill=FILL))

    @property
    def classes(self):
        """Names of the classes: the settings', or where these name none those of all annotated cases, sorted."""
        if self.config.classes:
            return self.config.classes
        return tuple(self.records.recall("classes", self._found_classes, _are_names))

    def _found_classes(self):
        return sorted({name for case in self._every_case for name in _names_in(case)})

    # --- data ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _every_case(self):
        data = self.settings.data
        found = sources.open(data.source, data.root, **data.options)
        if not annotated(found):
            raise DataError("no image has boxes to learn from; check data.root and data.options")
        return found

    @functools.cached_property
    def cases(self):
        """The annotated cases, split; the others are `unlabelled`."""
        return Parts(self.split({"cases": annotated(self._every_case)})["cases"])

    @functools.cached_property
    def unlabelled(self):
        """Cases that are not annotated, of nobody who is held out."""
        plain = [case for case in self._every_case if "objects" not in case.meta]
        held = self.cases.patients("validation") | self.cases.patients("test")
        plain = [case for case in plain if case.group not in held]
        return self.all_train("unlabelled", plain, self.settings.data.root)["train"]

    def scored(self, part):
        """The annotated images of a part of the split that scores are of."""
        return self.cases[part]

    def volumes(self, case):
        """A case's images as its files have them, list of Volume."""
        return [read_address(case.images[name]) for name in self.config.modalities]

    def measured(self, found, true):
        """{name: number} beside what all detectors are scored by, of the `Objects` found in an image and the true ones;
        NaN where an image has no such number."""
        return {}

    def open(self, case):
        """The prepared image uint8 `(y, x, 3)`."""
        return np.rint(np.clip(self.cache.stack(case, self.case_spec).image[0], 0, 255)).astype(np.uint8)

    def objects(self, case):
        """(boxes float64 `(n, 4)` in pixels of the prepared image, class numbers) of an annotated case."""
        if case.id not in self._objects:
            self._objects[case.id] = self._moved(case)
        return self._objects[case.id]

    def _moved(self, case):
        found = of_case(case)
        numbers = numbers_of(found.names, self.classes, case.id)
        before = grid_of(case.images[self.config.modalities[0]])
        boxes = between_images(found.boxes, before, self.cache.stack(case, self.case_spec).affine)
        boxes, kept = within(boxes, self.config.size[::-1])
        return boxes[kept], numbers[kept]

    def prepared(self, part, progress=None):
        """As `Method.prepared`; whatever training would stumble over later is told with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train":
            self.check_objects(cases)
            if self.cases["validation"]:
                super().prepared("validation", progress)
        return cases

    def check_objects(self, cases):
        """DataError unless there are objects to learn from, of known classes, and no image has too many."""
        if not any(case.meta["objects"] for case in cases):
            raise DataError("no training image has a box; check data.root and data.options")
        for case in (*cases, *self.cases["validation"], *self.cases["test"]):
            names = _names_in(case)
            numbers_of(names, self.classes, case.id)
            if len(names) > self.config.most_boxes:
                raise DataError(f"{case.id}: has {len(names)} boxes; raise model.most_boxes to that")

    def check_frames(self, cases, progress=None):
        """Check frames beside those of the data section, and fill the cache with them."""
        prepare_cases(cases, self.cache, self.case_spec, **({} if progress is None else {"progress": progress}))

    @property
    def most_boxes(self):
        """How many a sample may have."""
        return self.config.most_boxes

    def as_sample(self, image, boxes, classes):
        """A sample of an image and its objects."""
        boxes, classes = padded(boxes, classes, self.most_boxes)
        return {"image": image, "boxes": boxes, "classes": classes}

    @property
    def spec(self):
        """{name: (shape, dtype)} of a sample."""
        most = self.most_boxes
        return {
            "image": ((*self.config.size, 3), "uint8"),
            "boxes": ((most, 4), "float32"),
            "classes": ((most,), "int32"),
        }

    # --- inference ----------------------------------------------------------------------------------------------------

    @property
    def detector(self):
        """The detector of the last stage."""
        return self.model.detector

    @property
    def scoring(self):
        """(least score of a box, overlap above which the worse of two goes) where boxes are scored."""
        return self.config.least_score, self.config.overlap

    @property
    def using(self):
        """The same of boxes for use: in predictions and the exported model."""
        return self.scoring

    def detect(self, images, detector=None, bounds=None):
        """{"boxes", "classes", "scores", "count"} of prepared images `(n, y, x, 3)` in [0, 255], tensors.

        Args:
            bounds: as `scoring`, the default.
        """
        return (detector or self.detector).found(images, *(bounds or self.scoring), self.config.most_found)

    def finder(self, detector=None, bounds=None):
        """The `BoxFinder` of a trained detector, with bounds as of `detect`."""
        detector, bounds = detector or self.detector, bounds or self.scoring
        takes = [tf.TensorSpec((None, *self.config.size, 3), tf.float32)]
        found = functools.partial(self.detect, detector=detector, bounds=bounds)
        call = self.compiled(f"detect {bounds}", detector.network, found, takes)

        def compute(stack):
            return {name: value.numpy() for name, value in call(tf.constant(stack, tf.float32)).items()}

        return BoxFinder(self.config.modalities, self.preprocessing(), self.classes, compute, self.usual_outputs)

    def validated(self):
        """Names of what `validation` gives."""
        return ("AP50:95", "AP50")

    def validation(self, model):
        """{"AP50:95", "AP50"} of the validation images, over boxes of prepared images; {} without any."""
        if not (cases := self.scored("validation")):
            return {}
        self.prepared("validation")
        finder, found, true = self.finder(model.detector), [], []
        for case in cases:
            one = finder.objects(finder.compute(self.open(case)[None]))
            found.append(Boxes(one.boxes, [self.classes.index(name) for name in one.names], one.scores))
            true.append(Boxes(*self.objects(case)))
        score = average_precision(kept_areas(found), true, len(self.classes), most=self.config.most_found)
        return {"AP50:95": float(np.nan_to_num(score.mean)), "AP50": float(np.nan_to_num(score.at(0.5)))}

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def predict(self, words, out, outputs=None):
        """Find objects in the inputs of `tfmed predict`; see `BoxFinder.predict`."""
        return self.finder(bounds=self.using).predict(words, out, outputs)

    def evaluate(self, methods, part: Split = "test"):
        return detection_scores.evaluate(methods, part)

    def previews(self):
        """Boxes in some validation images; without any in training images."""
        cases = (self.scored("validation") or self.scored("train"))[:_SHOWN]
        finder, images = self.finder(), []
        for case in cases:
            volumes = self.volumes(case)
            images.append(boxed_image(case, volumes, finder(volumes), self.config.shown_score))
        return {"objects": BoxedImages(tuple(images))} if images else {}

    def views(self, methods, part="test"):
        """True and found boxes of each image; see `tasks.mark_views`."""
        return mark_views.boxed(methods, part)

    def export_module(self):
        """Of images `image` `(n, y, x, 3)` float32 in [0, 255], of the detector's size, it gives their boxes.

        Preprocessing stays outside (see the note beside it).
        """
        config = self.config
        takes = [tf.TensorSpec((None, *config.size, 3), tf.float32, "image")]
        note = {
            "task": "detection",
            "modalities": list(config.modalities),
            "classes": list(self.classes),
            "signatures": {"serving_default": {
                "inputs": {"image": f"float32 (n, {config.size[0]}, {config.size[1]}, 3) in [0, 255], after `steps`, "
                                    "which are not part of the model"},
                "boxes": "float32 (n, most, 4): x0, y0, x1, y1 in pixels of that image",
                "classes": "int32 (n, most): places in `classes` from 0, -1 beyond the count",
                "count": "int32 (n,)", "scores": "float32 (n, most), the best first",
            }},
            "steps": [step.model_dump(mode="json") for step in self.preprocessing()],
        }  # fmt: skip

        def objects(image):
            return self.detect(image, bounds=self.using)

        return ExportModule([self.detector.network], {"serving_default": (objects, takes)}, note)


def kept_areas(found):
    """Detections without those that have no area, which the letterbox's border may leave."""
    kept = []
    for one in found:
        boxes = np.asarray(one.boxes).reshape(-1, 4)
        rows = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        kept.append(dataclasses.replace(one, boxes=boxes[rows], classes=np.asarray(one.classes, int)[rows],
                                        scores=np.asarray(one.scores)[rows]))  # fmt: skip
    return kept


def _names_in(case):
    return tuple(row[0] for row in case.meta.get("objects", ()))


def _are_names(value):
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
