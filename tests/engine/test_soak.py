"""A long run neither grows in memory nor holds more and more files open."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.support import toy
from tests.support.harness import REPOSITORY

pytestmark = [pytest.mark.current, pytest.mark.one_stack]  # minutes
STEPS, WARM_UP = 1000, 400  # the first checkpoint and some previews come before the measurement begins
SETTINGS = (
    f"train.steps={STEPS}",
    "train.log_every=100",
    "train.checkpoint_every_steps=250",
    "train.preview_every=100",
    "train.tensorboard=true",
)

# Run through the real engine; `Loop._check_finite` is called once in every step.
# What is free is given back before measuring, so that the allocator's holes (some 10 MB after previews) do not count.
_SOAK = f"""
import ctypes, gc, json, sys
import psutil, tfmed, tests.support.toy
from tfmed.engine.loop import Loop

process, rows, check = psutil.Process(), [], Loop._check_finite
trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)

def watch(self, logs):
    check(self, logs)
    if self.step > {WARM_UP} and self.step % 25 == 0:
        gc.collect()
        trim(0)
        rows.append((self.step, process.memory_info().rss / 2**20, process.num_fds()))

Loop._check_finite = watch
tfmed.fit(sys.argv[1], run_dir=sys.argv[2], overrides=sys.argv[3:])
print(json.dumps(rows))
"""


def soak(run):
    """Columns (step, resident MB, open files) of a run in a process of its own."""
    words = [sys.executable, "-c", _SOAK, toy.CONFIG, str(run), *SETTINGS]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=1800, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(done.stdout.splitlines()[-1])).T


@pytest.mark.long
def test_a_thousand_steps_leak_neither_memory_nor_files(tmp_path):
    """Below 1 MB per 100 steps and no more files than before, with checkpoints, previews, rows and TensorBoard."""
    steps, memory, files = soak(tmp_path / "run")
    assert steps[-1] == STEPS and len(steps) == (STEPS - WARM_UP) // 25
    slope = np.polyfit(steps, memory, 1)[0] * 100
    assert slope < 1.0, f"{slope:.2f} MB per 100 steps: {memory.round(1).tolist()}"
    assert files[-1] <= files[0] and files.max() <= files[0] + 2, files.tolist()
