"""Every kind of convolution that the methods use, in half precision at the smallest maps: outputs and gradients against
float32."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.equalized import EqualizedConv3D, ModulatedConv3D
from tfmed.nn.upconv import Doubling4

pytestmark = pytest.mark.current
layers = keras.layers
FLAT = list(itertools.product((1, 2, 3, 8, 16), (1, 2, 8)))
DEEP = list(itertools.product((1, 2, 4), (1, 3), (1, 2, 4)))
# Not a kernel of 1 with a stride of 2, which no method uses: on CPUs its gradient corrupts memory (TensorFlow 2.15).
FILTERS = [(1, 1), (3, 1), (3, 2), (4, 1), (4, 2)]
KINDS = {
    "conv2d": (FLAT, [lambda d, k=k, s=s: layers.Conv2D(8, k, s, "same", dtype=d) for k, s in FILTERS]),
    "dilated2d": (FLAT, [lambda d: layers.Conv2D(8, 3, padding="same", dilation_rate=2, dtype=d)]),
    "transposed2d": (FLAT, [lambda d, k=k: layers.Conv2DTranspose(8, k, 2, "same", dtype=d) for k in (2, 3, 4, 5)]),
    "doubling4": (FLAT, [lambda d: Doubling4(8, dtype=d)]),
    "depthwise2d": (FLAT, [lambda d, s=s: layers.DepthwiseConv2D(3, s, "same", dtype=d) for s in (1, 2)]),
    "conv3d": (DEEP, [lambda d, k=k, s=s: layers.Conv3D(8, k, s, "same", dtype=d) for k, s in FILTERS[:3]]),
    "dilated3d": (DEEP, [lambda d: layers.Conv3D(8, 3, padding="same", dilation_rate=2, dtype=d)]),
    "transposed3d": (DEEP, [lambda d, k=k: layers.Conv3DTranspose(8, k, 2, "same", dtype=d) for k in (2, 4)]),
    "equalized3d": (DEEP, [lambda d: EqualizedConv3D(8, 3, dtype=d)]),
}  # fmt: skip


def outcome(layer, inputs, weights):
    """Output, and gradients of the sum of its squares: of every input and of every weight (set to `weights` first)."""
    for variable, value in zip(layer.trainable_variables, weights, strict=True):
        variable.assign(value)
    variables = [tensor_variable(v) for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(*inputs)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
    found = [y, *tf.nest.flatten(tape.gradient(loss, [inputs, variables]))]
    return [tf.cast(value, tf.float32).numpy() for value in found]


def rounded(shape, seed, dtype):
    """Random numbers that the half-precision type holds exactly."""
    return tf.cast(tf.cast(tf.random.stateless_normal(shape, (seed, 7)), dtype), tf.float32)


def compare(make, inputs, dtype):
    half, whole = make(f"mixed_{dtype}"), make("float32")
    half(*inputs), whole(*inputs)
    weights = [rounded(v.shape, i, dtype) for i, v in enumerate(whole.trainable_variables)]
    found, right = outcome(half, inputs, weights), outcome(whole, inputs, weights)
    return [np.abs(a - b).max() / (np.abs(b).max() + 1e-6) for a, b in zip(found, right, strict=True)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind, dtype):
    sizes, makers = KINDS[kind]
    for size, (number, make) in itertools.product(sizes, enumerate(makers)):
        errors = compare(make, [rounded((2, *size, 4), 3, dtype)], dtype)
        assert max(errors) < 0.05, f"{kind} {number}, {size}: {errors}"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_modulated_convolution(dtype):
    for size in DEEP:
        inputs = [rounded((2, *size, 4), 3, dtype), rounded((2, 5), 4, dtype)]
        errors = compare(lambda policy: ModulatedConv3D(8, dtype=policy), inputs, dtype)
        assert max(errors) < 0.1, f"{size}: {errors}"


def test_in_a_graph_and_of_a_gradient():
    """The gradient of a penalty on gradients goes through the filter's gradient too."""
    x, w = rounded((2, 8, 1, 4), 1, "bfloat16"), rounded((3, 3, 4, 8), 2, "bfloat16")

    def penalty(dtype):
        with tf.GradientTape() as outer:
            outer.watch(w)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.nn.conv2d(tf.cast(x, dtype), tf.cast(w, dtype), 2, "SAME")
                value = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
            norm = tf.reduce_sum(inner.gradient(value, x) ** 2)
        return outer.gradient(norm, w)

    found, right = tf.function(lambda: penalty(tf.bfloat16))(), penalty(tf.float32)
    assert np.abs(found - right).max() < 0.05 * np.abs(right).max()


@pytest.mark.parametrize("order", ["tfmed, tensorflow", "tensorflow, tfmed"])
def test_whichever_is_imported_first(order):
    code = f"import {order}; from tensorflow.python.ops import gen_nn_ops; print(gen_nn_ops.conv3d.in_float32)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["True"], done.stderr
