"""Bundles of a segmenter and of a translator: used on other scans, trained from, and without a word about patients."""

import csv
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.methods.test_pix2pix_bridge import TINY as TRANSLATOR
from tests.support import other_stack
from tests.support.refusals import refused
from tests.support.view_pages import views_of
from tests.test_bad_input import nifti, snapshot
from tests.test_bad_input_segmentation import CONFIG, ONE, QUICK, image, label
from tfmed import cli, compat, evaluate, export, fit, predict, verify, view
from tfmed.engine import starting
from tfmed.engine.example import made, of_case
from tfmed.engine.lifecycle import fit as train
from tfmed.io import Volume, read_volume, write_volume
from tfmed.tasks.exported import given

pytestmark = pytest.mark.current
CASES = [f"Erika_Mustermann_{k}" for k in range(5)]
PIX2PIX = "pix2pix_bridge"
PAIRS_ALONE = ("model.direction=c2m", "model.coin=0", "model.paired_critic=false", "model.anchor_weight=100")


def scans(folder, names, seed=0, values=(1, 4)):
    for k, name in enumerate(names):
        for kind, array in (("images", image(seed + k)), ("labels", label(values=values))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nifti(folder / kind / f"{name}.nii.gz", array)
    return folder


def bundled(run, out, *words):
    assert cli.run(export.main, [str(run.path), "--format", "bundle", "--out", str(out), *words]) == 0
    return out


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    """(a run on scans of patients, of a network with dropout; its bundle)."""
    folder = tmp_path_factory.mktemp("Hospital")
    place = ("data.source=nifti_folder", f"data.root={scans(folder / 'scans', CASES)}")
    split = ("data.split={validation: 0.2, test: 0.2}", "model.modalities=[ct]", *ONE[1:], "model.network.dropout=0.2")
    found = train(tfmed.load_config(CONFIG, [*QUICK, *place, *split]), folder / "run")
    return found, bundled(found, folder / "bundle")


def test_nothing_tells_of_patients_or_of_the_machine(segmenter):
    found, bundle = segmenter
    told = [b"Erika", b"Mustermann", b"Hospital", str(found.path).encode(), str(tfmed.__path__[0]).encode()]
    for path in bundle.rglob("*"):
        for word in told if path.is_file() else ():
            assert word not in path.read_bytes() and word.decode() not in path.name, (path, word)
    settings = tfmed.load_run(bundle).settings
    assert settings.data.root is None and settings.model == found.settings.model


@pytest.mark.one_stack
def test_examples_of_pictures_and_latents_are_made():
    """Axes that a signature leaves open become those of a small picture, or of two latents."""
    plane = (None, None)
    specs = [tf.TensorSpec(plane, tf.float32, "image"), tf.TensorSpec(plane, tf.float32, "mask"),
             tf.TensorSpec((), tf.int32, "count"), tf.TensorSpec((None, 16), tf.float32, "z")]  # fmt: skip
    found = made(specs)
    assert [found[spec.name].shape for spec in specs] == [(64, 64), (64, 64), (), (2, 16)]
    assert 0 < found["mask"].mean() < 0.5 and set(np.unique(found["mask"])) == {0, 1}
    assert found["count"] == 1 and np.ptp(found["image"]) > 50


def test_its_example_is_made(segmenter):
    """No scan is passed on, but where somebody asks for it: then it is what the model is given of a test case."""
    found, bundle = segmenter
    assert "no person's scan" in (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    stored = np.load(bundle / "example" / "input.image.npy", allow_pickle=False)
    assert stored.shape == (8, 64, 64, 1) and stored.min() >= 1 and stored.max() <= 899  # as the training images
    (case,) = found.method().prepared("test")
    name, inputs = given(bundle / "saved_model", case.images)
    assert name == "probabilities"
    np.testing.assert_array_equal(inputs["image"][..., 0], read_volume(case.images["ct"]).array)
    large = {"image": np.arange(40 * 9 * 130, dtype=np.float32).reshape(40, 9, 130, 1)}
    (cut,) = of_case(large, [tf.TensorSpec((None, None, None, 1), tf.float32, "image")]).values()
    np.testing.assert_array_equal(cut, large["image"][4:36, :, 1:129])


def test_its_example_is_viewed(segmenter, tmp_path, capsys):
    """Input and answer of each bundle; nothing is written into it, and it is not mixed with runs."""
    found, bundle = segmenter
    before = snapshot(bundle)
    assert cli.run(view.main, [str(bundle), "--out", str(tmp_path / "page.html")]) == 0
    (shown,) = views_of(tmp_path / "page.html")
    assert [panel["title"] for panel in shown["panels"]] == ["input", "answer"] and shown["title"] == bundle.name
    assert [layer["kind"] for layer in shown["panels"][1]["layers"]][:2] == ["image", "labels"]
    refused(capsys, view.main, [bundle, found.path, "--out", tmp_path / "page.html"], "runs or bundles, not both")
    assert snapshot(bundle) == before


def test_a_bundle_predicts_as_its_run(segmenter, tmp_path):
    found, bundle = segmenter
    write_volume(Volume(image(9)[:, :, :].T, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "x.nii.gz")
    before = snapshot(bundle)
    for model, out in ((found.path, "a"), (bundle, "b")):
        words = [
            str(model),
            str(tmp_path / "x.nii.gz"),
            "--out",
            str(tmp_path / out),
            "--outputs",
            "labels,probabilities",
        ]
        assert cli.run(predict.main, words) == 0
    for name in ("x_labels.nii.gz", "x_probabilities.nii.gz"):
        one, other = (read_volume(tmp_path / out / name).array for out in "ab")
        np.testing.assert_array_equal(one, other)
    assert snapshot(bundle) == before


def test_a_bundle_is_scored_on_other_data(segmenter, tmp_path, capsys, caplog):
    """All of them test, but for what it has learnt from; on its own data that leaves its test cases."""
    found, bundle = segmenter
    new, old = scans(tmp_path / "new", ["a", "b"], seed=50), pathlib.Path(found.settings.data.root)
    for kind in ("images", "labels"):
        for name in CASES:
            shutil.copyfile(old / kind / f"{name}.nii.gz", new / kind / f"{name}.nii.gz")
    out = tmp_path / "scores"
    refused(capsys, evaluate.main, [bundle, f"data.root={new}"], "--out")
    assert cli.run(evaluate.main, [str(bundle), f"data.root={new}", "--out", str(out)]) == 0
    with open(out / "cases.csv", newline="", encoding="utf-8") as stream:
        scored = {row["case"] for row in csv.DictReader(stream)}
    parts = found.method().cases
    assert scored == {"a", "b", *(case.id for case in parts["test"])}
    assert any("4 of 7 cases" in line and "learnt from" in line for line in caplog.messages)
    for kind in ("images", "labels"):
        (tmp_path / "only" / kind).mkdir(parents=True)
        name = f"{parts['train'][0].id}.nii.gz"
        shutil.copyfile(old / kind / name, tmp_path / "only" / kind / name)
    refused(
        capsys, evaluate.main, [bundle, f"data.root={tmp_path / 'only'}", "--out", out], "has learnt from all 1 cases"
    )


def test_other_classes_start_anew_where_that_is_asked_for(segmenter, tmp_path, capsys, caplog):
    _, bundle = segmenter
    scans(tmp_path / "new", [f"p{k}" for k in range(4)], seed=70, values=(1,))
    words = [*QUICK, "data.source=nifti_folder", f"data.root={tmp_path / 'new'}",
             "data.split={validation: 0, test: 0.25}", "model.modalities=[ct]",
             "model.label_values=[0, 1]", "model.regions={all: [1]}"]  # fmt: skip
    line = refused(capsys, fit.main, [CONFIG, *words, f"train.start_from={bundle}", "--run-dir", tmp_path / "run"],
                   "2 of ", "3] there", "2] here")  # fmt: skip
    assert line.count("] there") == 2 and not (tmp_path / "run").exists()
    again = f"train.start_from={{run: {bundle}, other_shapes: anew}}"
    settings = tfmed.load_config(CONFIG, [*words, again])
    method = tfmed.registry.method_class(settings.method)(settings)
    method.prepared("train")
    stage = next(iter(method.stages()))
    model, there = stage.model(), weights(tfmed.load_run(bundle).restored().model)
    before = weights(model)
    starting.start(settings, None, method).give(stage.name, model)
    told = [line for line in caplog.messages if "so anew: " in line]
    assert len(told) == 1 and told[0].count("kernel") == told[0].count("bias") == 1
    for now, new, old in zip(weights(model), before, there, strict=True):
        np.testing.assert_array_equal(now, old if old.shape == new.shape else new)


def weights(model):
    return [compat.tensor_variable(one).numpy() for one in compat.weights(model)]


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translator")
    words = [*TRANSLATOR, *PAIRS_ALONE, "train.steps=1", "train.tensorboard=false"]
    found = train(tfmed.load_config(f"configs/{PIX2PIX}.yaml", words), folder / "run")
    return found, bundled(found, folder / "bundle")


def test_a_translator_comes_back(translator, tmp_path, capsys):
    """Without its data, too: the scale of its MRs lies among the records."""
    found, bundle = translator
    capsys.readouterr()
    assert "of the built-in phantoms; no person" in (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert cli.run(verify.main, [str(bundle)]) == 0 and "mr: at most" in capsys.readouterr().out
    assert json.loads((bundle / "records" / "mr_white.json").read_text(encoding="utf-8")) > 0
    volume = np.random.default_rng(0).uniform(-1000, 1000, (4, 20, 22)).astype("float32")
    write_volume(Volume(volume, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "x.nii.gz")
    for model, out in ((found.path, "a"), (bundle, "b")):
        assert cli.run(predict.main, [str(model), str(tmp_path / "x.nii.gz"), "--out", str(tmp_path / out)]) == 0
    one, other = (read_volume(tmp_path / out / "x_mr.nii.gz").array for out in "ab")
    np.testing.assert_array_equal(one, other)


@pytest.mark.long
@pytest.mark.skipif(other_stack.interpreter() is None, reason="the other stack is not installed beside this one")
def test_bundles_are_verified_on_the_other_stack(segmenter, translator):
    for _, bundle in (segmenter, translator):
        done = subprocess.run([other_stack.interpreter(), "-m", "tfmed.verify", bundle], cwd=other_stack.REPOSITORY,
                              capture_output=True, text=True, timeout=300)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "example repeated here" in done.stdout
