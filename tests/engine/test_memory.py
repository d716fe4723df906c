"""What a training step needs is estimated before it is allocated, and refused in one line."""

import logging
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.support import toy
from tests.support.harness import REPOSITORY
from tests.support.refusals import one_line
from tfmed import cli, compat, fit, registry
from tfmed.engine import lifecycle, memory
from tfmed.engine.lifecycle import fit as train
from tfmed.errors import RunError
from tfmed.io import geometry
from tfmed.training.model import _accumulate

pytestmark = pytest.mark.current
SIDE = 64
ONE = SIDE * SIDE * 4  # bytes of a matrix


def estimate(function, *shapes):
    """Of a function of matrices of these shapes, in matrices."""
    specs = [tf.TensorSpec(shape) for shape in shapes or [(SIDE, SIDE)]]
    return memory.graph_bytes(tf.function(function, autograph=False).get_concrete_function(*specs).graph) / ONE


@pytest.mark.parametrize("function, matrices", [
    (lambda x: x @ x, 2),
    (lambda x: (x @ x) @ x, 3),  # x, and two products
    (lambda x: ((x @ x) @ (x @ x)) @ x, 4),  # the last product takes the place of one that has been used
    (lambda x: tf.exp(tf.exp(x @ x)), 2),  # a map is written over the one it is made of
    (lambda x: tf.reshape(tf.identity(x @ x), (-1,)), 2),  # these make nothing
    (lambda x: tf.cast(x, tf.bfloat16) @ tf.cast(x, tf.bfloat16), 2),  # x and two halves
])  # fmt: skip
def test_graphs_of_known_size(function, matrices):
    assert estimate(function) == pytest.approx(matrices, abs=0.01)


def test_what_a_gradient_needs_is_kept():
    """One matrix for every layer, where a forward pass holds two in all."""

    def chain(x, layers):
        for _ in range(layers):
            x = tf.tanh(x @ x)
        return tf.reduce_sum(x)

    def gradient(layers):
        def function(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = chain(x, layers)
            return tape.gradient(value, x)

        return estimate(function)

    assert estimate(lambda x: chain(x, 40)) < 4
    assert 35 <= gradient(40) - gradient(4) <= 40


@pytest.mark.parametrize("rounds, matrices", [(1, 8), (4, 2)])
def test_loops_hold_one_round_at_a_time(rounds, matrices):
    """As gradient accumulation does: one micro-batch is in memory."""

    def function(x):
        size = 8 // rounds
        square = lambda i: x[i * size : (i + 1) * size, :, None] * tf.ones((size, SIDE, SIDE))  # noqa: E731
        body = lambda i, total: (i + 1, total + tf.reduce_sum(square(i)))  # noqa: E731
        return tf.while_loop(lambda i, _: i < rounds, body, (0, tf.zeros(())))[1]

    assert estimate(function, (8, SIDE)) == pytest.approx(matrices, rel=0.3)  # the product lies where the ones were


def test_accumulated_gradients_and_halves_need_less():
    """A batch of 64 cut into 8 micro-batches holds an eighth of what its layers keep; bfloat16 half of it."""

    def step(micro_batches, dtype=tf.float32):
        def gradients(micro_batch):
            with tf.GradientTape() as tape:
                weight = tf.ones((SIDE, SIDE))
                tape.watch(weight)
                value = tf.cast(micro_batch["x"], dtype)
                for _ in range(20):
                    value = tf.tanh(value @ tf.cast(weight, dtype))
                loss = tf.reduce_mean(tf.cast(value, tf.float32))
            return [tape.gradient(loss, weight)], {"loss": loss}

        return estimate(
            lambda x: _accumulate(gradients, {"x": x, "index": tf.range(64)}, micro_batches)[0][0], (64, SIDE, SIDE)
        )

    whole, eighths, halves = step(1), step(8), step(1, tf.bfloat16)
    assert 20 * 64 < whole < 25 * 64
    assert eighths - 64 < 0.2 * (whole - 64)
    assert halves - 64 < 0.65 * (whole - 64)


def test_functions_inside_functions_count():
    @tf.custom_gradient
    def recomputed(x):
        return (x @ x) @ x, lambda upstream: upstream

    inner = tf.function(lambda x: (x @ x) @ x)
    assert estimate(lambda x: inner(x) + 1.0) >= 3
    assert estimate(lambda x: recomputed(x) + 1.0) >= 3


def test_a_size_beyond_memory_is_one_line_before_anything_is_prepared(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lifecycle, "machine_memory", lambda: 2**26)
    monkeypatch.setattr(memory, "machine_memory", lambda: 2**20)
    words = [toy.CONFIG, "--run-dir", str(tmp_path / "run"), "train.batch_size=8", "model.shape=[24, 48, 48]"]
    assert cli.run(fit.main, words) == 2
    one_line(capsys.readouterr().err, "'toy'", "GiB", "train.batch_size (8)", "model.shape ([24, 48, 48])")
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_a_step_beyond_memory_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 2**12)
    with pytest.raises(RunError, match=r"training step needs about .* lower train.batch_size \(2\)"):
        train(toy.settings("train.steps=1"), tmp_path / "run")


def test_near_the_limit_it_is_a_warning(tmp_path, monkeypatch, caplog):
    found, usual = [], memory.graph_bytes
    monkeypatch.setattr(memory, "graph_bytes", lambda graph: found.append(usual(graph)) or found[-1])
    monkeypatch.setattr(memory, "state_bytes", lambda model: 0)
    monkeypatch.setattr(memory, "machine_memory", lambda: max(found, default=2**40))
    with caplog.at_level(logging.WARNING, "tfmed"):
        logging.getLogger("tfmed").propagate = True
        assert train(toy.settings("train.steps=1"), tmp_path / "run").path.exists()
    assert "a training step needs about" in caplog.text and found


@pytest.mark.parametrize("strategy, replicas", [("cpu", 1), ("mirrored", 2)])
def test_the_graph_that_is_looked_at_is_the_one_that_runs(strategy, replicas, tmp_path, monkeypatch):
    """Tracing twice would double the start of every run."""
    model = sys.modules[registry.method_class("toy").__module__].Toy
    calls, usual = [], model.train_step
    monkeypatch.setattr(model, "train_step", lambda self, batch: calls.append(1) or usual(self, batch))
    train(toy.settings("train.steps=2", f"train.strategy={strategy}", "train.replicas=2"), tmp_path / "run")
    assert len(calls) == replicas


def test_weights_and_optimizers_are_counted():
    import keras

    class Model:
        variables = [tf.Variable(np.zeros((3, 5), np.float32))]
        updaters = {"one": ("one_optimizer", ())}
        metrics = ()

    model = Model()
    model.one_optimizer = keras.optimizers.Adam()
    model.one_optimizer.build(model.variables)
    assert 3 * 3 * 5 * 4 <= memory.state_bytes(model) <= 3 * 3 * 5 * 4 + 16


@pytest.mark.parametrize("text, limit", [("1048576", 2**20), ("max", None), ("", None), ("9223372036854771712", None)])
def test_a_containers_limit_is_the_memory_there_is(text, limit, tmp_path, monkeypatch):
    (tmp_path / "max").write_text(text + "\n")
    monkeypatch.setattr(geometry, "_LIMITS", ())
    whole = geometry.machine_memory()
    monkeypatch.setattr(geometry, "_LIMITS", (str(tmp_path / "max"), str(tmp_path / "absent")))
    assert geometry.machine_memory() == (limit or whole)


def test_graphs_inside_are_found_on_both_stacks():
    function = tf.function(lambda x: tf.while_loop(lambda i: i < 3, lambda i: (i + 1,), (x,)), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((), tf.int32)).graph
    inside = [len(compat.graphs_inside(graph, operation)) for operation in graph.get_operations()]
    assert max(inside) == 2  # the condition, and the body


# By method: what makes its batch as large as settings can say.
LARGEST = {"stylegan3d": ("model.minibatch_group=1",), "equireg": ("model.labelled_batch=32768",),
           "gbdl": ("model.labelled_batch=32768",), "segmentation": ("model.plan=false",),
           "brainnetgan": ("model.critic_steps=1000",), "gan_eval": ("model.critic_steps=1000",)}  # fmt: skip


@pytest.mark.long
@pytest.mark.one_stack
@pytest.mark.parametrize("name", [name for name in registry.names() if name != "toy"])
def test_the_largest_batch_of_every_method_is_one_line(name, tmp_path, capsys):
    """In less than a minute of one core, data and graph included."""
    config, words = str(REPOSITORY / f"configs/{name}.yaml"), ("train.batch_size=65536", *LARGEST.get(name, ()))
    begun = time.process_time()
    assert cli.run(fit.main, [config, "--profile", "demo", "--run-dir", str(tmp_path / "run"), *words]) == 2
    one_line(capsys.readouterr().err, "train.batch_size")
    assert time.process_time() - begun < 60
