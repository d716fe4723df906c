"""One process at a time trains a run."""

import os

import pytest

from tests.engine.test_own_files import own_folder
from tests.support.own_run import resumed
from tests.support.refusals import one_line
from tests.test_bad_input import snapshot
from tfmed import cli, fit
from tfmed.engine import lock

pytestmark = [pytest.mark.current, pytest.mark.usefixtures("nothing_hangs")]


def test_two_do_not_train_one_run(run, capsys):
    before = snapshot(run)
    with lock.held(run):
        assert cli.run(fit.main, [str(run), "--resume", "train.steps=6"]) == 2
        one_line(capsys.readouterr().err, run, f"process {os.getpid()} is training it")
    assert snapshot(run) == before


@pytest.mark.parametrize("text", ["", "999999999\n", "\0\0", "not a number"])
def test_a_lock_that_a_killed_process_left_locks_nobody_out(text, run):
    (run / lock.FILE).write_text(text, encoding="utf-8")
    assert resumed(run) == 0
    assert not (run / lock.FILE).exists()


@pytest.mark.parametrize("make", [os.mkfifo, own_folder, lambda path: path.symlink_to("/nowhere/at/all")])
def test_a_lock_that_is_none(make, run, capsys):
    make(run / lock.FILE)
    assert resumed(run) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
