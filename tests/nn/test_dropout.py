"""The dropout layer: what it drops, and that its randomness can be resumed, shared and compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.dropout import Dropout, active, seeds

pytestmark = pytest.mark.current

ONES = tf.ones([2, 6, 6, 8])


def test_drops_the_asked_share_and_keeps_the_mean():
    y = np.asarray(Dropout(0.3)(tf.ones([4, 50, 50, 4]), training=True))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)


def test_the_very_numbers_are_the_same_on_every_stack():
    layer = Dropout(0.5, seed=7)
    drawn = [
        "".join("1" if v else "0" for v in np.asarray(layer(tf.ones([1, 16]), training=True))[0]) for _ in range(2)
    ]
    assert drawn == ["1001001000111010", "0100000101101111"]


def test_spatial_drops_whole_channels_of_a_sample():
    y = np.asarray(Dropout(0.5, spatial=True)(ONES, training=True))
    assert (y == y[:, :1, :1]).all() and 0 < np.mean(y == 0) < 1
    assert (y[0] != y[1]).any()


@pytest.mark.parametrize("training", [False, None, tf.constant(False)])
def test_inference_changes_nothing_and_draws_nothing(training):
    layer = Dropout(0.5)
    np.testing.assert_array_equal(layer(ONES, training=training), ONES)
    assert int(layer.calls) == 0
    zero = Dropout(0.0)
    np.testing.assert_array_equal(zero(ONES, training=True), ONES)
    assert (np.asarray(Dropout(0.5, always=True)(ONES, training=training)) == 0).any()


def test_calls_differ_seeds_differ_and_a_tensor_may_decide():
    a, b, c = Dropout(0.5, seed=1), Dropout(0.5, seed=1), Dropout(0.5, seed=2)
    first, second = np.asarray(a(ONES, training=True)), np.asarray(a(ONES, training=True))
    assert (first != second).any() and (first != np.asarray(c(ONES, training=True))).any()
    np.testing.assert_array_equal(b(ONES, training=tf.constant(True)), first)
    graph = tf.function(lambda x: b(x, training=True))
    np.testing.assert_array_equal(graph(ONES), second)
    assert int(b.calls) == 2
    values = seeds(3)
    assert len({next(values) for _ in range(50)} | {next(seeds(4))}) == 51


def test_weights_carry_the_state_of_the_randomness(tmp_path):
    def model():
        inputs = keras.Input((6, 6, 8))
        return keras.Model(inputs, Dropout(0.5, spatial=True, seed=5, name="drop")(inputs))

    a, b = model(), model()
    a(ONES, training=True)
    assert not a.trainable_weights and [w.shape for w in a.non_trainable_weights] == [()]
    tf.train.Checkpoint(model=a).write(str(tmp_path / "checkpoint"))
    a.save(tmp_path / "model.keras")
    expected = np.asarray(a(ONES, training=True))
    tf.train.Checkpoint(model=b).read(str(tmp_path / "checkpoint")).assert_existing_objects_matched()
    np.testing.assert_array_equal(b(ONES, training=True), expected)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("drop").get_config()["seed"] == 5
    np.testing.assert_array_equal(loaded(ONES, training=True), expected)


def test_two_replicas_draw_what_one_draws():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        shared = Dropout(0.5, seed=9)
        shared.build((None, 8))
    alone = Dropout(0.5, seed=9)
    halves = strategy.experimental_distribute_values_from_function(lambda c: tf.ones([3, 8]))
    step = tf.function(lambda: strategy.run(lambda x: shared(x, training=True), (halves,)))
    for _ in range(2):
        both = np.concatenate([np.asarray(v) for v in strategy.experimental_local_results(step())])
        np.testing.assert_array_equal(both, alone(tf.ones([6, 8]), training=True))


def test_precision_changes_the_type_only_and_gradients_pass():
    x = tf.Variable(ONES)
    layer, half = Dropout(0.5), Dropout(0.5, dtype="mixed_bfloat16")
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), y)
    low = half(ONES, training=True)
    assert low.dtype == tf.bfloat16
    np.testing.assert_array_equal(tf.cast(low, tf.float32), y)


def test_a_wrong_rate_is_named():
    with pytest.raises(ValueError, match=r"rate 1\.0 is not in"):
        Dropout(1.0)


def test_whether_anything_is_dropped():
    """Also in models inside a model."""

    def model(rate):
        inner = keras.Sequential([keras.Input((8,)), Dropout(rate), keras.layers.Dense(2)])
        return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), inner])

    assert active(model(0.1)) and not active(model(0.0))
    assert not active(keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]))
