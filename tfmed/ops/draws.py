"""Noise that is a pure function of its seed, the same on every device and inside every graph."""

from collections.abc import Sequence

import tensorflow as tf


def normal(shape: Sequence[int] | tf.Tensor, seed: int | tf.Tensor, index: int | tf.Tensor) -> tf.Tensor:
    """Standard normal numbers `shape`, float32; `seed` and `index` are integers or int64 scalars."""
    pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(index, tf.int64)])
    return tf.random.stateless_normal(shape, pair, alg="philox")  # the default algorithm depends on the device


def normals(shape: Sequence[int] | tf.Tensor, seed: int | tf.Tensor, indices: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """Those of several indices `(n,)`, `(n, *shape)`."""
    found = tf.map_fn(
        lambda index: normal(shape, seed, index), tf.cast(indices, tf.int64), fn_output_signature=tf.float32
    )
    return tf.ensure_shape(found, (None, *shape))
