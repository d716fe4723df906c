"""Networks as ONNX files, checked against what TensorFlow computes before they are written."""

import json
import logging
import os
import pathlib
import re
from typing import Any

import numpy as np
import tensorflow as tf

from tfmed import startup
from tfmed.engine import use
from tfmed.engine.abilities import CanExport
from tfmed.engine.run import Run
from tfmed.errors import RunError
from tfmed.files import PathLike, atomic_path, expanded

OPSET = 17
TOLERANCE = 1e-4  # between ONNX Runtime and TensorFlow, of outputs of about 1
_MISSING = re.compile(r"Tensorflow op \[[^:]*: (\w+)\] is not supported")


def export_onnx(run: "Run | PathLike", out: PathLike) -> pathlib.Path:
    """Write the network of a trained run as an ONNX file; returns its path.

    Args:
        run: Run, or its directory.
        out: the file; one that is there is replaced if it is of tfmed.

    Raises:
        RunError: the method exports nothing, its network has operations that ONNX lacks, the file cannot be written, or
            ONNX Runtime computes something else.
    """
    run, out = use.opened(run, CanExport), expanded(out)
    _check_replaceable(out)
    convert, runtime = _packages()
    method: Any = run.restored()
    function, note = method.onnx_function()
    specs = function.input_signature
    model = _converted(convert, function, specs, run)
    _check(runtime, model, function, specs, run)
    for key, value in ({"tfmed": startup.VERSION, "method": run.method_name} | note).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    with atomic_path(out) as temporary:
        pathlib.Path(temporary).write_bytes(model.SerializeToString())
    return out


def _packages() -> tuple[Any, Any]:
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "False")
    try:
        import onnxruntime
        from tf2onnx import convert
    except ImportError as error:
        raise RunError(f"ONNX needs further packages ({error.name}); pip install 'tfmed[onnx]'") from None
    return convert, onnxruntime


def _check_replaceable(out: pathlib.Path) -> None:
    if out.is_dir():
        raise RunError(f"{out}: is a folder; name the file, such as {out / 'model.onnx'}")
    if os.path.lexists(out) and b"tfmed" not in out.read_bytes()[-(1 << 16) :]:
        raise RunError(f"{out}: exists, and is no ONNX file of tfmed; choose another --out")


def _converted(convert: Any, function: Any, specs: Any, run: Run) -> Any:
    """The ONNX model of a tf.function."""
    missing: set[str] = set()

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            missing.update(_MISSING.findall(record.getMessage()))

    logger, note = logging.getLogger("tf2onnx"), Note()
    logger.addHandler(note)
    before, logger.propagate = logger.propagate, False
    try:
        model, _ = convert.from_function(function, input_signature=list(specs), opset=OPSET)
    except Exception as error:  # tf2onnx has no exception of its own
        missing.update(_MISSING.findall(str(error)))
        if not missing:
            why = str(error).strip().splitlines()[-1].strip()[:200]
            raise RunError(f"{run.path}: cannot be converted to ONNX ({why})") from error
    finally:
        logger.removeHandler(note)
        logger.propagate = before
    if missing:
        raise RunError(
            f"{run.path}: method {run.method_name!r} uses operations that ONNX lacks ({', '.join(sorted(missing))}); "
            "leave --format out for a SavedModel"
        )
    return model


def _check(runtime: Any, model: Any, function: Any, specs: Any, run: Run) -> None:
    """RunError where ONNX Runtime gives something else than TensorFlow for noise."""
    draw = np.random.default_rng(0)
    inputs = {spec.name: draw.normal(size=[2 if n is None else n for n in spec.shape]).astype(spec.dtype.as_numpy_dtype)
              for spec in specs}  # fmt: skip
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = function(**{name: tf.constant(value) for name, value in inputs.items()})
    names = [output.name for output in session.get_outputs()]
    for name, found in zip(names, session.run(names, inputs), strict=True):
        right = wanted[name].numpy()
        furthest = float(np.abs(found - right).max()) / max(1.0, float(np.abs(right).max()))
        if not furthest <= TOLERANCE:
            raise RunError(
                f"{run.path}: ONNX Runtime differs from TensorFlow by {furthest:.2g} in {name!r}; use the SavedModel"
            )
