"""The base of methods that classify: from a folder of classes to scores, predictions and a SavedModel."""

import csv
import functools
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import Field

import tfmed
from tfmed import cli, evaluate, methods, predict
from tfmed.data.case import Case
from tfmed.data.classes import by_class, numbers_of, of_class
from tfmed.data.preprocess import Window
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.io import Volume, write_volume
from tfmed.nn.adam import Adam
from tfmed.tasks.classification import ClassesConfig, ClassificationMethod, augmentation_rows
from tfmed.training.classifier import ClassifierModel, RepeatedClassifier

pytestmark = pytest.mark.current


class Config(ClassesConfig):
    """Two seeds of a tiny network."""

    classes: tuple[str, ...] = ("adaptive", "non-adaptive")
    image: str = "ct"
    learning_rate: float = Field(1e-2, gt=0)
    seeds: int = 2


def network():
    """Slices `(n, 1, h, w, 1)` -> the score of the second class."""
    inputs = keras.Input((1, None, None, 1))
    x = keras.layers.Conv3D(4, (1, 3, 3), (1, 2, 2), activation="relu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(inputs, keras.layers.Dense(1, dtype="float32", name="score")(x))


def made(config, rate, **options):
    return ClassifierModel(network(), Adam(rate), **options)


class SliceClassifier(ClassificationMethod):
    """One stage for each seed."""

    Config = Config

    def preprocessing(self):
        return (*super().preprocessing(), Window(window_hu=(-1000, 400), range=(-1, 1)))

    def stages(self):
        for k in range(self.config.seeds):
            how = dict(validation=self.validate, seed=self.settings.seed + k)
            yield self.stage(f"seed{k}", made, self.samples, self.config.learning_rate, **how)


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory):
    """The method is found by its name, as if it lay among the others."""
    folder = tmp_path_factory.mktemp("found")
    (folder / "slice_classifier.py").write_text(
        f'"""Slices."""\nimport sys\nMETHOD = sys.modules[{__name__!r}].SliceClassifier\n', encoding="utf-8"
    )
    methods.__path__.append(str(folder))
    yield
    methods.__path__.remove(str(folder))
    sys.modules.pop("tfmed.methods.slice_classifier", None)


@pytest.fixture(scope="module")
def run(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classification")
    settings = folder / "settings.yaml"
    settings.write_text(
        "method: slice_classifier\n"
        "data: {source: phantom_lung_lesion, options: {cases: 24, slices: 1, shape: [1, 16, 16]},\n"
        "       split: {validation: 0.2, test: 0.25}}\n"
        "train: {steps: 3, batch_size: 4, log_every: 1, tensorboard: false, validate_every: 3, early_stopping: null}\n",
        encoding="utf-8",
    )
    return fit(tfmed.load_config(settings), folder / "run")


@pytest.mark.one_stack
def test_it_trains_and_validates(run):
    rows = run.metrics()
    assert list(dict.fromkeys(rows["stage"])) == ["seed0", "seed1"]
    found = rows.query("split == 'validation'")
    assert len(found) == 2 and np.isfinite(found[["loss", "balanced_accuracy"]].to_numpy()).all()
    assert run.restored().validated() == ("loss", "accuracy", "balanced_accuracy")


def test_classes_are_split_alike(run):
    for part, count in (("train", 14), ("validation", 4), ("test", 6)):
        cases = run.method().cases[part]
        classes = [case.meta["class"] for case in cases]
        assert len(cases) == count and classes.count("adaptive") == count // 2, part


def test_the_table_averages_over_trainings_and_names_their_number(run):
    """Against scores that are computed here from every model's own logits."""
    assert cli.run(evaluate.main, [str(run.path)]) == 0
    with open(run.path / "evaluation.csv", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    method = run.restored()
    cases = method.cases["test"]
    labels = np.array([case.meta["class"] == "non-adaptive" for case in cases])
    accuracies, sensitivities, areas = [], [], []
    for model in method.models.values():
        logits = np.array([model.network(method.array(case)[None]).numpy()[0, 0] for case in cases])
        accuracies.append(np.mean((logits > 0) == labels))
        sensitivities.append(np.mean(logits[labels] > 0))
        areas.append(np.mean(logits[labels][:, None] > logits[~labels][None]))
    assert (row["cases"], row["trainings"]) == ("6", "2")
    for name, values in (("accuracy", accuracies), ("sensitivity", sensitivities), ("AUC", areas)):
        assert float(row[f"{name} mean"]) == pytest.approx(np.mean(values)), name
        assert float(row[f"{name} std"]) == pytest.approx(np.std(values, ddof=1)), name
    found = method.evaluate({"run": method})
    assert len(found["cases"]) == 12 and {line["training"] for line in found["cases"]} == {"seed0", "seed1"}
    counts = found.pictures["confusion"].panels["run"]
    assert counts.sum() == 12 and counts.sum(1).tolist() == [6, 6]
    assert np.trace(counts) == round(6 * sum(accuracies)) and found.pictures["confusion"].figure().axes
    assert method.previews()["confusion"].panels["validation cases"].sum() == 4


def test_a_run_is_not_scored_on_what_it_learnt_from_nor_with_other_classes(run):
    method, other = run.restored(), run.restored()
    other.config = other.config.model_copy(update={"classes": ("non-adaptive", "adaptive")})
    with pytest.raises(RunError, match=r"other: was trained with classes"):
        method.evaluate({"run": method, "other": other})
    leaky = run.restored()
    leaky.cases = type(leaky.cases)({**leaky.cases, "train": method.cases["test"]})
    with pytest.raises(RunError, match="leaky: was trained on patient"):
        method.evaluate({"run": method, "leaky": leaky})


def test_predictions_are_the_mean_over_trainings_also_of_a_savedmodel(run, tmp_path):
    method = run.restored()
    paths = []
    for k in range(2):
        array = np.random.default_rng(k).uniform(-1000, 400, (1, 20, 18)).astype("float32")
        write_volume(Volume(array, np.eye(4)), tmp_path / f"scan{k}.nii.gz")
        paths.append(str(tmp_path / f"scan{k}.nii.gz"))
    folder = export(run, tmp_path / "export")
    for model, out in ((run.path, "one"), (folder, "two")):
        assert cli.run(predict.main, [str(model), *paths, "--out", str(tmp_path / out)]) == 0
    tables = []
    for out in ("one", "two"):
        with open(tmp_path / out / "predictions.csv", encoding="utf-8") as stream:
            tables.append(list(csv.DictReader(stream)))
    shown = (array[None, ..., None] + 1000) * (2 / 1400) - 1  # of the last scan
    second = np.mean([tf.sigmoid(model.network(shown)).numpy()[0, 0] for model in method.models.values()])
    for table in tables:
        assert [row["input"] for row in table] == ["scan0", "scan1"]
        assert float(table[1]["non-adaptive"]) == pytest.approx(second, abs=1e-5)
        assert float(table[1]["adaptive"]) == pytest.approx(1 - second, abs=1e-5)
        assert table[1]["class"] == ("non-adaptive" if second > 0.5 else "adaptive")


def test_a_damaged_input_is_one_clear_line(run, tmp_path, capsys):
    (tmp_path / "scan.nii.gz").write_bytes(b"no volume")
    assert cli.run(predict.main, [str(run.path), str(tmp_path / "scan.nii.gz"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert "scan.nii.gz" in said and "Traceback" not in said and not (tmp_path / "out" / "predictions.csv").exists()


# --- classes of cases -------------------------------------------------------------------------------------------------


def case(name, kind, group=None):
    return Case(name, group or name, {}, meta={"class": kind})


def test_a_subject_is_of_one_class():
    cases = [case("a", "x"), case("b", "y"), case("c", "x")]
    assert {name: [one.id for one in found] for name, found in by_class(cases).items()} == {
        "class x": ["a", "c"], "class y": ["b"]}  # fmt: skip
    with pytest.raises(DataError, match="b: subject s is of two classes"):
        by_class([case("a", "x", "s"), case("b", "y", "s")])


def test_other_classes_are_named():
    cases = [case("a", "x"), case("b", "y")]
    assert numbers_of(cases, ("y", "x")).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"b: is of class 'y'; the source has x, y: set model.classes"):
        numbers_of(cases, ("x", "z"))
    assert of_class({"train": cases}, "train", "y") == cases[1:]
    with pytest.raises(DataError, match=r"no train image of class 'z'; the source has x, y"):
        of_class({"train": cases}, "train", "z")


def test_settings_name_two_classes_each_once(known, tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("method: slice_classifier\nmodel: {classes: [adaptive, adaptive]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="at least two class names, each once"):
        tfmed.load_config(path)


# --- classifiers that measure training sets ---------------------------------------------------------------------------


def dots(count, gap, seed):
    """Two classes of points in the plane, `gap` apart."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return (draw.normal(size=(count, 2)) + gap * labels[:, None]).astype("float32"), labels.astype(np.int32)


@pytest.mark.one_stack
def test_a_set_that_tells_the_classes_apart_teaches_more():
    inputs = keras.Input((2,))
    build = functools.partial(keras.Sequential, [inputs, keras.layers.Dense(1, name="score")])
    classifier = RepeatedClassifier(build, 0.05, 16, 30, 30)
    apart, alike = dots(64, 4.0, 0), dots(64, 0.0, 1)
    tests = {"test": dots(200, 4.0, 2)}
    rows = augmentation_rows(classifier, {"real": apart, "noise": alike}, dots(64, 4.0, 3), tests, (0, 1, 2), 2)
    assert [(row["training data"], row["samples"], row["restarts"]) for row in rows] == [("real", 64, 3),
                                                                                         ("noise", 64, 3)]  # fmt: skip
    good, poor = rows
    assert good["test accuracy mean"] > 0.9 and good["test accuracy mean"] > poor["test accuracy mean"]
    assert good["test accuracy std"] >= 0 and {"test precision mean", "test recall std"} <= set(good)
