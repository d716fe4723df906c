"""Convolutions in half precision on CPUs, computed in float32, because TensorFlow's own are silently wrong there.

With oneDNN on processors with AVX-512, TensorFlow 2.15 to 2.21 compute convolutions in bfloat16, or the gradients of
their filters, partly from uninitialised memory where maps are small (2-D maps of width 1 with stride 2; 3-D maps of
depth 2), without any error. Which sizes are hit differs between processors and versions, so no size is trusted. Every
layer's convolution and its gradients go through the operations below; float32 is right.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

OPERATIONS = {  # name in TensorFlow's module -> the arguments that are tensors of numbers
    "conv2d": (0, 1),
    "conv3d": (0, 1),
    "depthwise_conv2d_native": (0, 1),
    "conv2d_backprop_input": (1, 2),
    "conv3d_backprop_input_v2": (1, 2),
    "depthwise_conv2d_native_backprop_input": (1, 2),
    "conv2d_backprop_filter": (0, 2),
    "conv3d_backprop_filter_v2": (0, 2),
    "depthwise_conv2d_native_backprop_filter": (0, 2),
}


def install(operations: Any) -> None:
    """Replace the convolutions of TensorFlow's module of operations (`gen_nn_ops`) by those of this one, once."""
    for name, numbers in OPERATIONS.items():
        operation = getattr(operations, name)
        if not getattr(operation, "in_float32", False):
            setattr(operations, name, _in_float32(operation, numbers))


def _in_float32(operation: Callable[..., Any], numbers: tuple[int, ...]) -> Callable[..., Any]:
    names = list(inspect.signature(operation).parameters)

    @functools.wraps(operation)
    def convolution(*args: Any, **kwargs: Any) -> Any:
        import tensorflow as tf

        given = dict(zip(names, args, strict=False)) | kwargs
        first = given[names[numbers[0]]]
        dtype = getattr(first, "dtype", None)
        if dtype not in (tf.bfloat16, tf.float16) or _on_gpu(first):
            return operation(*args, **kwargs)
        given |= {names[i]: tf.cast(given[names[i]], tf.float32) for i in numbers}
        return tf.cast(operation(**given), dtype)

    convolution.in_float32 = True  # type: ignore[attr-defined]
    return convolution


def _on_gpu(tensor: Any) -> bool:
    """Whether a tensor is on a GPU, or, where a graph leaves that open, whether there is one."""
    import tensorflow as tf

    device = getattr(tensor, "device", "")
    if "CPU" in device:
        return False
    return "GPU" in device or bool(tf.config.list_logical_devices("GPU"))
