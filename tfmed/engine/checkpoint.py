"""Checkpoints: all variables of a stage, written aside and renamed, verified when they are read."""

import hashlib
import json
import logging
import os
import pathlib
import shutil

import tensorflow as tf

from tfmed import compat
from tfmed.errors import RunError
from tfmed.files import ASIDE, folder_aside, own_json, sync, write_error, write_text

log = logging.getLogger("tfmed")
_STATE = "state.json"


def state_variables(model):
    """Every variable that training changes: weights, optimizer slots, running means; each once, in a fixed order."""
    found = list(model.variables)
    for attribute, _ in getattr(model, "updaters", {}).values():
        found += compat.optimizer_variables(getattr(model, attribute))
    found += compat.metric_variables(model)
    unique = {}
    for variable in map(compat.tensor_variable, found):
        unique.setdefault(id(variable), variable)
    return list(unique.values())


class Checkpoints:
    """The checkpoints of a run directory.

    Args:
        folder: where they lie, one folder each, named `<stage>-<step>`.
        keep: how many of a stage stay (a finished stage keeps its last one, and the best one stays).
        writes: False on all but the first machine of several: these take part in the reading of variables only.
    """

    def __init__(self, folder, keep=3, writes=True):
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.writes = writes

    def save(self, model, state):
        """Write one checkpoint; `state` holds `stage`, `step` and whatever else must come back (plain values)."""
        final = self.folder / f"{state['stage']}-{state['step']:08d}"
        try:
            if self.writes:
                self.folder.mkdir(parents=True, exist_ok=True)
            # What the other machines have to write is thrown away, so it stays out of the run directory.
            temporary = folder_aside(self.folder if self.writes else None)
        except OSError as error:
            raise write_error(self.folder, error) from error
        try:
            _write(temporary, model, state)
            if self.writes:
                if final.exists():
                    shutil.rmtree(final)
                os.replace(temporary, final)
                sync(self.folder)
                self._prune(state["stage"])
        except (OSError, tf.errors.OpError) as error:
            raise _as_write_error(final, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def latest(self, stage=None, best=False):
        """(folder, state) of the newest whole checkpoint (of a stage; the best one), or None; skips broken ones."""
        found = [c for c in self._listed() if stage is None or c[1]["stage"] == stage]
        for path, state in sorted(found, key=lambda c: (c[1]["stage_index"], c[1]["step"]), reverse=True):
            if best and not state.get("best"):
                continue
            problem = _damage(path, state)
            if problem is None:
                return path, state
            log.warning("%s: %s; skipped, the one before it is used", path, problem)
        return self.latest(stage) if best else None

    def restore(self, model, path, state, weights_only=False):
        """Put a checkpoint's values into a model.

        Args:
            model, path, state: the model, and what `latest` gave.
            weights_only: the model is to be used, not trained: then the checkpoint may be of the other stack, whose
                optimizers keep other things.

        Raises:
            RunError: the checkpoint is of another model, or of the other stack.
        """
        there = state.get("stack", compat.STACK)
        if there != compat.STACK:
            if weights_only:
                return self._restore_weights(model, path, state)
            raise RunError(
                f"{path}: was trained on stack {there!r} (Keras {'3' if there == 'current' else '2'}), here is "
                f"{compat.STACK!r}; go on with it on {there!r} (predict, evaluate, sample and export work on both)"
            )
        variables = state_variables(model)
        shapes = [[list(v.shape), v.dtype.name] for v in variables]
        if shapes != state["variables"]:
            raise RunError(
                f"{path}: was written by another model ({len(state['variables'])} variables, here {len(shapes)}, "
                "or their shapes differ); resume with the settings that it was made with"
            )
        tf.train.Checkpoint(**_named(variables)).read(str(path / "variables")).assert_consumed()

    def _restore_weights(self, model, path, state):
        variables = [compat.tensor_variable(variable) for variable in compat.weights(model)]
        places = state.get("weights", [])
        shapes = [[list(v.shape), v.dtype.name] for v in variables]
        if shapes != [state["variables"][place] for place in places]:
            raise RunError(
                f"{path}: was written by another model ({len(places)} weights, here {len(shapes)}, or their shapes "
                "differ); use it with the settings that it was made with"
            )
        named = {f"v{place:05d}": variable for place, variable in zip(places, variables, strict=True)}
        tf.train.Checkpoint(**named).read(str(path / "variables")).assert_existing_objects_matched().expect_partial()

    def mark_best(self, stage, step):
        """Say that a saved checkpoint is the best of its stage so far."""
        for path, state in self._listed():
            if state["stage"] == stage and bool(state.get("best")) != (state["step"] == step):
                write_text(path / _STATE, json.dumps(state | {"best": state["step"] == step}))

    def _listed(self):
        for path in sorted(self.folder.glob("*-*")) if self.folder.is_dir() else []:
            if path.name.startswith(ASIDE):
                continue
            try:
                state = _checked(own_json(path / _STATE))
            except (OSError, ValueError):
                log.warning("%s: is not a whole checkpoint; skipped", path)
                continue
            yield path, state

    def _prune(self, stage):
        own = sorted(
            (state["step"], path) for path, state in self._listed() if state["stage"] == stage and not state.get("best")
        )
        for _, path in own[: -self.keep]:
            shutil.rmtree(path, ignore_errors=True)


def _named(variables):
    return {f"v{i:05d}": variable for i, variable in enumerate(variables)}


def _write(folder, model, state):
    variables = state_variables(model)
    places = {id(variable): place for place, variable in enumerate(variables)}
    weights = [places[id(compat.tensor_variable(variable))] for variable in compat.weights(model)]
    tf.train.Checkpoint(**_named(variables)).write(str(folder / "variables"))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    shapes = [[list(v.shape), v.dtype.name] for v in variables]
    record = state | {
        "stack": compat.STACK,
        "variables": shapes,
        "weights": weights,
        "sha256": {path.name: _digest(path) for path in files},
    }
    (folder / _STATE).write_text(json.dumps(record), encoding="utf-8")
    for path in (*files, folder / _STATE):
        sync(path)


def _checked(state):
    """A checkpoint's note as it is read from its file; ValueError where it is none."""
    kinds = {"stage": str, "step": int, "stage_index": int, "variables": list, "sha256": dict}
    if not isinstance(state, dict) or not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise ValueError("it is no note of a checkpoint")
    return state


def _damage(path, state):
    """What is wrong with a checkpoint's files, or None."""
    for name, digest in state.get("sha256", {}).items():
        file = path / pathlib.PurePath(name).name
        if not file.is_file():
            return f"{name} is missing"
        if _digest(file) != digest:
            return f"{name} is damaged"
    return None if state.get("sha256") else "it lists no files"


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _as_write_error(path, error):
    if isinstance(error, OSError):
        return write_error(path, error)
    if "No space left" in str(error) or isinstance(error, tf.errors.ResourceExhaustedError):
        return RunError(f"{path}: no space left on the disk; free some, then go on with --resume")
    return RunError(f"{path}: cannot be written ({str(error).splitlines()[0][:120]}); check the folder")
