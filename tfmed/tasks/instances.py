"""What methods share that find single objects (cells, nuclei) in images: two maps, instances, scores, export."""

import copy
import functools
from typing import Literal

import numpy as np
import tensorflow as tf
from pydantic import Field, model_validator

from tfmed.config import MethodConfig, Voxels
from tfmed.data import preprocess, splits
from tfmed.data.checks import CaseSpec
from tfmed.data.instances import instances, maps_of
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.errors import DataError
from tfmed.metrics.instances import instance_scores
from tfmed.metrics.segmentation import dice
from tfmed.ops import grids
from tfmed.ops.reflect import to_multiple
from tfmed.tasks import instance_scores as scoring
from tfmed.tasks import views
from tfmed.tasks.backbones import UNet
from tfmed.tasks.few_labels import FewLabels
from tfmed.tasks.instance_prediction import OUTPUTS, Finder

_WINDOWS = Stream("instances.windows")
_HELD = 256  # images whose maps stay in memory
MAPS = 2  # of centroids, and of regions


class InstanceConfig(MethodConfig):
    """What every method has in its `model` section that finds objects by two maps."""

    modalities: tuple[str, ...] = Field(("cells",), min_length=1, max_length=1)  # name of a case's image
    patch: tuple[Voxels, Voxels] = (336, 336)  # pixels (y, x) that a sample has; smaller images are mirrored
    network: UNet = UNet(widths=(16, 32, 64, 128, 256), norm="batch", upsample="transposed")
    disc_radius: float = Field(3.0, ge=0.5, le=1000)  # px, of a cell's disc in the centroid map
    centroid_threshold: float = Field(0.5, gt=0, lt=1)
    region_threshold: float | None = Field(None, gt=0, lt=1)  # null: Otsu's, of each image
    surface: Literal["distance", "region"] = "distance"  # flooded: minus the distance to the background, or the map
    flip: bool = True  # along each axis, for half of the samples
    turn: bool = True  # by multiples of 90 degrees
    intensity: float = Field(0.1, ge=0, lt=1)  # factor 1 +- intensity

    @model_validator(mode="after")
    def _patch_fits(self):
        try:
            multiples = self.network.multiple(2)
        except ValueError as error:
            raise ValueError(f"network: {error}") from None
        for side, multiple in zip(self.patch, multiples, strict=True):
            if side % multiple:
                raise ValueError(
                    f"patch: {side} is no multiple of {multiple}, as network unet needs; "
                    f"try {max(1, round(side / multiple)) * multiple}, or fewer widths"
                )
        return self


class InstanceMethod(FewLabels, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that find objects; a subclass gives `stages`, whose models have `network`: images -> logits."""

    Config = InstanceConfig
    outputs = OUTPUTS
    some_labelled = True

    @classmethod
    def check(cls, settings):
        moving = [s.step for s in settings.data.preprocess if hasattr(s, "graph_grid") or not hasattr(s, "graph")]
        if moving:
            raise ValueError(
                f"data.preprocess: {moving[0]} is not for instances, which are found on the image's own pixels and by "
                "the exported model alone; take it out"
            )

    @property
    def case_spec(self):
        return CaseSpec(self.config.modalities, "optional", None, minimum_shape=(1, 8, 8))

    @property
    def network(self):
        """Images `(n, y, x, 1)` -> logits of both maps: that of the last stage."""
        return list(self.models.values())[-1].network

    # --- data ---------------------------------------------------------------------------------------------------------

    def open(self, case):
        """(image `(y, x)` float32, instance map `(y, x)` int32 or None) of a case.

        Raises:
            DataError: it has several slices, or numbers that no objects have.
        """
        name = case.images[self.config.modalities[0]]
        image = self.cache.get(name, series_uid=case.meta.get("series_uid")).array
        if image.shape[0] != 1:
            raise DataError(f"{name}: has {image.shape[0]} slices; objects are found in single images, give one each")
        if case.label is None:
            return np.asarray(image[0], np.float32), None
        label = self.cache.get(case.label, is_label=True).array[0]
        if label.size and not 0 <= label.min() <= label.max() < 2**31:
            raise DataError(
                f"{case.label}: holds numbers from {label.min():g} to {label.max():g}; objects have those from 1 on"
            )
        return np.asarray(image[0], np.float32), np.rint(label).astype(np.int32)

    def problems(self, case):
        found = super().problems(case)
        try:
            return found or (self.open(case) and [])
        except DataError as error:
            return [str(error)]

    def prepared(self, part, progress=None):
        """As `Method.prepared`; whatever training would stumble over later is told with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train":
            labelled = splits.few_labels(cases, 1.0, 0, some=True)  # refuses cases without labels
            for case in cases:
                self.open(case)
            if not any(self.open(case)[1].any() for case in labelled):
                raise DataError("the label maps of all training cases are empty; check data.root and data.options")
            if self.cases["validation"]:
                super().prepared("validation", progress)
        return cases

    def learnt(self, image, labels, weight=None):
        """(image, both maps `(y, x, 2)` uint8, how much each pixel counts `(y, x)` uint8): what a sample is cut of."""
        maps = np.stack(maps_of(labels, self.config.disc_radius), -1)
        return image, maps, np.ones(image.shape, np.uint8) if weight is None else np.asarray(weight, np.uint8)

    def samples(self, items):
        """Samples `image` `(*patch, 1)`, `maps` `(*patch, 2)` and `weight` `(*patch)`, each of one of some items.

        Args:
            items: functions without arguments that give what `learnt` does.
        """
        config, seed = self.config, self.settings.seed

        @functools.lru_cache(_HELD)
        def opened(number):
            return items[number]()

        def read(index):
            draw = _WINDOWS(seed, index)
            arrays = window(opened(shuffled(seed, index, len(items))), config.patch, draw)
            image, maps, weight = moved(arrays, draw, config)
            image = image * np.float32(1 + config.intensity * draw.uniform(-1, 1))
            return {"image": image[..., None], "maps": maps, "weight": weight}

        spec = {
            "image": ((*config.patch, 1), "float32"),
            "maps": ((*config.patch, MAPS), "uint8"),
            "weight": (config.patch, "uint8"),
        }
        return Samples(read, spec, self.settings.train.batch_size)

    # --- inference ----------------------------------------------------------------------------------------------------

    def maps(self, image):
        """Both maps of a prepared image, float32 `(y, x)` -> `(y, x, 2)`."""
        found = functools.partial(map_probabilities, self.network, self.multiples)
        call = self.compiled("maps", self.network, found)
        return call(tf.constant(np.asarray(image, np.float32)[None, ..., None]))[0].numpy()

    @property
    def multiples(self):
        """What the sides of an image must be multiples of for the network."""
        return self.config.network.multiple(2)

    def instances_of(self, maps):
        """The instance map, int32 `(y, x)`, of both maps."""
        config = self.config
        return instances(maps[..., 0], maps[..., 1], config.centroid_threshold, config.region_threshold, config.surface)

    def labels(self, image):
        """The instance map of a prepared image, int32 `(y, x)`."""
        return self.instances_of(self.maps(image))

    def at(self, stage):
        """This method as it was after a stage."""
        other = copy.copy(self)
        other.models = {stage: self.models[stage]}
        return other

    def finder(self):
        """Finds objects in images with the trained network."""
        return Finder(self.config.modalities[0], self.preprocessing(), self.maps, self.instances_of)

    def validated(self):
        """Names of what `validation` gives."""
        return ("dice", "cell_dice", "missed")

    def validation_cases(self):
        """The labelled ones."""
        return [case for case in self.cases["validation"] if case.label is not None]

    def validation(self, model):
        """Means over the labelled validation images: Dice of the region map, of the cells, and share of missed ones."""
        rows = []
        for case in self.validation_cases():
            image, reference = self.open(case)
            maps = self.maps(image)
            found = instance_scores(self.instances_of(maps), reference)
            cells = (found.dice.mean(), found.missed.mean()) if len(found.reference) else (1.0, 0.0)
            rows.append((dice(maps[..., 1] > 0.5, reference > 0), *cells))
        return dict(zip(self.validated(), map(float, np.mean(rows, 0)), strict=True)) if rows else {}

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def predict(self, words, out, outputs=None):
        """Find objects in the inputs of `tfmed predict`; see `Finder.predict`."""
        return self.finder().predict(words, out, outputs)

    def evaluate(self, methods, part: Split = "test"):
        """Scores of every object; see `tasks.instance_scores.evaluate`."""
        return Evaluation(scoring.evaluate(methods, part))

    def views(self, methods, part="test"):
        """Objects of the reference and predicted ones; see `tasks.views`."""
        return views.outlined(methods, part)

    def export_module(self):
        """A `tf.Module` that gives both maps of images of any size.

        "serving_default" takes `image` `(z, y, x, 1)` float32, single images one after another, as they are before the
        steps that the graph does, and gives `maps` `(z, y, x, 2)` float32: probabilities of centroids and of regions.
        """
        network, multiples = self.network, self.multiples
        outside, inside = preprocess.split_for_graph(self.preprocessing())

        def maps(image):
            def one(single):
                made = preprocess.run_in_graph(inside, grids.of_image(single[None], tf.eye(4))).image
                return map_probabilities(network, multiples, made)[0]

            return {"maps": tf.map_fn(one, image, parallel_iterations=1)}

        config = self.config
        note = {
            "task": "instances",
            "modality": config.modalities[0],
            "centroid_threshold": config.centroid_threshold,
            "region_threshold": config.region_threshold,
            "surface": config.surface,
            "signatures": {"serving_default": "image (z, y, x, 1) -> maps (z, y, x, 2): centroids, regions"},
            "steps": [step.model_dump(mode="json") for step in outside],
            "steps_inside": [step.model_dump(mode="json") for step in inside],
        }
        takes = [tf.TensorSpec((None, None, None, 1), tf.float32, "image")]
        return ExportModule([network], {"serving_default": (maps, takes)}, note)

    def onnx_function(self):
        """Maps `(n, *patch, 2)` of patches `image` `(n, *patch, 1)` that are prepared already."""
        network = self.network

        takes = tf.TensorSpec((None, *self.config.patch, 1), tf.float32, "image")

        @tf.function(input_signature=[takes], autograph=False)
        def maps(image):
            return {"maps": tf.sigmoid(tf.cast(network(image, training=False), tf.float32))}

        steps = [step.model_dump(mode="json") for step in self.preprocessing()]
        return maps, {"task": "instances", "axes": "(n, y, x, map)", "maps": ["centroids", "regions"], "steps": steps}


def map_probabilities(network, multiples, images):
    """Both maps `(n, y, x, 2)` of images `(n, y, x, 1)` of any size."""
    size = tf.shape(images)
    logits = network(to_multiple(images, multiples), training=False)
    return tf.sigmoid(tf.cast(logits, tf.float32))[:, : size[1], : size[2]]


def window(arrays, shape, draw):
    """Arrays `(y, x, ...)` of one size cut to a shape at one place, which is drawn; too small ones are mirrored."""
    sizes = arrays[0].shape[:2]
    lacks = [max(0, side - size) for side, size in zip(shape, sizes, strict=True)]
    starts = [int(draw.integers(max(0, size - side) + 1)) for side, size in zip(shape, sizes, strict=True)]
    box = tuple(slice(start, start + side) for start, side in zip(starts, shape, strict=True))
    around = [(0, lack) for lack in lacks]
    return [np.pad(one, around + [(0, 0)] * (one.ndim - 2), mode="reflect")[box] if any(lacks) else one[box]
            for one in arrays]  # fmt: skip


def moved(arrays, draw, config):
    """Arrays `(y, x, ...)` mirrored and turned alike, as is drawn."""
    flips, turns = draw.random(2) < 0.5, int(draw.integers(4))
    if arrays[0].shape[0] != arrays[0].shape[1]:
        turns -= turns % 2  # by 180 degrees, which keep the shape
    for axis in (0, 1):
        arrays = [np.flip(one, axis) if config.flip and flips[axis] else one for one in arrays]
    return [np.rot90(one, turns if config.turn else 0) for one in arrays]
