"""GBDL killed at any moment: what a resumed run leaves is file for file what an unbroken one leaves."""

import random
import subprocess
import sys
import time

import pytest

import tfmed
from tests.methods.test_gbdl import TINY
from tests.support.harness import REPOSITORY, assert_same_weights

pytestmark = [pytest.mark.long, pytest.mark.current, pytest.mark.one_stack]  # a start of TensorFlow for every kill
CHAINS, KILLS = 7, 4  # runs, and kills of each
WORDS = (
    *TINY,
    "train.steps=4",
    "model.latent_steps=3",
    "train.log_every=1",
    "train.preview_every=1",
    "train.validate_every=1",
    "train.checkpoint_every_steps=2",
    # best checkpoints come between the others
    "train.early_stopping={metric: dice_atrium, mode: max, patience: 9}",
    "train.tensorboard=false",
)


def started(run):
    words = [
        sys.executable,
        "-m",
        "tfmed.fit",
        str(REPOSITORY / "configs/gbdl.yaml"),
        "--run-dir",
        str(run),
        "--resume",
    ]
    return subprocess.Popen([*words, *WORDS], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8",
                            cwd=REPOSITORY)  # fmt: skip


def finished(run):
    process = started(run)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return run


def seen(run):
    """Every file of a run with its size and time, those that are only for a moment among them."""
    found = {}
    for path in run.rglob("*"):
        try:
            status = path.lstat()
        except OSError:  # gone meanwhile
            continue
        found[path] = status.st_mtime_ns, status.st_size
    return found


def killed(run, changes, pause):
    """Kill a run so many changes of its files, and seconds, after its start; True if it came that far."""
    before, process = seen(run), started(run)
    while process.poll() is None and changes:
        now = seen(run)
        changes -= now != before
        before = now
        time.sleep(0.001)
    time.sleep(pause)
    alive = process.poll() is None
    process.kill()
    _, error = process.communicate()
    assert alive or process.returncode == 0, error
    return alive


def left(run):
    """{file: its bytes where they are a function of the settings, else None}."""
    same = {".png", ".yaml"}
    files = {path.relative_to(run): path for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    return {str(name): path.read_bytes() if path.suffix in same or path.name in ("metrics.csv", "split.json") else None
            for name, path in files.items()}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("seed", range(CHAINS))
def test_kills_leave_no_trace(seed, whole, tmp_path):
    draw, run, landed = random.Random(seed), tmp_path / "run", []
    for _ in range(KILLS):
        changes, pause = draw.randint(1, 14), draw.uniform(0, 0.2)
        landed.append((changes, pause, killed(run, changes, pause)))
    assert any(alive for *_, alive in landed), landed
    ours, theirs = left(finished(run)), left(whole)
    assert ours.keys() == theirs.keys(), (sorted(ours.keys() ^ theirs.keys()), landed)
    assert [name for name in ours if ours[name] != theirs[name]] == [], landed
    assert_same_weights(tfmed.load_run(run), tfmed.load_run(whole))
