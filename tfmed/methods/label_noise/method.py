"""The method: which slices are annotated, what is done to their masks, and Dice of all slices together."""

import functools
import logging

import numpy as np
import tensorflow as tf

from tfmed.augment import corrupt
from tfmed.augment.paired import Policy, reflected, sample_grid
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream
from tfmed.data.streams import Mixture
from tfmed.engine.abilities import Seed, Split
from tfmed.errors import DataError
from tfmed.methods.label_noise.genseg import GenSegModel
from tfmed.methods.label_noise.models import Segmenter, WithAutoEncoder, WithTeacher
from tfmed.methods.label_noise.settings import Config, Corruption, Crop, Drop, Permute
from tfmed.metrics.segmentation import GlobalDice
from tfmed.ops.warp import warp_array
from tfmed.pictures.images import ImageGrid
from tfmed.pictures.masks import ChangedMasks, Row
from tfmed.tasks.segmentation import SegmentationMethod

log = logging.getLogger("tfmed")
_MOVES, _PICKED = Stream("label_noise.moves"), Stream("label_noise.picked")
MODELS = {"supervised": Segmenter, "autoencoder": WithAutoEncoder, "mean_teacher": WithTeacher, "genseg": GenSegModel}
_SHOWN, _LOADS = 3, 3  # masks of a picture, and how often each is loaded for it


class LabelNoiseMethod(SegmentationMethod):
    """Segmentation of slices whose training masks were corrupted; validation and test masks never are."""

    Config = Config
    takes_altered = False
    totals: tuple[GlobalDice, GlobalDice]  # of the cases of an evaluation, hard and soft

    @classmethod
    def check(cls, settings):
        segmenter, batch = settings.model.segmenter, settings.train.batch_size
        parts, each = (settings.train.replicas or 1) * settings.train.gradient_accumulation, sum(segmenter.shares)
        if batch % (each * parts):
            raise ValueError(
                f"train.batch_size {batch} must be a multiple of {each * parts}: model.segmenter {segmenter.name} sees "
                f"{segmenter.sees}, in {parts} equal parts"
            )

    @functools.cached_property
    def streams(self):
        """How a batch is shared by annotated slices and others."""
        shares = self.config.segmenter.shares
        return Mixture(tuple(self.settings.train.batch_size * one // sum(shares) for one in shares))

    def stages(self):
        model, rate = MODELS[self.config.segmenter.name], self.config.learning_rate
        yield self.stage("segmenter", model, self.samples, rate, streams=self.streams, validation=self.validation)

    # --- slices and their masks ---------------------------------------------------------------------------------------

    def prepared(self, part, progress=None):
        """As `SegmentationMethod.prepared`; a corruption that leaves nothing to learn is refused."""
        cases = super().prepared(part, progress)
        if part == "train":
            self.annotated = self.annotated_of(self.labelled_of(cases))
            self._check_corruption()
        return cases

    @functools.cached_property
    def _areas(self):
        """{case's id: what `areas` found}."""
        return {}

    def areas(self, case):
        """(pixels of the structure, pixels that are not 0), int64 `(z,)` each, of a case with a label map; kept."""
        if case.id not in self._areas:
            prepared = self.open(case)
            tissue = [np.count_nonzero(np.any(plane != 0, -1)) for plane in prepared.image]
            self._areas[case.id] = np.count_nonzero(prepared.label, (1, 2)), np.array(tissue)
        return self._areas[case.id]

    def is_diseased(self, case):
        """Whether slices show more of the structure than `least_foreground`, bool `(z,)`."""
        structure, tissue = self.areas(case)
        return structure > self.config.least_foreground * tissue

    def is_healthy(self, case):
        """Whether slices show nothing of the structure, and enough tissue, bool `(z,)`."""
        structure, tissue = self.areas(case)
        size = np.prod(self.open(case).label.shape[1:])
        return (structure == 0) & (tissue > self.config.segmenter.least_tissue * size)

    def annotated_of(self, cases):
        """[(case, slice)] of what shows more of the structure than `least_foreground`.

        Raises:
            DataError: nothing does.
        """
        found = [(case, int(z)) for case in cases for z in np.flatnonzero(self.is_diseased(case))]
        if not found:
            raise DataError(
                f"no training slice has more than {100 * self.config.least_foreground:g} % of the structure; "
                "lower model.least_foreground, or check model.labels"
            )
        return found

    @functools.cached_property
    def picked(self):
        """The numbers of the annotated slices that `permute` and `drop` take: of one seed the same for both."""
        count, fraction = len(self.annotated), self.config.corruption.fraction
        return corrupt.chosen(count, fraction, _PICKED(self.settings.seed))

    @functools.cached_property
    def sources(self):
        """Whose mask each annotated slice has, `(slices,)`: its own, but where `permute` says otherwise."""
        corruption, count = self.config.corruption, len(self.annotated)
        if not isinstance(corruption, Permute):
            return np.arange(count)
        draw = _PICKED(self.settings.seed)
        try:
            return corrupt.permutation(count, corruption.fraction, draw, corruption.pairing)
        except ValueError as error:
            raise DataError(f"model.corruption.fraction: {error}") from None

    @functools.cached_property
    def used(self):
        """The numbers of the annotated slices that train."""
        everything = np.arange(len(self.annotated))
        return np.delete(everything, self.picked) if isinstance(self.config.corruption, Drop) else everything

    @functools.cached_property
    def slope(self):
        """The slope of a random crop's edges; what it removes is said once."""
        crop = self.config.corruption
        if not isinstance(crop, Crop) or crop.kind == "left":
            return None
        slope = None if crop.slope == "calibrate" else corrupt.SLOPES[crop.least] if crop.slope is None else crop.slope
        masks = [self.open(case).label[z] for case, z in self.annotated]
        found = corrupt.calibrated(masks, crop.least, slope=slope)
        log.info("crop %s: slope %.2f removes %.1f %% of the training masks, on average",
                 crop.kind, found.slope, 100 * found.removed)  # fmt: skip
        return found.slope

    def mask(self, number, load, when, mask=None):
        """The mask of an annotated slice, as the network is to see it at the moment `when`.

        Args:
            number: of the slice among `annotated`.
            load: how often it was loaded before.
            when: "before" or "after" the geometric augmentation: a corruption acts at one of them.
            mask: what it is then, uint8 `(H, W)`; None: the slice's own, or another's where labels are permuted.
        """
        case, z = self.annotated[number]
        if mask is None:
            other, there = self.annotated[self.sources[number]]
            mask = _resized(np.asarray(self.open(other).label[there]), self.open(case).label.shape[1:])
        corruption = self.config.corruption
        if not isinstance(corruption, Corruption) or corruption.when != when:
            return mask
        load = None if corruption.resample == "frozen" else load
        return corruption.once(mask, corrupt.generator(self.settings.seed, f"{case.id}/{z}", load), self.slope)

    def _check_corruption(self):
        """DataError where labels cannot be permuted so, or no mask would be left."""
        if not len(self.used):
            raise DataError(
                f"model.corruption.fraction: drops all {len(self.annotated)} annotated slices; lower it, or add cases"
            )
        if not any(self.changed(number, 0).any() for number in self.used):
            raise DataError(
                f"model.corruption: {self._what()} empties the mask of every one of the {len(self.used)} training "
                "slices; make it weaker, or set it to clean"
            )

    def changed(self, number, load):
        """The mask of a slice as it is loaded, without augmentation."""
        return self.mask(number, load, "after", self.mask(number, load, "before"))

    def _what(self):
        """The corruption in words."""
        given = self.config.corruption.model_dump(exclude={"name"})
        return f"{self.config.corruption.name} ({', '.join(f'{key} {value}' for key, value in given.items())})"

    # --- samples ------------------------------------------------------------------------------------------------------

    def samples(self):
        """Samples `image` `(*patch, channel)` float32 and `label` `(*patch)` uint8, 0 if not annotated."""
        labelled, cases = self.training_cases
        numbers = {self.annotated[k][0].id: {} for k in self.used}
        for k in self.used:
            case, z = self.annotated[k]
            numbers[case.id][z] = k
        labelled = [case for case in labelled if case.id in numbers]
        slices = {name: sorted(found) for name, found in numbers.items()}
        draw = [self.patches(labelled, slices=slices), *self.further_patches(cases)]
        policy, shape, config = moves(self.config), self.config.patch, self.config

        def read(index):
            stream, place = self.streams.place(index)
            image, _, case = draw[stream](place)
            rng = _MOVES(self.settings.seed, index)
            grid = sample_grid(rng.integers(2**31), shape, policy)
            grid = reflected(grid + corrupt.displacement(shape, config.warp_pixels, rng), shape)
            image = warp_array(self.flat(image).astype(np.float32), grid, order=1)
            image = image + rng.uniform(-config.intensity, config.intensity, image.shape[-1:]).astype(np.float32)
            if stream:
                return {"image": image, "label": np.zeros(shape, np.uint8)}
            starts = draw[0].place(place)[1]
            number, load = numbers[case.id][starts[0]], place // len(self.used)
            mask = self.mask(number, load, "before")
            mask = boxed_array(mask[None], [0, *starts[1:]], self.window, "edge")[0]
            mask = warp_array(mask[..., None], grid, order=0)[..., 0]
            return {"image": image, "label": self.mask(number, load, "after", mask)}

        spec = {"image": ((*shape, len(config.modalities)), "float32"), "label": (shape, "uint8")}
        return Samples(read, spec, self.streams.per_step)

    def further_patches(self, cases):
        """What slices without masks are drawn from, for each further stream. That a slice is diseased or healthy is
        known of all that have a label map, whether that trains or not.

        Raises:
            DataError: GenSeg has no diseased, or no healthy slice.
        """
        if self.config.segmenter.name != "genseg":
            return [self.patches(cases, 1, foreground=0.0)]
        mapped, found = [case for case in cases if case.label is not None], []
        for stream, (kind, of_kind) in enumerate((("diseased", self.is_diseased), ("healthy", self.is_healthy)), 1):
            slices = {case.id: np.flatnonzero(of_kind(case)).tolist() for case in mapped if of_kind(case).any()}
            if not slices:
                raise DataError(
                    f"no training slice is {kind}, and GenSeg needs both kinds; check model.labels, or choose another "
                    "model.segmenter"
                )
            shown = [case for case in mapped if case.id in slices]
            found.append(self.patches(shown, stream, foreground=0.0, slices=slices))
        return found

    # --- Dice of all slices together, and pictures --------------------------------------------------------------------

    def validated(self):
        return ("dice", "dice_soft")

    def validation(self, model):
        """{"dice", "dice_soft"} of all slices of the labelled validation cases together, whose masks are clean."""
        if not self.validation_cases():
            return {}
        self.prepared("validation")
        hard, soft = GlobalDice(), GlobalDice()
        for case in self.validation_cases():
            prepared = self.open(case)
            found, right = self.probabilities(prepared.image), np.asarray(prepared.label) == 1
            hard.add(found.argmax(-1), right)
            soft.add(found[..., 1].clip(0, 1), right)
        return {"dice": hard.value(), "dice_soft": soft.value(smooth=1.0)}

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """As `SegmentationMethod.evaluate`, with Dice of all slices together, and relative to that of the first run."""
        ours = {name: method for name, method in methods.items() if isinstance(method, LabelNoiseMethod)}
        for method in ours.values():
            method.totals = GlobalDice(), GlobalDice()
        tables = super().evaluate(methods, part, seed)
        for row in tables["evaluation"]:
            if row["run"] in ours:
                hard, soft = ours[row["run"]].totals
                row |= {"Dice, all slices": hard.value(), "soft Dice, all slices": soft.value(smooth=1.0)}
                row["relative Dice"] = hard.value() / first if (first := self.totals[0].value()) else float("nan")
        return tables

    def extra_scores(self, case, segmentation, reference, seed):
        """No score of the case alone: it is counted in the Dice of all slices."""
        hard, soft = self.totals
        hard.add(np.asarray(segmentation.labels.array) == 1, reference == 1)
        soft.add(np.asarray(segmentation.probabilities.array)[..., 1].clip(0, 1), reference == 1)
        return {}

    def previews(self):
        """Those of `SegmentationMethod`, and corrupted masks beside clean ones."""
        shown = super().previews()
        if isinstance(self.config.corruption, Corruption | Permute):
            shown["labels"] = self.changed_masks()
        if self.config.segmenter.name == "genseg":
            shown["translations"] = self.translations()
        return shown

    def translations(self):
        """A picture of diseased slices, what the translation makes of them, and the difference, which is the tumour."""
        samples = self.samples()
        chosen = [k for k in range(samples.per_step * _SHOWN) if not self.streams.place(k)[0]][:_SHOWN]
        images = tf.constant(np.stack([samples.read(k)["image"] for k in chosen]))
        healthy, residual = self.model.translated(images)
        rows = {"diseased": images, "healthy": healthy, "difference": residual}
        caption = "Training slices, the same freed of their tumours, and what these add; the first modality."
        return ImageGrid({name: list(np.asarray(one)[..., 0]) for name, one in rows.items()}, (-1.0, 1.0), caption)

    def changed_masks(self):
        """A picture of training slices, the largest masks of different cases first, each loaded several times."""
        self.training_cases  # noqa: B018 - finds the annotated slices
        clean = [self.open(case).label[z] for case, z in self.annotated]
        taken = self.picked if isinstance(self.config.corruption, Permute) else self.used
        order = sorted(taken, key=lambda number: -np.count_nonzero(clean[number]))
        largest = {self.annotated[number][0].id: number for number in reversed(order)}
        rows = []
        for number in sorted(largest.values(), key=order.index)[:_SHOWN]:
            case, z = self.annotated[number]
            image = np.asarray(self.open(case).image[z, ..., 0], np.float32)
            changed = tuple(self.changed(number, load) for load in range(_LOADS))
            rows.append(Row(f"slice {z} of {case.id}", image, np.asarray(clean[number]), changed))
        return ChangedMasks(tuple(rows), tuple(f"epoch {load + 1}" for load in range(_LOADS)), self._what())


def moves(config):
    """How slices and their masks are mirrored, turned and magnified."""
    turn, zoom = config.rotate_degrees, config.zoom
    return Policy(flip=0.5 if config.flip else None, shift=None, rotate=(-turn, turn), scale=(1 - zoom, 1 + zoom))


def _resized(mask, shape):
    """A mask on a grid of another size (nearest neighbour): slices whose labels are permuted may differ in theirs."""
    if mask.shape == tuple(shape):
        return mask
    y, x = (np.arange(new) * old // new for old, new in zip(mask.shape, shape, strict=True))
    return mask[y[:, None], x]
