"""Dropout whose randomness can be resumed exactly, for training and for Monte Carlo passes at inference."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed.compat import KERAS_3, KerasTensor, tensor_variable


@keras.utils.register_keras_serializable("tfmed")
class Dropout(keras.layers.Layer):
    """Zeroes entries of `(n, ..., channels)` with probability `rate` and scales the others by 1 / (1 - rate).

    The mask is a pure function of (seed, number of calls so far, place in the batch). The number of calls is a weight
    (int64, not trainable), so a checkpoint or a saved model carries the state of the randomness and a resumed run
    draws what the unbroken run would have drawn. Masks are drawn in float32 by Philox (Salmon et al. 2011), hence they
    are the same on both stacks and under every precision. Replicas of one step draw consecutive shares of one stream:
    where a replica's share of the mask has a multiple of four entries, two replicas draw the mask of the one that
    sees both their batches. XLA orders the numbers of the stream otherwise: still a function of seed and call, but
    other masks than without XLA.

    Monte Carlo dropout (Gal and Ghahramani 2016): see `mc_mean` and `dropping`.

    Args:
        rate: share of the entries that is dropped, in [0, 1).
        spatial: drop whole channels of a sample (Tompson et al. 2015) instead of single entries.
        always: drop whatever `training` says.
        seed: integer that keeps the layers of one network apart; see `seeds`.
    """

    def __init__(self, rate: float, spatial: bool = False, always: bool = False, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"dropout rate {rate} is not in [0, 1)")
        self.rate, self.spatial, self.always, self.seed = rate, spatial, always, int(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the counter."""
        first = "only_first_replica" if KERAS_3 else tf.VariableAggregation.ONLY_FIRST_REPLICA
        self.calls = self.add_weight(
            name="calls", shape=(), dtype="int64", initializer="zeros", trainable=False, aggregation=first
        )
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """`x` with entries dropped if training (or always), otherwise `x`."""
        if self.rate == 0:
            return x
        if self.always or training is True:
            return self._drop(x)
        if training is None or isinstance(training, (bool, int, np.bool_)):
            return self._drop(x) if training else x
        return tf.cond(tf.cast(training, tf.bool), lambda: self._drop(x), lambda: tf.identity(x))

    def _drop(self, x: KerasTensor) -> KerasTensor:
        shape = tf.shape(x)
        if self.spatial:
            shape = tf.concat([shape[:1], tf.ones([len(x.shape) - 2], tf.int32), shape[-1:]], 0)
        calls = tf.cast(tf.convert_to_tensor(self.calls), tf.int64)
        self.calls.assign_add(tf.ones([], tf.int64))
        quads = (tf.reduce_prod(tf.cast(shape, tf.int64)) + 3) // 4  # one value of the counter makes four numbers
        counter = tf.cast(tf.stack([quads * _replica(), calls]), tf.uint64)
        key = tf.constant([self.seed % 2**64], tf.uint64)
        uniform = tf.raw_ops.StatelessRandomUniformV2(shape=shape, key=key, counter=counter, alg=1)  # 1: Philox
        factor = tf.where(uniform >= self.rate, 1.0 / (1.0 - self.rate), 0.0)
        return x * tf.cast(factor, x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments, for saving."""
        own = {"rate": self.rate, "spatial": self.spatial, "always": self.always, "seed": self.seed}
        return {**super().get_config(), **own}


def _replica() -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    return tf.cast(0 if context is None else context.replica_id_in_sync_group, tf.int64)


def seeds(seed: int) -> Iterator[int]:
    """Different seeds for the (up to 1024) dropout layers of one network, made from the network's own seed."""
    return iter(np.random.SeedSequence(seed).generate_state(1 << 10, np.uint64).astype(np.int64).tolist())


def mc_mean(model: keras.Model, images: tf.Tensor, passes: int | tf.Tensor) -> tf.Tensor:
    """Mean class probabilities over `passes` Monte Carlo passes, float32 `(n, ..., classes)`.

    Dropout is on, everything else (batch normalisation) in inference mode. A model of two layers named "encoder" and
    "decoder" runs its encoder once, if no dropout sits in it. Memory does not grow with the number of passes.

    Args:
        model: images -> logits.
        images: `(n, ..., channels)`.
        passes: number of passes (int or scalar tensor), at least one.
    """
    names = [layer.name for layer in model.layers]
    run = model
    if "encoder" in names and "decoder" in names and not any(drop.rate for drop in layers(model.get_layer("encoder"))):
        images, run = model.get_layer("encoder")(images, training=False), model.get_layer("decoder")

    def probabilities() -> tf.Tensor:
        with dropping(model):
            return tf.nn.softmax(tf.cast(run(images, training=False), tf.float32))

    if not any(drop.rate for drop in layers(model)):
        return probabilities()  # all passes are the same
    total = probabilities()
    _, total = tf.while_loop(
        lambda i, total: i < passes,
        lambda i, total: (i + 1, total + probabilities()),
        (1, total),
        parallel_iterations=1,
    )
    return total / tf.cast(passes, tf.float32)


@contextlib.contextmanager
def dropping(model: keras.Model) -> Iterator[None]:
    """Within it, the model's Dropout layers drop whatever `training` says."""
    before = [(layer, layer.always) for layer in layers(model)]
    try:
        for layer, _ in before:
            layer.always = True
        yield
    finally:
        for layer, always in before:
            layer.always = always


@contextlib.contextmanager
def from_the_start(model: keras.Model) -> Iterator[None]:
    """Within it, the model's masks are those of a fresh model; afterwards they go on where they were."""
    counters = [tensor_variable(layer.calls) for layer in layers(model)]
    before = [tf.identity(counter) for counter in counters]
    try:
        for counter in counters:
            counter.assign(tf.zeros([], tf.int64))
        yield
    finally:
        for counter, calls in zip(counters, before, strict=True):
            counter.assign(calls)


def layers(model: keras.Model) -> list[Dropout]:
    """All Dropout layers of a model, those of models inside it too."""
    found = []
    for layer in model.layers:
        if isinstance(layer, Dropout):
            found.append(layer)
        elif hasattr(layer, "layers"):
            found += layers(layer)
    return found


def active(model: keras.Model) -> bool:
    """Whether a model has dropout that drops anything."""
    return any(layer.rate > 0 for layer in layers(model))
