"""An input of a SavedModel and its answer, kept in a bundle so that it can be seen to answer as it did."""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmed.data.sampling import Stream
from tfmed.data.trained_on import TrainedOn
from tfmed.engine import bundle, saved_model
from tfmed.errors import RunError
from tfmed.files import damage
from tfmed.io import npy

# Of the range of an answer. Stacks, processors and numbers of threads differ by 1e-6 to 1e-4.
TOLERANCE = 1e-3
SHARE = 0.99  # of whole numbers so many must agree: where two classes are equally probable one may tip over
_DRAW = Stream("bundle.example")
_SIDES = {1: (2,), 2: (64, 64), 3: (8, 64, 64), 4: (8, 64, 64, 1)}  # of axes that a signature leaves open, by rank
_LATENTS, _LATENT_SIDES = ("z", "w"), (2, 8, 4)
_LARGEST = (32, 128, 128)  # of what is kept of a case
_INTEGERS = {"seed": 7, "n": 1, "count": 1}


def signature_of(signatures: Mapping[str, Any]) -> str:
    """The signature whose answer tells most: probabilities rather than labels."""
    return "probabilities" if "probabilities" in signatures else next(iter(signatures))


def made(specs: Sequence[tf.TensorSpec], trained_on: Any = None) -> dict[str, np.ndarray]:
    """{name: array} for what a signature takes: noise of several sizes, of a seed; whole numbers are seeds and counts.

    Args:
        specs: TensorSpec of each argument.
        trained_on: note of a `TrainedOn`, whose values and voxel sizes it has; None: values from 0 to 255.
    """
    known = TrainedOn.from_note(trained_on)
    return {spec.name: _made(spec, number, known) for number, spec in enumerate(specs)}


def _made(spec: tf.TensorSpec, number: int, known: TrainedOn | None) -> np.ndarray:
    dtype = spec.dtype.as_numpy_dtype
    open_sides = _LATENT_SIDES if spec.name in _LATENTS else _SIDES.get(len(spec.shape), ())
    shape = [side or open_ for side, open_ in zip(spec.shape, open_sides, strict=False)]
    if spec.dtype.is_integer:
        return (
            np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape) if shape else dtype(_INTEGERS.get(spec.name, 0))
        )
    if spec.name == "affine":
        spacing = known.spacing_mm[0] if known and known.spacing_mm else (1.0, 1.0, 1.0)
        return np.diag([*spacing[::-1], 1.0]).astype(dtype)
    draw = _DRAW(number)
    if spec.name == "mask":
        return _box(shape).astype(dtype)
    if spec.name in _LATENTS:
        return draw.normal(size=shape).astype(dtype)
    low, high = (min(known.lowest.values()), max(known.highest.values())) if known else (0.0, 255.0)
    return (low + (high - low) * _noise(draw, shape)).astype(dtype)


def _box(shape: Sequence[int]) -> np.ndarray:
    """1 within a box in the middle of a picture `(y, x)` or of several `(n, y, x[, channel])`, and 0 around it."""
    box = np.zeros(shape)
    pictures = box if len(shape) > 2 else box[None]
    height, width = pictures.shape[1:3]
    pictures[:, height // 3 : height // 2, width // 3 : width // 2] = 1
    return box


def _noise(draw: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Noise in [0, 1] whose blobs are 1, 4 and 16 entries wide."""
    total = np.zeros(shape)
    for size in (1, 4, 16):
        coarse = draw.uniform(size=[-(-side // size) for side in shape])
        for axis, side in enumerate(shape):
            coarse = np.repeat(coarse, size, axis).take(range(side), axis)
        total += coarse
    return total / 3


def of_case(inputs: Mapping[str, np.ndarray], specs: Sequence[tf.TensorSpec]) -> dict[str, np.ndarray]:
    """The middle of what a model was given of a case; axes that the signature leaves open are cut to reason."""
    found = {}
    for spec in specs:
        array = np.asarray(inputs[spec.name])
        for axis, (side, most) in enumerate(zip(spec.shape, _LARGEST, strict=False)):
            if side is None and array.shape[axis] > most:
                start = (array.shape[axis] - most) // 2
                array = array.take(range(start, start + most), axis)
        found[spec.name] = array.astype(spec.dtype.as_numpy_dtype)
    return found


def answer(call: Callable[..., Any], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{name: array} that a signature answers."""
    return {name: np.asarray(value) for name, value in call(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def write(folder: pathlib.Path, inputs: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]) -> None:
    """Write both into the folder of a new bundle."""
    (folder / bundle.EXAMPLE).mkdir()
    for kind, arrays in (("input", inputs), ("answer", answers)):
        for name, array in arrays.items():
            np.save(folder / bundle.EXAMPLE / f"{kind}.{name}.npy", np.asarray(array, order="C"), allow_pickle=False)


def repeated(found: bundle.Bundle) -> list[str]:
    """Give the example of a Bundle to its SavedModel again; returns a line about each answer.

    Raises:
        RunError: the SavedModel or the example is damaged, the model does what it should not, or an answer differs.
    """
    told = found.manifest.example
    try:
        saved_model.check(found.model)
        inputs, answers = _arrays(found)
        call = tf.saved_model.load(str(found.model)).signatures[told.signature]
        specs = call.structured_input_signature[1]
        wanted = {name: (spec.dtype.as_numpy_dtype, len(spec.shape)) for name, spec in specs.items()}
        if wanted != {name: (array.dtype.type, array.ndim) for name, array in inputs.items()}:
            raise ValueError("its example is none of what its signature takes")
        now = answer(call, inputs)
    except (OSError, ValueError, KeyError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{found.path}: {why}; do not use it") from None
    except Exception as error:  # TensorFlow and protobuf have no common one
        why = type(error).__name__
        raise RunError(f"{found.path}: its SavedModel cannot be loaded and run ({why}); do not use it") from None
    return [_compared(found.path, name, now.get(name), before) for name, before in answers.items()]


def arrays(found: bundle.Bundle) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """({name: array} of the inputs of a Bundle's example, of its answers).

    Raises:
        RunError: they are damaged.
    """
    try:
        return _arrays(found)
    except (OSError, ValueError) as error:
        raise RunError(f"{damage(found.path / bundle.EXAMPLE, error)}; copy the bundle anew") from None


def _arrays(found: bundle.Bundle) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    told = found.manifest.example
    inputs, answers = ({name: _read(found.path / bundle.EXAMPLE / f"{kind}.{name}.npy") for name in names}
                       for kind, names in (("input", told.inputs), ("answer", told.answers)))  # fmt: skip
    return inputs, answers


def _read(path: pathlib.Path) -> np.ndarray:
    with open(path, "rb") as stream:
        header = npy.read_header(stream)
        if math.prod(header[0]) * header[2].itemsize > path.stat().st_size:
            raise ValueError(f"{path.name} has fewer bytes than its header announces")
        return npy.read_numbers(stream, *header)


def _compared(path: pathlib.Path, name: str, now: np.ndarray | None, before: np.ndarray) -> str:
    """A line about an answer that is as it was; RunError where it is not."""
    if now is None or (now.shape, now.dtype) != (before.shape, before.dtype):
        there = "nothing" if now is None else f"{now.dtype} {list(now.shape)}"
        raise RunError(
            f"{path}: gives {there} for {name!r} of its example, and gave {before.dtype} {list(before.shape)}"
        )
    return difference(path, name, now, before)


def difference(path: pathlib.Path, name: str, now: np.ndarray, before: np.ndarray) -> str:
    """How far an answer is from another of the same shape, in words.

    Raises:
        RunError: by more than `TOLERANCE`.
    """
    one, other = now.astype(np.float64), before.astype(np.float64)
    same = np.isnan(one) & np.isnan(other) | (one == other)  # also where both are infinite
    away = np.where(same, 0.0, np.abs(one - other))
    finite = other[np.isfinite(other)]
    spread = float(np.ptp(finite) if finite.size > 1 else np.abs(finite).sum())  # of a single number its size
    limit, share = TOLERANCE * max(spread, 1e-6), 1.0 if before.dtype.kind == "f" else SHARE
    close = float(np.mean(away <= limit)) if away.size else 1.0
    told = f"{name}: at most {away.max(initial=0):.2g} away where answers span {spread:.3g}"
    told += f" (tolerance {limit:.2g}" + ("" if share == 1 else f" of {share:.0%} of the values") + ")"
    if close < share:
        raise RunError(
            f"{path}: its example gives another answer here: {told}, {1 - close:.2%} of the values beyond it"
        )
    return told
