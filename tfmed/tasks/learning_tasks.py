"""Segmentation of a new task after others: the tasks' data, what steps see of them, and the scores of the new one.

The `data` section is the new task. Of it the training part is for fine-tuning, the validation part for the choice of a
model, and the test part for scores alone; of the other tasks every image trains.
"""

import functools
import math
from typing import Annotated, Literal

import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, field_validator, model_validator

from tfmed import compat
from tfmed.augment.crop import area_read, resized_crop_grid
from tfmed.data.episodes import Episodes, Instances, few
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import Evaluation, Seed, Split
from tfmed.errors import DataError
from tfmed.metrics.segmentation import confusion_matrix, mean_iou, mean_iou_per_image
from tfmed.ops.warp import warp_array
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_settings import SegmentationConfig
from tfmed.tasks.several_sets import AuxiliarySet, OpenSet

_MOVES, _PLACES = Stream("learning_tasks.moves"), Stream("learning_tasks.places")
TaskName = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_]{0,39}$")]
_EPISODES, _POOLED, _NEW = range(3)  # what a crop is drawn for


class LearningTasksConfig(SegmentationConfig):
    """The other tasks, what a step sees of them, and how crops are made."""

    modalities: tuple[str, ...] = ("red", "green", "blue")
    overlap: float = Field(0.5, ge=0, lt=1)
    blend: Literal["gaussian", "constant"] = "constant"
    white: float = Field(255.0, gt=0, le=1e6)  # the value that 1 stands for
    # the other tasks
    tasks: dict[TaskName, AuxiliarySet] = Field(default_factory=dict, max_length=64)
    sources: tuple[str, ...] | None = None  # names of those that train; null: all
    probabilities: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(default_factory=dict)  # default all alike
    support: PositiveInt = Field(8, le=4096)  # images of an episode that are learnt from
    query: PositiveInt = Field(8, le=4096)  # and by which that is judged
    instances: Literal["truncate", "categorical"] = "truncate"  # how pooled training shares its images among tasks
    reproduce_released: bool = False  # samplers that never change what they drew of a task
    shots: PositiveInt | None = Field(None, le=10**6)  # training images of the new task; null: all
    # crops
    scale: tuple[float, float] = (0.8, 1.2)  # factor of an image's size
    short_side: tuple[PositiveInt, PositiveInt] | None = None  # pixels of its shorter side, in place of a factor
    rotate_degrees: float = Field(15.0, ge=0, le=180)
    flip: float = Field(0.5, ge=0, le=1)  # probability, for each axis
    miou: Literal["pooled", "per_image_released"] = "pooled"

    @field_validator("tasks", mode="before")
    @classmethod
    def _without_null(cls, value):
        """`tasks: {glas: null}` takes out a task of the file that another one starts from."""
        return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _tasks_fit(self):
        for field in ("sources", "probabilities"):
            given = getattr(self, field) or ()
            if strange := sorted(set(given) - set(self.tasks)):
                raise ValueError(f"{field}: no task {strange[0]!r}; known: {', '.join(self.tasks) or 'none'}")
        if self.sources is not None and len(set(self.sources)) < len(self.sources):
            raise ValueError("sources: a task stands twice")
        if self.probabilities and not sum(self.probability(name) for name in self.trained_on):
            raise ValueError("probabilities: no task that trains has one above 0")
        for name, one in self.tasks.items():
            if len(one.modalities) != len(self.modalities):
                raise ValueError(f"tasks.{name}.modalities: {len(one.modalities)} images, and the new task has "
                                 f"{len(self.modalities)}; give as many")  # fmt: skip
        low, high = self.scale
        if not 0.01 <= low <= high <= 100:
            raise ValueError(f"scale: {low:g}, {high:g} is no range, lower bound first, from 0.01 to 100")
        if self.short_side is not None and not self.short_side[0] <= self.short_side[1] <= 2**15:
            raise ValueError(f"short_side: {self.short_side} is no range of pixels up to {2**15}, lower bound first")
        return self

    @property
    def episode(self):
        """Images of an episode."""
        return self.support + self.query

    @property
    def trained_on(self):
        """Names of the tasks that train."""
        return tuple(self.tasks) if self.sources is None else self.sources

    def probability(self, name):
        """Of a task, up to a factor."""
        return self.probabilities.get(name, 0.0) if self.probabilities else 1.0


class LearningTasksMethod(SegmentationMethod):
    """Base of methods that learn from other tasks; its config is a `LearningTasksConfig`.

    A subclass gives `stages` (of which the last has a model with `network`, of the new task), `trunk`, what is
    pre-trained (None before), and `fresh`, a model of the new task as fine-tuning begins with it.
    """

    Config = LearningTasksConfig
    _shown = None  # a network that is looked at in place of the newest model's

    @functools.cached_property
    def other_tasks(self):
        """The OpenSets of the tasks that train, in the order of their names in the settings."""
        tasks, config = self.config.tasks, self.config
        if config.training == "scratch":
            return []
        return [OpenSet(name, tasks[name], self, "tasks") for name in config.trained_on]

    @property
    def task_classes(self):
        """Number of classes of each task that trains."""
        return tuple(one.config.classes for one in self.other_tasks)

    def prepared(self, part, progress=None):
        cases = super().prepared(part, progress)
        if part == "train":
            self._check_pictures(self.open, cases, "")
            for one in self.other_tasks:
                self._check_pictures(one.open, one.prepared(progress), f"model.tasks.{one.name}: ")
        return cases

    def _check_pictures(self, open_case, cases, where):
        """Pictures have one slice."""
        for case in cases:
            if len(open_case(case).image) != 1:
                raise DataError(f"{where}{case.id}: has {len(open_case(case).image)} slices where a picture has one; "
                                "split it into files")  # fmt: skip

    def further_problems(self, progress=lambda items, text: items):
        return {name: lines for one in self.other_tasks for name, lines in one.problems(progress).items()}

    # --- samples ------------------------------------------------------------------------------------------------------

    def episodes(self):
        """Samples `image`, `label` and `task` of episodes, each of which is of one task."""
        config, counts = self.config, self._counts(self.config.episode)
        drawn = Episodes(counts, config.support, config.query, self._chances(), self.settings.seed,
                         config.reproduce_released)  # fmt: skip
        return self._samples_of_tasks(lambda index: drawn.place(index)[:2], _EPISODES)

    def pooled(self):
        """Likewise of all tasks' images together."""
        config = self.config
        drawn = Instances(self._counts(1), config.instances, self._chances(), self.settings.seed,
                          config.reproduce_released)  # fmt: skip
        return self._samples_of_tasks(drawn.place, _POOLED)

    def _counts(self, least):
        """Number of each task's images."""
        self.prepared("train")
        for one in self.other_tasks:
            if len(one.cases) < least:
                raise DataError(f"model.tasks.{one.name}: has {len(one.cases)} images with a label map, and an "
                                f"episode needs {least}; lower model.support or model.query, or leave the task "
                                "out")  # fmt: skip
        return tuple(len(one.cases) for one in self.other_tasks)

    def _chances(self):
        config = self.config
        return tuple(config.probability(name) for name in config.trained_on) if config.probabilities else None

    def _samples_of_tasks(self, place, use):
        tasks, seed = self.other_tasks, self.settings.seed

        def read(index):
            task, item = place(index)
            one = tasks[task]
            return self.crop(one.open(one.cases[item]), (seed, index, use)) | {"task": task}

        return Samples(read, self._spec() | {"task": ((), "int64")}, self.settings.train.batch_size)

    def _spec(self):
        size = self.config.patch
        return {"image": ((*size, len(self.config.modalities)), "float32"), "label": (size, "int32")}

    @functools.cached_property
    def fine_tuning_cases(self):
        """The training cases of the new task that are used: labelled ones, or a few of them."""
        labelled, _ = self.training_cases
        try:
            chosen = few(len(labelled), self.config.shots, self.settings.seed)
        except ValueError as error:
            raise DataError(f"model.shots: {error} labelled training images; lower it") from None
        return [labelled[k] for k in chosen]

    @property
    def fine_tuning(self):
        """(steps, images per step) of the new task's training."""
        config, train, count = self.config, self.settings.train, len(self.fine_tuning_cases)
        shares = (train.replicas or 1) * train.gradient_accumulation
        size = min(config.fine_tune_batch, count)
        size = max(size - size % shares, shares)
        return config.fine_tune_steps or config.fine_tune_epochs * math.ceil(count / size), size

    def new_task(self):
        """Samples `image` `(*patch, 3)` float32 and `label` `(*patch)` int32 of the new task."""
        cases, seed = self.fine_tuning_cases, self.settings.seed

        def read(index):
            return self.crop(self.open(cases[shuffled(seed, index, len(cases))]), (seed, index, _NEW))

        return Samples(read, self._spec(), self.fine_tuning[1])

    def crop(self, prepared, keys):
        """{"image", "label"} of a crop of a prepared case, a function of the keys (integers)."""
        config, image, label = self.config, prepared.image[0], prepared.label[0]
        draw = _PLACES(*keys)
        centre = _some_place(label, draw) if draw.random() < config.foreground else None
        grid = resized_crop_grid(
            int(_MOVES(*keys).integers(2**31)), label.shape, config.patch, config.scale, config.short_side,
            config.rotate_degrees, config.flip, centre,
        )  # fmt: skip
        part, within = area_read(image, grid)
        labels, _ = area_read(label, grid)
        return {"image": warp_array(part.astype(np.float32), within, 1, "edge"),
                "label": warp_array(labels[..., None], within, 0, "edge")[..., 0]}  # fmt: skip

    # --- what is looked at --------------------------------------------------------------------------------------------

    @property
    def network(self):
        if self._shown is not None:
            return self._shown
        newest = list(self.models.values())[-1]
        if hasattr(newest, "network"):
            return newest.network
        if "_trial" not in self.__dict__:
            self._tried()
        return self._trial[0].network

    @property
    def _window_fn(self):
        """Two graphs, so that pictures of before and after fine-tuning are not traced in turns."""
        tried = "_trial" in self.__dict__ and self.network is self._trial[0].network
        return self.compiled("tried windows" if tried else "windows", self.network, self.of_windows)

    @functools.cached_property
    def _trial(self):
        """(a model of the new task, the first values of its variables, those of its optimizer), made once."""
        model = self.fresh()
        variables = [*model.network.weights, *compat.optimizer_variables(model.network_optimizer)]
        return model, [(variable, tf.identity(compat.tensor_variable(variable))) for variable in variables]

    def _tried(self, steps=None):
        """A model of the new task after some steps from the trunk as it is now."""
        config = self.config
        (model, first), steps = self._trial, config.selection_steps if steps is None else steps
        for variable, value in first:
            variable.assign(value)
        trunk = model.network.get_layer("trunk")
        for variable, value in zip(trunk.weights, self.trunk.weights, strict=True):
            variable.assign(tf.convert_to_tensor(compat.tensor_variable(value)))
        samples = self.new_task()
        if steps is None:
            steps = math.ceil(len(self.fine_tuning_cases) / samples.per_step)
        for step in range(steps):
            model.train_step({name: tf.constant(value) for name, value in samples.batch(step).items()})
        return model

    def validated(self):
        return (*super().validated(), "miou")

    def validation(self, model):
        """As of all segmenters, and the mIoU; of pre-training, after some steps of fine-tuning of a copy."""
        if not self.validation_cases():
            return {}
        self._matrices = []
        if not hasattr(model, "network"):
            self._tried()
        return super().validation(model) | {"miou": self.miou(self._matrices)}

    def validation_row(self, found, label):
        self._matrices.append(confusion_matrix(found.argmax(-1), label, self.config.classes))
        return super().validation_row(found, label)

    def miou(self, matrices):
        """The mIoU that the settings ask for, of confusion matrices of images."""
        if self.config.miou == "pooled":
            return mean_iou(np.sum(matrices, 0))
        return mean_iou_per_image(matrices)

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """As of all segmenters, and a table "miou" of the runs of such methods: mIoU over all pixels, per image as the
        released code has it, and each region's IoU over all pixels."""
        runs = {name: one for name, one in methods.items() if isinstance(one, LearningTasksMethod)}
        for one in runs.values():
            one._matrices = []
        found = super().evaluate(methods, part, seed)
        rows = []
        for name, one in runs.items():
            total = np.sum(one._matrices, 0)
            row = {"run": name, "images": len(one._matrices), "mIoU": mean_iou(total),
                   "mIoU per image, as released": mean_iou_per_image(one._matrices)}  # fmt: skip
            for region, classes in {"background": [0], **one.config.scored}.items():
                both, either = total[np.ix_(classes, classes)].sum(), total[classes].sum() + total[:, classes].sum()
                row[f"IoU {region}"] = float(both / (either - both)) if either else 1.0
            rows.append(row)
        return Evaluation({**found, "miou": rows}, found.pictures)

    def extra_scores(self, case, segmentation, reference, seed):
        """Nothing more; what the pooled scores need is kept."""
        found = np.asarray(segmentation.labels.array)
        self._matrices.append(confusion_matrix(found, reference, self.config.classes))
        return {}

    def previews(self):
        """As of all segmenters; once fine-tuning has begun, also what the network said before it."""
        shown = super().previews()
        if self.trunk is None or not hasattr(list(self.models.values())[-1], "network") or not shown:
            return shown
        try:
            self._shown = self._tried(0).network
            return {"before_fine_tuning": super().previews()["segmentation"], **shown}
        finally:
            self._shown = None


def _some_place(label, draw):
    """A pixel of a class other than background, all of whose classes are as likely; None where there is none."""
    present = np.flatnonzero(np.bincount(np.asarray(label).ravel())[1:]) + 1
    if not len(present):
        return None
    places = np.flatnonzero(np.asarray(label).ravel() == draw.choice(present))
    return np.unravel_index(places[draw.integers(len(places))], label.shape)
