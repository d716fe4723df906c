"""The life of a run: resume after SIGKILL, signals, full disks, damaged checkpoints, NaN, early stopping, replicas."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tfmed
from tests.support import toy
from tests.support.harness import REPOSITORY, assert_same_weights, killed_before
from tests.support.toy import settings
from tfmed import cli, compat
from tfmed import fit as fit_verb
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.lifecycle import fit
from tfmed.errors import RunError

pytestmark = pytest.mark.current


def command(run, *extra, resume=True):
    words = [sys.executable, "-m", "tests.support.cli", "fit", toy.CONFIG, "--run-dir", str(run), *extra]
    return words + ["--resume"] if resume else words


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run of eight steps that nothing interrupts."""
    return fit(settings("train.steps=8", "train.checkpoint_every_steps=1"), tmp_path_factory.mktemp("unbroken") / "run")


@pytest.fixture(scope="module")
def long_enough(tmp_path_factory):
    """As `unbroken`, of so many steps that none of the kills comes too late."""
    return fit(settings(*MANY), tmp_path_factory.mktemp("long_enough") / "run")


MANY = ("train.steps=80", "train.checkpoint_every_steps=1")


def kill_and_resume(run, unbroken, kills, seed):
    """Kill a run again and again at random moments (most fall into the writing of a checkpoint), then let it finish."""
    rng = random.Random(seed)
    landed = 0
    for _ in range(kills):
        before = _steps_done(run)
        process = subprocess.Popen(command(run, *MANY), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _steps_done(run) <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        if process.poll() is None:
            landed += 1
            process.kill()
        process.wait()
    assert landed == kills
    fit(settings(*MANY), run, resume=True)
    assert (run / "metrics.csv").read_bytes() == (unbroken.path / "metrics.csv").read_bytes()
    assert_same_weights(tfmed.load_run(run), unbroken)
    assert not list(run.rglob(".tmp-*"))


def _steps_done(run):
    steps = [int(path.name.rpartition("-")[2]) for path in run.glob("checkpoints/gan-*")]
    return max(steps, default=0)


@pytest.mark.one_stack
def test_killed_runs_resume_to_the_same_bits(long_enough, tmp_path):
    kill_and_resume(tmp_path / "run", long_enough, kills=1, seed=0)


@pytest.mark.long
def test_twenty_kills(long_enough, tmp_path):
    for seed in range(1, 5):
        kill_and_resume(tmp_path / f"run{seed}", long_enough, kills=5, seed=seed)


@pytest.mark.one_stack
def test_a_signal_saves_and_says_how_to_resume(tmp_path):
    """SIGTERM; tests/engine/test_signals.py has SIGINT too, within a process."""
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(run, "train.steps=100000", "train.checkpoint_every_steps=100000"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    while not (run / "metrics.csv").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"tfmed.fit {run} --resume" in stderr and "Traceback" not in stderr
    assert "import tfmed before TensorFlow" not in stderr
    assert Checkpoints(run / "checkpoints").latest()[1]["step"] >= 1
    assert "<svg" in (run / "report.html").read_text(encoding="utf-8")  # curves of what there is so far


def copy_of(run, folder):
    shutil.copytree(run.path, folder)
    return folder


def test_a_damaged_checkpoint_is_skipped_with_a_warning(unbroken, tmp_path, caplog):
    folder = copy_of(unbroken, tmp_path / "run") / "checkpoints"
    newest = folder / "gan-00000008"
    data = newest / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    tfmed_log = __import__("logging").getLogger("tfmed")
    tfmed_log.propagate = True
    _path, state = Checkpoints(folder).latest()
    assert state["step"] == 7 and "skipped" in caplog.text and str(newest) in caplog.text
    (folder / "gan-00000007" / "state.json").write_text('{"stage": "gan"', encoding="utf-8")
    assert Checkpoints(folder).latest()[1]["step"] == 6


@pytest.mark.one_stack
def test_resume_after_damage_reaches_the_same_end(unbroken, tmp_path):
    folder = copy_of(unbroken, tmp_path / "run")
    (folder / "checkpoints" / "gan-00000008" / "variables.index").unlink()
    run = fit(settings("train.steps=8", "train.checkpoint_every_steps=1"), folder, resume=True)
    assert (folder / "metrics.csv").read_bytes() == (unbroken.path / "metrics.csv").read_bytes()
    assert_same_weights(run, unbroken)


@pytest.mark.one_stack
def test_a_longer_run_continues_a_finished_one(unbroken, tmp_path):
    folder = copy_of(unbroken, tmp_path / "run")
    run = fit(settings("train.steps=10", "train.checkpoint_every_steps=1"), folder, resume=True)
    assert run.metrics()["step"].tolist() == list(range(1, 11))


def test_resume_with_other_settings_is_refused(unbroken, tmp_path):
    folder = copy_of(unbroken, tmp_path / "run")
    with pytest.raises(RunError, match=r"model\.learning_rate=0\.001"):
        fit(settings("train.steps=8", "model.learning_rate=3"), folder, resume=True)


def test_a_used_run_directory_is_not_overwritten(unbroken):
    before = (unbroken.path / "metrics.csv").read_bytes()
    with pytest.raises(RunError, match="--resume"):
        fit(settings("train.steps=8"), unbroken.path)
    assert (unbroken.path / "metrics.csv").read_bytes() == before


def test_checkpoints_of_another_model_are_refused(unbroken):
    method = tfmed.registry.method_class("toy")(settings("model.units=5"))
    model = next(iter(method.stages())).model()
    checkpoints = Checkpoints(unbroken.path / "checkpoints")
    with pytest.raises(RunError, match="another model"):
        checkpoints.restore(model, *checkpoints.latest())


def test_only_so_many_checkpoints_stay(unbroken):
    names = sorted(path.name for path in (unbroken.path / "checkpoints").iterdir())
    assert names == ["gan-00000006", "gan-00000007", "gan-00000008"]


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    """An absurd learning rate makes the losses overflow: the run stops in that step and names the loss."""
    bad = settings("train.steps=200", "train.checkpoint_every_steps=1", "model.learning_rate=1e30")
    with pytest.raises(RunError, match=r"gan: \w+.* is NaN or infinite at step \d+") as caught:
        fit(bad, tmp_path / "run")
    assert "\n" not in str(caught.value)
    found = Checkpoints(tmp_path / "run" / "checkpoints").latest()
    if found:
        model = tfmed.load_run(tmp_path / "run").restored().models["gan"]
        assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
        assert str(found[0]) in str(caught.value)


@pytest.mark.one_stack
def test_full_disk_ends_with_a_clear_line_and_the_checkpoint_before_intact(tmp_path, capsys):
    """A small file system of its own, filled while the run goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        run = disk / "run"
        words = ("train.steps=400", "train.checkpoint_every_steps=1", "train.keep_checkpoints=400")
        status = cli.run(fit_verb.main, [toy.CONFIG, "--run-dir", str(run), *words])
        error = capsys.readouterr().err
        assert status == 2, error
        last = error.strip().splitlines()[-1]
        assert "no space left" in last and "Traceback" not in error
        _path, state = Checkpoints(run / "checkpoints").latest()
        assert state["step"] >= 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.one_stack
@pytest.mark.parametrize("devices", [(), ("train.strategy=mirrored", "train.replicas=2")], ids=["one", "two"])
def test_early_stopping_takes_the_best_and_stops(tmp_path, devices):
    rule = "train.early_stopping={metric: score, mode: min, patience: 2}"
    shared = ("train.steps=1000000", "train.validate_every=2", "train.keep_checkpoints=1", rule)
    run = fit(settings(*shared, "model.scores=[3, 1, 2, 2, 5]", *devices), tmp_path / "run")
    rows = run.metrics()
    assert rows[rows.split == "validation"].score.tolist() == [3.0, 1.0, 2.0, 2.0]
    assert rows.step.max() == 8
    assert Checkpoints(run.path / "checkpoints").latest("gan", best=True)[1]["step"] == 4


@pytest.mark.one_stack
@pytest.mark.parametrize(
    ("metric", "words", "line"),
    [
        ("skore", ("model.scores=[0]",), "known: score"),
        ("score", ("model.scores=[0]", "data.split.validation=0"), "no validation case.*data.split.validation"),
        ("score", (), "method toy computes no number on validation cases"),
    ],
    ids=["unknown metric", "no cases", "no validation"],
)
def test_early_stopping_that_can_never_work_is_told_before_the_first_step(tmp_path, metric, words, line):
    rule = f"train.early_stopping={{metric: {metric}, mode: min}}"
    with pytest.raises(RunError, match=line) as caught:
        fit(settings("train.steps=2", *words, rule), tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.one_stack
def test_time_decides_about_checkpoints_too(tmp_path):
    run = fit(
        settings("train.steps=3", "train.checkpoint_every_steps=1000", "train.checkpoint_every_minutes=1e-6"),
        tmp_path / "run",
    )
    assert len(list((run.path / "checkpoints").iterdir())) == 3


@pytest.mark.one_stack
def test_tensorflow_imported_first_may_be_slow_and_is_told(tmp_path):
    """Its CPU kernels are chosen when it is imported; tfmed can only choose before that."""
    code = "import tensorflow, tfmed, tests.support.toy, sys; tfmed.fit(sys.argv[1], sys.argv[2])"
    words = [sys.executable, "-c", code, toy.CONFIG, str(tmp_path / "run")]
    plain = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(words, env=plain, capture_output=True, encoding="utf-8", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    environment = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert environment["onednn"] is None
    assert "import tfmed before TensorFlow" in done.stderr + done.stdout


def test_a_run_writes_what_it_promises(tmp_path):
    run = fit(settings("train.steps=4", "train.preview_every=2", "train.tensorboard=true"), tmp_path / "run")
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "timing.csv",
        "report.html",
        "previews/volumes.png",
        "previews/volumes-00000002.png",
        "previews/volumes-00000004.png",
    } <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    environment = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    assert environment["packages"]["tensorflow"] and environment["onednn"] is True
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert (
        "http://"
        not in page.replace("http://www.w3.org", "")
        .replace("http://purl.org", "")
        .replace("http://creativecommons.org", "")
        and 'src="http' not in page
    )
    assert page.count("data:image/png") >= 2 and "<svg" in page and "recurrent" in page


def test_wall_clock_stays_out_of_metrics(unbroken):
    """Only then can two runs agree in every byte."""
    assert set(unbroken.metrics().columns) == {"stage", "step", "split", "critic_loss", "critic_real", "generator"}


def test_two_worker_processes_agree_with_one(tmp_path, own_cache):
    """MultiWorkerMirroredStrategy as two real processes on the loopback address."""
    ports = [20000 + os.getpid() % 20000, 20001 + os.getpid() % 20000]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    extra = ("train.steps=3", "train.strategy=multiworker", "train.checkpoint_every_steps=1000")
    processes = []
    for index in range(2):
        environment = os.environ | {
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        }
        processes.append(
            subprocess.Popen(
                command(tmp_path / "two", *extra, resume=False),
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
        )
    errors = "\n".join(process.communicate(timeout=300)[1] for process in processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    one = fit(settings("train.steps=3"), tmp_path / "one")
    ours, theirs = (
        run.metrics().drop(columns=["stage", "split"]).to_numpy(float)
        for run in (tfmed.load_run(tmp_path / "two"), one)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def losses(run):
    return run.metrics().drop(columns=["stage", "split"]).to_numpy(float)


@pytest.mark.one_stack  # tests/methods/test_stylegan3d.py compares gradients on both
def test_accumulated_gradients_give_the_run_of_whole_batches(tmp_path):
    """Without statistics of the batch, two halves of it are as good as the whole."""
    halves = fit(settings("train.gradient_accumulation=2"), tmp_path / "halves")
    whole = fit(settings(), tmp_path / "whole")
    np.testing.assert_allclose(losses(halves), losses(whole), rtol=1e-4, atol=1e-5)


def test_xla_computes_the_same_step(tmp_path):
    """XLA draws other normal numbers from the same seed, so only what does not depend on noise is comparable."""
    recurrent = "model.recurrent=true"  # a loop is what XLA may not know how to compile
    compiled = fit(settings(recurrent, "train.steps=2", "train.xla=true"), tmp_path / "compiled")
    assert np.isfinite(losses(compiled)).all()
    plain = fit(settings(recurrent, "train.steps=1"), tmp_path / "plain")
    first, expected = (run.metrics().iloc[0] for run in (compiled, plain))
    assert first["critic_real"] == pytest.approx(expected["critic_real"], rel=1e-4)


def test_float16_runs_resume_and_are_used(tmp_path):
    """The dynamic loss scale comes back, and a restored model has the precision that it was trained in."""
    common = ("train.precision=mixed_float16", "train.checkpoint_every_steps=1", "train.steps=3")
    try:
        whole = fit(settings(*common), tmp_path / "whole")
        compat.set_precision("float32")
        killed, _ = killed_before(whole, tmp_path / "killed", lambda state: state["step"] > 2)
        (volume,) = tfmed.load_run(killed).sample(1)
        assert volume.shape == (8, 8, 8)
        compat.set_precision("float32")
        resumed = fit(whole.settings, killed, resume=True)
        np.testing.assert_array_equal(losses(resumed), losses(whole))
        assert_same_weights(resumed, whole)
    finally:
        compat.set_precision("float32")
