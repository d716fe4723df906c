"""Gradients through an optimisation: the inner loop of model-agnostic meta-learning (Finn, Abbeel & Levine 2017).

Weights are tensors here, and nothing writes a variable: whoever takes the gradient of what the adapted weights give
goes through the adaptation. Usable with any built Keras model, in a `tf.function` as well:

    theta, state = tensors_of(model)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        adapted = adapt(model_loss(model, images, labels, loss), theta, state, rate=0.01)
        value, _ = model_loss(model, other_images, other_labels, loss)(adapted.weights, adapted.state)
    gradients = tape.gradient(value, theta)  # of second order
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed import compat

Loss = Callable[[list[tf.Tensor], list[tf.Tensor]], tuple[tf.Tensor, list[tf.Tensor]]]


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What an inner loop made.

    Attributes:
        weights: tensors like those it began with.
        state: other state, such as running statistics, after the last pass.
        losses: scalar of each step, before its update.
    """

    weights: list[tf.Tensor]
    state: list[tf.Tensor]
    losses: list[tf.Tensor]


def adapt(
    loss: Loss,
    weights: Sequence[tf.Tensor],
    state: Sequence[tf.Tensor] = (),
    rate: float | tf.Tensor = 0.01,
    steps: int = 1,
    first_order: bool = False,
    moving: Sequence[bool] | None = None,
) -> Adapted:
    """Gradient steps phi_0 = theta, phi_{k+1} = phi_k - rate * d loss(phi_k) / d phi_k, differentiable in theta.

    Args:
        loss: function of (weights, state) -> (scalar, state after it).
        weights: theta, tensors.
        state: of what the loss computes with beside weights; it takes part in no gradient step.
        rate: alpha, the same for all weights.
        steps: how many, 0 or more.
        first_order: take the inner gradients for constants, so that d phi / d theta is the identity (FOMAML).
        moving: for each tensor, whether it is adapted; None: all are.

    Raises:
        ValueError: a negative number of steps, or another number of flags than of tensors.

    Example:
        >>> theta = [tf.constant(3.0)]  # one step on (theta - 1)^2
        >>> adapt(lambda w, s: ((w[0] - 1.0) ** 2, s), theta, rate=0.25).weights[0].numpy().item()
        2.0
    """
    moving = [True] * len(weights) if moving is None else list(moving)
    if steps < 0 or len(moving) != len(weights):
        raise ValueError(
            f"{steps} steps of {len(moving)} of {len(weights)} tensors; give 0 or more, and a flag for each"
        )
    now, other, losses = [tf.convert_to_tensor(one) for one in weights], list(state), []
    for _ in range(steps):
        adapted = [one for one, moves in zip(now, moving, strict=True) if moves]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(adapted)
            value, other = loss(now, other)
        gradients = iter(tape.gradient(value, adapted, unconnected_gradients="zero"))
        now = [_step(one, next(gradients), rate, first_order) if moves else one
               for one, moves in zip(now, moving, strict=True)]  # fmt: skip
        losses.append(value)
    return Adapted(now, other, losses)


def tensors_of(model: keras.Model) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """(trainable weights, other state) of a built model, as tensors; a tape that records sees where they come from."""
    both = model.trainable_variables, model.non_trainable_variables
    found = [[tf.convert_to_tensor(compat.tensor_variable(one)) for one in variables] for variables in both]
    return found[0], found[1]


def model_loss(
    model: keras.Model, inputs: Any, targets: Any, loss: Callable[[Any, Any], tf.Tensor], training: bool = True
) -> Loss:
    """The `Loss` of a model on one batch.

    Args:
        model: a built model; see `compat.functional_call` for what it may hold.
        inputs, targets: the batch.
        loss: function of (targets, what the model answers) -> scalar.
        training: whether the model is called for training.
    """

    def of(weights: list[tf.Tensor], state: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        found, after = compat.functional_call(model, weights, state, inputs, training)
        return loss(targets, found), after

    return of


def _step(weight: tf.Tensor, gradient: tf.Tensor, rate: float | tf.Tensor, first_order: bool) -> tf.Tensor:
    gradient = tf.stop_gradient(gradient) if first_order else gradient
    return weight - tf.cast(rate, weight.dtype) * gradient
