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
    if isinstance(shape, tf.Tensor):
        return found
    return tf.ensure_shape(found, (None, *(None if isinstance(side, tf.Tensor) else side for side in shape)))


def choices(size: int | tf.Tensor, seed: int | tf.Tensor, indices: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """Integers from 0 to below `size`, all as likely, of several indices: int32 `(n,)`.

    An index gives the same bits here as to `normals`: whoever draws both for one thing takes indices far apart.
    """

    def one(index: tf.Tensor) -> tf.Tensor:
        pair = tf.stack([tf.cast(seed, tf.int64), index])
        return tf.random.stateless_uniform((), pair, 0, size, tf.int32, alg="philox")

    return tf.map_fn(one, tf.cast(indices, tf.int64), fn_output_signature=tf.int32)


def normal_maps(
    shapes: Sequence[Sequence[int]],
    seed: int | tf.Tensor,
    indices: Sequence[int] | tf.Tensor,
    spatial: str = "iid",
    share: float = 0.5,
) -> list[tf.Tensor]:
    """Maps of several scales, `(n, *shape)` float32 each, every number of which is standard normal.

    Args:
        shapes: `(y, x, channels)` of each scale.
        seed, indices: as for `normals`: the k-th maps are a function of the seed and their index.
        spatial: how numbers of a map belong together. "iid": not at all; "constant": a channel has one number
            everywhere; "mixed": the sum of both; "scalar": one number for all scales, places and channels.
        share: of "mixed": of the variance that is constant.

    Raises:
        ValueError: another word.

    Example:
        >>> [maps.shape.as_list() for maps in normal_maps([(4, 4, 2), (2, 2, 8)], 0, [0, 1, 2], "constant")]
        [[3, 4, 4, 2], [3, 2, 2, 8]]
    """
    if spatial == "mixed":
        doubled = 2 * tf.cast(indices, tf.int64)
        steady, loose = (normal_maps(shapes, seed, doubled + k, kind) for k, kind in enumerate(("constant", "iid")))
        return [share**0.5 * one + (1.0 - share) ** 0.5 * other for one, other in zip(steady, loose, strict=True)]
    if spatial not in ("iid", "constant", "scalar"):
        raise ValueError(f"spatial is {spatial!r}; it may be iid, constant, mixed or scalar")
    indices, found = tf.cast(indices, tf.int64), []
    for scale, (y, x, channels) in enumerate(shapes):
        drawn = {"iid": (y, x, channels), "constant": (1, 1, channels), "scalar": (1, 1, 1)}[spatial]
        numbers = normals(drawn, seed, indices * len(shapes) + (0 if spatial == "scalar" else scale))
        found.append(tf.broadcast_to(numbers, (tf.shape(indices)[0], y, x, channels)))
    return found
