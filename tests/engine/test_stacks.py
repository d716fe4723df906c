"""Runs of one stack are used on the other: the same weights in the same places, the same answers, of every method."""

import pathlib
import subprocess

import numpy as np
import pytest

from tests.support import other_stack
from tfmed import compat
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.lifecycle import fit
from tfmed.errors import RunError

pytestmark = [
    pytest.mark.current,
    pytest.mark.skipif(other_stack.interpreter() is None, reason="the other stack is not installed beside this one"),
]
METHODS = sorted(
    path.stem
    for path in (pathlib.Path(__file__).parents[1] / "methods").glob("test_*.py")
    if "class TestHarness" in path.read_text(encoding="utf-8")
)
QUICK = ("test_stylegan3d", "test_gbdl_baselines")  # weights of its own, and a teacher: where the stacks' orders differ


def written(what, folder, names):
    command = [other_stack.interpreter(), "-m", "tests.support.other_stack", what, folder, *names]
    done = subprocess.run(command, cwd=other_stack.REPOSITORY, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return written("weights", tmp_path_factory.mktemp("quick"), QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_weights_find_their_places(quick, name):
    stack, theirs = other_stack.load(quick / name)
    assert stack != compat.STACK
    _, model = other_stack.first_stage(name)
    checkpoints = Checkpoints(quick / name)
    checkpoints.restore(model, *checkpoints.latest(), weights_only=True)
    ours = other_stack.values(model)
    assert [key for key, _ in ours] == [key for key, _ in theirs]
    for (key, here), (_, there) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(here, there, err_msg=key)


def test_training_does_not_go_on_on_the_other_stack(quick):
    _, model = other_stack.first_stage(QUICK[0])
    checkpoints = Checkpoints(quick / QUICK[0])
    with pytest.raises(RunError, match=r"was trained on stack '\w+' \(Keras [23]\), here is"):
        checkpoints.restore(model, *checkpoints.latest())


def test_another_model_is_refused(quick):
    _, model = other_stack.first_stage(QUICK[1])
    checkpoints = Checkpoints(quick / QUICK[0])
    with pytest.raises(RunError, match="was written by another model"):
        checkpoints.restore(model, *checkpoints.latest(), weights_only=True)


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_answers_of_a_run(tmp_path, name):
    folder = written("runs", tmp_path, [name]) / name
    stack, theirs = other_stack.load(folder)
    assert stack != compat.STACK
    for ours, (_, their) in zip(other_stack.answers(name, folder), theirs, strict=True):
        ours, their = np.asarray(ours, np.float64), np.asarray(their, np.float64)
        close = np.isclose(ours, their, rtol=0, atol=1e-3 * np.ptp(their) + 1e-6)
        assert close.mean() > 0.99  # classes may tip over where two are equally probable
    with pytest.raises(RunError, match="was trained on stack"):
        fit(other_stack.harness(name).settings("train.steps=9"), folder, resume=True)
