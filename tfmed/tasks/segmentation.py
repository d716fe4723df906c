"""What segmentation methods share: data, patches, inference, validation, scores, pictures and export."""

import functools

import numpy as np

from tfmed.config import with_values
from tfmed.data import sources, splits
from tfmed.data.checks import CaseSpec
from tfmed.data.patches import Patches, check_sizes
from tfmed.data.readers import read_case
from tfmed.data.trained_on import TrainedOn, is_note
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Evaluation, Seed, Split
from tfmed.engine.terminal import log
from tfmed.errors import DataError
from tfmed.nn import dropout
from tfmed.ops.sliding_window import sliding_window
from tfmed.tasks import segmentation_export, views
from tfmed.tasks.few_labels import FewLabels
from tfmed.tasks.prediction import OUTPUTS, Segmenter, classes_of
from tfmed.tasks.segmentation_settings import SegmentationConfig

SLICES = 8  # slices that a 2-D network sees at a time when it goes through a volume; of fewer, one


class SegmentationMethod(FewLabels, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of segmentation methods; a subclass gives `stages`, and `network` once it is trained."""

    Config = SegmentationConfig
    outputs: tuple[str, ...] = OUTPUTS
    segmenter_class = Segmenter
    takes_altered = True
    single: tuple[int, ...] = ()  # class numbers of which label maps keep the largest connected component alone
    follows_folders = False  # whether its settings for a folder of images and label maps follow from these

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

    @classmethod
    def patch_multiples(cls, config):
        """What each side of a patch is a multiple of, beside the remainder that a network may have."""
        return config.network.multiple(len(config.patch))

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
            self.threshold,
        )

    def probabilities(self, image, finish=None):
        """Class probabilities `(z, y, x, class)` float32 of a prepared image `(z, y, x, channel)`."""
        with dropout.from_the_start(self.network):  # the same image gives the same numbers
            return sliding_window(self._window_fn, image, finish=finish, **self.windows_of(image))

    def labels(self, image):
        """Class numbers of a prepared image, uint8 `(z, y, x)`."""
        return self.probabilities(image, finish=functools.partial(classes_of, threshold=self.threshold))

    @property
    def threshold(self):
        """The probability from which a voxel is of the second of two classes; None: the most probable class counts."""
        return None

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

    def windows_of(self, image):
        """The options of `sliding_window` for a prepared image."""
        windows = self._windows()
        few = len(self.config.patch) == 2 and len(image) < windows["window"][0]
        return segmentation_export.one_slice_at_a_time(windows) if few else windows

    @property
    def _window_fn(self):
        return self.compiled("windows", self.network, self.of_windows)

    def of_windows(self, windows):
        """Class probabilities of windows `(n, *window + 2 * margin, channel)`, tensors."""
        return segmentation_export.window_probabilities(self.network, self.config, windows)

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
            rows.append(self.validation_row(self.probabilities(prepared.image), np.asarray(prepared.label)))
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        regions = [value for key, value in mean.items() if key.startswith("dice_")]
        return mean | {"dice": float(np.mean(regions))}

    def validation_row(self, found, label):
        """{"cross_entropy", "dice_<region>"} of one case's class probabilities `(z, y, x, class)` and its classes."""
        right = np.take_along_axis(found, label[..., None].astype(np.int64), -1)
        row = {"cross_entropy": -np.log(np.maximum(right, 1e-12), dtype=np.float64).mean()}
        return row | self.region_dice(found.argmax(-1), label)

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

    def views(self, methods, part="test"):
        """Reference, predictions and errors of each case; see `tasks.views`."""
        return views.segmented(methods, part)

    def volume_graphs(self):
        """(prepared image -> probabilities, prepared image -> class numbers), functions of tensors."""
        return segmentation_export.blended_windows(self)

    def export_module(self):
        """A `tf.Module` that segments volumes of any size."""
        return segmentation_export.exported(self)

    def onnx_function(self):
        """Probabilities `(n, *patch, class)` of patches `image` `(n, *patch, channel)` that are prepared already."""
        return segmentation_export.onnx_function(self)
