"""TrainingModel and what stands around it: plain `model.fit`, noise, learning-rate schedules."""

import numpy as np
import pytest
import tensorflow as tf

from tests.methods.test_ctsgan import TINY_MODEL, batch, model
from tfmed.engine.model import move_average
from tfmed.engine.schedules import Schedule, learning_rate
from tfmed.engine.settings import TrainConfig
from tfmed.methods.ctsgan import CTSGAN, Config
from tfmed.nn.unet import unet

pytestmark = pytest.mark.current


def test_plain_keras_fit_works():
    """A model trains under `model.fit` as well, with Keras' own callbacks and history."""
    m = model()
    m.compile()
    history = m.fit(tf.data.Dataset.from_tensors(batch()).repeat(), steps_per_epoch=2, epochs=2, verbose=0)
    assert set(history.history) >= {"critic_slice", "generator_slab"}
    assert np.isfinite(history.history["critic_slice"]).all()


def test_noise_belongs_to_the_sample_not_to_the_replica():
    """The halves of a batch get the halves of the whole batch's noise; steps and tags differ."""
    m = model(per_step=4)
    whole = {"index": tf.range(4, 8, dtype=tf.int64)}
    halves = [{"index": tf.constant([4, 5], tf.int64)}, {"index": tf.constant([6, 7], tf.int64)}]
    together = m.noise(whole, (3,), 1).numpy()
    np.testing.assert_array_equal(np.concatenate([m.noise(half, (3,), 1).numpy() for half in halves]), together)
    later = m.noise({"index": tf.range(8, 12, dtype=tf.int64)}, (3,), 1).numpy()
    assert (later != together).all() and (m.noise(whole, (3,), 2).numpy() != together).all()


@pytest.mark.parametrize("kind, at_half", [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
def test_schedules(kind, at_half):
    """Warm-up from 1/10, the base rate until the decay begins, half of the way, and the final share."""
    schedule = Schedule(2.0, 100, kind, warmup_steps=10, decay_from=0.2, final=0.0)
    assert float(schedule(0)) == pytest.approx(0.2)
    assert float(schedule(15)) == pytest.approx(2.0)
    assert float(schedule(60)) == pytest.approx(2.0 * at_half, rel=1e-5)
    assert float(schedule(100)) == pytest.approx(2.0 if kind == "constant" else 0.0, abs=1e-6)
    assert float(schedule(1000)) == float(schedule(100))


def test_a_rate_stays_a_number_without_a_schedule():
    assert learning_rate(3e-4, TrainConfig()) == 3e-4
    assert isinstance(learning_rate(3e-4, TrainConfig(schedule={"kind": "cosine"})), Schedule)


def test_optimizers_follow_the_schedule():
    """A rate that is zero from the second update on moves the weights once."""
    scheduled = CTSGAN(Config(**TINY_MODEL), learning_rate=Schedule(1e-2, 1, "linear"), per_step=2)
    weights = []
    for _ in range(3):
        weights.append([v.numpy() for v in scheduled.trainable_variables])
        scheduled.train_step(batch())
    assert all((a != b).any() for a, b in zip(weights[0], weights[1], strict=True) if a.size > 100)
    for a, b in zip(weights[1], weights[2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_moving_average_draws_its_own_dropout():
    """Weights follow, statistics of batch norm are copied, and the counter of dropout masks is left alone."""
    networks = []
    for seed in range(2):
        network = unet(1, 2, widths=(2, 4), norm="batch", dropout=0.5, seed=seed)
        network(tf.random.stateless_normal((2, 8, 8, 1), [seed, 1]), training=True)
        networks.append(network)
    average, network = networks
    network(tf.zeros((2, 8, 8, 1)), training=True)
    before = [w.numpy() for w in average.weights]
    move_average(average, network, 0.75)
    kinds = set()
    for old, now, source in zip(before, average.weights, network.weights, strict=True):
        counter = old.dtype == np.int64
        expected = old if counter else 0.75 * old + 0.25 * source.numpy() if source.trainable else source.numpy()
        np.testing.assert_allclose(now.numpy(), expected, rtol=1e-5, atol=1e-7)
        kinds.add((counter, bool(source.trainable)))
        assert not counter or (old == 1 and source.numpy() == 2)
    assert len(kinds) == 3
