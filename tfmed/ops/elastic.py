"""Smooth displacement fields, built from a coarse lattice of control points by one small matrix per axis.

A smooth field carries no more than its coarse lattice does, so nothing is ever smoothed at full size: the field is
`sum over nodes of prod over axes w(voxel - node) * control(node)`, with w a cubic B-spline or a Gaussian.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from scipy import interpolate

_ALONE = 1 << 18  # multiplications of a product up to which OpenBLAS starts no threads


@functools.lru_cache(maxsize=64)
def bspline_weights(size: int, nodes: int) -> np.ndarray:
    """Cubic B-spline weights of `nodes` control points at the voxels of an axis.

    The first and the last inner control point (index 1 and nodes - 2) lie on the first and the last voxel centre; one
    more lies outside on either side, so that every voxel sees a full spline: the weights of a voxel are not negative
    and sum to 1, and control values that are linear in their index give a field that is linear in the voxel.

    Returns:
        float32 array `(size, nodes)`; do not write into it.

    Raises:
        ValueError: fewer than 4 control points.
    """
    if nodes < 4:
        raise ValueError(f"a cubic B-spline needs at least 4 control points on each axis, got {nodes}")
    place = np.linspace(1, nodes - 2, size) if size > 1 else np.array([(nodes - 1) / 2])
    away = np.abs(place[:, None] - np.arange(nodes))
    near, far = 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6
    return np.where(away < 1, near, far).astype(np.float32)


@functools.lru_cache(maxsize=64)
def gaussian_weights(size: int, sigma: float) -> np.ndarray:
    """Weights that turn white noise on a coarse lattice into Gaussian-smoothed white noise on an axis's voxels.

    Noise of unit variance at every voxel, smoothed with `sigma` voxels, has the same covariance as this matrix times
    unit noise on a lattice of step max(1, sigma / 3): the step only scales the weights.

    Returns:
        float32 array `(size, nodes)`; do not write into it.
    """
    step = max(1.0, sigma / 3)
    reach = int(np.ceil(4 * sigma / step))
    nodes = np.arange(-reach, int(np.ceil((size - 1) / step)) + reach + 1) * step
    kernel = np.exp(-0.5 * ((np.arange(size)[:, None] - nodes) / sigma) ** 2)
    kernel[kernel < 1e-9] = 0.0  # far below what float32 adds up, and slow: processors stumble over denormal numbers
    return (kernel * np.sqrt(step) / (np.sqrt(2 * np.pi) * sigma)).astype(np.float32)


def natural_spline_weights(places: ArrayLike, nodes: int) -> np.ndarray:
    """Weights of a natural cubic spline through `nodes` values that lie evenly from 0 to 1.

    Unlike a B-spline's control values the nodes are met: at a node its own weight is 1, and all others are 0.

    Args:
        places: where the spline is read, 1-D.
        nodes: at least 2.

    Returns:
        float32 array `(len(places), nodes)`.

    Example:
        >>> natural_spline_weights([0.5, 1.0], nodes=3).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    spline = interpolate.CubicSpline(np.linspace(0, 1, nodes), np.eye(nodes), bc_type="natural")
    return spline(np.asarray(places, np.float64)).astype(np.float32)


def spread(control: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Apply one matrix per axis to a lattice of control values (numpy).

    Args:
        control: array `(*nodes, components)`.
        weights: one matrix `(size, nodes)` per axis.

    Returns:
        float32 array `(*size, components)`.
    """
    field = np.asarray(control, np.float32)
    components, done = field.shape[-1], 1
    for matrix in weights[:-1]:
        field = np.stack([_product(matrix, lines) for lines in field.reshape(done, matrix.shape[1], -1)])
        done *= len(matrix)
    # The last axis with its components in one product, whose result lies in memory as it is wanted: moving axes of the
    # full-size field costs ten times as much as the zeros of this matrix.
    last = np.kron(weights[-1].T, np.eye(components, dtype=np.float32))
    return _product(field.reshape(-1, len(last)), last).reshape(*(len(matrix) for matrix in weights), components)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right in blocks of rows so small that OpenBLAS keeps to the calling thread.

    Fields are drawn while a training step has the processors; threads that wait for each other then take many times as
    long as the product.
    """
    rows = max(1, _ALONE // right.size)
    result = np.empty((len(left), right.shape[1]), np.float32)
    for start in range(0, len(left), rows):
        np.matmul(left[start : start + rows], right, out=result[start : start + rows])
    return result


def bspline_field(control: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """The cubic B-spline field of control values, as a TensorFlow operation: graph-safe, differentiable in `control`.

    Args:
        control: float tensor `(batch, *nodes, components)`, at least 4 nodes per axis (see `bspline_weights`).
        shape: size of the field, static: (H, W) or (D, H, W).

    Returns:
        float32 tensor `(batch, *shape, components)`, in the units of `control`.
    """
    field = tf.cast(control, tf.float32)
    for axis, size in enumerate(shape, 1):
        weights = bspline_weights(size, field.shape[axis])
        order = [i for i in range(len(shape) + 2) if i != axis]  # tensordot puts the contracted axis last
        back = np.argsort([*order, axis])
        field = tf.transpose(tf.tensordot(field, weights, [[axis], [1]]), back)
    return field
