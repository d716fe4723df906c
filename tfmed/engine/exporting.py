"""SavedModels that hold everything they need, written in one piece."""

import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmed import compat, startup
from tfmed.engine.abilities import WITHOUT, CanExport
from tfmed.engine.run import Run
from tfmed.errors import RunError
from tfmed.files import PathLike, expanded, folder_aside, put_in_place, sync, write_error

NOTE = "tfmed.json"  # beside saved_model.pb: what a SavedModel cannot tell
_FILES = re.compile(  # all that lies in an export
    r"saved_model\.pb|fingerprint\.pb|keras_metadata\.pb|variables/variables\.(index|data-\d+-of-\d+)|"
    + re.escape(NOTE)
)


class ExportModule(tf.Module):
    """What is exported: functions of tensors, and the variables that they use. The Keras objects stay hidden in the
    functions, for their training side would otherwise be traced and saved along.

    Args:
        used: Keras models, layers or variables that the functions use.
        calls: {signature: (function of tensors -> {name: tensor}, `TensorSpec` of each argument)}; the first one is the
            signature "serving_default" too.
        note: what `tfmed predict` must know of the SavedModel, JSON; it lies beside it.
    """

    def __init__(self, used: Sequence[Any], calls: Mapping[str, tuple[Any, Sequence[tf.TensorSpec]]], note: Any = None):
        super().__init__()
        variables = [variable for one in used for variable in getattr(one, "variables", [one])]
        self.held = list({id(v): v for v in map(compat.tensor_variable, variables)}.values())
        # Without autograph, which costs half of the time: what depends on values goes through `tf.cond`, not `if`.
        self.calls = {name: tf.function(call, specs, autograph=False) for name, (call, specs) in calls.items()}
        for name, call in self.calls.items():
            setattr(self, name, call)  # under its own name where a SavedModel is loaded in Python
        self.note = note

    def signatures(self) -> dict[str, Any]:
        """{signature: graph}."""
        return {"serving_default": next(iter(self.calls.values())), **self.calls}


def one_by_one(make: Any, name: str, shape: Sequence[int], dtype: Any, **further: Any) -> tuple[Any, list]:
    """A call `sample(seed, n)` for `ExportModule`: n items of a seed, made one after another.

    Args:
        make: (seed, number), int64 scalars -> an item, a tensor `shape` of `dtype`.
        name: of the items `(n, *shape)` in its answer.
        further: constants of the answer.
    """
    constants = {key: np.asarray(value, np.float32) for key, value in further.items()}

    def sample(seed: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        items = tf.map_fn(
            lambda index: make(seed, tf.cast(index, tf.int64)),
            tf.range(n),
            fn_output_signature=tf.TensorSpec(shape, dtype),
            parallel_iterations=1,
        )
        return {name: items} | {key: tf.constant(value) for key, value in constants.items()}

    return sample, [tf.TensorSpec((), tf.int64, "seed"), tf.TensorSpec((), tf.int32, "n")]


def export(run: Run, out: PathLike) -> pathlib.Path:
    """Write the run's trained model as a SavedModel folder that works without tfmed; returns the folder.

    An earlier export there is replaced, in one step. Nothing else is: not a SavedModel of other hands, nor an export
    in which a person keeps files.

    Raises:
        RunError: the method exports nothing, `out` holds something else, or cannot be written.
    """
    out = expanded(out)
    target = out.resolve()  # behind a link the link stays
    _check_replaceable(out, target, run)
    module = exportable(run).export_module()
    put_folder(out, lambda folder: save(module, folder), lambda: _check_replaceable(out, target, run))
    return out


def exportable(run: Run) -> Any:
    """The Method of a run with its trained models.

    Raises:
        RunError: it exports nothing, or has no trained models.
    """
    method = run.restored()
    if not isinstance(method, CanExport):
        raise RunError(f"{run.path}: method {run.method_name!r} {WITHOUT[CanExport]}")
    return method


def put_folder(out: pathlib.Path, write: Callable[[pathlib.Path], None], check: Callable[[], None]) -> None:
    """Write a folder aside and put it in place in one step; behind a link at `out` the link stays.

    Args:
        out: the folder, which may be replaced.
        write: makes the folder that it is given, which is not there yet.
        check: raises where `out` may not be replaced, once more after the writing, which takes a while.

    Raises:
        RunError: it cannot be written.
    """
    target = out.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder_aside(target.parent)
    except OSError as error:
        raise write_error(out, error) from error
    try:
        new = temporary / "new"
        write(new)
        for path in (path for path in sorted(new.rglob("*")) if path.is_file()):
            sync(path)
        check()
        put_in_place(new, target, lambda path: None)
    except (OSError, tf.errors.OpError) as error:
        raise refusal(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save(module: ExportModule, folder: pathlib.Path) -> None:
    """Write an ExportModule as a SavedModel with its note."""
    tf.saved_model.save(module, str(folder), signatures=module.signatures())
    note = {"tfmed": startup.VERSION} | (module.note or {})
    (folder / NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")


def _check_replaceable(out: pathlib.Path, target: pathlib.Path, run: Run) -> None:
    """RunError where something lies at the target that `export` did not write."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    ours = (target / NOTE).is_file() or target == (run.path / "export").resolve()  # those of before had no note
    if not (target / "saved_model.pb").exists() or not ours:
        raise RunError(f"{out}: exists and is not a SavedModel of tfmed; choose another --out")
    if (found := _stranger(target)) is not None:
        raise RunError(
            f"{out}: 'tfmed export' did not write {str(found.relative_to(target))!r} there; move it away, or choose "
            "another --out"
        )


def _stranger(folder: pathlib.Path, inside: str = "") -> pathlib.Path | None:
    """The first thing in a SavedModel that `export` does not write, or None.

    Raises:
        OSError: a folder may not be read.
    """
    for path in sorted(folder.iterdir()):
        name = f"{inside}{path.name}"
        if path.is_symlink() or not (_FILES.fullmatch(name) if path.is_file() else name in ("variables", "assets")):
            return path
        if path.is_dir() and (found := _stranger(path, f"{name}/")) is not None:
            return found
    return None


def refusal(out: pathlib.Path, error: Any) -> RunError:
    """What is told where an export could not be written, from the OSError or the error of TensorFlow."""
    if isinstance(error, OSError):
        return write_error(out, error)
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return RunError(f"{out}: no space left on the disk, or no memory; free some and export again")
    return RunError(f"{out}: cannot be written ({str(error.message).splitlines()[0][:120]}); check the folder")
