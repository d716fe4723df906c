"""TrainingModel and what stands around it: plain `model.fit`, noise, learning-rate schedules."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.methods.test_ctsgan import TINY_MODEL, batch, model
from tfmed.engine.settings import TrainConfig
from tfmed.methods.ctsgan import CTSGAN, Config
from tfmed.nn.unet import unet
from tfmed.training.model import TrainingModel, move_average
from tfmed.training.schedules import Schedule, learning_rate

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


def test_a_schedule_in_steps():
    schedule = Schedule(2.0, 90, "steps", warmup_steps=10)
    found = [float(schedule(step)) for step in (0, 15, 59, 60, 79, 80, 500)]
    assert found == pytest.approx([0.2, 2, 2, 0.2, 0.2, 0.02, 0.02])


def test_a_rate_stays_a_number_without_a_schedule():
    assert learning_rate(3e-4, TrainConfig()) == 3e-4
    assert isinstance(learning_rate(3e-4, TrainConfig(schedule={"kind": "cosine"})), Schedule)


def test_optimizers_follow_the_schedule():
    """A rate that is zero from the second update on moves the weights once."""
    scheduled = CTSGAN(Config(**TINY_MODEL), rate=Schedule(1e-2, 1, "linear"), per_step=2)
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


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_a_moving_average_of_all_state(decay):
    """Statistics of batch norm follow like weights; of a network that stays s it is s + decay^k (t0 - s) after k."""
    average, network = (unet(1, 2, widths=(2, 2), norm="batch", seed=seed) for seed in range(2))
    network(tf.random.stateless_normal((2, 4, 4, 1), [3, 1]), training=True)
    before = [w.numpy() for w in average.weights]
    for _ in range(3):
        move_average(average, network, decay, all_state=True)
    for old, now, source in zip(before, average.weights, network.weights, strict=True):
        expected = source.numpy() + decay**3 * (old - source.numpy())
        np.testing.assert_allclose(now.numpy(), expected, rtol=1e-5, atol=1e-6)


class Pair(TrainingModel):
    """A translator `y = a x` and a critic `b y`, whose updates can be written down."""

    def __init__(self, **kwargs):
        super().__init__(per_step=4, **kwargs)
        self.passes = []
        networks = {name: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]) for name in "ab"}
        for network in networks.values():
            network.set_weights([np.array([[1.0]], "float32")])
        self.a, self.b = networks.values()
        self.finish_building(
            {"b": (keras.optimizers.SGD(0.5), [self.b]), "a": (keras.optimizers.SGD(0.25), [self.a])}, ["b", "a"]
        )

    def made(self, batch):
        self.passes.append(len(batch["x"]))
        return self.a(batch["x"])

    def signed(self, name, sign):
        def value(batch, made):
            mean = sign * tf.reduce_mean(self.b(made))
            return mean, {name: mean}

        return value

    def step(self, judged_first=False):
        batch = {"x": tf.constant([[1.0], [2.0], [3.0], [6.0]]), "index": tf.range(4, dtype=tf.int64)}
        turns = {"b": self.signed("b", 1.0), "a": self.signed("a", -1.0)}
        logs = self.update_in_turn(self.made, turns, batch, judged_first)
        return {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("micro_batches, passes", [(1, [4]), (2, [2, 2, 2, 2])])
def test_updates_in_turn_share_a_forward_pass(micro_batches, passes):
    """b <- b - 0.5 a mean(x); then a <- a + 0.25 b mean(x) with the new b. Only micro-batches go forward again."""
    model = Pair(gradient_accumulation=micro_batches)
    assert model.step() == {"b": 3.0, "a": 0.5 * 3.0}  # minus b a mean(x) with b = -0.5
    assert model.passes == passes
    assert float(model.b.get_weights()[0][0, 0]) == pytest.approx(1.0 - 0.5 * 3.0)
    assert float(model.a.get_weights()[0][0, 0]) == pytest.approx(1.0 + 0.25 * -0.5 * 3.0)


def test_what_is_judged_may_come_first():
    """a <- a + 0.25 b mean(x); then b <- b - 0.5 a mean(x) with what the old a made."""
    model = Pair()
    assert model.step(judged_first=True) == {"b": 3.0, "a": -3.0}
    assert model.passes == [4]
    assert float(model.a.get_weights()[0][0, 0]) == pytest.approx(1.0 + 0.25 * 3.0)
    assert float(model.b.get_weights()[0][0, 0]) == pytest.approx(1.0 - 0.5 * 3.0)
