"""What methods share that tell classes apart: of images, volumes or matrices; and what they measure others by."""

import csv
import functools
import pathlib

import numpy as np
import tensorflow as tf
from pydantic import field_validator

from tfmed.config import MethodConfig
from tfmed.data import preprocess, sources, splits
from tfmed.data.checks import CaseSpec
from tfmed.data.classes import by_class, numbers_of
from tfmed.data.pipeline import Samples
from tfmed.data.readers import read_address
from tfmed.data.sampling import shuffled
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method
from tfmed.errors import DataError, RunError
from tfmed.files import atomic_path
from tfmed.losses import classification as losses
from tfmed.metrics import classification as metrics
from tfmed.metrics.aggregate import mean_and_std
from tfmed.pictures.charts import Confusion
from tfmed.tasks import views
from tfmed.tasks.prediction import check_grids, inputs
from tfmed.tasks.scored_cases import refuse_leak


class ClassesConfig(MethodConfig):
    """What cases of several classes are."""

    classes: tuple[str, ...] = ("0", "1")  # as the data source names them; a label is the place in this list
    image: str = "image"  # which image of a case

    @field_validator("classes")
    @classmethod
    def _two_classes(cls, value):
        if len(value) < 2 or len(set(value)) < len(value):
            raise ValueError("give at least two class names, each once")
        return value


class ClassifiedCases(Method):
    """Base of methods whose cases have a class each, in `meta["class"]`."""

    @functools.cached_property
    def cases(self):
        """{"train", "validation", "test"} -> list of Case; each class is split alike, and never a subject."""
        data = self.settings.data
        return splits.joined(self.split(by_class(sources.open(data.source, data.root, **data.options))))


class CaseClassifier:
    """Tells the class of Volumes, whoever computes: trained models or a SavedModel.

    Args:
        modalities: of the inputs, as a word of the command may give them.
        steps: preprocessing before `compute`.
        classes: their names.
        compute: float32 array `(z, y, x)`, or `(z, y, x, modality)` where there are several -> probabilities
            `(classes,)`.
    """

    outputs = ()

    def __init__(self, modalities, steps, classes, compute):
        self.modalities, self.steps, self.classes, self.compute = (
            tuple(modalities),
            tuple(steps),
            tuple(classes),
            compute,
        )

    def predict(self, words, out, outputs=None):
        """Write `predictions.csv`, a row for each input: its name, its class, the probability of every class.

        Raises:
            UserError: an input is not there.
            DataError: an input is damaged, or cannot be preprocessed.
        """
        found = [(name, [paths[key] for key in self.modalities]) for name, paths in inputs(words, self.modalities)]
        rows = [{"input": name} | self._row(paths) for name, paths in found]
        path = pathlib.Path(out) / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        yield path

    def _row(self, paths):
        images = [read_address(path) for path in paths]
        check_grids(images, paths)
        try:
            prepared = [one.array for one in preprocess.run_together(self.steps, images)[0]]
            array = preprocess.as_float32(prepared[0] if len(paths) == 1 else np.stack(prepared, -1))
            found = self.compute(array)
        except DataError as error:  # of a preprocessing step, which does not know the file
            raise DataError(f"{paths[0]}: {error}") from None
        return {"class": self.classes[int(np.argmax(found))]} | dict(zip(self.classes, map(float, found), strict=True))

    def note(self):
        """What stands beside a SavedModel of it, see `tfmed.tasks.exported`."""
        steps = [step.model_dump(mode="json") for step in self.steps]
        return {"task": "classification", "modalities": list(self.modalities), "classes": list(self.classes),
                "steps": steps}  # fmt: skip


class ClassificationMethod(ClassifiedCases, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that classify images or volumes; its config is a `ClassesConfig`.

    A subclass gives `stages`, of `training.classifier.ClassifierModel`s: one, or several (seeds, folds), over which
    scores are averaged, and probabilities where the class of one image is asked for.
    """

    Config = ClassesConfig
    takes_altered = takes_generated = True

    @property
    def modalities(self):
        """Which images of a case the network sees: one, or several on one grid."""
        return (self.config.image,)

    @property
    def case_spec(self):
        """These images of each case."""
        return CaseSpec(images=self.modalities, stack=len(self.modalities) > 1)

    # --- data ---------------------------------------------------------------------------------------------------------

    def array(self, case):
        """A case's prepared image as the network sees it, `(..., channel)` float32."""
        return self.shown(self.prepared_array(case))

    def prepared_array(self, case):
        """A case's prepared image `(z, y, x)` float32, of several `(z, y, x, modality)`."""
        if self.case_spec.stack:
            return np.asarray(self.cache.stack(case, self.case_spec).image, np.float32)
        volume = self.cache.get(case.images[self.modalities[0]], series_uid=case.meta.get("series_uid"))
        return np.asarray(volume.array, np.float32)

    def shown(self, array):
        """A prepared array, or a tensor, as the network sees it: here one channel, or all, of a volume."""
        return array[..., None] if len(self.modalities) == 1 else array

    def labelled(self, part):
        """(cases, class numbers) of a part of the split.

        Raises:
            DataError: a case is of no class of the settings.
        """
        cases = self.prepared(part)
        return cases, numbers_of(cases, self.config.classes)

    def samples(self):
        """Samples: `image` and `label`; each epoch shows every training case once."""
        cases, labels = self.labelled("train")

        def read(index):
            k = shuffled(self.settings.seed, index, len(cases))
            return {"image": self.array(cases[k]), "label": labels[k]}

        spec = {"image": (self.array(cases[0]).shape, "float32"), "label": ((), "int32")}
        return Samples(read, spec, self.settings.train.batch_size)

    # --- scores -------------------------------------------------------------------------------------------------------

    @property
    def classifiers(self):
        """{stage: trained model}."""
        return self.models

    def probabilities(self, model, cases):
        """`(cases, classes)` of one trained model."""
        return np.concatenate([losses.probabilities(model.scores(self.array(case)[None])).numpy() for case in cases])

    def scores_of(self, probabilities, labels):
        """{score: value} of probabilities `(n, classes)` for class numbers `(n,)`, as tables show them."""
        return metrics.scores(probabilities, labels, self.config.classes)

    def validated(self):
        """Names of what `validate` gives."""
        return ("loss", "accuracy", "balanced_accuracy")

    def validate(self, model):
        """{"loss", "accuracy", "balanced_accuracy"} on the validation cases; {} where there are none."""
        if not self.validation_cases():
            return {}
        cases, labels = self.labelled("validation")
        found = self.probabilities(model, cases)
        scores = metrics.scores(found, labels, self.config.classes)
        loss = -np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12)).mean()
        return {"loss": float(loss), "accuracy": scores["accuracy"], "balanced_accuracy": scores["balanced accuracy"]}

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run, "cases": a row per run, training and case}, and confusions as a picture.

        Scores are means over a run's trainings, with the standard deviation of a sample; `trainings` says of how many.

        Args:
            methods: name of the run -> its Method, this one among them; all are scored on this one's cases.
            part: of the split.

        Raises:
            RunError: there are no such cases, a run was trained on one of them, or knows other classes.
        """
        if not self.cases[part]:
            raise RunError(f"no case is in the part {part!r} of the split; choose another --part")
        cases, labels = self.labelled(part)
        classes, rows, table, pictures = self.config.classes, [], [], {}
        for run, method in methods.items():
            refuse_leak(run, method, cases, part)
            if method.config.classes != classes:
                raise RunError(f"{run}: was trained with classes {method.config.classes}, not {classes}; compare alike")
            found = {name: method.probabilities(model, cases) for name, model in method.classifiers.items()}
            for name, values in found.items():
                rows += [{"run": run, "training": name, "case": case.id, "class": classes[label],
                          "chosen": classes[int(np.argmax(value))]} | dict(zip(classes, map(float, value), strict=True))
                         for case, label, value in zip(cases, labels, values, strict=True)]  # fmt: skip
            scores = [self.scores_of(values, labels) for values in found.values()]
            line = {"run": run, "part": part, "cases": len(cases), "trainings": len(scores)}
            table.append(line | mean_row(scores))
            chosen = [values.argmax(-1) for values in found.values()]
            pictures[run] = sum(metrics.confusion(labels, one, len(classes)) for one in chosen)
        return Evaluation({"evaluation": table, "cases": rows}, {"confusion": Confusion(pictures, classes)})

    def previews(self):
        """The confusion on the validation cases; without any on those of training."""
        part = "validation" if self.cases["validation"] else "train"
        cases, labels = self.labelled(part)
        chosen = self.probabilities(self.model, cases).argmax(-1)
        counts = metrics.confusion(labels, chosen, len(self.config.classes))
        return {"confusion": Confusion({f"{part} cases": counts}, self.config.classes)}

    def views(self, methods, part="test"):
        """Each case with its class, and the one that it is taken for; see `tasks.views`."""
        return views.classified(methods, part)

    # --- using trained models -----------------------------------------------------------------------------------------

    def _together(self, array):
        """Probabilities `(classes,)` of a prepared array or tensor: the mean over the trained models."""
        shown = tf.cast(self.shown(array), tf.float32)[None]
        found = [losses.probabilities(model.scores(shown))[0] for model in self.classifiers.values()]
        return tf.add_n(found) / len(found)

    def classifier(self):
        """The `CaseClassifier` of the trained models."""

        def compute(array):
            return self._together(array).numpy()

        return CaseClassifier(self.modalities, self.preprocessing(), self.config.classes, compute)

    def predict(self, words, out, outputs=None):
        """Write `predictions.csv`; see `CaseClassifier.predict`."""
        return self.classifier().predict(words, out, outputs)

    def export_module(self):
        """Of a prepared `image` `(z, y, x)` float32, of several `(z, y, x, modality)`, it gives `probabilities`
        `(classes,)`."""
        several = [len(self.modalities)] if self.case_spec.stack else []
        takes = [tf.TensorSpec([None, None, None, *several], tf.float32, "image")]
        call = (lambda image: {"probabilities": self._together(image)}, takes)
        return ExportModule(list(self.classifiers.values()), {"serving_default": call}, self.classifier().note())


def mean_row(scores):
    """{"<score> mean", "<score> std"} of a list of {score: value}, one for each training; scores that all have."""
    row = {}
    for name in scores[0] if scores else ():
        row |= mean_and_std(name, [one[name] for one in scores])
    return row


def augmentation_rows(
    classifier, sets, validation, tests, seeds, classes, what="samples", score=metrics.accuracy_precision_recall
):
    """How well a classifier does that was trained on each of several sets: real, synthetic, both.

    Args:
        classifier: a `training.classifier.RepeatedClassifier`.
        sets: {what the set is called: (inputs, class numbers)}.
        validation: (inputs, class numbers) by which training stops.
        tests: {part: (inputs, class numbers)}.
        seeds: of the trainings.
        classes: how many there are.
        what: a column's name, which counts a set's samples.
        score: (class numbers, chosen ones, how many classes) -> {score: value}.

    Returns:
        A row for each set: mean and std over the trainings of each score on each part.
    """
    rows = []
    for set_name, found in sets.items():
        runs = []
        for seed in seeds:
            classifier.fit(found, validation, seed)
            runs.append({
                f"{part} {name}": value for part, (inputs_, labels) in tests.items() for name, value in
                score(labels, classifier.chosen(inputs_), classes).items()
            })  # fmt: skip
        rows.append({"training data": set_name, what: len(found[1]), "restarts": len(runs)} | mean_row(runs))
    return rows
