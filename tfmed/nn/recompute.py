"""Gradient checkpointing that can be differentiated twice (tf.recompute_grad cannot)."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def recompute(function: Callable[..., tf.Tensor], *inputs: tf.Tensor) -> tf.Tensor:
    """`function(*inputs)`, whose inner values are computed again in the backward pass in place of being kept.

    The backward pass is made of ordinary operations, so a penalty on a gradient works; what such a second-order step
    needs it keeps, as without checkpointing.

    Args:
        function: tensors -> one tensor; variables that it reads get their gradients. They exist already.
        inputs: float tensors.
    """

    @tf.custom_gradient
    def checkpointed(*values: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        def backward(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
            # The dependency keeps the graph optimiser from finding the first pass' values again and merging the two.
            with tf.control_dependencies([upstream]):
                again = [tf.identity(value) for value in values]
            with tf.GradientTape() as tape:
                tape.watch(again)
                output = function(*again)
            wanted = (again, list(variables))
            found = tape.gradient(output, wanted, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return found if variables else found[0]

        return function(*values), backward

    return checkpointed(*inputs)
