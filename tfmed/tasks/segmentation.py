"""What segmentation methods share: data, patches, inference, validation, scores, pictures and export."""

import dataclasses
import functools
from typing import Literal

import numpy as np
import pydantic
from pydantic import Field

from tfmed.config import MethodConfig, Strict, Voxels, with_values
from tfmed.data import sources, splits
from tfmed.data.checks import CaseSpec
from tfmed.data.patches import Patches, check_sizes
from tfmed.data.readers import read_case
from tfmed.data.trained_on import TrainedOn, is_note
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, Evaluation, Seed, Split
from tfmed.engine.method import Method
from tfmed.engine.terminal import log
from tfmed.errors import DataError
from tfmed.nn import dropout
from tfmed.ops.sliding_window import sliding_window
from tfmed.tasks import segmentation_export
from tfmed.tasks.backbones import Network, UNet
from tfmed.tasks.prediction import OUTPUTS, Segmenter

SLICES = 8  # slices that a 2-D network sees at a time when it goes through a volume


class Classes(Strict):
    """Which images a set of cases has, and which numbers of its label maps are which class."""

    modalities: tuple[str, ...] = Field(("mr",), min_length=1)  # names of a case's images: the network's channels
    labels: dict[str, Literal["any"] | int | tuple[int, ...]] = Field(default_factory=dict)  # see `_from_labels`
    label_values: tuple[int, ...] = (0, 1)  # the number of each class in files, background first
    regions: dict[str, tuple[int, ...]] = Field(default_factory=dict)  # what is scored: {name: label values}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_labels(cls, values):
        """`labels: {liver: 1, kidneys: [2, 3], lesions: any}` names the classes: numbers in files that count as one.

        All others are background. A class is written as the first of its numbers (any: 1), and scored by its name.
        """
        labels = values.get("labels") if isinstance(values, dict) else None
        if not isinstance(labels, dict) or not labels:
            return values
        numbers = [_numbers(stored) for stored in labels.values()]
        first = [found[0] for found in numbers if found]
        if len(first) == len(numbers):
            given = values.get("label_values")
            if given is not None and given not in ((0, *first), [0, *first]):
                raise ValueError(f"label_values: labels make them {[0, *first]}; give labels alone")
            known = {"regions": {name: (one,) for name, one in zip(labels, first, strict=True)}}
            return known | values | {"label_values": (0, *first)}
        return values

    @pydantic.model_validator(mode="after")
    def _labels_differ(self):
        numbers = [number for stored in self.labels.values() for number in _numbers(stored)]
        if "any" in self.labels.values() and len(self.labels) > 1:
            raise ValueError("labels: `any` is all numbers but 0, so there can be no other class beside it")
        if any(not _numbers(stored) for stored in self.labels.values()) or len(set(numbers)) < len(numbers):
            raise ValueError("labels: each class needs numbers of its own")
        if any(number <= 0 for number in numbers):
            raise ValueError("labels: numbers of classes are above 0; what no class names is background")
        return self

    @property
    def label_groups(self):
        """[(number of a class, numbers in files or None for any)], or None where files hold the classes' numbers."""
        groups = [
            (_numbers(stored)[0], None if stored == "any" else _numbers(stored)) for stored in self.labels.values()
        ]
        return groups or None

    @pydantic.model_validator(mode="after")
    def _classes_fit(self):
        if len(set(self.label_values)) < len(self.label_values):
            raise ValueError("label_values: a number stands twice")
        if not 2 <= len(self.label_values) <= 256:
            raise ValueError(f"label_values: has {len(self.label_values)} numbers; give from 2 to 256")
        for name, values in self.regions.items():
            strange = sorted(set(values) - set(self.label_values))
            if strange or not values:
                raise ValueError(f"regions.{name}: {strange or values} are not among label_values {self.label_values}")
        return self

    @property
    def classes(self):
        return len(self.label_values)

    def as_used(self, case):
        """A Case of the set, with `labels` as its files' numbers are to be joined."""
        groups = self.label_groups
        return case if groups is None else dataclasses.replace(case, meta={**case.meta, "label_groups": groups})

    @property
    def class_names(self):
        """{number in files: name} where every class has a name of its own, else nothing."""
        names = {values[0]: name for name, values in self.regions.items() if len(values) == 1}
        return names if set(names) == set(self.label_values[1:]) else {}

    @property
    def scored(self):
        """{region: class numbers}; without `regions` each class by its number in files."""
        regions = self.regions or {f"label {value}": (value,) for value in self.label_values[1:]}
        return {name: [self.label_values.index(value) for value in values] for name, values in regions.items()}


class SegmentationConfig(Classes, MethodConfig):
    """What every segmentation method has in its `model` section, beside its own numbers."""

    patch: tuple[Voxels, ...] = Field((224, 224), min_length=2, max_length=3)  # voxels (y, x), or (z, y, x)
    network: Network = UNet()
    foreground: float = Field(0.0, ge=0, le=1)  # share of the patches that are centred on a labelled voxel
    pad: Literal["edge", "reflect"] = "edge"  # how an image goes on past its border, where a network reads on
    # inference
    overlap: float = Field(0.25, ge=0, lt=1)  # of neighbouring windows, which are as large as a patch
    blend: Literal["gaussian", "constant"] = "gaussian"
    flips: tuple[Literal["z", "y", "x"], ...] = ()  # mean over all flips along these axes
    mc_passes: int = Field(0, ge=0, le=1000)  # Monte Carlo dropout; 0: one pass without dropout
    # scores
    nsd_tolerance_mm: float = Field(2.0, ge=0, allow_inf_nan=False)  # of surface Dices

    @pydantic.model_validator(mode="after")
    def _sections_fit(self):
        try:
            multiples = self.network.multiple(len(self.patch))
        except ValueError as error:
            raise ValueError(f"network: {error}") from None
        if len(multiples) != len(self.patch):
            raise ValueError(f"network: is for {len(multiples)}-D patches, and patch has {len(self.patch)} numbers")
        for side, multiple, more in zip(self.patch, multiples, self.per_axis(self.network.remainder), strict=True):
            if (side - more) % multiple or side < more:
                needed = f"multiple of {multiple}" + (f" plus {more}" if more else "")
                raise ValueError(
                    f"patch: {side} is no {needed}, as network {self.network.name} needs; "
                    f"try {max(0 if more else 1, round((side - more) / multiple)) * multiple + more}"
                    + (f", or other {self.network.levels_by}" if self.network.levels_by else "")
                )
        if min(self.patch) < self.network.least:
            raise ValueError(
                f"patch: a side of {min(self.patch)} is too short for network {self.network.name}, which needs "
                f"{self.network.least}; give a larger patch, or fewer {self.network.levels_by}"
            )
        if "z" in self.flips and len(self.patch) == 2:
            raise ValueError("flips: slices have no axis z")
        return self

    def per_axis(self, numbers):
        """One number for each axis of a patch, of one or several."""
        return (numbers,) * len(self.patch) if isinstance(numbers, int) else tuple(numbers)

    @property
    def neighbours(self):
        """Slices on each side of a slice that a 2-D network sees with it, as further channels."""
        return 0

    @property
    def channels(self):
        """Of what a network sees."""
        return len(self.modalities) * (2 * self.neighbours + 1)


def _numbers(stored):
    """The numbers in files that a class of `labels` has."""
    return [1] if stored == "any" else [stored] if isinstance(stored, int) else list(stored)


class SegmentationMethod(Method, CanPredict, CanPreview, CanEvaluate, CanExport):
    """Base of segmentation methods; a subclass gives `stages`, and `network` once it is trained."""

    Config = SegmentationConfig
    outputs = OUTPUTS
    segmenter_class = Segmenter
    single: tuple[int, ...] = ()  # class numbers of which label maps keep the largest connected component alone

    @classmethod
    def planned(cls, settings, stored=None, progress=lambda items, text: items):
        """Settings that name no images have those of the cases, unless these have the method's own."""
        if "modalities" in settings.model.model_fields_set:
            return settings
        if stored is not None:
            return with_values(settings, {"model.modalities": stored.model.modalities})
        data = settings.data
        images = {tuple(case.images) for case in sources.open(data.source, data.root, **data.options)}
        if len(images) != 1 or set(settings.model.modalities) <= set(*images):
            return settings
        (names,) = images
        log.info("model.modalities: %s, the images of the cases", ", ".join(names))
        return with_values(settings, {"model.modalities": names})

    @property
    def case_spec(self):
        config = self.config
        return CaseSpec(config.modalities, "optional", config.label_values, minimum_shape=(1, 1, 1), stack=True)

    @property
    def network(self):
        """The network that segments, images -> logits: that of the last stage."""
        return list(self.models.values())[-1].network

    def build_network(self, seed=None):
        """A fresh network as the settings say."""
        config = self.config
        seed = self.settings.seed if seed is None else seed
        return config.network.build(config.channels, config.classes, len(config.patch), seed)

    # --- data ---------------------------------------------------------------------------------------------------------

    def as_used(self, case):
        """The Case with the settings' `labels`."""
        return self.config.as_used(case)

    def open(self, case):
        """The Prepared case."""
        return self.cache.stack(case, self.case_spec)

    @property
    def window(self):
        """A patch as voxels (z, y, x)."""
        return self.config.patch if len(self.config.patch) == 3 else (1, *self.config.patch)

    def prepared(self, part, progress=None):
        """As `Method.prepared`; whatever training would stumble over later is told with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train":
            splits.few_labels(cases, 1.0, 0)  # refuses cases without labels
            check_sizes(self.open, cases, self.window)
            self._check_classes(cases)
            self.records.recall("trained_on", lambda: self._seen(cases))
            if self.cases["validation"]:
                super().prepared("validation", progress)
        return cases

    def _seen(self, cases):
        """What the training images are like, as plain values."""
        seen = TrainedOn.of([self.open(case).facts for case in cases])
        return None if seen is None else seen.as_note()

    @property
    def trained_on(self):
        """What the training images were like, or None."""
        return TrainedOn.from_note(self.records.recall("trained_on", valid=is_note))

    @property
    def margin(self):
        """Voxels (z, y, x) that the network reads on each side of a patch."""
        margin = self.config.per_axis(self.config.network.margin)
        return margin if len(margin) == 3 else (self.config.neighbours, *margin)

    @functools.cached_property
    def training_cases(self):
        """(cases whose labels are used, all training cases), checked."""
        cases = self.prepared("train")
        return self.labelled_of(cases), cases

    def labelled_of(self, cases):
        """Those of the training cases whose labels are used."""
        data = self.settings.data
        seed = self.settings.seed if data.labelled_seed is None else data.labelled_seed
        return splits.few_labels(cases, data.labelled_share, seed)

    def _check_classes(self, cases):
        """Every class must stand in some label of the training cases: otherwise labels and settings do not fit."""
        total = np.zeros(self.config.classes, np.int64)
        for case in cases:
            if case.label is not None:
                total += np.array(self.open(case).voxels)
        if not total[1:].any():
            raise DataError("the labels of all training cases are empty; check data.root and model.label_values")
        for value, count in zip(self.config.label_values, total, strict=True):
            if not count:
                where = "model.labels" if self.config.labels else "model.label_values"
                raise DataError(f"label value {value} stands in no training case; take it out of {where}, or add cases")

    def patches(self, cases, stream=0, foreground=None, slices=None, open_case=None):
        """Patches of some cases; streams with different numbers draw differently."""
        seed = self.settings.seed * 64 + stream
        share = self.config.foreground if foreground is None else foreground
        around = {"margin": self.margin, "pad": self.config.pad}
        return Patches(open_case or self.open, cases, self.window, seed, share, slices, **around)

    def flat(self, array):
        """A patch without the axis that slices do not have."""
        return array[0] if len(self.config.patch) == 2 else array

    # --- inference ----------------------------------------------------------------------------------------------------

    def segmenter(self):
        """Segments scans with the trained network."""
        config = self.config
        return self.segmenter_class(
            config.modalities,
            config.label_values,
            self.preprocessing(),
            self.probabilities,
            self.single,
            config.class_names,
            self.trained_on,
        )

    def probabilities(self, image, finish=None):
        """Class probabilities `(z, y, x, class)` float32 of a prepared image `(z, y, x, channel)`."""
        with dropout.from_the_start(self.network):  # the same image gives the same numbers
            return sliding_window(self._window_fn, image, finish=finish, **self._windows())

    def labels(self, image):
        """Class numbers of a prepared image, uint8 `(z, y, x)`."""
        return self.probabilities(image, finish=lambda planes: planes.argmax(-1).astype(np.uint8))

    @property
    def flips(self):
        """Axes ("z", "y", "x") along which predictions are the mean over all flips."""
        return self.config.flips

    def _windows(self):
        config = self.config
        flips = tuple("zyx".index(axis) for axis in self.flips)
        window, overlap, batch = self.window, config.overlap, 1
        if len(config.patch) == 2:
            window, overlap = (SLICES, *config.patch), (0.0, config.overlap, config.overlap)
        around = {"margin": self.margin, "pad": config.pad}
        return {"window": window, "overlap": overlap, "blend": config.blend, "flips": flips, "batch": batch} | around

    @property
    def _window_fn(self):
        window_fn = functools.partial(segmentation_export.window_probabilities, self.network, self.config)
        return self.compiled(self.network, window_fn)

    def validated(self):
        """Names of what `validation` gives."""
        nothing = np.zeros(1, np.uint8)
        return ("cross_entropy", "dice", *self.region_dice(nothing, nothing))

    def validation_cases(self):
        """The labelled ones."""
        return [case for case in self.cases["validation"] if case.label is not None]

    def validation(self, model):
        """{"cross_entropy", "dice", "dice_<region>"} over all voxels of the labelled validation cases."""
        cases = self.validation_cases()
        if not cases:
            return {}
        self.prepared("validation")
        rows = []
        for case in cases:
            prepared = self.open(case)
            found = self.probabilities(prepared.image)
            right = np.take_along_axis(found, np.asarray(prepared.label)[..., None].astype(np.int64), -1)
            row = {"cross_entropy": -np.log(np.maximum(right, 1e-12), dtype=np.float64).mean()}
            rows.append(row | self.region_dice(found.argmax(-1), prepared.label))
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        regions = [value for key, value in mean.items() if key.startswith("dice_")]
        return mean | {"dice": float(np.mean(regions))}

    def region_dice(self, prediction, reference):
        """{"dice_<region>": Dice} of two maps of class numbers."""
        from tfmed.metrics.segmentation import dice

        return {
            f"dice_{name.replace(' ', '_')}": dice(np.isin(prediction, classes), np.isin(reference, classes))
            for name, classes in self.config.scored.items()
        }

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def predict(self, words, out, outputs=None):
        """Segment the inputs of `tfmed predict`; see `Segmenter.predict`."""
        return self.segmenter().predict(words, out, outputs)

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """Tables of scores: {"evaluation": a row per run and region, "cases": a row per run, region and case}.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's cases.
            part: "test", "validation" or "train".
            seed: of bootstrap intervals and stored transformations.
        """
        from tfmed.tasks import segmentation_scores

        return Evaluation(segmentation_scores.evaluate(methods, part, seed))

    def extra_scores(self, case, segmentation, reference, seed):
        """{region: {name: score}} that a method adds to the rows of a case.

        Args:
            case: the Case, and `segmentation` its Segmentation.
            reference: class numbers `(z, y, x)`, on the grid of the case's first image.
            seed: of stored transformations.
        """
        return {}

    def previews(self):
        """Contours, entropy and errors of up to three labelled validation cases (without any: of training cases)."""
        from tfmed.pictures.segmentations import Overlay

        labelled = [[c for c in self.cases[part] if c.label is not None] for part in ("validation", "train")]
        shown = []
        for case in (labelled[0] or labelled[1])[:3]:
            images, label = read_case(case, self.case_spec)
            shown.append(Overlay.of(case.id, images, label, self.segmenter()(images), self.config.label_values))
        return (
            {"segmentation": Overlay(tuple(shown), self.config.label_values, self.config.class_names)} if shown else {}
        )

    def volume_graphs(self):
        """(prepared image -> probabilities, prepared image -> class numbers), functions of tensors."""
        return segmentation_export.blended_windows(self)

    def export_module(self):
        """A `tf.Module` that segments volumes of any size."""
        return segmentation_export.exported(self)

    def onnx_function(self):
        """Probabilities `(n, *patch, class)` of patches `image` `(n, *patch, channel)` that are prepared already."""
        return segmentation_export.onnx_function(self)
