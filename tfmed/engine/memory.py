"""What training needs, told before it is allocated: settings beyond a machine's memory are one line, not its end."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed import compat
from tfmed.engine.terminal import log
from tfmed.errors import RunError
from tfmed.io.geometry import machine_memory

# Of this machine's memory. Large steps take 1.2 to 1.6 times an estimate (docs/results/memory.md): beyond the first
# none can run, and from the second on one may fail.
_REFUSED, _NEAR = 1.2, 0.6
_GIB = 2**30
# Their output lies where their input does, whatever else uses it.
_SAME_PLACE = {"ExpandDims", "Identity", "IdentityN", "PreventGradient", "ReadVariableOp", "Reshape", "Squeeze",
               "StopGradient"}  # fmt: skip
# Their output may be written over an input that nothing else uses.
_IN_PLACE = {"Add", "AddN", "AddV2", "BiasAdd", "Elu", "Exp", "LeakyRelu", "LeakyReluGrad", "Mul", "Neg", "RealDiv",
             "Relu", "ReluGrad", "Rsqrt", "RsqrtGrad", "Select", "SelectV2", "Sigmoid", "SigmoidGrad", "Softmax",
             "Sqrt", "Square", "SquaredDifference", "Sub", "Tanh", "TanhGrad"}  # fmt: skip


@contextlib.contextmanager
def bounded_weights(method_name: str) -> Iterator[None]:
    """Models are made inside; the first variable that no longer fits into memory is refused before it is filled.

    Raises:
        RunError: from inside.
    """
    total = 0

    def create(next_creator: Callable[..., Any], **options: Any) -> Any:
        nonlocal total
        shape = tf.TensorShape(options.get("shape"))
        if shape.is_fully_defined():
            total += math.prod(shape.as_list()) * tf.as_dtype(options.get("dtype") or np.float32).size
        if total > machine_memory():
            raise RunError(
                f"method {method_name!r}: the weights of its networks need {total / _GIB:.0f} GiB or more, which this "
                "machine's memory does not have; lower the sizes (widths, channels, units) in the section model"
            )
        return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield


def check_step(step: Any, arguments: tuple, model: keras.Model, sizes: Mapping[str, tuple], settings: Any) -> None:
    """Look at what a training step would take, before the first batch is read; the graph is the one that will be run.

    On a GPU nothing is refused: TensorFlow itself says at once what does not fit there.

    Args:
        step: a `tf.function`.
        arguments: of it, TensorSpecs in the place of tensors.
        model: whose step it is.
        sizes: {name: shape} of what a sample holds.
        settings: the run's.

    Raises:
        RunError: the step needs far more memory than there is; it names the settings to lower.
    """
    graph = step.get_concrete_function(*arguments).graph
    if tf.config.list_physical_devices("GPU") and settings.train.strategy != "cpu":
        return
    state, computed = state_bytes(model), graph_bytes(graph)
    needed, there = state + computed, machine_memory()
    if needed <= _NEAR * there:
        return
    line = (
        f"a training step needs about {needed / _GIB:.3g} GiB ({state / _GIB:.3g} of them weights and optimizers), and "
        f"there are {there / _GIB:.3g} GiB of memory; lower {_ways_out(sizes, settings)}"
    )
    if needed > _REFUSED * there:
        raise RunError(f"method {settings.method!r}: {line}")
    log.warning("%s, if it ends for lack of memory", line)


def _ways_out(sizes: Mapping[str, tuple], settings: Any) -> str:
    """The settings that a step's memory grows with, those of the model found by the sizes of a sample's arrays."""
    sides = {side for shape in sizes.values() for side in shape if side > 16}
    planes = {plane for shape in sizes.values() for plane in itertools.pairwise(shape) if min(plane) > 1}
    words = []
    if settings.train.batch_size > 1:
        words.append(f"train.batch_size ({settings.train.batch_size})")
    for name in type(settings.model).model_fields:
        value = getattr(settings.model, name)
        if (isinstance(value, tuple) and value[-2:] in planes) or (isinstance(value, int) and value in sides):
            words.append(f"model.{name} ({list(value) if isinstance(value, tuple) else value})")
    return " or ".join(words) or "the sizes in the section model"


def state_bytes(model: keras.Model) -> int:
    """Bytes of a model's weights and of what its optimizers keep, on all devices together."""
    from tfmed.engine.checkpoint import state_variables

    sizes = [math.prod(v.shape.as_list()) * v.dtype.size for v in state_variables(model) if v.dtype != tf.string]
    return sum(sizes) * tf.distribute.get_strategy().num_replicas_in_sync


def graph_bytes(graph: tf.Graph) -> int:
    """The most bytes that the tensors of a graph take at a time, if its operations run in the order of their making.

    A tensor is there until the last operation that uses it has run. What runs inside loops, branches and functions is
    added where they stand. TensorFlow may order independent operations otherwise, and kernels need some room of their
    own; the results page says how far measured peaks lie from this.
    """
    operations = graph.get_operations()
    place: dict[str, str] = {}  # tensor -> the one in whose memory it lies
    for operation in operations:
        for k, tensor in enumerate(operation.outputs):
            same = operation.type in _SAME_PLACE and len(operation.inputs) > k
            source = operation.inputs[k].name if same else tensor.name
            place[tensor.name] = place.get(source, source)
    last = {place[t.name]: number for number, operation in enumerate(operations) for t in operation.inputs}
    last |= {place[t.name]: len(operations) for t in getattr(graph, "outputs", ())}
    sizes: dict[str, int] = {}
    there = most = 0
    for number, operation in enumerate(operations):
        made = {t.name: _bytes(t) for t in operation.outputs if place[t.name] == t.name}
        inside = max((graph_bytes(inner) for inner in compat.graphs_inside(graph, operation)), default=0)
        free = sum(sizes.pop(name, 0) for name in {place[t.name] for t in operation.inputs} if last[name] == number)
        written_over = min(free, sum(made.values())) if operation.type in _IN_PLACE else 0
        most = max(most, there + sum(made.values()) - written_over + inside)
        sizes |= {name: size for name, size in made.items() if name in last}
        there += sum(size for name, size in made.items() if name in last) - free
    return most


def _bytes(tensor: tf.Tensor) -> int:
    """Of a tensor; axes of unknown length count as 1, resources and texts as nothing."""
    if tensor.dtype in (tf.resource, tf.variant, tf.string) or tensor.shape.rank is None:
        return 0
    return math.prod(side or 1 for side in tensor.shape.as_list()) * tensor.dtype.size
