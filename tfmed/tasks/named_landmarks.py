"""What methods share that find landmarks with names in pictures: data, samples, scores, files, pictures and export.

A case's landmarks are `meta["points"]`, [x, y] in pixels of its images as they lie in their files, and `meta["names"]`
(without which they are numbered); [nan, nan] and names that a case does not list are missing. A case without points is
not annotated: such cases train, if at all, without their landmarks.
"""

import functools
import math

import numpy as np
import tensorflow as tf

from tfmed.augment.paired import Policy, sample_grid
from tfmed.data import sources, splits
from tfmed.data.census import is_picture
from tfmed.data.checks import CaseSpec
from tfmed.data.points import Landmarks, as_points, between_grids, mean_shape, swapped, through_grid
from tfmed.data.preprocess import Letterbox, ZScore, run_in_graph
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method
from tfmed.errors import DataError, RunError
from tfmed.io.geometry import Geometry
from tfmed.io.itk import LPS_RAS
from tfmed.metrics.landmarks import error_summary, errors, failure_rate
from tfmed.ops import grids
from tfmed.ops.vertices import as_pixels, as_shares
from tfmed.ops.warp import warp_array
from tfmed.pictures.points import PointedImage, PointedImages
from tfmed.tasks import landmark_scores, mark_views
from tfmed.tasks.landmark_settings import NamedLandmarksConfig
from tfmed.tasks.landmarks import geometry_of
from tfmed.tasks.point_finder import LandmarkFinder, shown
from tfmed.tasks.scored_cases import checked

_SHOWN = 3  # images of a picture


class NamedLandmarkMethod(Method, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that find each of some named landmarks; a subclass gives `stages` and `found_by`."""

    Config = NamedLandmarksConfig

    def __init__(self, settings):
        super().__init__(settings)
        self._known = {}  # of images by address: `Geometry`; of cases by (id, names): landmarks

    outputs = LandmarkFinder.outputs

    @property
    def case_spec(self):
        return CaseSpec(self.config.modalities, "none", minimum_shape=(1, 8, 8), stack=True)

    @property
    def own_steps(self):
        """What is done to every image after the settings' steps; SavedModels do it themselves."""
        return ZScore(), Letterbox(size=self.config.size)

    def preprocessing(self):
        """The settings' steps; then mean 0 and deviation 1 of each image, fitted into `size`."""
        return (*super().preprocessing(), *self.own_steps)

    @property
    def network(self):
        """The network of the last stage."""
        return list(self.models.values())[-1].network

    def networks(self):
        """{name: network} of those that `evaluate` scores, the one that predicts first."""
        return {"": self.network}

    def found_by(self, network, images):
        """Landmarks `(n, landmarks, 2)` as shares of prepared images `(n, y, x, channel)`, tensors."""
        raise NotImplementedError

    # --- data ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def cases(self):
        """As `Method.cases`; patients without any annotated image train, as do the images of `model.unlabelled`."""
        data, more = self.settings.data, self.config.unlabelled
        found = [self.as_used(case) for case in sources.open(data.source, data.root, **data.options)]
        annotated = {case.group for case in found if "points" in case.meta}
        if not annotated:
            raise DataError("no image has landmarks; check data.root and data.options")
        kinds = {"cases": self.split({"cases": [case for case in found if case.group in annotated]})["cases"]}
        rest = [case for case in found if case.group not in annotated]
        kinds["unlabelled"] = self.all_train("unlabelled", rest, data.root)
        if more is not None:
            try:
                listed = [self.as_used(case) for case in sources.open(more.source, more.root, **more.options)]
            except DataError as error:
                raise DataError(f"model.unlabelled: {error}") from None
            kinds["more"] = self.all_train("more", listed, more.root)
            here = {case.group for part in ("validation", "test") for case in kinds["cases"][part]}
            if twice := sorted(here & {case.group for case in listed}):
                raise DataError(f"model.unlabelled: {twice[0]} is held out in the data section; give other images")
        return splits.joined(kinds)

    def annotated(self, cases):
        """Those whose landmarks are known."""
        return [case for case in cases if "points" in case.meta]

    def open(self, case):
        """The Prepared case: `image` `(1, y, x, channel)`."""
        return self.cache.stack(case, self.case_spec)

    @functools.cached_property
    def labelled_cases(self):
        """The training cases whose landmarks are used, in order."""
        data, known = self.settings.data, self.annotated(self.cases["train"])
        groups = len({case.group for case in known})
        count = self.config.labelled or math.ceil(data.labelled_share * groups - 1e-9)
        seed = self.settings.seed if data.labelled_seed is None else data.labelled_seed
        try:
            return splits.first_groups(known, count, seed)
        except DataError as error:
            raise DataError(f"model.labelled: {error}") from None

    @functools.cached_property
    def unlabelled_cases(self):
        """The other training cases; none of a labelled patient."""
        labelled = {case.group for case in self.labelled_cases}
        return [case for case in self.cases["train"] if case.group not in labelled]

    @property
    def names(self):
        """Of the landmarks, in order."""
        return tuple(self._shape["names"])

    @property
    def mean_shape(self):
        """Where the landmarks lie on average in the labelled training images, shares of them, float64 `(n, 2)`."""
        return np.array(self._shape["mean"], np.float64)

    @property
    def _shape(self):
        """{"names", "mean"}: decided once in a run."""
        found = self.records.recall("landmarks", self._mean_shape, _is_shape)
        if found is None:
            raise RunError("the run has no landmarks.json; its training did not begin, or the file was removed")
        return found

    def _mean_shape(self):
        self.prepared("train")
        names = self._names_of([case for part in splits.PARTS for case in self.annotated(self.cases[part])])
        shapes = [as_shares(tf.constant(self._points(case, names)), self._size_xy).numpy() for case in
                  self.labelled_cases]  # fmt: skip
        mean = mean_shape(np.stack(shapes))
        if (gone := np.isnan(mean).any(-1)).any():
            name = names[int(np.flatnonzero(gone)[0])]
            raise DataError(
                f"landmark {name}: none of the {len(shapes)} labelled training images has it; annotate it there, take "
                "more of them, or name the others in model.landmarks"
            )
        swapped_rows(names, self.config.flip_pairs)
        return {"names": list(names), "mean": mean.tolist()}

    def _names_of(self, cases):
        """Names in the order of their first appearance, or those that the settings ask for."""
        found, unnamed = {}, None
        for case in cases:
            names = names_of(case)
            if twice := [name for name in names if names.count(name) > 1]:
                raise DataError(f"{case.id}: landmark {twice[0]} stands there twice; give each landmark one place")
            if "names" not in case.meta and names:
                unnamed = unnamed or case
                if len(names) != len(names_of(unnamed)):
                    raise DataError(
                        f"{case.id}: has {len(names)} points without names where {unnamed.id} has "
                        f"{len(names_of(unnamed))}; name them, in the column name of a table"
                    )
            found |= dict.fromkeys(names)
        wanted = self.config.landmarks or tuple(found)
        if not wanted:
            raise DataError("no image has a landmark; check data.root and data.options")
        for name in wanted:
            if name not in found:
                raise DataError(f"model.landmarks: {name} is no landmark of the data, which have {', '.join(found)}")
        return wanted

    @property
    def _size_xy(self):
        return self.config.size[::-1]

    def landmarks(self, case, names=None):
        """The `Landmarks` of a case, in pixels of its images as they lie in their files."""
        places = dict(zip(names_of(case), as_points(case.meta["points"]).tolist(), strict=True))
        return Landmarks.of(places, self.names if names is None else names)

    def points(self, case):
        """Likewise in pixels of the prepared image, float64 `(landmarks, 2)`, NaN where one is missing."""
        return self._points(case, self.names)

    def _points(self, case, names):
        known = self._known.get((case.id, names))
        if known is None:
            there, grid = self.landmarks(case, names).points, self.geometry(case).affine
            known = self._known[case.id, names] = between_grids(there, grid, self.open(case).affine)
        return known

    def geometry(self, case):
        """The `Geometry` of a case's first image as it lies in its file; looked at once."""
        address = case.images[self.config.modalities[0]]
        if address not in self._known:
            image = geometry_of(address)
            affine = LPS_RAS if is_picture(address) else image.affine
            self._known[address] = Geometry(image.shape, affine, np.dtype(np.float32))
        return self._known[address]

    def prepared(self, part, progress=None):
        """As `Method.prepared`; validation cases, over which training would stumble later, with those of training."""
        cases = super().prepared(part, progress)
        if part == "train" and self.cases["validation"]:
            super().prepared("validation", progress)
        return cases

    def spacing_mm(self, case):
        """(along x, along y) of the pixels of a case's images in mm; None where it is not known."""
        if told := case.meta.get("spacing_mm"):
            return tuple(map(float, told))
        picture = is_picture(case.images[self.config.modalities[0]])
        return None if picture else self.geometry(case).spacing[:0:-1]

    # --- samples ------------------------------------------------------------------------------------------------------

    def sample_spec(self):
        """What `sample` gives: {name: (shape, dtype)}."""
        count = len(self.names)
        image = (*self.config.size, len(self.config.modalities))
        return {"image": (image, "float32"), "points": ((count, 2), "float32"), "there": ((count,), "bool")}

    def sample(self, case, draw, known=True, moves=True):
        """A prepared image and its landmarks, moved and lit at random alike.

        Args:
            case: the Case.
            draw: a numpy Generator.
            known: its landmarks are used.
            moves: whether it is turned, scaled, shifted and flipped, and its light changed.

        Returns:
            {"image": float32 `(y, x, channel)`; "points": `(landmarks, 2)` as shares of it; "there": which of them
            are in it; the others are 0}.
        """
        image = np.asarray(self.open(case).image[0], np.float32)
        points = self.points(case) if known else np.full((len(self.names), 2), np.nan)
        if moves:
            image, points = self._moved(image, points, draw)
        there = ~np.isnan(points).any(-1)
        shares = (np.where(there[:, None], points, -0.5) + 0.5) / np.array(self._size_xy)
        return {"image": image, "points": shares.astype(np.float32), "there": there}

    def _moved(self, image, points, draw):
        c = self.config
        if c.flip and draw.random() < c.flip:
            image = image[:, ::-1]
            points = Landmarks(self.names, points).mirrored(image.shape[1], c.flip_pairs).points
        turn, shift = c.rotate_degrees or None, c.shift or None
        scale = c.scale if c.scale != (1.0, 1.0) else None
        if turn or shift or scale:
            policy = Policy(None, shift and (-shift, shift), turn and (-turn, turn), scale=scale)
            grid = sample_grid(int(draw.integers(2**31)), image.shape[:2], policy)
            image, points = warp_array(image, grid), through_grid(points, grid)
        if c.light:
            gain, more = draw.uniform(-c.light, c.light, 2)
            image = image * np.float32(1 + gain) + np.float32(more)
        return np.asarray(image, np.float32), points

    # --- inference ----------------------------------------------------------------------------------------------------

    def places(self, image, network=None, name=""):
        """Landmarks `(landmarks, 2)` in pixels of a prepared image `(1, y, x, channel)`."""
        network = network or self.network
        call = self.compiled(f"landmarks{name}", network, functools.partial(self._pixels, network))
        return call(tf.constant(np.asarray(image, np.float32))).numpy()[0]

    def _pixels(self, network, images):
        return as_pixels(tf.cast(self.found_by(network, images), tf.float32), self._size_xy)

    def finder(self, network=None, name=""):
        """The `LandmarkFinder` of a trained network."""
        places = functools.partial(self.places, network=network, name=name)
        return LandmarkFinder(self.config.modalities, self.preprocessing(), self.names, places)

    def validated(self):
        """Names of what `validation` gives."""
        return ("error", "failure_rate")

    def validation_cases(self):
        """The annotated ones."""
        return self.annotated(self.cases["validation"])

    def validation(self, model):
        """{"error": mean in pixels of the files, "failure_rate"} of all landmarks of the validation images."""
        if not self.validation_cases():
            return {}
        self.prepared("validation")
        away, shares = [], []
        for case in self.validation_cases():
            prepared, file = self.open(case), self.geometry(case)
            found = between_grids(self.places(prepared.image, model.network), prepared.affine, file.affine)
            away.append(errors(found, self.landmarks(case).points))
            shares.append(away[-1] / file.shape[2])
        away, shares = np.concatenate(away), np.concatenate(shares)
        rate = failure_rate(shares, self.config.failure_share, ~np.isnan(away))
        return {"error": error_summary(away)["mean"], "failure_rate": rate}

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def predict(self, words, out, outputs=None):
        """Find landmarks in the inputs of `tfmed predict`; see `LandmarkFinder.predict`."""
        return self.finder().predict(words, out, outputs)

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run, "landmarks": per run and landmark, "cases": per run and case}, and pictures.

        Errors are distances in pixels of the images in their files, and in mm where the size of all their pixels is
        known; a failure is an error of more than `failure_share` of an image's width, or a landmark that a run does not
        know. Where methods have several `networks`, there is a row for each, with its name.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's annotated cases and
                landmarks.
            part: of the split.

        Raises:
            RunError: there are no such cases, or a run was trained on one of them.
        """
        cases = checked(methods, self.annotated(self.cases[part]), part, "annotated image")
        self.prepared(part)
        return landmark_scores.evaluate(methods, cases)

    def previews(self):
        """Landmarks of up to three validation images; without any of training images."""
        cases = (self.validation_cases() or self.annotated(self.cases["train"]))[:_SHOWN]
        images = []
        for case in cases:
            image = self.open(case).image
            images.append(PointedImage(case.id, shown([image]), self.places(image), self.points(case)))
        return {"landmarks": PointedImages(tuple(images))} if images else {}

    def views(self, methods, part="test"):
        """True and found landmarks of each image; see `tasks.mark_views`."""
        return mark_views.named(methods, part)

    def export_module(self):
        """Of images `image` `(n, y, x, channel)` float32, of any size, it gives `points` `(n, landmarks, 2)`, (x, y) in
        their pixels. The settings' own steps stay outside."""
        own, network = self.own_steps, self.network

        def one(image):
            grid = run_in_graph(own, grids.of_image(image[None], tf.constant(LPS_RAS)))
            shape = (*self.config.size, len(self.config.modalities))
            return tf.ensure_shape(grid.image[0], shape), grid.scale[:0:-1], grid.offset[:0:-1]

        def landmarks(image):
            kinds = (tf.float32, tf.float64, tf.float64)
            prepared, scale, offset = tf.map_fn(one, image, fn_output_signature=kinds)
            found = tf.cast(self._pixels(network, prepared), tf.float64)
            return {"points": tf.cast(found * scale[:, None] + offset[:, None], tf.float32)}

        takes = [tf.TensorSpec((None, None, None, len(self.config.modalities)), tf.float32, "image")]
        outside = self.settings.data.preprocess
        told = f"float32 (n, y, x, channel): {', '.join(self.config.modalities)}"
        told += "; after `steps`, which are not part of the model" if outside else "; as in the file"
        answer = f"float32 (n, {len(self.names)}, 2): (x, y) of each of `landmarks`, in pixels of the image"
        note = {
            "task": "named_landmarks",
            "modalities": list(self.config.modalities),
            "landmarks": list(self.names),
            "signatures": {"serving_default": {"inputs": {"image": told}, "points": answer}},
            "steps": [step.model_dump(mode="json") for step in outside],
            "steps_inside": [step.model_dump(mode="json") for step in own],
        }
        return ExportModule([network], {"serving_default": (landmarks, takes)}, note)


def names_of(case):
    """Names of a case's points; numbers from 1 where they have none."""
    return [str(name) for name in case.meta.get("names") or range(1, len(case.meta["points"]) + 1)]


def swapped_rows(names, pairs):
    """See `swapped`; DataError where a pair does not fit the names."""
    try:
        return swapped(names, pairs)
    except ValueError as error:
        raise DataError(f"model.flip_pairs: {error}") from None


def _is_shape(value):
    """Whether a record is {"names": texts, "mean": a place for each}."""
    try:
        mean = np.array(value["mean"], np.float64)
        texts = all(isinstance(name, str) for name in value["names"])
        return texts and len(value["names"]) > 0 and mean.shape == (len(value["names"]), 2) and np.isfinite(mean).all()
    except (TypeError, ValueError, KeyError):
        return False
