"""A toy run that is trained, evaluated and exported once, and copies of it to be damaged."""

import pathlib
import shutil
import signal
import threading

import pytest

from tests.support import toy
from tests.support.own_run import SETTINGS
from tfmed import cli, evaluate, export
from tfmed.engine import lifecycle


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run of four steps, evaluated and exported."""
    run = lifecycle.fit(toy.settings(*SETTINGS), tmp_path_factory.mktemp("unbroken") / "run")
    for main in (evaluate.main, export.main):
        assert cli.run(main, [str(run.path)]) == 0
    return run


@pytest.fixture
def run(unbroken, tmp_path):
    """A copy of it, to be damaged."""
    return pathlib.Path(shutil.copytree(unbroken.path, tmp_path / "run"))


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """Shells start what runs in the background with SIGINT ignored; here it interrupts, as in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def nothing_hangs():
    """Whoever waits for a FIFO waits for ever: this ends the test instead."""

    def ring(signum, frame):
        raise TimeoutError("waited for a minute")

    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread alone")
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
