"""What methods share that find small lesions: where lesions are, tiles, a threshold from FROC, detections, pictures."""

import dataclasses
import functools
from typing import Literal

import numpy as np
import pydantic
from pydantic import Field, PositiveInt

from tfmed.config import PathText, Voxels
from tfmed.data import spheres
from tfmed.data.aneurysms import aneurysms_of, tells_aneurysms
from tfmed.data.checks import is_phantom
from tfmed.data.patches import check_sizes
from tfmed.data.preprocess import class_labels
from tfmed.data.readers import read_case, read_label
from tfmed.engine.abilities import Evaluation, Seed, Split
from tfmed.engine.method import Method
from tfmed.engine.terminal import log
from tfmed.errors import DataError
from tfmed.io.read import read_geometry
from tfmed.pictures.lesions import Heads
from tfmed.tasks import lesion_scores, mark_views
from tfmed.tasks.detections import LesionSegmenter
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_settings import SegmentationConfig

_USUAL = 0.5  # threshold before one is chosen
_SHOWN = 3  # scans of a picture


class LesionConfig(SegmentationConfig):
    """Where lesions are, and how volumes are searched for them."""

    patch: tuple[Voxels, ...] = Field((48, 48, 48), min_length=3, max_length=3)  # voxels (z, y, x)
    clicks: PathText | None = None  # table of two clicks per lesion (see `data.spheres.read_clicks`); null: the source
    inference: Literal["tiles", "windows"] = "tiles"  # windows: blended, as `overlap` and `blend` say
    stride: Voxels = 32  # of tiles: the middle of each patch that is kept
    window_batch: PositiveInt = Field(1, le=1024)  # patches that the network sees at a time
    threshold: float | None = Field(None, gt=0, lt=1)  # of probabilities; null: from the validation cases' FROC
    connectivity: Literal[1, 2, 3] = 3  # of voxels of one detection: by faces, edges or corners

    @pydantic.model_validator(mode="after")
    def _tiles_fit(self):
        if self.inference == "tiles" and any(side < self.stride or (side - self.stride) % 2 for side in self.patch):
            raise ValueError(
                f"stride: {self.stride} leaves no equal border within patch {self.patch}; give an even number less"
            )
        if self.inference == "tiles" and self.network.margin != 0:
            raise ValueError(f"inference: network {self.network.name} answers less than a patch; set it to windows")
        if self.classes != 2:
            raise ValueError("label_values: lesions are one class beside the background; give two numbers")
        return self


class LesionMethod(SegmentationMethod):
    """Base of methods that find lesions that are spheres; a subclass gives `stages`."""

    Config = LesionConfig
    outputs = LesionSegmenter.outputs
    takes_altered = False
    chosen: float | None = None  # threshold, once it is known

    # --- where lesions are --------------------------------------------------------------------------------------------

    @property
    def case_spec(self):
        spec = super().case_spec
        return spec if self.config.clicks is None else dataclasses.replace(spec, label="none")

    @functools.cached_property
    def clicked(self):
        """{case: its lesions} of the table of clicks, or None."""
        return None if self.config.clicks is None else spheres.read_clicks(self.config.clicks)

    @functools.cached_property
    def _known(self):
        return {}

    def lesions(self, case):
        """The lesions of a case, tuple of Sphere: of the table of clicks, else those that its source tells, else of
        its label map.

        Raises:
            DataError: one lies outside of the image, or nothing is known of them.
        """
        if case.id not in self._known:
            self._known[case.id] = tuple(self._marked(case))
        return self._known[case.id]

    def _marked(self, case):
        if self.clicked is None and not tells_aneurysms(case):
            if case.label is None:
                raise DataError(f"{case.id}: nothing tells its lesions; give a label map, or a table in model.clicks")
            label = read_label(case)
            return spheres.from_mask(class_labels(label, self.config.label_values).array > 0, label.affine)
        if is_phantom(case):
            found = None if self.clicked is None else self.clicked.get(case.id, [])
            return aneurysms_of(case, np.eye(4)) if found is None else found
        address = case.images[self.config.modalities[0]]
        grid = read_geometry(address, case.meta.get("series_uid"))
        found = aneurysms_of(case, grid.affine) if self.clicked is None else self.clicked.get(case.id, [])
        spheres.check_within(found, grid.shape, grid.affine, f"{self.config.clicks or address}: {case.id}")
        return found

    @property
    def sizes(self):
        """Function of cases -> {patient: mean diameter of its lesions in mm, 0 without any}."""

        def of_groups(cases):
            found = {}
            for case in cases:
                found.setdefault(case.group, []).extend(2 * one.radius_mm for one in self.lesions(case))
            return {group: float(np.mean(values)) if values else 0.0 for group, values in found.items()}

        return of_groups

    def prepared(self, part, progress=None):
        """As `SegmentationMethod.prepared`; the training cases must have lesions, within their images."""
        if self.clicked is None:
            cases = super().prepared(part, progress)
        else:
            cases = Method.prepared(self, part, *([] if progress is None else [progress]))
        if part != "train":
            return cases
        if self.clicked is not None:
            self._check_clicks(cases, progress)
        if not any(self.lesions(case) for case in self.labelled_of(cases)):
            raise DataError("no training case has a lesion; check data.root, or the table in model.clicks")
        return cases

    def _check_clicks(self, cases, progress):
        known = {case.id for found in self.cases.values() for case in found}
        if strange := sorted(set(self.clicked) - known):
            raise DataError(f"{self.config.clicks}: case {strange[0]!r} is none of the data set's; correct its name")
        check_sizes(self.open, cases, self.window)
        self.records.recall("trained_on", lambda: self._seen(cases))
        if self.cases["validation"]:
            self.prepared("validation", progress)

    def labelled_of(self, cases):
        """Those of the training cases whose lesions are used."""
        return cases if self.clicked is not None else super().labelled_of(cases)

    def marked_cases(self, part):
        """The cases of a part whose lesions are known."""
        return [case for case in self.cases[part] if self.clicked is not None or case.label is not None]

    def validation_cases(self):
        return self.marked_cases("validation")

    def truth(self, case, label, image):
        """Mask of a case's lesions on the grid of an image, bool `(z, y, x)`: its label map, or else its spheres."""
        if label is not None:
            return class_labels(label, self.config.label_values).array > 0
        return spheres.draw(self.lesions(case), image.shape, image.affine) > 0

    # --- inference ----------------------------------------------------------------------------------------------------

    def _windows(self):
        config, windows = self.config, super()._windows() | {"batch": self.config.window_batch}
        if config.inference == "windows":
            return windows
        margin = tuple((side - config.stride) // 2 for side in config.patch)
        return windows | {
            "window": (config.stride,) * 3, "overlap": 0.0, "blend": "tiles", "margin": margin, "pad": 0.0,
        }  # fmt: skip

    def of_windows(self, windows):
        """Class probabilities of windows; of tiles, of their middles."""
        found = super().of_windows(windows)
        if self.config.inference == "windows":
            return found
        inside = (slice((side - self.config.stride) // 2, (side + self.config.stride) // 2) for side in
                  self.config.patch)  # fmt: skip
        return found[(slice(None), *inside)]

    def segmenter_class(self, *args):
        """The LesionSegmenter."""
        return LesionSegmenter(*args, connectivity=self.config.connectivity)

    # --- the threshold ------------------------------------------------------------------------------------------------

    @property
    def threshold(self):
        """The probability from which a voxel is a lesion's."""
        return self.config.threshold or self.chosen or _USUAL

    def choose_threshold(self):
        """Decide on the threshold of a trained network, by the validation cases: the point of FROC nearest to the
        upper left corner, the middle one where several are as near."""
        if self.config.threshold is None:
            name = f"threshold-{self.settings.train.steps}"
            self.chosen = self.records.recall(name, self._best_threshold, lambda value: 0 < value < 1)

    def _best_threshold(self):
        cases = [case for case in self.validation_cases() if self.lesions(case)]
        if not cases:
            log.warning("no validation case has a lesion to choose a threshold by: it is %g", _USUAL)
            return _USUAL
        found = lesion_scores.curve(self, self.validation_cases())
        best = found.middle()
        log.info("threshold %.3g: sensitivity %.2f at %.2f false positives per validation case",
                 found.thresholds[best], found.sensitivity[best], found.false_positives[best])  # fmt: skip
        return float(found.thresholds[best])

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def patch_scores(self, part):
        """{name: score} of the patches of a part of the split, that a method adds to its row; by default none."""
        return {}

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """Tables of lesion scores: {"evaluation": a row per run, "cases", "lesions", "detections", "sizes", "froc"}.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's cases.
            part: "test", "validation" or "train".
            seed: not used; there is no chance in these scores.
        """
        tables, pictures = lesion_scores.evaluate(methods, part)
        return Evaluation(tables, pictures)

    def previews(self):
        """Lesions and detections of up to three validation cases (without any: of training cases)."""
        cases = self.marked_cases("validation") or self.marked_cases("train")
        heads = []
        for case in cases[:_SHOWN]:
            images, label = read_case(case, self.case_spec)
            found = lesion_scores.Scored.of(self, case, images, label, self.segmenter()(images))
            heads.append(found.head(images[0]))
        return {"lesions": Heads(tuple(heads), self.threshold)} if heads else {}

    def views(self, methods, part="test"):
        """Lesions and detections of each case; see `tasks.mark_views`."""
        return mark_views.lesions_of(methods, part)
