"""The life of a run: from settings to a run directory with trained stages, pictures and a report."""

import contextlib
import functools
import os
import pathlib
import signal
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tfmed import compat, registry
from tfmed import config as configuration
from tfmed.data import sources
from tfmed.engine import lock, loggers, placement, previews, report, starting
from tfmed.engine import run as runs
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.log import METRICS, TIMING, Table
from tfmed.engine.loop import Interrupted, Loop
from tfmed.engine.made_cases import made_cases
from tfmed.engine.memory import bounded_weights
from tfmed.engine.records import Records
from tfmed.engine.settings import Settings
from tfmed.engine.split_record import SplitRecord
from tfmed.engine.terminal import log, progress, set_up_logging
from tfmed.errors import RunError, Stopped
from tfmed.files import PathLike, check_writable, clean, expanded
from tfmed.io.geometry import machine_memory

_MOST_PER_BYTE = 200  # of a batch: bytes that a training step works with


def fit(
    config: PathLike | Settings,
    run_dir: PathLike | None = None,
    resume: bool = False,
    overrides: Iterable[str] = (),
    profile: str = "paper",
) -> runs.Run:
    """Train a method.

    Args:
        config: path of a settings file, or the Settings that `load_config` gave.
        run_dir: where to write; default `runs/<method>-<time>`.
        resume: go on with `run_dir`; the result equals that of a run that was never broken.
        overrides, profile: as in `load_config`, when `config` is a path.

    Returns:
        The finished Run.

    Raises:
        UserError: wrong settings, data or run directory; one line.
        Interrupted: stopped by a signal, after saving.
        Stopped: a KeyboardInterrupt: stopped by a signal where there was nothing to save; it tells how to go on.
    """
    settings: Any = config
    if isinstance(config, (str, pathlib.Path)):
        settings = configuration.load_config(config, overrides, profile)
    if resume and not run_dir:
        raise RunError("--resume needs --run-dir, the directory of the run to go on with")
    run_dir = expanded(run_dir) if run_dir else None
    set_up_logging()
    loggers.check_installed(settings.train.loggers)
    strategy = placement.strategy(settings.train)
    worker = placement.worker(strategy)
    _repeatable(settings)
    kind = registry.method_class(settings.method)
    stored = None
    if resume and run_dir and (run_dir / "config.yaml").exists():
        stored = runs.load_run(run_dir).settings
    if worker[1] > 1:
        kind.check_planned(settings, settings.method)  # each machine would choose for itself
    settings = kind.planned(settings, stored, progress)
    method = kind(settings)
    if resume and run_dir:
        method.split_record = SplitRecord.read(run_dir)
    _check_early_stopping(method)
    if method.made_to_size:
        _check_memory(method, strategy, worker)
    made_by = None
    if settings.data.augment_with:
        method.made, made_by = made_cases(method, settings.data.augment_with)
        _repeatable(settings)  # the other run had its own precision, and drew numbers
    method.prepared("train", progress)
    record = method.split_record or method.record_split()
    start = starting.start(settings, run_dir if resume else None, method)
    if start and start.origin:
        with bounded_weights(settings.method):
            starting.check(start, method)
    if not resume:
        _tell_unused(method)
    with contextlib.ExitStack() as until_the_end:
        run = _open(settings, run_dir, resume, worker[0] == 0, until_the_end)
        try:
            _train(run, method, strategy, worker, record, made_by, start)
        except KeyboardInterrupt as stop:
            way_on = f"go on after the last checkpoint with: python -m tfmed.fit {run.path} --resume"
            raise Stopped(getattr(stop, "signum", signal.SIGINT), way_on) from None
    return run


def _train(run, method, strategy, worker, record, made_by, start):
    chief = worker[0] == 0
    if chief and not method.split_record:
        record.write(run.path)
    method.records = Records(run.path / "records", writes=chief)
    if made_by and made_by != method.records.recall("made_by", lambda: made_by):
        raise RunError(
            f"{run.settings.data.augment_with.run}: has changed since it made training cases of this run; put it back, "
            "or train a new run"
        )
    if start and start.origin:
        method.records.recall(starting.RECORD, lambda: start.origin)
        if chief:
            start.keep(run)
    log.info("run directory: %s", run.path)
    if not tf.config.list_physical_devices("GPU"):
        _advise_on_cpus(run.settings.train.precision)
    drawn = {}
    shown = functools.partial(_preview, run, method, chief, drawn)
    try:
        with loggers.opened(run, drawn) if chief else contextlib.nullcontext([]) as others:
            _train_stages(run, method, strategy, worker, [shown, *others], start)
    except Interrupted:
        if chief:
            report.write(run)  # of what there is so far
        raise
    shown("preview", None, None)
    if chief:
        report.write(run)


def _check_rights(folder, train):
    """What cannot be written is told before the first step, not at the first checkpoint or picture."""
    for name in ("", "checkpoints", "previews", *(["tensorboard"] if train.tensorboard else [])):
        check_writable(pathlib.Path(folder) / name)


def _tell_unused(method):
    used = [case for parts in method.drawn_split.values() for cases in parts.values() for case in cases]
    count = len(sources.unused(method.settings.data.root, used))
    if count:
        log.info("%d file(s) below data.root look like images and are not used; 'tfmed prepare' lists them", count)


def _advise_on_cpus(precision):
    if runs.onednn() is None:
        log.warning("on some CPUs training is now many times slower than need be: import tfmed before TensorFlow")
    if precision != "float32":
        log.info("train.precision: %s saves no time here: on CPUs convolutions are computed in float32", precision)


def _check_memory(method, strategy, worker):
    """RunError, before cases are prepared to a size that no step can work on; what is far from that costs no time."""
    stage = next(iter(method.stages()))
    samples = stage.train()
    if _MOST_PER_BYTE * samples.per_step * samples.bytes < machine_memory():
        return
    with strategy.scope(), bounded_weights(method.settings.method):
        model = stage.model()
    Loop(stage, 0, model, method.settings, strategy, worker, None, None, None).ready(samples)


def _check_early_stopping(method):
    """RunError where the rule can never be applied: told before the first step, not after hours of training."""
    rule, known = method.settings.train.early_stopping, method.validated()
    if rule is None:
        return
    if not known:
        raise RunError(
            f"train.early_stopping: method {method.settings.method} computes no number on validation cases, by which "
            "to stop; set it to null"
        )
    if rule.metric not in known:
        raise RunError(
            f"train.early_stopping.metric: no validation metric {rule.metric!r}; known: {', '.join(sorted(known))}"
        )
    if not method.validation_cases():
        raise RunError(
            f"train.early_stopping: no validation case that {rule.metric!r} can be computed on; raise "
            "data.split.validation, or set early_stopping to null"
        )


def _repeatable(settings):
    """Same seed, same numbers: seeds for weights, deterministic kernels, and the dtype policy of this run."""
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    compat.set_precision(settings.train.precision)


def _open(settings, run_dir, resume, chief, until_the_end):
    """The run; nobody else trains it until an ExitStack ends."""
    if not chief:  # the first machine makes the directory; the others only need its name
        return runs.Run(run_dir or "runs/worker", settings)
    if resume and os.path.lexists(pathlib.Path(run_dir) / "config.yaml"):
        until_the_end.enter_context(lock.held(run_dir))
        _check_rights(run_dir, settings.train)
        return runs.reopen(run_dir, settings)
    path = runs.vacant(settings.method, run_dir)
    if resume:
        log.info("%s: nothing to resume yet, starting", run_dir)
    until_the_end.enter_context(lock.held(path))
    run = runs.start(settings, path)
    _check_rights(path, settings.train)
    return run


def _train_stages(run, method, strategy, worker, observers, start):
    chief = worker[0] == 0
    keep = run.settings.train.keep_checkpoints
    checkpoints = Checkpoints(run.path / "checkpoints", keep, writes=chief, method=run.method_name)
    metrics = Table(run.path / "metrics.csv", METRICS) if chief else None
    newest = checkpoints.latest()
    if newest is None and chief:
        _check_nothing_is_lost(run, checkpoints, metrics)
    if chief:
        runs.renew(run)
    timing = Table.anew(run.path / "timing.csv", TIMING) if chief else None
    begun = newest[1]["stage_index"] if newest else -1
    if chief:
        clean(run.path)
        _drop_later_rows(metrics, newest)
        _drop_later_rows(timing, newest)
    for index, stage in enumerate(method.stages()):
        keras.utils.set_random_seed(run.settings.seed + index)
        with strategy.scope(), bounded_weights(run.method_name):
            model = method.models[stage.name] = stage.model()
        loop = Loop(
            stage,
            index,
            model,
            run.settings,
            strategy,
            worker,
            checkpoints,
            metrics,
            timing,
            observers,
        )
        found = checkpoints.latest(stage.name) if index <= begun else None
        if found:
            loop.resume(*found)
        elif start:
            start.give(stage.name, model)
        if not (found and found[1]["finished"] and (found[1]["step"] >= stage.steps or loop.out_of_patience)):
            if found:
                log.info("%s: going on after step %d", stage.name, loop.step)
            loop.run()
        _take_best(checkpoints, stage, model)


def _check_nothing_is_lost(run, checkpoints, metrics):
    """RunError where a run has been further than its checkpoints tell: it would be trained anew, over what there is."""
    if checkpoints.any_there():
        raise RunError(
            f"{checkpoints.folder}: holds no whole checkpoint of this run; put a copy of one back, or train a new run "
            "with another --run-dir"
        )
    first = run.settings.train.checkpoint_every_steps
    beyond = [row for row in metrics.rows if int(row["step"]) > first or row["stage"] != metrics.rows[0]["stage"]]
    if beyond or (run.path / "report.html").exists():
        done = f"its step {metrics.rows[-1]['step']}" if metrics.rows else "its report"
        raise RunError(
            f"{checkpoints.folder}: is empty or missing, and the run has {done}; put the checkpoints back, or train a "
            "new run with another --run-dir"
        )


def _take_best(checkpoints, stage, model):
    """Later stages, and the last pictures, see the weights that `Run.restored` will give."""
    found = checkpoints.latest(stage.name, best=True)
    if found and found[1].get("best"):
        checkpoints.restore(model, *found)


def _drop_later_rows(table, newest):
    """After a resume the steps since the checkpoint are taken again: their rows must not stand twice."""
    if not table.path.exists():
        return
    if newest is None:
        return table.keep(lambda row: False)
    stage, step = newest[1]["stage"], newest[1]["step"]
    before = {
        row["stage"]
        for row in table.rows[: next((i for i, row in enumerate(table.rows) if row["stage"] == stage), len(table.rows))]
    }
    return table.keep(lambda row: row["stage"] in before or (row["stage"] == stage and int(row["step"]) <= step))


def _preview(run, method, chief, drawn, event, step, values):
    """Write pictures; the other machines make them too, because averages over machines are read by all together."""
    if event != "preview":
        return
    pictures = previews.pictures(method)
    if chief:
        previews.write(pictures, run.path, step, drawn)
