"""How loud one part of a loss is beside another."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.training.single_network import SingleNetworkModel

pytestmark = pytest.mark.one_stack


def test_the_ratio_of_gradients_is_that_of_linear_losses_coefficients():
    rng = np.random.default_rng(0)
    logits, ours, theirs = (tf.constant(rng.normal(size=(2, 3, 4)), tf.float32) for _ in range(3))
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(logits)
        further, supervised = (tf.reduce_sum(logits * factors) for factors in (ours, theirs))
        nothing = tf.constant(3.0)
    gradient_ratio = SingleNetworkModel().gradient_ratio
    expected = np.linalg.norm(ours) / np.linalg.norm(theirs)
    np.testing.assert_allclose(gradient_ratio(tape, logits, further, supervised), expected, rtol=1e-6)
    assert gradient_ratio(tape, logits, nothing, supervised) == 0 == gradient_ratio(tape, logits, further, nothing)
