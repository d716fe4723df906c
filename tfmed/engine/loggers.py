"""Where a run's losses and pictures also go: TensorBoard, MLflow, Weights & Biases.

Each logger is called as `(event, step, values)` with the rows of metrics.csv and "preview" when pictures were drawn,
and closed with how the run ended. The last two keep the name of their own run in `loggers.json` of the run directory,
so that a resumed run goes on in it; their packages are extras of tfmed, and where they send things to is for their own
environment variables to say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME; WANDB_PROJECT, WANDB_MODE=offline).
"""

import contextlib
import importlib.util
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tfmed.engine.run import Run, flat
from tfmed.engine.terminal import log
from tfmed.errors import ConfigError
from tfmed.files import plain_json, write_text

IDS = "loggers.json"
Drawn = Mapping[str, tuple[Any, pathlib.Path]]  # {name: (digest, path)} of the newest pictures


def check_installed(names: tuple[str, ...]) -> None:
    """ConfigError where the package of a logger is missing; before any work."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"train.loggers: {name} needs a further package; pip install 'tfmed[{name}]'")


@contextlib.contextmanager
def opened(run: Run, drawn: Drawn) -> Iterator[list[Callable[..., None]]]:
    """The loggers that a run's settings ask for, closed at the end, whichever it is."""
    train = run.settings.train
    found: list[Any] = [TensorBoard(run.path / "tensorboard", drawn)] if train.tensorboard else []
    found += [_KINDS[name](run, drawn) for name in train.loggers]
    try:
        yield found
    except BaseException:
        _close(found, False)
        raise
    _close(found, True)


def _close(loggers: list[Any], finished: bool) -> None:
    for logger in loggers:
        logger.close(finished)


class TensorBoard:
    """Events for TensorBoard, below a folder."""

    def __init__(self, folder: pathlib.Path, drawn: Drawn) -> None:
        self.folder, self.drawn = folder, drawn
        self.writer: Any = None

    def __call__(self, event: str, step: int | None, values: Mapping[str, float] | None) -> None:
        if self.writer is None:  # not before there is something to write: a run that is refused is left as it was
            self.writer = tf.summary.create_file_writer(str(self.folder))
        with self.writer.as_default(step):
            for name, value in named(event, values).items():
                tf.summary.scalar(name, value)
            if event == "preview":
                for name, (_, path) in sorted(self.drawn.items()):
                    picture = tf.io.decode_png(tf.io.read_file(str(path)), channels=3)
                    tf.summary.image(name, picture[None])
        self.writer.flush()

    def close(self, finished: bool) -> None:
        if self.writer is not None:
            self.writer.close()


def named(event: str, values: Mapping[str, float] | None) -> dict[str, float]:
    """{"train/loss": value} of an event and its values."""
    return {f"{'train' if event == 'row' else event}/{name}": value for name, value in (values or {}).items()}


class _Remote:
    """What MLflow's and Weights & Biases' loggers share: a trouble there is told once, and never ends a training."""

    name = ""

    def __init__(self, run: Run, drawn: Drawn) -> None:
        self.run, self.drawn, self.failed, self.open = run, drawn, False, False

    def __call__(self, event: str, step: int | None, values: Mapping[str, float] | None) -> None:
        self._guarded(self._begin_and_log, event, step, values)

    def close(self, finished: bool) -> None:
        if self.open:
            self._guarded(self._end, finished)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        if self.failed:
            return
        try:
            function(*arguments)
        except Exception as error:  # of the network, of a server, of their packages
            self.failed = True
            why = " ".join(str(error).split())[:160] or type(error).__name__
            log.warning("%s: %s; nothing more is logged there, the training goes on", self.name, why)

    def _begin_and_log(self, event: str, step: int | None, values: Mapping[str, float] | None) -> None:
        if not self.open:
            path = self.run.path / IDS
            ids = plain_json(path) if os.path.lexists(path) else {}
            ids[self.name] = self._begin(ids.get(self.name))
            write_text(path, json.dumps(ids))
            self.open = True
        self._log(step, named(event, values), sorted(self.drawn.items()) if event == "preview" else [])

    def _begin(self, known: str | None) -> str:
        """Open the run of a known name, or a new one; returns its name."""
        raise NotImplementedError

    def _log(self, step: int | None, values: Mapping[str, float], pictures: Any) -> None:
        raise NotImplementedError

    def _end(self, finished: bool) -> None:
        raise NotImplementedError


class MLflow(_Remote):
    """Metrics, settings and pictures as a run of MLflow."""

    name = "mlflow"

    def _begin(self, known: str | None) -> str:
        import mlflow

        self.client = mlflow.MlflowClient()
        if known is None:
            wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", "tfmed")
            experiment = self.client.get_experiment_by_name(wanted)
            number = self.client.create_experiment(wanted) if experiment is None else experiment.experiment_id
            known = self.client.create_run(number, run_name=self.run.path.name).info.run_id
            for key, value in flat(self.run.settings.model_dump(mode="json")).items():
                self.client.log_param(known, key, str(value)[:500])
        else:
            self.client.update_run(known, status="RUNNING")
        self.id = known
        return known

    def _log(self, step: int | None, values: Mapping[str, float], pictures: Any) -> None:
        for name, value in values.items():
            self.client.log_metric(self.id, name, float(value), step=step or 0)
        for _, (_, path) in pictures:
            self.client.log_artifact(self.id, str(path), "previews")

    def _end(self, finished: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class WeightsAndBiases(_Remote):
    """Metrics, settings and pictures as a run of Weights & Biases."""

    name = "wandb"

    def _begin(self, known: str | None) -> str:
        import wandb

        options = {"id": known, "resume": "allow"} if known else {}
        self.session = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "tfmed"), name=self.run.path.name, dir=str(self.run.path),
            config=self.run.settings.model_dump(mode="json"), settings=wandb.Settings(silent=True), **options,
        )  # fmt: skip
        self.session.define_metric("step")
        self.session.define_metric("*", step_metric="step")  # validations come at the steps of rows
        return self.session.id

    def _log(self, step: int | None, values: Mapping[str, float], pictures: Any) -> None:
        import wandb

        shown = {f"preview/{name}": wandb.Image(str(path)) for name, (_, path) in pictures}
        if values or shown:
            self.session.log({**values, **shown} | ({} if step is None else {"step": step}))

    def _end(self, finished: bool) -> None:
        self.session.finish(exit_code=0 if finished else 1)


_KINDS = {"mlflow": MLflow, "wandb": WeightsAndBiases}
