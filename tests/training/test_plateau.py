"""Learning rates that fall on a plateau: against the rule in plain Python, and what an optimizer makes of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.sgd import SGD
from tfmed.training.plateau import Plateau

pytestmark = pytest.mark.current


def rule(values, factor, patience, least):
    """The scale after each epoch, as PyTorch's scheduler with an absolute threshold."""
    best, bad, scale, found = -np.inf, 0, 1.0, []
    for value in values:
        best, bad = (value, 0) if value > best + least else (best, bad + 1)
        if bad > patience:
            scale, bad = scale * factor, 0
        found.append(scale)
    return found


@pytest.mark.parametrize("patience, steps", [(0, 1), (1, 3), (2, 2)])
def test_it_falls_as_the_rule_says(patience, steps):
    """A graph, step by step; an epoch's value is the mean over its steps."""
    accuracies = np.random.default_rng(patience).integers(0, 9, (40, steps)).astype("float32") / 8
    plateau = Plateau(steps, 0.5, patience, 1e-4)
    observe = tf.function(plateau.observe, autograph=False)
    found = []
    for step, value in enumerate(accuracies.ravel()):
        observe(tf.constant(value), tf.constant(step, tf.int64))
        found.append(float(compat.tensor_variable(plateau.scale)))
    assert found[steps - 1 :: steps] == rule(accuracies.mean(1, dtype="float64"), 0.5, patience, 1e-4)
    assert min(found) < 0.1


def test_an_optimizer_goes_by_it():
    """Also where the rate has a schedule of its own."""
    plateau = Plateau(1, 0.5, 0)
    weight = tf.Variable([1.0])
    for base in (0.1, keras.optimizers.schedules.PolynomialDecay(0.1, 10, 0.1)):
        compat.tensor_variable(plateau.scale).assign(1.0)
        optimizer = SGD(plateau.rate(base))
        optimizer.build([weight])
        for scale in (1.0, 0.25):
            compat.tensor_variable(plateau.scale).assign(scale)
            before = float(weight[0])
            optimizer.apply_gradients([(tf.constant([2.0]), weight)])
            assert before - float(weight[0]) == pytest.approx(0.2 * scale, rel=1e-5)
