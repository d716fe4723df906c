"""Signals and kills in the midst of writing: one line, nothing half-written, and the same run afterwards."""

import csv
import hashlib
import json
import os
import signal
import threading
import time

import pytest
import tensorflow as tf

import tfmed
from tests.support import toy
from tests.support.harness import assert_same_weights
from tests.support.own_run import INT, SETTINGS, SIGNALS, TERM, evaluated, exported, reported
from tests.support.refusals import one_line
from tests.test_bad_input import snapshot
from tfmed import cli, files, fit
from tfmed.engine import checkpoint, lifecycle, lock, previews, report, study
from tfmed.engine.checkpoint import Checkpoints

pytestmark = [pytest.mark.current, pytest.mark.usefixtures("nothing_hangs")]


def sending(signum, function, when=1):
    """A function that does what another does, and sends this process a signal in the midst of its `when`-th call."""
    calls = []

    def call(*arguments, **options):
        calls.append(1)
        result = function(*arguments, **options)
        if len(calls) == when:
            os.kill(os.getpid(), signum)
            time.sleep(0.01)  # the handler runs between two instructions
        return result

    return call


MOMENTS = {  # of a training: what is patched, in which call the signal comes, and which
    "a checkpoint": (checkpoint, "_write", 2, TERM),
    "the last checkpoint": (checkpoint, "_write", 4, INT),
    "a picture": (previews, "save", 1, INT),
    "the last picture": (previews, "digest", 3, TERM),
    "the report": (report, "template", 1, INT),
    "the settings": (files, "sync", 1, TERM),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_while_a_run_writes(moment, unbroken, tmp_path, monkeypatch, capsys):
    module, name, when, signum = MOMENTS[moment]
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(module, name, sending(signum, getattr(module, name), when))
        words = [toy.CONFIG, "--run-dir", str(run), *SETTINGS]
        assert cli.run(fit.main, words) == 128 + signum
    error = capsys.readouterr().err
    one_line(error, f"tfmed.fit {run} --resume" if moment != "the settings" else "repeat the command")
    assert "tensorflow" not in error.lower() and not list(run.rglob(".tmp-*")) and not (run / lock.FILE).exists()
    assert cli.run(fit.main, [*words, "--resume"]) == 0
    assert (run / "metrics.csv").read_bytes() == (unbroken.path / "metrics.csv").read_bytes()
    assert_same_weights(tfmed.load_run(run), unbroken)
    assert pictures(run) == pictures(unbroken.path)


def pictures(run):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (run / "previews").iterdir()}


WRITERS = {
    "an evaluation": (evaluated, files, "sync", INT),
    "a table": (evaluated, csv.DictWriter, "writerows", TERM),
    "an export": (exported, tf.saved_model, "save", TERM),
    "the files of an export": (exported, json, "dumps", INT),
}


@pytest.mark.parametrize("moment", WRITERS)
def test_a_signal_while_a_verb_writes(moment, run, monkeypatch, capsys):
    verb, module, name, signum = WRITERS[moment]
    before = snapshot(run)
    with monkeypatch.context() as patched:
        patched.setattr(module, name, sending(signum, getattr(module, name)))
        assert verb(run) == 128 + signum
    one_line(capsys.readouterr().err, "repeat the command")
    assert snapshot(run) == before and not list(run.rglob(".tmp-*"))
    assert verb(run) == 0


def test_a_signal_to_a_comparison_reaches_the_run_that_goes_on(tmp_path, monkeypatch):
    """A scheduler's SIGTERM comes to the parent alone: it hands it on, and waits until the run has saved."""
    script = tmp_path / "training"
    script.write_text(
        f"#!/bin/sh\ntrap 'echo saved > {tmp_path}/saved; exit 143' TERM\necho > {tmp_path}/ready\n"
        "while :; do sleep 0.05; done\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setattr(study.sys, "executable", str(script))

    def stop():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), TERM)

    worker = threading.Thread(target=stop)
    worker.start()
    assert cli.run(lambda argv: study._process("fit"), []) == 128 + TERM
    worker.join()
    assert (tmp_path / "saved").exists()


def test_handlers_are_put_back(run):
    before = [signal.getsignal(signum) for signum in SIGNALS]
    assert reported(run) == 0
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


class Killed(BaseException):
    """As if the process ended there: nobody catches it."""


def dying(*arguments):
    raise Killed


def test_a_run_killed_after_its_best_checkpoint_has_the_pictures_and_the_best_of_an_unbroken_one(tmp_path, monkeypatch):
    """Between the saving of a validation's best and whatever else is done in that step."""
    rule = "train.early_stopping={metric: score, mode: min, patience: 9}"
    words = (*SETTINGS, "train.validate_every=2", "train.steps=6", "model.scores=[3, 1, 2, 4, 5]", rule)
    whole = lifecycle.fit(toy.settings(*words), tmp_path / "whole")
    for moment in ("mark_best", "_prune"):
        run = tmp_path / moment
        with monkeypatch.context() as patched, pytest.raises(Killed):
            calls = iter(range(99))
            usual = getattr(Checkpoints, moment)
            late = 2 if moment == "mark_best" else 4
            patched.setattr(Checkpoints, moment, lambda *a, u=usual, c=calls, n=late: u(*a) if next(c) < n else dying())
            lifecycle.fit(toy.settings(*words), run)
        assert Checkpoints(run / "checkpoints").latest()[1]["step"] == 4
        scores = "model.scores=[3, 1, 2, 4, 5]"
        resumed = lifecycle.fit(toy.settings(*(word for word in words if word != scores), scores), run, resume=True)
        assert pictures(run) == pictures(whole.path)
        best = Checkpoints(run / "checkpoints").latest("gan", best=True)
        assert best[1]["step"] == 4 and best[1]["best"]
        assert resumed.path == run
