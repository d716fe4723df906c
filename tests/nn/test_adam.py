"""The fused Adam against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.adam import Adam
from tfmed.training.schedules import Schedule

pytestmark = pytest.mark.current


def trained(kind, rate=1e-2, strategy=None, **options):
    """Weights and state after five updates by gradients that change, of two variables."""
    with (strategy or tf.distribute.get_strategy()).scope():
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        network.set_weights([np.linspace(-1, 1, 12).reshape(3, 4), np.zeros(4)])
        optimizer = kind(rate, **options)
        optimizer.build(network.trainable_variables)
    draws = np.random.default_rng(0)
    steps = [[tf.constant(draws.normal(size=s), tf.float32) for s in ((3, 4), (4,))] for _ in range(5)]

    @tf.function
    def update(gradients):
        def apply():  # a replica's share of the gradients
            share = [g / tf.distribute.get_strategy().num_replicas_in_sync for g in gradients]
            compat.apply_gradients(optimizer, share, network.trainable_variables)

        strategy.run(apply) if strategy else apply()

    for gradients in steps:
        update(gradients)
    return [*network.get_weights(), *(v.numpy() for v in compat.optimizer_variables(optimizer))]


@pytest.mark.parametrize("options", [
    {}, {"beta_1": 0.0, "beta_2": 0.9, "epsilon": 1e-3}, {"weight_decay": 0.1}, {"clipnorm": 0.5}, {"amsgrad": True},
    {"rate": Schedule(1e-2, 4, "linear")},
])  # fmt: skip
def test_the_same_numbers_as_keras(options):
    for ours, keras_own in zip(trained(Adam, **options), trained(keras.optimizers.Adam, **options), strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-7)


def test_replicas_have_the_numbers_of_one_device():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for ours, alone in zip(trained(Adam, strategy=strategy), trained(Adam), strict=True):
        np.testing.assert_allclose(ours, alone, rtol=1e-5, atol=1e-7)


def test_gradients_of_half_precision_are_taken():
    """Gradients of float16 meet weights of float32."""
    variable = compat.tensor_variable(keras.layers.Dense(1).add_weight(name="w", shape=(2,), initializer="zeros"))
    optimizer = Adam(1e-2)
    optimizer.build([variable])
    optimizer.apply_gradients([(tf.constant([1.0, -1.0], tf.float16), variable)])
    np.testing.assert_allclose(variable.numpy(), [-0.01, 0.01], rtol=1e-3)
