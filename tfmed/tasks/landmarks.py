"""What methods share that find points in images: data, inference, validation, scores, files, pictures and export.

A case's points are `meta["points"]`, [x, y] in pixels of its images as they lie in their files; a case without that
entry is not annotated. They follow preprocessing steps that move pixels, and predictions go the way back.
"""

import functools

import numpy as np
import tensorflow as tf

from tfmed.data import phantoms
from tfmed.data.census import is_picture
from tfmed.data.checks import CaseSpec
from tfmed.data.points import as_points, between_grids, inside
from tfmed.data.preprocess import Window
from tfmed.data.readers import read_address
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method
from tfmed.errors import DataError
from tfmed.io import read_geometry
from tfmed.io.itk import LPS_RAS
from tfmed.metrics.landmarks import Counts, match
from tfmed.pictures.points import PointedImage, PointedImages
from tfmed.tasks import mark_views
from tfmed.tasks.landmark_scores import point_rows
from tfmed.tasks.landmark_settings import LandmarksConfig
from tfmed.tasks.point_finder import OUTPUTS, PointFinder, shown
from tfmed.tasks.scored_cases import checked

_SHOWN = 3  # images of a picture


class LandmarkMethod(Method, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that find any number of points by a heatmap; a subclass gives `stages`.

    Its last stage's model has `network`, images -> logits `(n, y, x, 1)`.
    """

    Config = LandmarksConfig
    outputs = OUTPUTS

    def __init__(self, settings):
        super().__init__(settings)
        self._points = {}  # id of a case -> its points in the prepared image

    @property
    def case_spec(self):
        return CaseSpec(self.config.modalities, "none", minimum_shape=(1, 8, 8), stack=True)

    def preprocessing(self):
        """The settings' steps, and the scale of intensities."""
        return (*super().preprocessing(), Window(window_hu=self.config.intensities, range=(0.0, 1.0)))

    @property
    def network(self):
        """The network of the last stage."""
        return list(self.models.values())[-1].network

    # --- data ---------------------------------------------------------------------------------------------------------

    def open(self, case):
        """The Prepared case: `image` `(1, y, x, channel)` in [0, 1]."""
        return self.cache.stack(case, self.case_spec)

    def points(self, case):
        """Its points in pixels of the prepared image, float64 `(n, 2)`."""
        points = as_points(case.meta["points"])
        if not any(hasattr(step, "graph_grid") for step in self.preprocessing()):
            return points
        if case.id not in self._points:  # an image is looked at for its grid, and a phantom made
            grid = grid_of(case.images[self.config.modalities[0]])
            self._points[case.id] = between_grids(points, grid, self.open(case).affine)
        return self._points[case.id]

    def annotated(self, cases):
        """Those whose points are known."""
        return [case for case in cases if "points" in case.meta]

    def prepared(self, part, progress=None):
        """As `Method.prepared`; whatever training would stumble over later is told with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train":
            self.check_frames(self.annotated(cases))
            if self.cases["validation"]:
                super().prepared("validation", progress)
        return cases

    def check_frames(self, cases):
        """DataError unless there are points to learn from, in images of the settings' size."""
        config, wanted = self.config, " x ".join(map(str, self.config.size))
        if not any(len(case.meta["points"]) for case in cases):
            raise DataError("no training image has points; check data.root and data.options")
        for case in cases:
            shape = self.open(case).image.shape[:3]
            if shape != (1, *config.size):
                raise DataError(
                    f"{case.id}: has {' x '.join(map(str, shape[1:]))} pixels where model.size is {wanted}; set "
                    f"model.size, or add {{step: resample, shape: [1, {config.size[0]}, {config.size[1]}]}} to "
                    "data.preprocess"
                )
            points = self.points(case)
            if len(points) > config.most_points:
                raise DataError(f"{case.id}: has {len(points)} points; raise model.most_points to that")
            if len(points) and not inside(points, shape[:0:-1]).any():
                raise DataError(f"{case.id}: none of its points is left after data.preprocess; cut less")

    # --- inference ----------------------------------------------------------------------------------------------------

    def probabilities(self, images, network=None):
        """Heatmaps `(n, y, x, 1)` in [0, 1] of prepared images `(n, y, x, channel)` of any size, tensors."""
        network, multiples = network or self.network, self.config.network.multiple(2)
        size = tf.shape(images)[1:3]
        more = [(-size[axis]) % multiple for axis, multiple in enumerate(multiples)]
        images = tf.pad(images, [[0, 0], [0, more[0]], [0, more[1]], [0, 0]])  # black, as beyond a turned image
        logits = tf.cast(network(images, training=False), tf.float32)
        return self.as_probabilities(logits[:, : size[0], : size[1]])

    def as_probabilities(self, logits):
        """Heatmaps of what the network puts out, float32."""
        return tf.sigmoid(logits)

    def heatmap(self, image, network=None):
        """The heatmap `(y, x)` float32 of a prepared image `(1, y, x, channel)`."""
        network = network or self.network
        call = self.compiled("heatmap", network, functools.partial(self.probabilities, network=network))
        return call(tf.constant(np.asarray(image, np.float32))).numpy()[0, ..., 0]

    def decodings(self):
        """{name: decoding} of the ways from heatmap to points that `evaluate` scores, the settings' own one first."""
        return {"": self.config.decoding}

    def finder(self):
        """The `PointFinder` of the trained network."""
        return PointFinder(self.config.modalities, self.preprocessing(), self.config.decoding, self.heatmap)

    def validated(self):
        """Names of what `validation` gives."""
        return ("precision", "sensitivity", "f1")

    def validation_cases(self):
        """The annotated ones."""
        return self.annotated(self.cases["validation"])

    def validation(self, model):
        """{"precision", "sensitivity", "f1"} of all annotated validation images together; 0 where nothing was found."""
        if not self.validation_cases():
            return {}
        self.prepared("validation")
        total = Counts()
        for case in self.validation_cases():
            found = self.config.decoding.points(self.heatmap(self.open(case).image, model.network))
            total += match(found, self.points(case), self.config.radius_px).counts
        return {name: float(np.nan_to_num(getattr(total, name))) for name in self.validated()}

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def predict(self, words, out, outputs=None):
        """Find points in the inputs of `tfmed predict`; see `PointFinder.predict`."""
        return self.finder().predict(words, out, outputs)

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run, "groups": per run and group of cases, "cases": per run and case}, and pictures.

        Counts of matched, superfluous and missed points are summed over images before they are divided; the error is
        that of matched points, in pixels of the images in their files. Where methods have several `decodings`, there is
        a row for each, with its name; pictures show the settings' own.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's annotated cases, with
                its `radius_px`.
            part: of the split.

        Raises:
            RunError: there are no such cases, or a run was trained on one of them.
        """
        cases = checked(methods, self.annotated(self.cases[part]), part, "annotated image")
        self.prepared(part)
        rows, pictures = [], {}
        for run, method in methods.items():
            finder, decodings = method.finder(), method.decodings()
            images: list[PointedImage] = []
            for case in cases:
                volumes = [read_address(case.images[name]) for name in method.config.modalities]
                ways, heatmap = finder.decoded(volumes, decodings.values())
                true, about = as_points(case.meta["points"]), {"run": run, "group": case.group, "case": case.id}
                matchings = [match(found, true, self.config.radius_px) for found in ways]
                rows += [about | {"decoding": way, "matching": matching}
                         for way, matching in zip(decodings, matchings, strict=True)]  # fmt: skip
                if len(images) < _SHOWN:
                    picture = shown([v.array for v in volumes])
                    images.append(PointedImage(case.id, picture, ways[0], true, matchings[0].pairs, heatmap))
            name = "points" if len(methods) == 1 else f"points-{run}"
            pictures[name] = PointedImages(tuple(images), self.config.radius_px)
        keys = ("run", "decoding") if any(row["decoding"] for row in rows) else ("run",)
        tables = {"evaluation": keys, "groups": (*keys, "group"), "cases": (*keys, "group", "case")}
        return Evaluation({name: point_rows(rows, by) for name, by in tables.items()}, pictures)

    def previews(self):
        """Points and heatmaps of up to three validation images; without any of training images."""
        cases = (self.validation_cases() or self.annotated(self.cases["train"]))[:_SHOWN]
        images = []
        for case in cases:
            image, true = self.open(case).image, self.points(case)
            heatmap = self.heatmap(image)
            found = self.config.decoding.points(heatmap)
            pairs = match(found, true, self.config.radius_px).pairs
            images.append(PointedImage(case.id, shown([image]), found, true, pairs, heatmap))
        return {"points": PointedImages(tuple(images), self.config.radius_px)} if images else {}

    def views(self, methods, part="test"):
        """True and found points of each image, and the heatmap; see `tasks.mark_views`."""
        return mark_views.pointed(methods, part)

    def export_module(self):
        """Of frames `image` `(n, y, x, channel)` float32, of any size, it gives `heatmap` `(n, y, x, 1)` in [0, 1].

        Steps that move pixels and all before them stay outside, and so does the decoding (see the note beside it).
        """
        config, steps = self.config, list(self.preprocessing())
        last = max((k + 1 for k, step in enumerate(steps) if not hasattr(step, "graph")), default=0)
        outside, within = steps[:last], steps[last:]

        def heatmap(image):
            for step in within:
                image = step.graph(image)
            return {"heatmap": self.probabilities(image)}

        takes = [tf.TensorSpec((None, None, None, len(config.modalities)), tf.float32, "image")]
        told = f"float32 (n, y, x, channel): {', '.join(config.modalities)}"
        told += "; after `steps`, which are not part of the model" if outside else "; as in the file"
        note = {
            "task": "landmarks",
            "modalities": list(config.modalities),
            "signatures": {"serving_default": {"inputs": {"image": told}, "heatmap": "float32 (n, y, x, 1) in [0, 1]"}},
            "steps": [step.model_dump(mode="json") for step in outside],
            "steps_inside": [step.model_dump(mode="json") for step in within],
            "decoding": config.decoding.model_dump(mode="json"),
            "decoding_means": f"how points come of a heatmap, which is not part of the model: {config.decoding.means}",
        }
        return ExportModule([self.network], {"serving_default": (heatmap, takes)}, note)


def grid_of(address):
    """The affine of the image at an address as it lies in its file."""
    return LPS_RAS if not phantoms.is_address(address) and is_picture(address) else geometry_of(address).affine


def geometry_of(address):
    """The shape, the affine and the spacing of the image at an address as it lies in its file."""
    return phantoms.read(address) if phantoms.is_address(address) else read_geometry(address)
