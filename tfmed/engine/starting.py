"""`train.start_from`: the weights of another run, or of a bundle, in place of those that a seed gives."""

import os
import pathlib
import shutil
from typing import Any

from tfmed.engine.bundle import BundledRun
from tfmed.engine.checkpoint import Checkpoints, copy_weights, other_weights, read_weights
from tfmed.engine.method import Method
from tfmed.engine.run import Run, load_run
from tfmed.engine.settings import Settings, StartFrom
from tfmed.engine.split_record import digests_of_images
from tfmed.engine.terminal import log
from tfmed.errors import RunError
from tfmed.files import PathLike, folder_aside, sha256_of, write_error

FOLDER, RECORD = "start", "start_from"  # in a run's directory: the weights that it starts from; among its records
_SETTING = "train.start_from"


class Start:
    """Weights to start from.

    Args:
        checkpoints: where they lie.
        wish: `train.start_from` of the settings.
        origin: what they were taken from, plain values to be recorded; None where the run has its own copy already.
    """

    def __init__(self, checkpoints: Checkpoints, wish: StartFrom, origin: dict[str, Any] | None = None) -> None:
        self.checkpoints, self.wish, self.origin = checkpoints, wish, origin

    def unlike(self, stage: str, model: Any) -> list[str]:
        """Names of the weights of a stage's model that start anew.

        Raises:
            RunError: there are others than the settings allow.
        """
        _, state = self._found(stage)
        others = other_weights(model, state)
        if others is None:
            raise RunError(
                f"{_SETTING}: {self.wish.run} has {len(state['weights'])} weights in stage {stage!r}, another network "
                "than the settings ask for; set model as it was there (a bundle's settings.yaml has it)"
            )
        if len(others) == len(state["weights"]):
            raise RunError(
                f"{_SETTING}: no weight of stage {stage!r} of {self.wish.run} fits; set model as it was there"
            )
        if others and self.wish.other_shapes == "refuse":
            shown = ", ".join(f"{name} {there} there, {here} here" for name, (there, here) in list(others.items())[:4])
            more = f" and {len(others) - 4} more" if len(others) > 4 else ""
            raise RunError(
                f"{_SETTING}: {len(others)} of {len(state['weights'])} weights of stage {stage!r} have other shapes in "
                f"{self.wish.run}: {shown}{more}; set model as it was there, or {_SETTING}={{run: {self.wish.run}, "
                "other_shapes: anew} to let "
                "them start anew"
            )
        return list(others)

    def give(self, stage: str, model: Any) -> None:
        """Give a stage's new model its weights; a stage that is not there starts anew, with a word.

        Raises:
            RunError: they do not fit, or are damaged.
        """
        found = self._found(stage)
        if found is None:
            log.info("%s: stage %r starts anew, for there are no weights of it", _SETTING, stage)
            return
        anew = self.unlike(stage, model)
        read_weights(model, found[0], found[1], without=anew)
        told = f"; of other shapes, and so anew: {', '.join(anew)}" if anew else ""
        log.info("%s: stage %r starts from the weights of %s%s", _SETTING, stage, self.wish.run, told)

    def _found(self, stage: str) -> Any:
        return self.checkpoints.latest(stage, best=True)

    def stages(self) -> list[str]:
        """Names of the stages that it has weights of."""
        return sorted({state["stage"] for _, state in self.checkpoints.all()})

    def keep(self, run: Run) -> None:
        """Copy the weights into a run, which then needs nothing else to go on.

        Raises:
            RunError: they are damaged, or cannot be written.
        """
        try:
            temporary = folder_aside(run.path)
        except OSError as error:
            raise write_error(run.path, error) from error
        try:
            for stage in self.stages():
                path, state = self._found(stage)
                (temporary / path.name).mkdir()
                copy_weights(path, state, temporary / path.name)
            os.replace(temporary, run.path / FOLDER)
        except OSError as error:
            raise write_error(run.path / FOLDER, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.checkpoints, self.origin = _kept(run.path, run.settings), None


def _kept(path: PathLike, settings: Settings) -> Checkpoints:
    return Checkpoints(pathlib.Path(path) / FOLDER, method=settings.method)


def start(settings: Settings, run_dir: PathLike | None, method: Method) -> Start | None:
    """What a training starts from; None where its settings name nothing.

    Args:
        settings: the run's.
        run_dir: of a run that goes on: what it has kept is used, and nothing else looked at.
        method: of the run, with its cases.

    Raises:
        RunError: there is no such run or bundle, it is of another method, it is damaged, its weights do not fit, or it
            has learnt from a case that this run validates or tests with.
    """
    wish = settings.train.start_from
    if wish is None:
        return None
    if run_dir is not None and os.path.lexists(pathlib.Path(run_dir) / FOLDER):
        return Start(_kept(run_dir, settings), wish)
    if run_dir is not None and Checkpoints(pathlib.Path(run_dir) / "checkpoints").any_there():
        raise RunError(
            f"{pathlib.Path(run_dir) / FOLDER}: is missing, from which the run started; put a copy of it back"
        )
    source = load_run(wish.run)
    if source.method_name != settings.method:
        raise RunError(
            f"{_SETTING}: {source.path} is of method {source.method_name!r}, and this a training of {settings.method!r}"
        )
    found = Start(source.checkpoints, wish, _origin(source))
    if not found.stages():
        raise RunError(f"{_SETTING}: {source.path} has no checkpoint; train it first, or name another run")
    _refuse_leak(source, method)
    return found


def check(found: Start, method: Method) -> None:
    """See, before a run's directory is made, that the first stage can start from the weights.

    Raises:
        RunError: it cannot.
    """
    stage = next(iter(method.stages()))
    if stage.name not in found.stages():
        raise RunError(
            f"{_SETTING}: {found.wish.run} has no weights of stage {stage.name!r}, but of {', '.join(found.stages())}"
        )
    found.unlike(stage.name, stage.model())


def _origin(source: Run) -> dict[str, Any]:
    """Where weights come from, without a path: it may be another one tomorrow."""
    if isinstance(source, BundledRun):
        return {"kind": "bundle", "sha256": source.bundle.sha256}
    newest = source.checkpoints.latest(best=True)
    return {"kind": "run", "sha256": None if newest is None else sha256_of(newest[0] / "state.json")}


def _refuse_leak(source: Run, method: Method) -> None:
    """RunError where the source was trained on a case that validates or tests here, or validated on one that does."""
    learnt = source.learnt()
    train, both = learnt.get("train", frozenset()), frozenset().union(*learnt.values())
    kinds = (method.split_record or method.record_split()).kinds
    for role, seen in (("validation", train), ("test", both)):
        for entry in (entry for split in kinds.values() for entry in split[role]):
            if seen & set(digests_of_images(entry)):
                raise RunError(
                    f"{_SETTING}: {source.path} has learnt from {entry['id']}, a {role} case here; train on the same "
                    "data with the same data.split.seed, or leave the case out"
                )
