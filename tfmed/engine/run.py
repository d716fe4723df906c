"""Run: a run directory, and what can be done with a trained run."""

import copy
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from tfmed import config as configuration
from tfmed import registry, startup
from tfmed.engine import lock
from tfmed.engine.log import METRICS, Table
from tfmed.engine.split_record import SplitRecord, learnt
from tfmed.engine.terminal import log
from tfmed.errors import RunError, UserError
from tfmed.files import ASIDE, PathLike, expanded, write_error, write_text

if TYPE_CHECKING:
    from tfmed.engine.abilities import Evaluation
    from tfmed.engine.checkpoint import Checkpoints
    from tfmed.engine.method import Method
    from tfmed.engine.settings import Settings

MANIFEST = "bundle.json"  # of a bundle
OTHER_DATA = ("data.source", "data.root", "data.options", "data.cache_dir")  # what `on_other_data` may change
_ENVIRONMENT = "environment.json"
_PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-addons", "tensorflow-gan", "keras-cv", "nibabel", "SimpleITK")


class Run:
    """A run directory `runs/<method>-<time>/`.

    Args:
        path: the directory.
        settings: the resolved settings, as written to its config.yaml.
    """

    settings_file = "config.yaml"

    def __init__(self, path: PathLike, settings: "Settings") -> None:
        self.path = pathlib.Path(path)
        self.settings = settings
        self.elsewhere = False  # whether it is to be tested on other data than it was made with

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def method_name(self) -> str:
        return self.settings.method

    @property
    def checkpoints(self) -> "Checkpoints":
        """Where its trained weights lie."""
        from tfmed.engine.checkpoint import Checkpoints

        return Checkpoints(self.path / "checkpoints", method=self.method_name)

    def learnt(self) -> dict[str, frozenset[str]]:
        """{"train", "validation": digests of the images that it has seen}; none are known of a run without a split."""
        record = SplitRecord.read(self.path)
        return learnt({} if record is None else record.kinds)

    def check_writable(self, way_on: str) -> None:
        """RunError where nothing may be written into the directory; `way_on` says what to do instead."""

    def on_other_data(self, overrides: Sequence[str]) -> "Run":
        """This run with other data, all of whose cases test; those that it has learnt from are left out, with a word.

        Args:
            overrides: `key=value` of `OTHER_DATA`.

        Raises:
            UserError: another setting is named, or a value is wrong.
        """
        for word in overrides:
            if not word.startswith(tuple(f"{key}{end}" for key in OTHER_DATA for end in ("=", "."))):
                known = ", ".join(OTHER_DATA)
                raise UserError(f"{word}: only where the data lie can be other than in training: {known}")
        found = copy.copy(self)
        found.settings = configuration.load_config(self.path / self.settings_file, overrides)
        found.elsewhere = True
        return found

    def method(self) -> "Method":
        """A fresh Method for this run's settings and split; its models are not restored yet."""
        method = registry.method_class(self.settings.method)(self.settings)
        if self.elsewhere:
            method.seen_images = frozenset().union(*self.learnt().values())
            return method
        method.split_record = SplitRecord.read(self.path)
        if method.split_record is None and (self.path / "checkpoints").is_dir():
            log.warning("%s: is of a tfmed that kept no split; it is drawn anew from what lies there now", self.path)
        return method

    def restored(self, best: bool = True) -> "Method":
        """The Method with its trained models, from the best or else the newest checkpoint of each stage.

        Raises:
            RunError: a stage has no checkpoint.
        """
        from tfmed import compat
        from tfmed.engine.memory import bounded_weights
        from tfmed.engine.records import Records

        compat.set_precision(self.settings.train.precision)
        method = self.method()
        method.records = Records(self.path / "records", frozen=True)
        checkpoints = self.checkpoints
        for stage in method.stages():
            found = checkpoints.latest(stage.name, best=best)
            if found is None:
                if method.models:
                    log.warning("%s: stage %r has not been trained yet", self.path, stage.name)
                    break
                if checkpoints.any_there():
                    raise RunError(
                        f"{checkpoints.folder}: has no checkpoint of stage {stage.name!r} that is whole; put a copy of "
                        "one back, or train a new run"
                    )
                raise RunError(
                    f"{self.path}: has no checkpoint; train it first: python -m tfmed.fit {self.path} --resume"
                )
            with bounded_weights(self.method_name):
                method.models[stage.name] = stage.model()
            path, state = found
            checkpoints.restore(method.models[stage.name], path, state, weights_only=True)
        return method

    def metrics(self) -> Any:
        """metrics.csv as a pandas DataFrame.

        Raises:
            RunError: it is not there, or damaged.
        """
        import pandas

        path = self.path / "metrics.csv"
        if not path.exists():
            raise RunError(f"{path}: is not there; train the run first: python -m tfmed.fit {self.path} --resume")
        Table(path, METRICS)
        return pandas.read_csv(path)

    def sample(self, count: int, seed: int = 0, **options: Any) -> Iterator[Any]:
        """`count` generated Volumes, one at a time; RunError when the method generates nothing."""
        from tfmed.engine import abilities, use

        method: Any = use.opened(self, abilities.CanSample).restored()
        return method.sample(count, seed, **options)

    def evaluate(self, compare: "Sequence[Run | PathLike]" = (), **options: Any) -> "Evaluation":
        """Scores as tables, also written into the directory; see `tfmed.engine.use.evaluate`."""
        from tfmed.engine import use

        return use.evaluate(self, compare, **options)

    def predict(
        self, inputs: PathLike | Sequence[PathLike], out: PathLike, outputs: Sequence[str] | None = None
    ) -> list[pathlib.Path]:
        """Write what the trained model makes of images below a folder; see `tfmed.engine.use.predict`."""
        from tfmed.engine import use

        return use.predict(self, inputs, out, outputs)

    def export(self, out: PathLike | None = None) -> pathlib.Path:
        """Write the trained model as a SavedModel, by default to `export` in the directory; returns the folder."""
        from tfmed.engine.exporting import export

        if out is None:
            self.check_writable("give the folder to export to")
        return export(self, out or self.path / "export")


def load_run(path: PathLike) -> Run:
    """Open a run directory, or a bundle of one, whose files are checked.

    Raises:
        RunError: it is not one.
        ConfigError: its config.yaml is damaged.
    """
    path = expanded(path)
    if os.path.lexists(path / MANIFEST):
        from tfmed.engine import bundle

        return bundle.opened(path).run()
    if not path.is_dir():
        raise RunError(f"{path}: no such run directory; give one that 'tfmed fit' wrote")
    if not (path / "config.yaml").is_file():
        raise RunError(f"{path}: is not a run directory (it has no config.yaml); give one that 'tfmed fit' wrote")
    values, places = configuration.read_yaml(path / "config.yaml")
    return Run(path, configuration.validate(values, places, path / "config.yaml"))


def vacant(method: str, run_dir: PathLike | None = None) -> pathlib.Path:
    """Make the directory of a new run, and return its path.

    Args:
        method: its name.
        run_dir: the path; default `runs/<method>-<time>`.

    Raises:
        RunError: it holds something already, or cannot be made.
    """
    path = expanded(run_dir) if run_dir else _fresh_name(method)
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --run-dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise write_error(path, error) from error
    if (path / "config.yaml").exists():
        raise RunError(f"{path}: is not empty; add --resume to go on with it, or choose another --run-dir")
    if strange := sorted(name for name in found - {lock.FILE} if not name.startswith(ASIDE)):
        raise RunError(f"{path}: is not empty and no run (it has {strange[0]!r}, and no config.yaml); choose another "
                       "--run-dir")  # fmt: skip
    return path


def start(settings: "Settings", path: PathLike) -> Run:
    """Write what a new run needs before the first step.

    Raises:
        RunError: somebody was quicker, or the directory cannot be written.
    """
    path = vacant(settings.method, path)
    write_text(path / "config.yaml", as_yaml(settings))  # first: from here on it is a run, which can be resumed
    write_text(path / _ENVIRONMENT, json.dumps(environment(), indent=1))
    return Run(path, settings)


def reopen(run_dir: PathLike, settings: "Settings") -> Run:
    """The run of an existing directory, which must have been made with the same settings; nothing is written yet.

    Raises:
        RunError: the settings differ in more than how far and how loudly to train.
    """
    run = load_run(run_dir)
    old, new = (flat(s.model_dump(mode="json")) for s in (run.settings, settings))
    free = (
        "train.steps",
        "train.log_every",
        "train.keep_checkpoints",
        "train.tensorboard",
        "train.loggers",
        "profile",
        "train.preview_every",
        "data.root",
        "data.cache_dir",
        "train.checkpoint_every_steps",
        "train.checkpoint_every_minutes",
        "model.nsd_tolerance_mm",
    )
    different = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not key.startswith(free)]
    if different:
        key = different[0]
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise RunError(
            f"{run_dir}: was made with {key}={old.get(key)}, not {new.get(key)}{more}; resume with the same settings, "
            "or start a new run with another --run-dir"
        )
    return Run(run_dir, settings)


def renew(run: Run) -> None:
    """Write the settings of a reopened run, if they are others than before."""
    if load_run(run.path).settings != run.settings:
        write_text(run.path / "config.yaml", as_yaml(run.settings))
    if not os.path.lexists(run.path / _ENVIRONMENT):  # killed before it was written
        write_text(run.path / _ENVIRONMENT, json.dumps(environment(), indent=1))


def as_yaml(settings: "Settings") -> str:
    """Settings as the text of a settings file."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def onednn() -> Any:
    """Whether TensorFlow computes by oneDNN on the CPU; None where it was imported before tfmed and chose by itself."""
    return None if startup.imported_after_tensorflow else os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def environment() -> dict[str, Any]:
    """Versions and machine, without names of people or hosts."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "tfmed": startup.VERSION,
        "python": sys.version.split()[0],
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "onednn": onednn(),
        "packages": versions,
    }


def _fresh_name(method: str) -> pathlib.Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    candidates = (
        pathlib.Path("runs") / f"{method}-{stamp}{suffix}" for suffix in ("", *(f"-{i}" for i in range(1, 100)))
    )
    return next(path for path in candidates if not path.exists())


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{"train.steps": 100} of nested settings."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
