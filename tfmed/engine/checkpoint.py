"""Checkpoints: all variables of a stage, written aside and renamed, verified when they are read."""

import json
import logging
import os
import pathlib
import re
import shutil
import typing

import pydantic
import tensorflow as tf

from tfmed import compat
from tfmed.engine import saved_model
from tfmed.errors import RunError
from tfmed.files import (
    damage,
    folder_aside,
    own_text,
    put_in_place,
    sha256_of,
    stranger_in,
    sync,
    write_error,
    write_text,
)

log = logging.getLogger("tfmed")
_STATE = "state.json"
_FILES = r"state\.json|checkpoint|variables\.index|variables\.data-\d+-of-\d+"  # in the folder of a checkpoint
_NAME = re.compile(r"(.+)-(\d{8,})", re.DOTALL)  # of such a folder
_LONGEST_STATE = 1 << 26  # bytes
_Count = typing.Annotated[int, pydantic.Field(ge=0)]


class _Best(pydantic.BaseModel):
    value: float | None
    step: _Count
    misses: _Count


class _State(pydantic.BaseModel):
    """What state.json must hold for its checkpoint to be used; "weights", "stack" and "only_weights" came later."""

    stage: str
    stage_index: _Count
    step: _Count
    finished: bool
    best_so_far: _Best | None
    variables: list[tuple[list[int], str]]
    sha256: dict[str, str]
    weights: list[_Count] = []
    stack: str = ""
    method: str | None = None
    best: bool = False
    only_weights: bool = False

    @pydantic.model_validator(mode="after")
    def _weights_are_variables(self):
        if max(self.weights, default=-1) >= len(self.variables):
            raise ValueError("a weight is none of the variables")
        return self


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
        method: name of the method; checkpoints of another one are left alone. None: of any.
    """

    def __init__(self, folder, keep=3, writes=True, method=None):
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.writes = writes
        self.method = method
        self._told = set()

    def save(self, model, state):
        """Write one checkpoint; `state` holds `stage`, `step` and whatever else must come back (plain values).

        Raises:
            RunError: it cannot be written; those before it are as they were.
        """
        final = self.folder / f"{state['stage']}-{state['step']:08d}"
        try:
            if self.writes:
                self.folder.mkdir(parents=True, exist_ok=True)
            # What the other machines have to write is thrown away, so it stays out of the run directory.
            temporary = folder_aside(self.folder if self.writes else None)
        except OSError as error:
            raise write_error(self.folder, error) from error
        try:
            _write(temporary, model, state | {"method": self.method})
            if self.writes:
                put_in_place(temporary, final, lambda path: stranger_in(path, _FILES))
                sync(self.folder)
                self._prune(state["stage"], state["step"])
        except (OSError, tf.errors.OpError) as error:
            raise _as_write_error(final, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def latest(self, stage=None, best=False):
        """(folder, state) of the newest whole checkpoint (of a stage; the best one), or None; skips broken ones.

        Raises:
            RunError: one may not be read.
        """
        found = [c for c in self._listed() if stage is None or c[1]["stage"] == stage]
        for path, state in sorted(found, key=lambda c: (c[1]["stage_index"], c[1]["step"]), reverse=True):
            if best and not state.get("best"):
                continue
            problem = _damage(path, state)
            if problem is None:
                return path, state
            self._tell(path, f"{problem}; skipped, the one before it is used")
        return self.latest(stage) if best else None

    def all(self):
        """(folder, state) of each checkpoint whose state can be read."""
        return list(self._listed())

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
        if state.get("only_weights") and not weights_only:
            raise RunError(f"{path}: holds weights alone; train a new run from them with train.start_from")
        if state.get("only_weights"):
            return self._restore_weights(model, path, state)
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
        places = state.get("weights", [])
        if (others := other_weights(model, state)) is None or others:
            raise RunError(
                f"{path}: was written by another model ({len(places)} weights, here {len(compat.weights(model))}, or "
                "their shapes differ); use it with the settings that it was made with"
            )
        read_weights(model, path, state)

    def mark_best(self, stage, step):
        """Say that a saved checkpoint is the best of its stage so far."""
        for path, state in self._listed():
            if state["stage"] == stage and bool(state.get("best")) != (state["step"] == step):
                write_text(path / _STATE, json.dumps(state | {"best": state["step"] == step}))

    def any_there(self):
        """Whether something that is named like a checkpoint lies there, whole or not."""
        return any(True for _ in self._named_so())

    def _named_so(self):
        """Folders that are named like checkpoints; a person's copies have other names, and are left alone."""
        try:
            found = sorted(self.folder.iterdir()) if os.path.lexists(self.folder) else []
        except OSError as error:
            raise RunError(damage(self.folder, error)) from None
        return [path for path in found if _NAME.fullmatch(path.name)]

    def _listed(self):
        for path in self._named_so():
            try:
                state = _read_state(path)
            except PermissionError as error:
                raise RunError(damage(path / _STATE, error)) from None
            except (OSError, ValueError, RecursionError):
                self._tell(path, "is not a whole checkpoint; skipped")
                continue
            if self.method and state.get("method") not in (None, self.method):
                self._tell(path, f"is a checkpoint of method {state['method']!r}; left alone")
                continue
            yield path, state

    def _tell(self, path, line):
        if (path, line) not in self._told:
            self._told.add((path, line))
            log.warning("%s: %s", path, line)

    def _prune(self, stage, step):
        """Remove what is older than the newest ones of a stage. What lies behind the newest stays: it is not ours to
        judge, as the run was taken up before it."""
        own = sorted((state["step"], path) for path, state in self._listed()
                     if state["stage"] == stage and state["step"] <= step and not state.get("best"))  # fmt: skip
        for _, path in own[: -self.keep]:
            if stranger_in(path, _FILES) is not None:
                self._tell(path, "holds files that are not of tfmed; it is kept")
                continue
            aside = folder_aside(self.folder)  # so that a kill leaves no half of it
            os.replace(path, aside)
            shutil.rmtree(aside, ignore_errors=True)


def other_weights(model, state):
    """{name of a weight of a model: (its shape in a checkpoint, its shape here)} of those that differ; None where there
    is another number of weights.

    Args:
        model, state: the model, and the state that `Checkpoints.latest` gave.
    """
    weights, places = compat.weights(model), state.get("weights", [])
    if len(weights) != len(places):
        return None
    return {
        getattr(weight, "path", weight.name).removesuffix(":0"): (there[0], list(weight.shape))
        for weight, there in zip(weights, (state["variables"][place] for place in places), strict=True)
        if [list(weight.shape), compat.tensor_variable(weight).dtype.name] != there
    }


def read_weights(model, path, state, without=()):
    """Give a model the weights of a checkpoint, whichever stack it is of.

    Args:
        model, path, state: the model, and what `Checkpoints.latest` gave, with as many weights of the same shapes.
        without: names of weights that keep the values that they have, as `other_weights` tells them.

    Raises:
        RunError: the files do not hold what the state says.
    """
    named = {
        f"v{place:05d}": compat.tensor_variable(weight)
        for place, weight in zip(state["weights"], compat.weights(model), strict=True)
        if getattr(weight, "path", weight.name).removesuffix(":0") not in without
    }
    _check_stored(path, state)
    tf.train.Checkpoint(**named).read(str(path / "variables")).assert_existing_objects_matched().expect_partial()


def write_weights(folder, weights, state):
    """Write weights alone as a checkpoint, into a folder that is there; it serves both stacks.

    Args:
        folder: the folder, `<stage>-<step>`.
        weights: `tf.Variable`s, in the order of `compat.weights`.
        state: what `Checkpoints.latest` gave for them.
    """
    kept = {key: state[key] for key in ("stage", "stage_index", "step", "finished", "best_so_far")}
    kept |= {"method": state.get("method"), "best": True, "only_weights": True}
    _write_variables(pathlib.Path(folder), weights, kept, list(range(len(weights))))


def copy_weights(path, state, folder):
    """As `write_weights`, of the weights in a checkpoint.

    Raises:
        RunError: the files do not hold what the state says.
    """
    _check_stored(path, state)
    reader = tf.train.load_checkpoint(str(path / "variables"))
    names = [f"v{place:05d}/.ATTRIBUTES/VARIABLE_VALUE" for place in state["weights"]]
    write_weights(folder, [tf.Variable(reader.get_tensor(name), trainable=False) for name in names], state)


def _check_stored(path, state):
    """RunError where a checkpoint's files hold other weights than its state says, or tell of more than they have."""
    try:
        found = saved_model.check_sizes(path / "variables")
        wanted = {f"v{place:05d}/.ATTRIBUTES/VARIABLE_VALUE": state["variables"][place] for place in state["weights"]}
        for name, (shape, dtype) in wanted.items():
            if found.get(name) != (tuple(shape), dtype):
                raise ValueError("its state tells of other weights than its index")
    except (ValueError, IndexError) as error:
        raise RunError(f"{path}: is damaged ({error}); put a copy of it back") from None


def _read_state(path):
    """The state of the checkpoint in a folder.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is no such state, or that of another folder (copied by a person).
    """
    text = own_text(path / _STATE, _LONGEST_STATE)
    _State.model_validate_json(text, strict=True)
    state = json.loads(text)
    if path.name != f"{state['stage']}-{state['step']:08d}":
        raise ValueError(f"{path}: is the checkpoint of another step")
    return state


def _named(variables):
    return {f"v{i:05d}": variable for i, variable in enumerate(variables)}


def _write(folder, model, state):
    variables = state_variables(model)
    places = {id(variable): place for place, variable in enumerate(variables)}
    weights = [places[id(compat.tensor_variable(variable))] for variable in compat.weights(model)]
    _write_variables(folder, variables, state, weights)


def _write_variables(folder, variables, state, weights):
    tf.train.Checkpoint(**_named(variables)).write(str(folder / "variables"))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    shapes = [[list(v.shape), v.dtype.name] for v in variables]
    record = state | {
        "stack": compat.STACK,
        "variables": shapes,
        "weights": weights,
        "sha256": {path.name: sha256_of(path) for path in files},
    }
    (folder / _STATE).write_text(json.dumps(record), encoding="utf-8")
    for path in (*files, folder / _STATE):
        sync(path)


def _damage(path, state):
    """What is wrong with a checkpoint's files, or None.

    Raises:
        RunError: one may not be read.
    """
    for name, digest in state["sha256"].items():
        file = path / pathlib.PurePath(name).name
        try:
            if not file.is_file():
                return f"{name} is missing"
            if sha256_of(file) != digest:
                return f"{name} is damaged"
        except PermissionError as error:
            raise RunError(damage(file, error)) from None
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None if "variables.index" in state["sha256"] else "it lists no files"


def _as_write_error(path, error):
    if isinstance(error, OSError):
        return write_error(path, error)
    if "No space left" in str(error) or isinstance(error, tf.errors.ResourceExhaustedError):
        return RunError(f"{path}: no space left on the disk; free some, then go on with --resume")
    return RunError(f"{path}: cannot be written ({str(error).splitlines()[0][:120]}); check the folder")
