"""What the tests of a run's own files share: how it is trained, and verbs that are called on it."""

import signal
import subprocess
import sys

import tfmed
from tests.support.harness import REPOSITORY
from tfmed import cli, evaluate, export, fit, sample
from tfmed.engine import report

SETTINGS = ("train.checkpoint_every_steps=1", "train.preview_every=2")
NEWEST = "checkpoints/gan-00000004"
SIGNALS = [signal.SIGTERM, signal.SIGINT]
TERM, INT = SIGNALS


def resumed(run):
    return cli.run(fit.main, [str(run), "--resume"])


def sampled(run):
    return cli.run(sample.main, [str(run), "--out", str(run.parent / "out")])


def evaluated(run):
    return cli.run(evaluate.main, [str(run)])


def exported(run):
    return cli.run(export.main, [str(run)])


def reported(run):
    return cli.run(lambda argv: report.write(tfmed.load_run(argv[0])) and None, [str(run)])


def started(*words):
    return subprocess.Popen([sys.executable, "-m", "tests.support.cli", *map(str, words)], cwd=REPOSITORY,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")  # fmt: skip
