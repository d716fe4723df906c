"""SavedModels that hold everything they need, written in one piece."""

import json
import os
import pathlib
import shutil
from typing import Any

import tensorflow as tf

from tfmed import compat
from tfmed.engine.abilities import WITHOUT, CanExport
from tfmed.engine.run import Run
from tfmed.errors import RunError
from tfmed.files import PathLike, expanded, folder_aside, write_error

NOTE = "tfmed.json"  # beside saved_model.pb: what a SavedModel cannot tell


class ExportModule(tf.Module):
    """Base of what is exported: it holds a model's variables, but hides the Keras object, whose training side would
    otherwise be traced and saved along.

    Args:
        model: the Keras model; `self.model` gives it back.
    """

    note = None  # what `tfmed predict` must know of the SavedModel, JSON; it lies beside it

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = lambda: model  # TensorFlow does not look for variables in a function
        self.held = [compat.tensor_variable(variable) for variable in model.variables]

    @property
    def model(self):
        return self._model()


def export(run: Run, out: PathLike) -> pathlib.Path:
    """Write the run's trained model as a SavedModel folder that works without tfmed; returns the folder.

    Raises:
        RunError: the method exports nothing, `out` holds something else, or cannot be written.
    """
    out = expanded(out)
    if out.exists() and not (out / "saved_model.pb").exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: exists and is not a SavedModel; choose another --out")
    method = run.restored()
    if not isinstance(method, CanExport):
        raise RunError(f"{run.path}: method {run.method_name!r} {WITHOUT[CanExport]}")
    module = method.export_module()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder_aside(out.parent)
    except OSError as error:
        raise write_error(out, error) from error
    try:
        tf.saved_model.save(module, str(temporary / "model"), signatures=module.signatures())
        if module.note:
            (temporary / "model" / NOTE).write_text(json.dumps(module.note, indent=1), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        os.replace(temporary / "model", out)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out
