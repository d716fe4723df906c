"""Surgical tools found with few boxes: a detector labels further video, and a new one learns its confident boxes.

Paper: Jiang, Xia, Wang & Jia, "Semi-supervised Surgical Tool Detection Based on Highly Confident Pseudo Labeling and
Strong Augmentation Driven Consistency", DALI (MICCAI workshop) 2021.

Task: semi-supervised detection of objects by boxes, 2-D

Idea: a detector is trained on annotated frames. Once, it looks for tools in frames that are not annotated, and what it
is very sure of becomes their boxes. A new detector then learns both: annotated frames as they are, the others distorted
in colour and place, with squares cut out.

Reproduces: AP50:95 of twelve tools in three videos of CaDTD, boxes around whole tools: 67.6 of the first detector, 71.9
of the second (AP50 88.3 and 91.2; p = 0.0014); around heads 69.4 and 72.1. The paper names no hardware or times.

Deviates: the paper's Faster R-CNN is not here; RetinaNet of KerasCV is, or YOLOv8 or YOLOv5, whose scores are lower:
choose `tau` so that about 95 % of kept boxes are right on frames held out (`pseudo.json` and the log tell what is
kept). Open in the paper: optimiser, schedule, details of augmentation and the test videos; they are STAC's (Sohn et
al. 2020) and CaDIS'. A frame without a confident box does not train; `keep_top1` keeps its best one, as STAC does. The
printed losses have a weight outside of its sum, and q where q* is meant; both are corrected. Images are letterboxed to
one size.
"""

import functools
import logging
from typing import Literal

import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.augment import boxes as augment
from tfmed.data import sources
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.data.streams import Streams
from tfmed.errors import DataError
from tfmed.nn.adam import Adam
from tfmed.nn.sgd import SGD
from tfmed.tasks.detection import DetectionConfig, DetectionMethod
from tfmed.tasks.landmark_settings import ImageSet
from tfmed.training.schedules import Schedule
from tfmed.training.single_network import SingleNetworkModel

log = logging.getLogger("tfmed")
_WEAK, _STRONG = Stream("tool_detection.weak"), Stream("tool_detection.strong")


class Config(DetectionConfig):
    """The paper's numbers are [P], those of STAC's code [S]; others are open."""

    mode: Literal["supervised", "ssl", "ssl_hc", "ssl_sa", "ssl_hc_sa"] = (
        "ssl_hc_sa"  # hc: tau; sa: strong augmentation
    )
    tau: float = Field(0.9, ge=0)  # [P] least score of a box that teaches, of modes with hc; above 1 none does
    basic_tau: float = Field(0.5, ge=0)  # [P] likewise of the others
    keep_top1: bool = False  # [S] True: a frame without such a box keeps its best one
    lambda_u: float = Field(2.0, ge=0, allow_inf_nan=False)  # [P] weight of the loss of frames that were not annotated
    unlabelled: ImageSet | None = None  # further frames, beside those of section `data` without boxes
    student_steps: PositiveInt | None = None  # null: train.steps, as of the teacher
    flip: float = Field(0.5, ge=0, le=1)  # [P] chance of mirroring annotated frames
    geometric: Literal["one", "image", "box", "both"] = "one"  # [S] strong: whole frame or one box, by chance
    optimizer: Literal["sgd", "adam"] = "sgd"  # [S] sgd; adam, with its own learning_rate, for small sets
    learning_rate: float = Field(1e-2, gt=0)  # [S] for batches of 8
    momentum: float = Field(0.9, ge=0, lt=1)  # [S] of SGD
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False)  # [S] of SGD, as a penalty in the gradient
    clip_norm: float = Field(10.0, gt=0, allow_inf_nan=False)  # of SGD: of all gradients together

    @property
    def least(self):
        """Least score of a pseudo box."""
        return self.tau if "hc" in self.mode else self.basic_tau


def build_network(config, seed=0):
    """Images `(n, *size, 3)` in [0, 255] -> the detector's outputs (`tfmed.nn.detectors`)."""
    return config.detector.build(max(len(config.classes), 1), config.size, seed).network


class ToolDetector(SingleNetworkModel):
    """A detector, as teacher or student.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        classes: how many.
        streams: annotated and other images of a step; None: all are annotated.

    A batch holds `image` uint8 `(n, *size, 3)`, `boxes` `(n, most, 4)` and `classes` `(n, most)`, -1 beyond them.
    """

    def __init__(self, config, rate=None, *, classes=1, streams=None, **kwargs):
        super().__init__(**kwargs)
        self.config, self.streams = config, streams
        self.detector = config.detector.build(classes, config.size, self.noise_seed)
        self.network = self.detector.network
        rate = config.learning_rate if rate is None else rate
        optimizer = (SGD(rate, config.momentum, config.weight_decay, global_clipnorm=config.clip_norm)
                     if config.optimizer == "sgd" else Adam(rate))  # fmt: skip
        terms = self.detector.terms
        more = [f"unlabelled_{name}" for name in terms] if streams else []
        self.finish_building({"network": (optimizer, [self.network])}, ["loss", *terms, *more])

    def network_loss(self, batch):
        """L = L_s + lambda_u L_u, each of them class and box losses by the number of anchors that learn a box."""
        if self.streams is None:
            loss, logs = self.loss_of(batch)
            return loss, logs | {"loss": loss}
        labelled, unlabelled = ({}, {})
        for name in ("image", "boxes", "classes"):
            labelled[name], unlabelled[name] = self.streams.divide(batch[name])
        loss, logs = self.loss_of(labelled)
        other, more = self.loss_of(unlabelled)
        logs |= {f"unlabelled_{name}": value for name, value in more.items()}
        loss += self.config.lambda_u * other
        return loss, logs | {"loss": loss}

    def loss_of(self, batch):
        """(sum of the detector's losses of a forward pass, each by name)."""
        outputs = self.network(tf.cast(batch["image"], tf.float32), training=True)
        losses = self.detector.losses(outputs, batch["boxes"], batch["classes"], self.sum_over_replicas)
        return tf.add_n(list(losses.values())), losses


class ToolDetectionMethod(DetectionMethod):
    """Teacher, its boxes of the frames without annotation, and the student."""

    Config = Config

    @classmethod
    def check(cls, settings):
        config = settings.model
        if config.mode != "supervised" and settings.data.source.startswith("phantom_"):
            given = settings.data.options.get("unlabelled", 0) or config.unlabelled
            if not given:
                raise ValueError(
                    f"model.mode: {config.mode} learns from frames without boxes; give some, as in data.options="
                    "{cases: 60, unlabelled: 40}, or set model.mode=supervised"
                )

    # --- stages -------------------------------------------------------------------------------------------------------

    def stages(self):
        config, train = self.config, self.settings.train
        rate, options = config.learning_rate * train.batch_size / 8, {"classes": len(self.classes)}
        yield self.stage("teacher", ToolDetector, self.annotated_samples, rate, validation=self.validation, **options)
        if config.mode == "supervised":
            return
        steps = config.student_steps or train.steps
        streams = Streams(train.batch_size, train.batch_size)

        def student(own, rate, **kwargs):
            rate = rate.scaled(1.0, steps / train.steps) if isinstance(rate, Schedule) else rate
            return ToolDetector(own, rate, **kwargs)

        yield self.stage(
            "student", student, functools.partial(self.all_samples, streams), rate, steps=steps,
            per_step=streams.per_step, validation=self.validation, streams=streams, **options,
        )  # fmt: skip

    # --- data ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def further(self):
        """Frames of `model.unlabelled`, whose boxes, if there are any, are not looked at."""
        one = self.config.unlabelled
        if one is None:
            return []
        found = sources.open(one.source, one.root, **one.options)
        held = self.cases.patients("validation") | self.cases.patients("test")
        if twice := sorted(held & {case.group for case in found}):
            raise DataError(f"model.unlabelled: {twice[0]} is held out in the data section; give other frames")
        return self.all_train("further", found, one.root)["train"]

    @property
    def frames(self):
        """All frames that pseudo boxes are looked for in."""
        return [*self.unlabelled, *self.further] if self.config.mode != "supervised" else []

    def prepared(self, part, progress=None):
        """As `DetectionMethod.prepared`; the frames without annotation with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train" and self.config.mode != "supervised":
            if not self.frames:
                raise DataError(
                    f"no frame without boxes to learn from, which model.mode {self.config.mode} needs; add some to "
                    "data.root, name them in model.unlabelled, or set model.mode=supervised"
                )
            self.check_frames(self.frames, progress)
        return cases

    def weak(self, case, index):
        """{"image", "boxes", "classes"} of an annotated case, mirrored or not."""
        boxes, classes = self.objects(case)
        image, boxes = augment.weak(self.open(case), boxes, _WEAK(self.settings.seed, index), self.config.flip)
        return self.as_sample(image, boxes, classes)

    def distorted(self, case, boxes, classes, index):
        """The same of a case with pseudo boxes: strongly augmented in modes with sa, else as it is."""
        image = self.open(case)
        if "sa" not in self.config.mode:
            image, boxes = augment.weak(image, boxes, _WEAK(self.settings.seed, index), self.config.flip)
            return self.as_sample(image, boxes, classes)
        draw = _STRONG(self.settings.seed, index)
        image, boxes, rows = augment.strong(image, boxes, draw, self.config.geometric)
        return self.as_sample(image, boxes, classes[rows])

    def annotated_samples(self):
        """Samples of the annotated frames alone."""
        cases, seed = self.prepared("train"), self.settings.seed
        return Samples(
            lambda index: self.weak(cases[shuffled(seed, index, len(cases))], index), self.spec,
            self.settings.train.batch_size,
        )  # fmt: skip

    def all_samples(self, streams):
        """Samples of annotated frames, and of frames with pseudo boxes, in turn."""
        cases, seed = self.prepared("train"), self.settings.seed
        frames = {case.id: case for case in self.frames}
        pseudo = {name: rows for name, rows in self.pseudo()["frames"].items() if rows}
        taught = [(frames[name], *_plain(rows, self.config.most_boxes)) for name, rows in pseudo.items()]
        if not taught:
            raise DataError(
                f"no box of {len(frames)} frames reaches the score {self.config.least:g}; train longer, or lower "
                f"model.{'tau' if 'hc' in self.config.mode else 'basic_tau'}"
            )

        def read(index):
            is_annotated, number = streams.place(index)
            if is_annotated:
                return self.weak(cases[shuffled(seed, number, len(cases))], index)
            return self.distorted(*taught[shuffled(seed + 1, number, len(taught))], index)

        return Samples(read, self.spec, streams.per_step)

    # --- pseudo boxes -------------------------------------------------------------------------------------------------

    def pseudo(self):
        """{"tau", "frames": {id: [[class, score, x0, y0, x1, y1], ...]}} that the teacher found, in pixels of
        prepared frames; made once, and kept."""
        return self.records.recall("pseudo", self._look, self._are_pseudo)

    def _look(self):
        finder, found = self.finder(self.models["teacher"].detector), {}
        for case in self.frames:
            one = finder.compute(self.open(case)[None])
            rows = zip(*(np.asarray(one[name][0][: int(one["count"][0])]).tolist()
                         for name in ("classes", "scores", "boxes")), strict=True)  # fmt: skip
            found[case.id] = confident([[number, score, *box] for number, score, box in rows], self.config.least,
                                       self.config.keep_top1)  # fmt: skip
        kept, boxes = sum(1 for rows in found.values() if rows), sum(map(len, found.values()))
        log.info(
            "pseudo boxes: %d in %d of %d frames, with scores of %g or more", boxes, kept, len(found), self.config.least
        )
        return {"tau": self.config.least, "frames": found}

    def _are_pseudo(self, value):
        """Whether a record is of pseudo boxes of these frames."""
        try:
            names, most = {case.id for case in self.frames}, len(self.classes)
            rows = [row for one in value["frames"].values() for row in one]
            return set(value["frames"]) == names and all(
                len(row) == 6 and 0 <= row[0] < most and np.isfinite(row).all() for row in rows
            )
        except (TypeError, ValueError, KeyError, AttributeError):
            return False


def confident(rows, tau, keep_top1=False):
    """Rows [class, score, x0, y0, x1, y1] with scores of at least tau and an area, the best first; with `keep_top1` the
    best one where there is no such row (STAC's min(tau, best score))."""
    rows = sorted((row for row in rows if row[4] > row[2] and row[5] > row[3]), key=lambda row: -row[1])
    kept = [row for row in rows if row[1] >= tau]
    return kept or (rows[:1] if keep_top1 else [])


def _plain(rows, most):
    """(boxes, class numbers) of the best rows of a frame."""
    table = np.array(rows[:most], np.float64).reshape(-1, 6)
    return table[:, 2:], table[:, 0].astype(np.int32)


METHOD = ToolDetectionMethod
