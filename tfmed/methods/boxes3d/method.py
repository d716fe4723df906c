"""The method: from 3-D boxes to those of slices, from these to a segmenter."""

import dataclasses
import functools
import logging
import math

import numpy as np
import tensorflow as tf

from tfmed.data import boxes as boxed
from tfmed.data import splits
from tfmed.data.intensities import Intensities, foreground_intensities
from tfmed.data.patch_votes import corrected_boxes, perfect_votes, shows_object
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Hounsfield
from tfmed.data.readers import read_address
from tfmed.data.sampling import Stream, shuffled
from tfmed.errors import DataError, RunError
from tfmed.methods.boxes3d.models import Boxes3D, patch_classifier
from tfmed.methods.boxes3d.settings import Config
from tfmed.ops.slices import stack_at
from tfmed.pictures.boxes import BoxedSlice, BoxedSlices
from tfmed.tasks.segmentation import SegmentationMethod

log = logging.getLogger("tfmed")
_FLIPS = Stream("boxes3d.flips")
_AT_ONCE = 1024  # patches that the classifier sees
_SHOWN, _HEIGHTS = 3, (0.15, 0.5, 0.85)  # cases of a picture, and slices of each, from the lower end of its box
WORDS = {
    "corrected": "those used are shrunk by the patch classifier",
    "wide": "the slices of the 3-D box are used as they are",
    "tight": "tight boxes are used",
    "oracle": "those used are shrunk by patches whose labels are known",
}


class Boxes3DMethod(SegmentationMethod):
    """Classifier, correction of the boxes, segmenter. Boxes are voxels of the prepared images, `(z, 4)` of a case."""

    Config = Config
    takes_altered = False

    def __init__(self, settings):
        super().__init__(settings)
        self._boxes = {}  # (case, label map) -> 3-D box

    @classmethod
    def check(cls, settings):
        config = settings.model
        if len(config.modalities) != 1 or config.classes != 2:
            raise ValueError(
                "boxes3d finds one organ in one CT: give model.modalities one name, model.labels one class"
            )
        if settings.data.labelled_share != 1:
            raise ValueError("data.labelled_share means nothing here; set model.annotated instead")
        if config.supervision == "boxes" and not config.weights:
            raise ValueError(
                "model.tightness, size, cross_entropy, emptiness: all are 0, so there is no loss; raise one"
            )

    def preprocessing(self):
        return (*super().preprocessing(), Hounsfield())

    # --- cases and their boxes ----------------------------------------------------------------------------------------

    def labelled_of(self, cases):
        """The annotated ones."""
        groups = {case.group for case in cases} - {case.group for case in cases if case.label is None}
        count, seed = self.config.annotated, self.settings.data.labelled_seed
        if count > len(groups):
            raise DataError(f"{len(groups)} training patients have masks; set model.annotated {count} to that or lower")
        return splits.few_labels(cases, count / len(groups), self.settings.seed if seed is None else seed)

    @functools.cached_property
    def drawn(self):
        """{case: 3-D box} of the file of boxes, in voxels of the images' files."""
        if self.config.boxes is None:
            return {}
        found = boxed.read_boxes(self.config.boxes)
        known = {case.id for part in ("train", "validation", "test") for case in self.cases[part]}
        if strange := sorted(set(found) - known):
            raise DataError(
                f"{self.config.boxes}: names case {strange[0]}, which data.source has not; correct its name"
            )
        return found

    def box(self, case):
        """The 3-D box of a case, int32 `(6,)`: the drawn one, or else that of its mask."""
        known = case.id, case.label
        if known not in self._boxes:
            self._boxes[known] = self._found_box(case)
        return self._boxes[known]

    def _found_box(self, case):
        prepared = self.open(case)
        if case.id not in self.drawn:
            if prepared.label is None:
                raise DataError(f"{case.id}: has neither a mask nor a line in model.boxes; add one or remove the case")
            return boxed.tight_box(prepared.label)
        what, name = f"{self.config.boxes}: {case.id}", self.config.modalities[0]
        image = read_address(case.images[name], case.meta.get("series_uid"))
        boxed.check_within(self.drawn[case.id], image.shape, what)
        box = boxed.on_grid(self.drawn[case.id], image.affine, prepared.affine, prepared.image.shape[:3], what)
        if prepared.label is not None and np.any(prepared.label):
            within = boxed.cut(prepared.label, box)
            share = np.count_nonzero(within) / np.count_nonzero(prepared.label)
            if not share:
                raise DataError(f"{what}: its box misses the organ of its mask; are axes or cases exchanged?")
            if share < 0.99:
                log.warning("%s: its box holds %.0f %% of the mask", what, 100 * share)
        return box

    def prepared(self, part, progress=None):
        """As `SegmentationMethod.prepared`; boxes that do not fit are told before the first step."""
        cases = super().prepared(part, progress)
        if part == "train":
            for case in cases:
                size = self.open(case).image.shape[1:3]
                if any(have > seen for have, seen in zip(size, self.config.patch, strict=True)):
                    raise DataError(
                        f"{case.id}: its slices of {size[0]} x {size[1]} pixels are larger than model.patch, and a box "
                        "that is cut says nothing; raise model.patch, or resample in data.preprocess"
                    )
                self.box(case)
        return cases

    def wide(self, case):
        """The 3-D box of a case as boxes of its slices."""
        return boxed.slice_boxes(self.box(case), len(self.open(case).image))

    def boxes_of(self, case, source=None, slices=None):
        """The boxes of a case's slices, int32 `(z, 4)`.

        Args:
            case: the Case; of any source but "wide" or "corrected" it has a mask.
            source: "wide", "tight", "oracle" or "corrected" (by the trained classifier); default the settings'.
            slices: numbers of those to look at, others get no box; None: all.
        """
        source, config, prepared = source or self.config.box_source, self.config, self.open(case)
        if source == "tight":
            return boxed.tight_boxes(prepared.label)
        wide = self.wide(case)
        if slices is not None:
            wide = np.where(np.isin(np.arange(len(wide)), slices)[:, None], wide, 0)
        if source == "wide":
            return wide

        def known(z, box):
            return perfect_votes(prepared.label[z], box, config.box_patch)

        vote = known if source == "oracle" else functools.partial(self.votes, prepared.image)
        return corrected_boxes(wide, vote, config.box_patch, config.box_filter, config.uncovered)

    def votes(self, image, z, box):
        """Which patches of a slice's box show the organ, says the classifier: bool `(rows, columns)`."""
        patches = boxed.tiles(stack_at(image, z, self.config.neighbours), box, self.config.box_patch)
        flat = patches.reshape(-1, *patches.shape[2:]).astype(np.float32)
        scores = self.models["classifier"].scores
        found = [scores(tf.constant(flat[k : k + _AT_ONCE])).numpy() for k in range(0, len(flat), _AT_ONCE)]
        return (np.concatenate(found) > 0).reshape(patches.shape[:2])

    def decided(self):
        """{case: boxes of its slices} on which the segmenter is trained, decided once and kept with the run.

        Where boxes are corrected those of annotated cases are tight.
        """
        found = self.records.recall("boxes", self._decide, _are_boxes)
        found = {name: np.array(rows, np.int32).reshape(-1, 4) for name, rows in found.items()}
        for case in self.training_cases[1]:
            if case.id in found and len(found[case.id]) != len(self.open(case).image):
                raise RunError(f"{case.id}: its boxes in records/boxes.json are of other slices; remove that file")
        return found

    def _decide(self):
        annotated, cases = self.training_cases
        exact = {case.id for case in annotated} if self.config.box_source in ("corrected", "oracle") else set()
        found, scores = {}, []
        for case in cases:
            if case.label is None and self.config.box_source in ("tight", "oracle"):
                continue
            used = self.boxes_of(case, "tight" if case.id in exact else None)
            found[case.id] = used.tolist()
            if case.label is not None and case.id not in exact and np.any(self.open(case).label):
                tight = boxed.tight_boxes(self.open(case).label)
                scores.append([boxed.mean_iou(boxes, tight) for boxes in (self.wide(case), used)])
        if scores:
            wide, used = np.mean(scores, 0)
            log.info("boxes: mean IoU with tight boxes %.3f, of the 3-D boxes %.3f (%d cases)", used, wide, len(scores))
        return found

    # --- stages -------------------------------------------------------------------------------------------------------

    def intensities(self):
        """{"low", "high", "mean", "deviation"} of the organ in HU, measured once and kept with the run."""
        return self.records.recall("intensities", self._measure, _are_intensities)

    def _measure(self):
        annotated, cases = self.training_cases
        cases = annotated if self.config.statistics_from == "annotated" else cases
        opened = (self.open(case) for case in cases if case.label is not None)
        return dataclasses.asdict(foreground_intensities((one.image, one.label) for one in opened))

    def stages(self):
        config, train = self.config, self.settings.train
        shared, rate = {"intensities": self.intensities()}, config.learning_rate
        if config.box_source == "corrected" and config.supervision != "masks":
            steps = config.classifier_steps
            if steps is None and not self.records.frozen:
                steps = -(-config.classifier_epochs * self._patches_of_annotated[-1] // train.batch_size)
            yield self.stage("classifier", patch_classifier, self.patch_samples, rate, steps=steps, **shared)
        model = functools.partial(Boxes3D, steps=train.steps)
        yield self.stage("segmenter", model, self.samples, rate, validation=self.validation, **shared)

    @functools.cached_property
    def _patches_of_annotated(self):
        """[patches of the annotated cases before each of them, ..., of all of them]."""
        counts = [0]
        for case in self.training_cases[0]:
            box = self.box(case)
            counts.append((box[1] - box[0]) * math.prod(boxed.lattice(box[2:], self.config.box_patch)))
        return np.cumsum(counts).tolist()

    def patch_samples(self):
        """Samples `image` `(p, p, slices)` float32 in HU and `label`, 1 where more than half of the patch is organ."""
        config, seed = self.config, self.settings.seed
        cases, before = self.training_cases[0], self._patches_of_annotated
        boxes, side = [self.box(case) for case in cases], config.box_patch

        def read(index):
            place = shuffled(seed, index, before[-1])
            k = int(np.searchsorted(before, place, side="right")) - 1
            box, prepared = boxes[k], self.open(cases[k])
            z, row, column = np.unravel_index(place - before[k], (box[1] - box[0], *boxed.lattice(box[2:], side)))
            z = int(z + box[0])
            whole = [0, box[3] - box[2], 0, box[5] - box[4]]
            inner = prepared.image[
                :, box[2] : box[3], box[4] : box[5]
            ]  # a view: whole slices would be read for a patch
            image = boxed.tile(stack_at(inner, z, config.neighbours), whole, side, row, column)
            return {"image": image, "label": shows_object(boxed.tile(prepared.label[z], box[2:], side, row, column))}

        spec = {"image": ((side, side, config.channels), "float32"), "label": ((), "int32")}
        return Samples(read, spec, self.settings.train.batch_size)

    def samples(self):
        """Samples `image` `(*patch, slices)` float32 in HU, `boxes` `(1, 4)`, `label` `(*patch)` and `annotated`."""
        config, seed, patch = self.config, self.settings.seed, self.config.patch
        annotated, cases = self.training_cases
        used = {} if config.supervision == "masks" else self.decided()
        cases = [case for case in cases if case.id in used or (not used and case.label is not None)]
        masks = {case.id for case in (cases if config.supervision == "masks" else annotated)}
        patches = self.patches(cases)

        def read(index):
            image, label, case = patches(index)
            z, *corner = patches.place(index)[1]
            box = used[case.id][z] if used else np.zeros(4, np.int32)
            box = boxed.shifted(boxed.enlarged(box, config.box_margin, self.open(case).image.shape[1:3]), corner)
            shown = case.id in masks
            label = label[0] if shown else np.zeros(patch, np.uint8)
            image = np.concatenate(list(image), -1)
            for axis, flips in enumerate(_FLIPS(seed, index).random(2) < 0.5 * config.flip):
                if flips:
                    image, label = np.flip(image, axis), np.flip(label, axis)
                    box = boxed.mirrored(box, axis, patch[axis])
            return {"image": image, "boxes": box[None], "label": label, "annotated": float(shown)}

        spec = {
            "image": ((*patch, config.channels), "float32"), "boxes": ((1, 4), "int32"), "label": (patch, "int32"),
            "annotated": ((), "float32"),
        }  # fmt: skip
        return Samples(read, spec, self.settings.train.batch_size)

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    @property
    def network(self):
        if "segmenter" not in self.models:
            raise RunError("the segmenter of this run has not been trained yet; go on with fit RUN --resume")
        return self.models["segmenter"].network

    @property
    def uses_boxes(self):
        """Whether the boxes on which the segmenter is trained are known: not of masks, nor before the classifier is."""
        config = self.config
        return config.supervision != "masks" and (config.box_source != "corrected" or "classifier" in self.models)

    def extra_scores(self, case, segmentation, reference, seed):
        """How well boxes agree with the tight ones, over the slices of a case that show the organ (Table 2)."""
        tight, wide = boxed.tight_boxes(self.open(case).label), self.wide(case)
        found = {"box IoU, 3-D": boxed.mean_iou(wide, tight), "box IoU, used": float("nan")}
        if self.uses_boxes:
            found["box IoU, used"] = boxed.mean_iou(self.boxes_of(case), tight)
        return {name: found for name in self.config.scored}

    def previews(self):
        """Those of `SegmentationMethod` once there is a segmenter, and boxes in slices."""
        shown = super().previews() if "segmenter" in self.models else {}
        picture = self.boxes_picture()
        return shown | ({"boxes": picture} if picture.rows else {})

    def boxes_picture(self):
        """Three slices each of up to three training cases, those first whose boxes were corrected."""
        annotated, cases = self.training_cases
        last = {case.id for case in annotated}
        rows = {}
        for case in sorted(cases, key=lambda case: case.id in last):
            if len(rows) < _SHOWN and (row := self._boxed_slices(case)):
                rows[case.id] = row
        return BoxedSlices(rows, WORDS[self.config.box_source])

    def _boxed_slices(self, case):
        prepared, (z0, z1, *rectangle) = self.open(case), self.box(case).tolist()
        source = self.config.box_source
        if z1 == z0 or (prepared.label is None and source in ("tight", "oracle")):
            return []
        slices = sorted({z0 + round(share * (z1 - z0 - 1)) for share in _HEIGHTS})
        used = self.boxes_of(case, slices=slices) if self.uses_boxes else None
        found = self.labels(prepared.image) if "segmenter" in self.models else None
        row = []
        for z in slices:
            boxes = {"3-D box": tuple(rectangle)}
            boxes |= {} if used is None else {"used box": tuple(used[z].tolist())}
            if prepared.label is not None:
                boxes["tight box"] = tuple(boxed.tight_box(prepared.label[z]).tolist())
            image = np.asarray(prepared.image[z, ..., 0], np.float32)
            row.append(BoxedSlice(f"slice {z}", image, boxes, None if found is None else found[z] > 0))
        return row


def _are_boxes(value):
    """Whether a record is {case: list of four numbers per slice}."""
    return isinstance(value, dict) and all(
        isinstance(rows, list) and all(isinstance(row, list) and len(row) == 4 for row in rows)
        for rows in value.values()
    )


def _are_intensities(value):
    """Whether a record holds the four numbers by which HU are scaled."""
    names = {field.name for field in dataclasses.fields(Intensities)}
    return isinstance(value, dict) and set(value) == names and all(isinstance(v, float) for v in value.values())
