"""What methods share that segment a pattern from the classes of images: with the pattern, or without it.

A method sees no label map in training. Those that there are serve validation and scores; an image of the class without
the pattern has an empty one, whether it lies in a file or not.
"""

import functools
from typing import Literal

import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from scipy import ndimage

from tfmed.augment.paired import Policy, reflected, sample_grid
from tfmed.config import MethodConfig, Voxels
from tfmed.data.checks import CaseSpec
from tfmed.data.classes import numbers_of
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Window
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Evaluation, Split
from tfmed.errors import DataError
from tfmed.metrics.segmentation import dice, hard_bce, precision, recall
from tfmed.ops.warp import warp_array
from tfmed.pictures.images import ImageGrid
from tfmed.tasks import segmentation_export, views
from tfmed.tasks.classification import ClassifiedCases
from tfmed.tasks.prediction import FURTHER_PICTURES, OUTPUTS, Segmenter
from tfmed.tasks.segmentation_settings import Classes
from tfmed.tasks.weak_baselines import WeakBaselines

_MOVES, _CUTOUT = Stream("weak_segmentation.moves"), Stream("weak_segmentation.cutout")
_SHOWN = 6  # images of a picture
SCORES = {"Dice": dice, "recall": recall, "precision": precision, "BCE": hard_bce}


class WeakSegmentationConfig(Classes, MethodConfig):
    """Images of two classes, how they are moved in training, and the baselines that evaluation adds."""

    modalities: tuple[str, ...] = Field(("red", "green", "blue"), min_length=1)
    image_classes: tuple[str, str] = ("negative", "positive")  # as the source names them: without, and with the pattern
    size: tuple[Voxels, Voxels] = (128, 128)  # pixels (y, x) of training images
    white: float = Field(255.0, gt=0, allow_inf_nan=False)  # the value that 1 stands for
    # training images
    flip: float | None = Field(0.5, ge=0, le=1)  # probability, for each axis
    shift: float = Field(0.2, ge=0, le=1)  # at most, of a side
    rotate_degrees: float = Field(10.0, ge=0, le=180)
    cutout: NonNegativeInt = Field(0, le=16)  # at most, squares of 20 % of a side that are made black
    # masks
    dilation: NonNegativeInt = Field(0, le=64)  # px that predicted masks grow, in a square
    # baselines of an evaluation
    baselines: tuple[Literal["colour", "cam", "grad_cam", "guided_grad_cam"], ...] = ()
    baseline_part: Literal["test", "validation"] = "test"  # whose best threshold is taken; test flatters the baselines
    classifier_width: PositiveInt = Field(64, le=1024)  # channels of the first stage of the baselines' ResNet-18
    classifier_steps: PositiveInt | None = None  # null: train.steps
    classifier_rate: float = Field(1e-4, gt=0)  # of Adam

    @model_validator(mode="after")
    def _one_pattern(self):
        if len(self.label_values) != 2:
            raise ValueError(f"label_values: {self.label_values} are not two; a pattern is there or is not")
        if len(set(self.image_classes)) < 2:
            raise ValueError("image_classes: give two names, first that of the images without the pattern")
        if set(self.baselines) & {"colour"} and len(self.modalities) != 3:
            raise ValueError("modalities: stains are told apart by three colours; take `colour` out of baselines")
        return self

    @property
    def channels(self):
        """Of an image."""
        return len(self.modalities)


class PatternSegmenter(Segmenter):
    """A Segmenter that shows what its model makes of an image, and of one without the pattern."""

    outputs = (*OUTPUTS[:1], *FURTHER_PICTURES)
    pictured = None  # prepared image (y, x, channel) -> {output: picture in [0, 1]}

    def picture(self, kind, images):
        """A picture `(y, x, 3)` uint8."""
        _, stack = self.prepared(images)
        if len(stack) != 1 or stack.shape[-1] != 3:
            raise DataError(f"has {len(stack)} slices of {stack.shape[-1]} colours; {kind} is drawn of one, of three")
        return np.rint(255 * np.clip(self.pictured(stack[0])[kind], 0, 1)).astype(np.uint8)


class WeakSegmentationMethod(WeakBaselines, ClassifiedCases, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that learn a pattern from the classes of images; its config is a `WeakSegmentationConfig`.

    A subclass gives `stages`, `network`, a keras.Model of images `(n, y, x, channel)` in [0, 1] -> logits
    `(n, y, x, 2)`, `decoded` and `class_found`.
    """

    Config = WeakSegmentationConfig
    outputs = PatternSegmenter.outputs
    single, threshold, trained_on = (), None, None

    @property
    def case_spec(self):
        config = self.config
        return CaseSpec(config.modalities, "optional", config.label_values, minimum_shape=(1, 8, 8), stack=True)

    def as_used(self, case):
        """The Case with the settings' `labels`."""
        return self.config.as_used(case)

    @functools.cached_property
    def cases(self):
        """{"train", "validation", "test"} -> list of Case; each class is split alike."""
        return super().cases.with_cases(lambda cases: [self.as_used(case) for case in cases])

    def preprocessing(self):
        """The settings' steps; the last one makes white 1."""
        return (*super().preprocessing(), Window(window_hu=(0.0, self.config.white), range=(0.0, 1.0)))

    # --- data ---------------------------------------------------------------------------------------------------------

    def image(self, case):
        """A case's prepared image `(y, x, channel)` float32 in [0, 1].

        Raises:
            DataError: it has several slices.
        """
        found = self.cache.stack(case, self.case_spec).image
        if len(found) != 1:
            raise DataError(f"{case.id}: has {len(found)} slices where a picture has one; split them into files")
        return np.asarray(found[0], np.float32)

    def classes_of(self, cases):
        """1 for each case with the pattern, else 0, int32."""
        return numbers_of(cases, self.config.image_classes)

    def reference(self, case):
        """The mask `(y, x)` of a case; None where nobody drew it."""
        label = self.cache.stack(case, self.case_spec).label
        if label is not None:
            return np.asarray(label[0]) > 0
        return None if self.classes_of([case])[0] else np.zeros(self.image(case).shape[:2], bool)

    def prepared(self, part, progress=None):
        """As `Method.prepared`; training images are of both classes, and of one size."""
        cases = super().prepared(part, progress)
        if part == "train":
            classes = self.classes_of(cases)
            for number, name in enumerate(self.config.image_classes):
                if not (classes == number).any():
                    raise DataError(f"no training image is of class {name!r}; add some, or set model.image_classes")
            for case in cases:
                if (size := self.image(case).shape[:2]) != tuple(self.config.size):
                    want = " x ".join(map(str, self.config.size))
                    raise DataError(
                        f"{case.id}: has {size[0]} x {size[1]} pixels where model.size asks for {want}; set model.size,"
                        f" or add {{step: resample, shape: [1, {want.replace(' x', ',')}]}} to data.preprocess"
                    )
        return cases

    def samples(self):
        """Samples `image` `(y, x, channel)` float32 in [0, 1], moved, and `label` int32; see `classes_of`."""
        config, seed, cases = self.config, self.settings.seed, self.prepared("train")
        labels, turn = self.classes_of(cases), config.rotate_degrees
        shift = (-config.shift, config.shift) if config.shift else None
        policy = Policy(flip=config.flip or None, shift=shift, rotate=(-turn, turn) if turn else None)

        def read(index):
            k = shuffled(seed, index, len(cases))
            grid = sample_grid(int(_MOVES(seed, index).integers(2**31)), config.size, policy)
            image = warp_array(self.image(cases[k]), reflected(grid, config.size), order=1, fill="edge")
            return {"image": cut_out(image, _CUTOUT(seed, index), config.cutout), "label": labels[k]}

        spec = {"image": ((*config.size, config.channels), "float32"), "label": ((), "int32")}
        return Samples(read, spec, self.settings.train.batch_size)

    # --- masks --------------------------------------------------------------------------------------------------------

    @property
    def network(self):
        """Images -> logits of a trained model."""
        raise NotImplementedError

    def decoded(self, image):
        """(image with, image without the pattern) `(y, x, channel)` in [0, 1] that a model makes of a prepared one."""
        raise NotImplementedError

    def class_found(self, image):
        """1 where a model sees the pattern in a prepared image, else 0."""
        raise NotImplementedError

    def of_images(self, images):
        """Probabilities `(n, y, x, 2)` of images, tensors; masks have grown."""
        found = tf.nn.softmax(tf.cast(self.network(images, training=False), tf.float32))
        if self.config.dilation:
            side = 2 * self.config.dilation + 1
            grown = tf.nn.max_pool2d(found[..., 1:], side, 1, "SAME")
            found = tf.concat([1.0 - grown, grown], -1)
        return found

    def probabilities(self, image):
        """Probabilities `(z, y, x, 2)` float32 of a prepared image `(z, y, x, channel)`."""
        takes = [tf.TensorSpec((None, None, None, self.config.channels), tf.float32)]
        return self.compiled("images", self.network, self.of_images, takes)(tf.constant(image, tf.float32)).numpy()

    def mask(self, image):
        """Mask `(y, x)` of a prepared image, as the network finds it: before it grows."""
        takes = [tf.TensorSpec((None, None, None, self.config.channels), tf.float32)]

        def found(images):
            return tf.argmax(self.network(images, training=False), -1) > 0

        return self.compiled("masks", self.network, found, takes)(tf.constant(image[None])).numpy()[0]

    def segmenter(self):
        """Segments pictures with the trained model."""
        config = self.config
        made = PatternSegmenter(
            config.modalities, config.label_values, self.preprocessing(), self.probabilities, names=config.class_names
        )
        made.pictured = self.pictured
        return made

    def views(self, methods, part="test"):
        """Reference, predictions and errors of each picture; see `tasks.views`."""
        return views.segmented(methods, part)

    def volume_graphs(self):
        """(prepared image -> probabilities, prepared image -> class numbers), functions of tensors."""
        return self.of_images, lambda image: segmentation_export.numbers_of_classes(self.of_images(image))

    def predict(self, words, out, outputs=None):
        """Segment pictures; see `Segmenter.predict`."""
        return self.segmenter().predict(words, out, outputs)

    def export_module(self):
        """A `tf.Module` that segments pictures of any size."""
        return segmentation_export.exported(self)

    # --- scores -------------------------------------------------------------------------------------------------------

    def with_references(self, part):
        """[(case, mask)] of a part of the split, of the cases whose mask is known."""
        found = [(case, self.reference(case)) for case in (self.prepared(part) if self.cases[part] else [])]
        return [(case, mask) for case, mask in found if mask is not None]

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run and way to segment, "cases": a row per run, way and image, and what a run adds}.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's cases.
            part: of the split.

        Raises:
            RunError: there are no cases, or a run was trained on one of them.
        """
        from tfmed.tasks.weak_scores import evaluate

        return Evaluation(evaluate(methods, part))

    def extra_tables(self, known):
        """{"codes": how many pixels have codes of the pattern, and how well it is removed}."""
        rows = []
        classes = self.classes_of([case for case, _ in known])
        for number, name in enumerate(self.config.image_classes):
            here = [pair for pair, of in zip(known, classes, strict=True) if of == number]
            if not here:
                continue
            images = [self.image(case) for case, _ in here]
            row = {"class": name, "images": len(here), "true area": np.mean([mask.mean() for _, mask in here])}
            row["area of class codes"] = np.mean([self.mask(image).mean() for image in images])
            row["classifier accuracy"] = np.mean([self.class_found(image) == number for image in images])
            rows.append({key: float(value) if isinstance(value, np.floating) else value for key, value in row.items()}
                        | self._removal(here))  # fmt: skip
        return {"codes": rows}

    def _removal(self, pairs):
        """Mean square errors of R_P and R_N within the pattern against the tissue without it, where that is known."""
        clean = tuple(f"clean_{name}" for name in self.config.modalities)
        spec = CaseSpec(clean, minimum_shape=(1, 8, 8), stack=True)
        errors = []
        for case, mask in pairs:
            if mask.any() and set(clean) <= set(case.images):
                truth = np.asarray(self.cache.stack(case, spec).image[0])
                errors.append([np.square(one - truth)[mask].mean() for one in self.decoded(self.image(case))])
        if not errors:
            return {}
        return dict(zip(("error of R_P in it", "error of R_N in it"), np.mean(errors, 0).tolist(), strict=True))

    def pictured(self, image):
        """{output of `FURTHER_PICTURES`: picture}: with the pattern, without it, the difference, grey for none."""
        shown, removed = self.decoded(image)
        return {"reconstruction": shown, "removed": removed, "difference": (shown - removed + 1) / 2}

    def previews(self):
        """Images with the pattern and without: the reference, what is found, and what the model makes of them."""
        part = next(part for part in ("validation", "train") if self.cases[part])
        cases = self.prepared(part)
        classes, rows = self.classes_of(cases), {}
        shown = [case for number in (1, 0) for case in np.array(cases, object)[classes == number][: _SHOWN // 2]]
        for case in shown:
            image, mask = self.image(case), self.reference(case)
            pictures = {"image": image, "reference": np.zeros(image.shape[:2]) if mask is None else mask}
            pictures |= {"found": self.mask(image)} | self.pictured(image)
            for name, one in pictures.items():
                one = np.asarray(one, np.float32)
                one = np.repeat(one[..., None], 3, -1) if one.ndim == 2 else np.repeat(one, 3 // one.shape[-1], -1)
                rows.setdefault(name, []).append(one[: self.config.size[0], : self.config.size[1]])
        text = f"Images of class {' and '.join(self.config.image_classes[::-1])}, as the network sees them."
        return {"patterns": ImageGrid(rows, (0.0, 1.0), text)}


def scores(mask, reference):
    """{"Dice", "recall", "precision", "BCE"} of two masks; the first three are 1 where both are empty."""
    return {name: score(mask, reference) for name, score in SCORES.items()}


def dilated(mask, radius):
    """A mask that has grown by some pixels, in a square."""
    return ndimage.binary_dilation(mask, np.ones((2 * radius + 1,) * 2, bool)) if radius else mask


def cut_out(image, rng, most, share=0.2):
    """An image `(y, x, channel)` with from one to `most` squares made black, of a share of its shorter side."""
    if most:
        side = max(1, round(share * min(image.shape[:2])))
        for _ in range(int(rng.integers(1, most + 1))):
            top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
            image[top : top + side, left : left + side] = 0
    return image
