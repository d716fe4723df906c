"""Slices, slabs and volumes: sampling, packing and exact assembly (Sect. 2)."""

import numpy as np
import tensorflow as tf

from tfmed.data.sampling import Stream

_SLABS = Stream("ctsgan.slabs", 0x51AB)


def positions(length, slice_channels=3):
    """How many slices are decoded for a volume of `length` slices: two fewer than it has when each shows three."""
    return length - 2 if slice_channels == 3 else length


def draw_slab(seed, index, length, slab_length, slice_count):
    """Where sample `index` looks: the first centre slice of its slab, and the slices of it that D_slice sees.

    Returns:
        (start, chosen): start in 1 .. length - 1 - slab_length, uniform: all slices of the slab have neighbours;
        chosen `(slice_count,)` int32, distinct offsets within the slab, ascending.
    """
    rng = _SLABS(seed, index)
    start = int(rng.integers(1, length - slab_length))
    chosen = np.sort(rng.permutation(slab_length)[:slice_count]).astype(np.int32)
    return start, chosen


def thin_slices(slab, slice_channels=3):
    """Slab with its two neighbours `(b, T + 2, H, W)` -> thin slices `(b, T, H, W, slice_channels)`."""
    if slice_channels == 1:
        return slab[:, 1:-1, ..., None]
    return tf.stack([slab[:, :-2], slab[:, 1:-1], slab[:, 2:]], axis=-1)


def assemble(slices):
    """Thin slices of all positions in order -> the volume; the exact inverse of cutting a volume into thin slices.

    Args:
        slices: `(positions, H, W, 3)`, or `(positions, H, W, 1)`; numpy array or tensor.

    Returns:
        `(positions + 2, H, W)` (or `(positions, H, W)`): the centre channels, and at both ends the outer ones.
    """
    if slices.shape[-1] == 1:
        return slices[..., 0]
    concat = np.concatenate if isinstance(slices, np.ndarray) else tf.concat
    return concat([slices[:1, ..., 0], slices[..., 1], slices[-1:, ..., 2]], 0)


def position_channel(images, position, count):
    """Join a constant channel to images: 2 * position / (count - 1) - 1, from -1 at the first position to 1 (0 if one).

    Args:
        images: `(n, H, W, c)`.
        position: `(n,)` integers in 0 .. count - 1.
        count: number of positions.
    """
    value = 2.0 * tf.cast(position, tf.float32) / max(count - 1, 1) - (1.0 if count > 1 else 0.0)
    plane = tf.ones_like(images[..., :1]) * tf.cast(value, images.dtype)[:, None, None, None]
    return tf.concat([images, plane], axis=-1)
