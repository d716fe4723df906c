"""Bundles: what is written comes back, what was done to it is named, and a training starts from its weights."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support import hostile_models as hostile
from tests.support import toy
from tests.support.harness import assert_same_weights, killed_before
from tests.support.refusals import refused
from tests.test_bad_input import snapshot
from tfmed import cli, compat, evaluate, export, fit, sample, verify
from tfmed.engine import bundle, example, loop, run, saved_model
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.lifecycle import fit as train
from tfmed.errors import RunError

pytestmark = [pytest.mark.current, pytest.mark.usefixtures("nothing_hangs")]


@pytest.fixture(scope="module")
def made(unbroken, tmp_path_factory):
    """A bundle of the toy's run."""
    out = tmp_path_factory.mktemp("made") / "bundle"
    words = [str(unbroken.path), "--format", "bundle", "--out", str(out), "--licence", "CC0"]
    assert cli.run(export.main, words) == 0
    return out


@pytest.fixture
def copied(made, tmp_path):
    """A copy of it, to be damaged."""
    return pathlib.Path(shutil.copytree(made, tmp_path / "bundle"))


def weights(method):
    return [compat.tensor_variable(one).numpy() for model in method.models.values() for one in compat.weights(model)]


# --- made, verified, used ---------------------------------------------------------------------------------------------


def test_a_generator_comes_back(unbroken, made, tmp_path, capsys):
    """Verified, and as a run it samples the same; its example is a seed; nothing is written into it."""
    before = snapshot(made)
    capsys.readouterr()
    assert cli.run(verify.main, [str(made)]) == 0
    said = capsys.readouterr().out
    assert "are as they were made" in said and "volume: at most" in said and "tolerance" in said
    found = tfmed.load_run(made)
    for one, other in zip(weights(found.restored()), weights(unbroken.restored()), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(next(found.sample(1, 3)).array, next(unbroken.sample(1, 3)).array)
    assert sorted(path.name for path in (made / "example").iterdir()) == [
        "answer.volume.npy", "input.index.npy", "input.seed.npy",
    ]  # fmt: skip
    assert cli.run(sample.main, [str(made), "--out", str(tmp_path / "out")]) == 0
    assert cli.run(evaluate.main, [str(made), "-n", "2", "--out", str(tmp_path / "scores")]) == 0
    assert (tmp_path / "scores" / "evaluation.csv").read_text(encoding="utf-8").startswith("source")
    assert (tmp_path / "scores" / "report.html").exists() and snapshot(made) == before


def test_the_card_tells_what_the_model_is(made):
    card = (made / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in (
        "| cases | train | 4 | 4 |",
        "built-in phantoms",
        "HU",
        "## Licence\n\nCC0",
        "example/",
        "no medical device",
    ):
        assert words in card, words
    assert "| HU mean |" in card  # of the evaluation


def test_what_would_write_into_a_bundle_is_refused(made, tmp_path, capsys):
    before = snapshot(made)
    again = ["--format", "bundle", "--out", tmp_path / "b"]
    for main, words in ((evaluate.main, []), (export.main, []), (export.main, again), (fit.main, ["--resume"])):
        refused(capsys, main, [made, *words], made, "is a bundle")
    assert snapshot(made) == before and not (tmp_path / "b").exists()


@pytest.mark.one_stack
def test_a_bundle_is_replaced_and_nothing_else(unbroken, copied, tmp_path, capsys):
    words = [unbroken.path, "--format", "bundle", "--out"]
    (copied / "MODEL_CARD.md").write_text("changed", encoding="utf-8")
    assert cli.run(export.main, [str(word) for word in (*words, copied)]) == 0
    assert cli.run(verify.main, [str(copied)]) == 0 and not list(tmp_path.glob(".tmp-*"))
    (copied / "notes.txt").write_text("mine", encoding="utf-8")
    refused(capsys, export.main, [*words, copied], copied, "notes.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("mine", encoding="utf-8")
    refused(capsys, export.main, [*words, tmp_path / "other"], "no bundle")
    refused(capsys, export.main, [unbroken.path, "--licence", "CC0"], "--format bundle")


# --- what befalls it --------------------------------------------------------------------------------------------------


def cut(bundle):
    path = bundle / "saved_model" / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:-100])


def flipped(bundle):
    path = next((bundle / "weights").iterdir()) / "variables.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


FAULTS = {
    "a file is missing": (lambda bundle: (bundle / "settings.yaml").unlink(), "'settings.yaml' is missing"),
    "a file is cut": (cut, "'saved_model/saved_model.pb' is changed"),
    "a bit is another": (flipped, "variables.data-00000-of-00001' is changed"),
    "a file is more": (hostile.text("notes.txt", "mine"), "'notes.txt' is additional"),
    "a folder is more": (lambda bundle: (bundle / "records").mkdir(), "'records' is additional"),
    "no manifest": (lambda bundle: (bundle / "bundle.json").unlink(), "is no bundle"),
    "half a manifest": (hostile.text("bundle.json", '{"tfmed_bundle": 1, '), "bundle.json: is damaged"),
    "deep manifest": (hostile.text("bundle.json", "[" * 10**5), "bundle.json: is damaged"),
    "a newer one": (hostile.manifest(tfmed_bundle=2), "is of a newer tfmed"),
    "no files": (hostile.manifest(files={}), "does not name 'MODEL_CARD.md'"),
    "another method": (hostile.manifest(method="ctsgan"), "is of method 'toy', and the bundle of 'ctsgan'"),
    "a path above": (hostile.listing("../../etc/passwd"), "'../../etc/passwd', which is no file of a bundle"),
    "a path from the root": (hostile.listing("/etc/passwd"), "'/etc/passwd', which is no file of a bundle"),
    "a path through it": (hostile.listing("weights/../../x/state.json"), "which is no file of a bundle"),
    "a program": (hostile.listing("records/run.py"), "'records/run.py', which is no file of a bundle"),
    "a pickle": (hostile.listing("example/input.x.pkl"), "which is no file of a bundle"),
    "a link": (hostile.link("settings.yaml", None), "'settings.yaml' is no plain file"),
    "a link out": (hostile.link("MODEL_CARD.md", "/etc/passwd"), "'MODEL_CARD.md' is no plain file"),
    "a linked folder": (hostile.link("saved_model", None), "'saved_model' is additional"),
    "a linked manifest": (hostile.link("bundle.json", None), "bundle.json: is a symbolic link"),
}  # fmt: skip


def fifo(bundle):
    (bundle / "settings.yaml").unlink()
    os.mkfifo(bundle / "settings.yaml")


FAULTS["a pipe"] = fifo, "'settings.yaml' is no plain file"


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_as_it_was_made_is_named(name, copied, capsys):
    damage, words = FAULTS[name]
    damage(copied)
    refused(capsys, verify.main, [copied], words)
    if (copied / "bundle.json").exists():
        refused(capsys, sample.main, [copied, "--out", copied.parent / "out"], words)


def test_all_that_is_wrong_is_named_in_one_line(copied, capsys):
    (copied / "settings.yaml").unlink()
    cut(copied)
    (copied / "extra").write_text("x", encoding="utf-8")
    refused(
        capsys,
        verify.main,
        [copied],
        "'settings.yaml' is missing",
        "saved_model.pb' is changed",
        "'extra' is additional",
    )


HOSTILE = {
    "reads a file": (hostile.model(hostile.reads_a_file), "ReadFile"),
    "writes a file": (hostile.model(hostile.writes_a_file), "WriteFile"),
    "calls Python": (hostile.model(hostile.calls_python), "PyFunc"),
    "saves tensors": (hostile.model(hostile.saves_tensors), "SaveV2"),
    "reads in a branch": (hostile.model(hostile.in_a_branch), "ReadFile"),
    "runs while it is loaded": (hostile.with_a_table, "object of kind 'resource'"),
    "an array beyond memory": (
        hostile.npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 1024), }"), "fewer bytes"
    ),
    "an array of objects": (hostile.npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "real numbers"),
    "another argument": (
        hostile.npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", bytes(4)), "none of what its signature"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bundle_that_means_harm_is_refused(name, copied, capsys):
    """With a manifest that fits: its model is looked at before it is loaded."""
    damage, words = HOSTILE[name]
    damage(copied)
    refused(capsys, verify.main, [copied], words)
    assert not os.path.lexists(hostile.WRITTEN)


@pytest.mark.parametrize("damage, words", [
    (hostile.huge_state, "was written by another model"), (hostile.huge_weights, "variables.index tells of 4000 bytes"),
    (hostile.text("settings.yaml", "method: !!python/object/apply:os.system ['true']"), "settings.yaml"),
])  # fmt: skip
def test_weights_and_settings_that_mean_harm_are_refused(damage, words, copied, capsys):
    damage(copied)
    hostile.rehashed(copied)
    refused(capsys, sample.main, [copied, "--out", copied.parent / "out"], words)


@pytest.mark.one_stack
def test_gradients_that_a_savedmodel_keeps_do_no_harm(tmp_path):
    """silu brings a gradient of its own, which holds on to a tensor of the graph."""

    module = tf.Module()
    module.weight = tf.Variable(2.0)
    module.answer = tf.function(lambda x: tf.nn.silu(module.weight * x), [tf.TensorSpec((None,))])
    tf.saved_model.save(module, str(tmp_path), options=tf.saved_model.SaveOptions(experimental_custom_gradients=True))
    assert b"internal_grad_fn" in (tmp_path / "saved_model.pb").read_bytes()
    saved_model.check(tmp_path)


def test_another_answer_is_told(copied, capsys):
    path = copied / "example" / "answer.volume.npy"
    array = np.load(path, allow_pickle=False)
    np.save(path, array + np.float32(2e-3) * np.ptp(array), allow_pickle=False)
    hostile.rehashed(copied)
    refused(capsys, verify.main, [copied], "its example gives another answer here", "100.00% of the values")
    np.save(path, array + np.float32(5e-4) * np.ptp(array), allow_pickle=False)
    hostile.rehashed(copied)
    assert cli.run(verify.main, [str(copied)]) == 0


@pytest.mark.one_stack
def test_answers_are_compared_as_the_card_says():
    whole = np.zeros(1000, np.int32)
    whole[0] = 3
    near = whole.copy()
    near[1:10] = 1
    assert "99% of the values" in example.difference("x", "labels", near, whole)
    near[1:20] = 1
    with pytest.raises(RunError, match="another answer"):
        example.difference("x", "labels", near, whole)
    real = np.linspace(0, 1, 1000, dtype=np.float32)
    real[0] = np.nan
    assert "at most 0 away" in example.difference("x", "p", real, real)
    for other in (real + np.float32(2e-3), np.nan_to_num(real)):
        with pytest.raises(RunError, match="another answer"):
            example.difference("x", "p", other, real)
    score = np.array(200.0, np.float32)  # a single number, which has no spread
    assert "at most 0.1 away" in example.difference("x", "score", score + np.float32(0.1), score)
    with pytest.raises(RunError, match="another answer"):
        example.difference("x", "score", score + 1, score)


# --- training from it -------------------------------------------------------------------------------------------------


def at_step_0(monkeypatch, seen):
    """Note the weights with which stages begin; they then train as ever."""
    usual = loop.Loop.run

    def noted(self):
        seen.append([compat.tensor_variable(one).numpy() for one in compat.weights(self.model)])
        return usual(self)

    monkeypatch.setattr(loop.Loop, "run", noted)


@pytest.fixture(scope="module")
def begun(made, tmp_path_factory):
    """(a run that started from the bundle, which is gone since; the weights of its step 0)."""
    seen, folder = [], tmp_path_factory.mktemp("begun")
    shutil.copytree(made, folder / "bundle")
    with pytest.MonkeyPatch.context() as patched:
        at_step_0(patched, seen)
        settings = toy.settings("seed=5", "data.split.seed=0", "train.checkpoint_every_steps=1",
                                "train.keep_checkpoints=9", f"train.start_from={folder / 'bundle'}")  # fmt: skip
        found = train(settings, folder / "run")
    shutil.rmtree(folder / "bundle")
    return found, seen


def test_a_training_starts_from_exactly_the_weights_of_a_bundle(unbroken, made, begun):
    found, seen = begun
    assert len(seen) == 1
    for one, other in zip(seen[0], weights(unbroken.restored()), strict=True):
        np.testing.assert_array_equal(one, other)
    recorded = json.loads((found.path / "records" / "start_from.json").read_text(encoding="utf-8"))
    assert recorded == {"kind": "bundle", "sha256": bundle.opened(made).sha256}
    assert any((one != other).any() for one, other in zip(weights(found.restored()), seen[0], strict=True))


@pytest.mark.parametrize("steps", [1, 0])
def test_a_broken_run_goes_on_without_the_bundle(begun, tmp_path, steps):
    """From a checkpoint, and from none: to the same bits."""
    killed, _ = killed_before(begun[0], tmp_path / "killed", lambda state: state["step"] > 1)
    if not steps:
        shutil.rmtree(killed / "checkpoints")
        (killed / "report.html").unlink()
        (killed / "metrics.csv").unlink()
    resumed = train(begun[0].settings, killed, resume=True)
    assert (killed / "metrics.csv").read_bytes() == (begun[0].path / "metrics.csv").read_bytes()
    assert_same_weights(resumed, begun[0])


def started(made, *words):
    return [toy.CONFIG, "data.split.seed=0", "seed=5", f"train.start_from={made}", *words]


def test_what_does_not_fit_is_named(made, tmp_path, capsys):
    """Before there is a run's directory."""
    out = ["--run-dir", tmp_path / "run"]
    refused(capsys, fit.main, [*started(made, "model.units=5"), *out], "of 6 weights of stage 'gan' have other shapes",
            "kernel [4, 3] there, [4, 5] here", "other_shapes: anew}")  # fmt: skip
    refused(
        capsys,
        fit.main,
        [*started(made, "model.recurrent=true"), *out],
        "has 6 weights in stage 'gan', another network",
    )
    refused(capsys, fit.main, [*started(tmp_path / "none"), *out], "none: no such run directory")
    refused(
        capsys, fit.main, [*started(made)[:1], "data.split.seed=7", *started(made)[2:], *out], "has learnt from chest"
    )
    (tmp_path / "bad").mkdir()
    shutil.copytree(made, tmp_path / "bad" / "b")
    flipped(tmp_path / "bad" / "b")
    refused(capsys, fit.main, [*started(tmp_path / "bad" / "b"), *out], "is changed")
    assert not (tmp_path / "run").exists()


@pytest.mark.one_stack
def test_a_run_serves_as_a_bundle_does(unbroken, tmp_path):
    words = "data.split.seed=0", f"train.start_from={unbroken.path}", "train.steps=1"
    found = train(toy.settings(*words), tmp_path / "run")
    assert json.loads((found.path / "records" / "start_from.json").read_text(encoding="utf-8"))["kind"] == "run"
    path, state = Checkpoints(found.path / "start").latest("gan")
    reader = tf.train.load_checkpoint(str(path / "variables"))
    kept = [reader.get_tensor(f"v{k:05d}/.ATTRIBUTES/VARIABLE_VALUE") for k in state["weights"]]
    for one, other in zip(kept, weights(unbroken.restored()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_lost_start_is_told(begun, tmp_path):
    shutil.copytree(begun[0].path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "start")
    with pytest.raises(RunError, match="start: is missing"):
        train(begun[0].settings, tmp_path / "run", resume=True)


def test_only_the_place_of_the_data_can_change(unbroken, tmp_path, capsys):
    out = ["--out", tmp_path / "out"]
    refused(capsys, evaluate.main, [unbroken.path, "data.split.test=0.5", *out], "only where the data lie")
    refused(capsys, evaluate.main, [unbroken.path, "data.root=x"], "--out")
    assert run.OTHER_DATA[0] == "data.source"
