"""What a 2-D network says of a volume seen along its three axes, and where the centre of that lies.

A patch is `(i, j, k)`, in the order of the array's axes; coordinates are voxels, 0 the centre of the first one. Slices
along an axis follow each other on it, and lie in the plane of the other two in cyclic order: those along the first axis
are `[j, k]`, along the second `[k, i]`, along the third `[i, j]`. All three are then one handedness, and one network
that has learnt slices in this order serves them all (Wang et al., DALI 2021, Eq. 1, has the same cycle).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

AXES = 3
Combine = Literal["product", "mean", "first", "second", "third"]  # the last three: along one axis alone
_SINGLE = ("first", "second", "third")
LEAST = 1e-6  # of a sum of probabilities: with less there is no centre


def order(axis: int) -> tuple[int, int, int]:
    """The axes of an array in the order (slice, row, column) of its slices along one axis.

    Example:
        >>> [order(axis) for axis in range(3)]
        [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    """
    return axis, (axis + 1) % AXES, (axis + 2) % AXES


def slices_of(patch: tf.Tensor) -> tf.Tensor:
    """All slices of a cube `(n, n, n)` along its three axes: `(3 n, n, n)`, those along the first axis first."""
    return tf.concat([tf.transpose(patch, order(axis)) for axis in range(AXES)], 0)


def from_slices(slices: tf.Tensor) -> tf.Tensor:
    """Back from `slices_of`: `(3 n, n, n)` -> `(3, n, n, n)`, what each view says of each voxel `(i, j, k)`."""
    views = tf.split(slices, AXES, 0)
    back = [tf.transpose(view, np.argsort(order(axis))) for axis, view in enumerate(views)]
    return tf.stack(back)


def view_maps(network: Callable[[tf.Tensor], tf.Tensor], patch: tf.Tensor, batch: int = 16) -> tf.Tensor:
    """What a network says of every voxel of a cube, as seen along each axis.

    All slices go through the network in one graph, some at a time, so that memory is that of one batch.

    Args:
        network: float32 images `(m, n, n, 1)` -> values `(m, n, n, 1)`; a traceable function.
        patch: float tensor `(n, n, n)`, n known.
        batch: slices that the network sees at a time.

    Returns:
        float32 tensor `(3, n, n, n)`.

    Raises:
        ValueError: the patch is no cube of known size.

    Example:
        >>> patch = tf.random.stateless_uniform((4, 4, 4), (0, 0))
        >>> views = view_maps(lambda images: images, patch, batch=5)  # a network that repeats what it sees
        >>> bool(np.allclose(views, np.stack([patch] * 3)))
        True
    """
    if patch.shape.rank != AXES or len(set(patch.shape)) != 1 or patch.shape[0] is None:
        raise ValueError(f"views along three axes are of a cube of known size, not of {patch.shape}")
    side = patch.shape[0]
    slices = slices_of(tf.cast(patch, tf.float32))[..., None]
    batch = min(batch, AXES * side)
    more = -(AXES * side) % batch
    slices = tf.pad(slices, [[0, more], [0, 0], [0, 0], [0, 0]])
    spec = tf.TensorSpec((batch, side, side, 1), tf.float32)
    found = tf.map_fn(
        lambda some: tf.ensure_shape(tf.cast(network(some), tf.float32), spec.shape),
        tf.reshape(slices, (-1, batch, side, side, 1)),
        fn_output_signature=spec,
        parallel_iterations=1,
    )
    return from_slices(tf.reshape(found, (-1, side, side))[: AXES * side])


def combined(views: tf.Tensor, combine: Combine = "product") -> tf.Tensor:
    """One map `(n, n, n)` of the three views' `(3, n, n, n)`: their product (Eq. 1), their mean, or one of them.

    A product is high where all views agree, so that what one view alone takes for the structure is gone.

    Raises:
        ValueError: an unknown way.
    """
    if combine == "product":
        return tf.reduce_prod(views, 0)
    if combine == "mean":
        return tf.reduce_mean(views, 0)
    if combine not in _SINGLE:
        raise ValueError(f"views are combined by product or mean, or are {', '.join(_SINGLE)}; not {combine!r}")
    return views[_SINGLE.index(combine)]


def centre_of_mass(weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(sum(p x) / sum(p) `(axes,)` in voxels, sum(p)) of a map (Eq. 2); float32.

    A map without mass, `LEAST` or less, has its middle as centre; the sum tells that.

    Example:
        >>> centre, mass = centre_of_mass(tf.one_hot(3, 27).numpy().reshape(3, 3, 3))
        >>> centre.numpy().tolist(), float(mass)
        ([0.0, 1.0, 0.0], 1.0)
    """
    weights = tf.cast(weights, tf.float32)
    mass, axes = tf.reduce_sum(weights), range(weights.shape.rank)
    centre = []
    for axis in axes:
        side = tf.cast(tf.shape(weights)[axis], tf.float32)
        along = tf.reduce_sum(weights, [other for other in axes if other != axis])
        middle = (side - 1) / 2  # sums about the middle lose less to rounding
        moment = tf.reduce_sum(along * (tf.range(side) - middle))
        centre.append(middle + tf.where(mass > LEAST, moment / tf.maximum(mass, LEAST), 0.0))
    return tf.stack(centre), mass


def centred_box(centre: Sequence[float] | np.ndarray, side: int) -> list[int]:
    """First voxel (per axis) of the cube of whole voxels whose middle is nearest to a place.

    Example:
        >>> centred_box([10.0, 10.4, 0.0], 4)
        [9, 9, -1]
    """
    return [int(np.floor(place - (side - 1) / 2 + 0.5)) for place in np.asarray(centre, np.float64)]
