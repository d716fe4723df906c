"""What methods share that find points in images: data, inference, validation, scores, files, pictures and export.

A case's points are `meta["points"]`, [x, y] in pixels of its images as they lie in their files; a case without that
entry is not annotated. They follow preprocessing steps that move pixels, and predictions go the way back.
"""

import functools
import pathlib
from typing import Any, Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field

from tfmed.config import MethodConfig, PathText, Strict, Voxels
from tfmed.data import phantoms, preprocess
from tfmed.data.census import is_picture
from tfmed.data.checks import CaseSpec
from tfmed.data.points import as_points, between_grids, inside
from tfmed.data.preprocess import Window
from tfmed.data.readers import read_address
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method
from tfmed.errors import DataError, RunError, UserError
from tfmed.files import atomic_path
from tfmed.io import file_of, read_geometry
from tfmed.io.itk import LPS_RAS
from tfmed.io.points import write_points_csv, write_points_json
from tfmed.io.stack import write_picture
from tfmed.metrics.landmarks import Counts, match
from tfmed.ops.heatmaps import blob_points
from tfmed.pictures.points import PointedImage, PointedImages
from tfmed.pictures.style import save
from tfmed.tasks.backbones import Network, UNet
from tfmed.tasks.leaks import refuse_leak
from tfmed.tasks.prediction import check_grids, inputs

OUTPUTS = ("points", "picture", "heatmap")
_USUAL = ("points", "picture")
_SHOWN = 3  # images of a picture


class Decoding(Strict):
    """From a heatmap to points; see `tfmed.ops.heatmaps.blob_points`."""

    post: Literal["threshold", "otsu", "otsu+open", "otsu+open+cut"] = "otsu+open+cut"
    cut_ratio: float = Field(1.0, ge=1, le=1000)  # parts larger than so many times the mean area are cut in two
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


class PointFinder:
    """Finds points in images, whoever computes the heatmap: a trained network or a SavedModel.

    Args:
        modalities: names of the images, in the order of the network's channels.
        steps: preprocessing of a case's images.
        decoding: a `Decoding`.
        heatmap: function of float32 `(1, y, x, channel)` -> `(y, x)` in [0, 1].
    """

    outputs = OUTPUTS

    def __init__(self, modalities, steps, decoding, heatmap):
        self.modalities, self.steps, self.decoding = tuple(modalities), tuple(steps), decoding
        self.heatmap = heatmap

    def __call__(self, images):
        """(points `(n, 2)` in pixels of the images, heatmap `(y, x)` of what the network saw) of a list of Volumes."""
        if images[0].shape[0] != 1:
            raise DataError(f"it has {images[0].shape[0]} slices, and points are looked for in one; give a picture")
        prepared, _ = preprocess.run_together(self.steps, images)
        stack = np.concatenate([v.array if v.array.ndim == 4 else v.array[..., None] for v in prepared], -1)
        heatmap = self.heatmap(stack.astype(np.float32))
        return between_grids(self.decoding.points(heatmap), prepared[0].affine, images[0].affine), heatmap

    def predict(self, words, out, outputs=None):
        """Find points in each input, and write `<name>_points.json` (as AdaptOR takes submissions), `<name>_points.png`
        (the image with its points), `<name>_heatmap.png` (0 to 255) where it is asked for; and `points.csv` of all.

        Raises:
            UserError: an input is wrong, or would be overwritten.
            DataError: it is damaged, or cannot be preprocessed.
        """
        outputs, cases, out = outputs or _USUAL, inputs(words, self.modalities), pathlib.Path(out)
        names = {"points": "points.json", "picture": "points.png", "heatmap": "heatmap.png"}
        targets = {(out / f"{name}_{names[kind]}").resolve() for name, _ in cases for kind in outputs}
        targets |= {(out / "points.csv").resolve()}
        for path in (path for _, paths in cases for path in paths.values()):
            if pathlib.Path(file_of(path)).resolve() in targets:
                raise UserError(f"{path}: is an input that a result would overwrite; choose another --out")
        return self._predicted(cases, out, outputs, names)

    def _predicted(self, cases, out, outputs, names):
        table = {}
        for name, paths in cases:
            addresses = [paths[modality] for modality in self.modalities]
            images = [read_address(address) for address in addresses]
            check_grids(images, addresses)
            try:
                points, heatmap = self(images)
            except DataError as error:  # of a preprocessing step, which does not know the file
                raise DataError(f"{addresses[0]}: {error}") from None
            file = pathlib.Path(file_of(addresses[0]))
            table[file.name] = ([""] * len(points), points)
            write = {
                "points": functools.partial(_write_json, points=points, image=images[0], file=file),
                "picture": functools.partial(_write_picture, points=points, images=images, title=name),
                "heatmap": lambda path, heatmap=heatmap: write_picture(np.rint(255 * heatmap).astype(np.uint8), path),
            }
            for kind in outputs:
                path = out / f"{name}_{names[kind]}"
                write[kind](path)
                yield path
        write_points_csv(out / "points.csv", table)
        yield out / "points.csv"


def _write_json(path, points, image, file):
    """The names of AdaptOR's submissions: surgery, video and frame, of `<surgery>/<video>/images/<frame>`."""
    video = file.resolve().parent.parent
    write_points_json(path, points, image.shape[:0:-1], video.parent.name, video.name, file.name)


def _write_picture(path, points, images, title):
    picture = PointedImages((PointedImage(title, shown([image.array for image in images]), points),))
    with atomic_path(path) as temporary:
        save(picture, temporary)


def shown(channels):
    """Channels, each `(1, y, x)`, as a picture `(y, x)` or `(y, x, 3)` in [0, 1]; what has other units is stretched."""
    stack = np.concatenate([np.asarray(one, np.float32).reshape(*one.shape[1:3], -1) for one in channels], -1)
    low, high = (0, 255) if stack.min() >= 0 and 1 < stack.max() <= 255 else (stack.min(), max(stack.max(), 1e-6))
    stack = np.clip((stack - low) / max(high - low, 1e-6), 0, 1)
    return stack if stack.shape[-1] == 3 else stack[..., 0]


class LandmarkMethod(Method, CanPredict, CanPreview, CanEvaluate, CanExport):
    """Base of methods that find any number of points by a heatmap; a subclass gives `stages`.

    Its last stage's model has `network`, images -> logits `(n, y, x, 1)`, unless `logits` is overridden.
    """

    Config = LandmarksConfig
    outputs = OUTPUTS

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
        return between_grids(points, grid_of(case.images[self.config.modalities[0]]), self.open(case).affine)

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
        return tf.sigmoid(logits[:, : size[0], : size[1]])

    def heatmap(self, image, network=None):
        """The heatmap `(y, x)` float32 of a prepared image `(1, y, x, channel)`."""
        network = network or self.network
        call = self.compiled(network, functools.partial(self.probabilities, network=network))
        return call(tf.constant(np.asarray(image, np.float32))).numpy()[0, ..., 0]

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
        """{"evaluation": a row per run, "groups": per run and group of cases, "cases": per run and case}, with pictures.

        Counts of matched, superfluous and missed points are summed over images before they are divided; the error is
        that of matched points, in pixels of the images in their files.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's annotated cases, with
                its `radius_px`.
            part: of the split.

        Raises:
            RunError: there are no such cases, or a run was trained on one of them.
        """
        cases = self.annotated(self.cases[part])
        if not cases:
            raise RunError(f"no annotated image is in the part {part!r} of the split; choose another --part")
        self.prepared(part)
        rows, pictures = [], {}
        for run, method in methods.items():
            refuse_leak(run, method, cases, part)
            finder, images = method.finder(), []
            for case in cases:
                volumes = [read_address(case.images[name]) for name in method.config.modalities]
                found, heatmap = finder(volumes)
                matching = match(found, as_points(case.meta["points"]), self.config.radius_px)
                rows.append({"run": run, "group": case.group, "case": case.id, "matching": matching})
                if len(images) < _SHOWN:
                    one = PointedImage(case.id, shown([v.array for v in volumes]), found,
                                       as_points(case.meta["points"]), matching.pairs, heatmap)  # fmt: skip
                    images.append(one)
            name = "points" if len(methods) == 1 else f"points-{run}"
            pictures[name] = PointedImages(tuple(images), self.config.radius_px)
        tables = {"evaluation": ("run",), "groups": ("run", "group"), "cases": ("run", "group", "case")}
        return Evaluation({name: score_rows(rows, keys) for name, keys in tables.items()}, pictures)

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
            "decoding_means": "how points come of a heatmap, which is not part of the model: a mask (Otsu's threshold "
            "of the image's own 256 levels, unless no value reaches `guard`; or `threshold`), opened by a 3 x 3 cross, "
            "centroids of its parts (8 neighbours), parts larger than `cut_ratio` times the mean cut in two",
        }
        return ExportModule([self.network], {"serving_default": (heatmap, takes)}, note)


def grid_of(address):
    """The affine of the image at an address as it lies in its file."""
    if phantoms.is_address(address):
        return phantoms.read(address).affine
    return LPS_RAS if is_picture(address) else read_geometry(address).affine


def score_rows(rows, keys):
    """A row for each combination of some keys, of rows {key: value, "matching": Matching} of single images."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row["matching"])
    table = []
    for values, matchings in found.items():
        total = sum((one.counts for one in matchings), Counts())
        away = np.concatenate([one.distances for one in matchings])
        line = dict(zip(keys, values, strict=True)) | ({} if "case" in keys else {"images": len(matchings)})
        line |= {"points": total.true_positives + total.false_negatives,
                 "found": total.true_positives + total.false_positives, "matched": total.true_positives,
                 "precision": total.precision, "sensitivity": total.sensitivity, "F1": total.f1,
                 "error px mean": float(away.mean()) if len(away) else float("nan")}  # fmt: skip
        table.append(line)
    return table
