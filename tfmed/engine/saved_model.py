"""SavedModels of other hands, looked at before they are loaded: only graphs of tensors, and weights that are there."""

import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfmed.files import PathLike, own_bytes

_LARGEST = 1 << 30  # bytes of a graph
# A captured tensor is one of a function's graph that its gradient (silu's, for instance) needs; nothing runs.
_KINDS = ("user_object", "variable", "function", "bare_concrete_function", "constant", "captured_tensor")
_OBJECTS = ("_generic_user_object", "signature_map", "trackable_list_wrapper", "trackable_dict_wrapper",
            "trackable_tuple_wrapper")  # fmt: skip
# What writes and reads variables; TensorFlow adds it to each SavedModel, and loading does not use it.
_SAVER = re.compile(r"__inference__traced_(save|restore)_\d+")
# Operations with effects that are none outside of the model.
_HARMLESS = re.compile(
    r"(Read|Assign(Add|Sub)?)VariableOp|VarHandleOp|VarIsInitializedOp|DisableCopyOnRead|If|While|Case|"
    r"(Stateful)?PartitionedCall|ResourceGather(Nd)?|Random\w+|TruncatedNormal|Multinomial|Assert|CudnnRNN\w*"
)
# Operations that reach files, other processes or Python; TensorFlow does not call all of them stateful.
_REACHING = re.compile(
    r"File|Dataset|Iterator|Reader|Save|Restore|Checkpoint|PyFunc|ImmutableConst|Summary|Debug|Rpc|Send|Recv|Print|"
    r"Collective|TPU|Xla|Dump|Lookup|Table|Audio|Video|Socket|Decode(Wav|Gif|Compressed)|TRT|Remote|Lmdb|BigQuery"
)


def check(folder: PathLike) -> None:
    """See that a SavedModel holds functions of tensors alone, and that its weights fill its files.

    Its graphs neither read nor write files, call no Python and no operation that TensorFlow does not have, and run
    nothing while they are loaded; no class is looked up by a name in the file.

    Raises:
        OSError, ValueError: it cannot be read, is damaged, or holds something else; the message has no path in front.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    folder, found = pathlib.Path(folder), saved_model_pb2.SavedModel()
    stored = own_bytes(folder / "saved_model.pb", _LARGEST)
    try:
        found.ParseFromString(stored)
    except Exception:  # DecodeError of protobuf, a package that TensorFlow brings
        raise ValueError("saved_model.pb is damaged") from None
    if len(found.meta_graphs) != 1:
        raise ValueError(f"saved_model.pb holds {len(found.meta_graphs)} graphs, and should hold one")
    graph = found.meta_graphs[0]
    if graph.asset_file_def:
        raise ValueError("saved_model.pb names further files to be read")
    _check_objects(graph.object_graph_def.nodes)
    own = {function.signature.name for function in graph.graph_def.library.function}
    for function in graph.graph_def.library.function:
        if not _SAVER.fullmatch(function.signature.name):
            for node in function.node_def:
                _check_node(node, own)
    for node in graph.graph_def.node:
        if node.op not in ("Placeholder", "StatefulPartitionedCall"):  # the latter call the signatures and the saver
            _check_node(node, own)
    check_sizes(folder / "variables" / "variables")


def _check_objects(nodes: Any) -> None:
    for node in nodes:
        kind = node.WhichOneof("kind")
        if kind not in _KINDS or node.registered_name or node.HasField("serialized_user_proto"):
            raise ValueError(
                f"saved_model.pb holds an object of kind {kind or 'unknown'!r}, which is no part of a model"
            )
        if kind == "user_object" and node.user_object.identifier not in _OBJECTS:
            raise ValueError(
                f"saved_model.pb holds an object {node.user_object.identifier[:50]!r}, which is not restored"
            )
        named = [*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name]
        if any(_SAVER.fullmatch(name) for name in named):
            raise ValueError("saved_model.pb gives its saver away as a function")


def _check_node(node: Any, own: set[str]) -> None:
    """ValueError where an operation reaches out of the model."""
    from tensorflow.python.framework import op_def_registry

    for name in (node.op, *_called(node)):
        if _SAVER.fullmatch(name):
            raise ValueError(f"saved_model.pb: {node.name[:50]!r} writes or reads files")
    if node.op in own:  # the call of a function, whose operations are looked at where it stands
        return
    known = op_def_registry.get(node.op)
    if known is None:
        raise ValueError(f"saved_model.pb uses an operation {node.op[:50]!r}, which TensorFlow does not have")
    if _REACHING.search(node.op) or (known.is_stateful and not _HARMLESS.fullmatch(node.op)):
        raise ValueError(f"saved_model.pb uses the operation {node.op[:50]!r}, which reaches out of the model")


def _called(node: Any) -> Iterator[str]:
    """Names of the functions that an operation calls."""
    for value in node.attr.values():
        yield value.func.name
        yield from (one.name for one in value.list.func)


def check_sizes(prefix: PathLike) -> dict[str, tuple[tuple[int, ...], str]]:
    """{name: (shape, dtype)} of a checkpoint's tensors; none is read.

    Raises:
        ValueError: the index is damaged, or tells of more bytes than the files have.
    """
    prefix = pathlib.Path(prefix)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError):
        raise ValueError(f"{prefix.name}.index is damaged") from None
    there = sum(path.stat().st_size for path in prefix.parent.glob(f"{prefix.name}.data-*"))
    needed = sum(math.prod(shape) * dtypes[name].size for name, shape in shapes.items() if dtypes[name] != tf.string)
    if needed > there:
        raise ValueError(f"{prefix.name}.index tells of {needed} bytes of weights, and there are {there}")
    return {name: (tuple(shape), dtypes[name].name) for name, shape in shapes.items()}
