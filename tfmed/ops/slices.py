"""Slices of a volume with their neighbours as channels, for 2-D networks that see a little of the third axis."""

import numpy as np
import tensorflow as tf


def neighbours_as_channels(windows: tf.Tensor, neighbours: int) -> tf.Tensor:
    """Slices `(n, z + 2 * neighbours, y, x, channel)` -> `(n, z, y, x, (2 * neighbours + 1) * channel)`.

    Channels of the lowest neighbour come first; slice z is in the middle.
    """
    if not neighbours:
        return windows
    depth = tf.shape(windows)[1] - 2 * neighbours
    return tf.concat([windows[:, k : k + depth] for k in range(2 * neighbours + 1)], -1)


def stack_at(volume: np.ndarray, z: int, neighbours: int) -> np.ndarray:
    """One slice of an array `(z, y, x, channel)` likewise: `(y, x, (2 * neighbours + 1) * channel)`.

    Past the ends of the volume its end slices are repeated.
    """
    places = np.clip(np.arange(z - neighbours, z + neighbours + 1), 0, len(volume) - 1)
    return np.concatenate([volume[place] for place in places], -1)
