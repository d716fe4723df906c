"""Smooth distortions by a small lattice of control points, and turns about any axis: of small patches of volumes.

A lattice of displacements lies over a box, its outer nodes on the faces; between the nodes the displacement is a tensor
product of natural cubic splines. All functions are of numpy arrays and take a Generator; units are the caller's.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tfmed.ops import elastic


def draw_control(
    draw: np.random.Generator, most: float, nodes: Sequence[int] = (3, 3, 3), fixed_centre: bool = True
) -> np.ndarray:
    """Displacements of the nodes, uniform from -`most` to `most` along each axis: float64 `(*nodes, axes)`.

    Args:
        draw: the Generator.
        most: largest displacement along an axis, 0 or more.
        nodes: how many along each axis, 2 or more.
        fixed_centre: the middle node stays where it is, if there is one: each number of nodes is odd.

    Raises:
        ValueError: a negative `most`, or fewer than 2 nodes.
    """
    if not most >= 0 or min(nodes) < 2:
        raise ValueError(
            f"most is 0 or more, and there are 2 nodes or more along each axis; got {most}, {tuple(nodes)}"
        )
    control = draw.uniform(-most, most, (*nodes, len(nodes)))
    if fixed_centre and all(count % 2 for count in nodes):
        control[tuple(count // 2 for count in nodes)] = 0
    return control


def displacement(control: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """The displacement of each voxel of a box, float32 `(*shape, axes)`, in the unit of `control`.

    The outer nodes lie on the outer faces of the voxels, half a voxel beyond their centres.

    Args:
        control: displacements of the nodes `(*nodes, axes)`.
        shape: voxels of the box along each axis.

    Example:
        >>> control = draw_control(np.random.default_rng(0), 4.0)
        >>> displacement(control, (3, 5, 1))[1, 2, 0].tolist()  # the middle node is fixed
        [0.0, 0.0, 0.0]
    """
    nodes = np.asarray(control)
    return elastic.spread(nodes, [_weights(size, count) for size, count in zip(shape, nodes.shape, strict=False)])


@functools.lru_cache(maxsize=64)
def _weights(size: int, nodes: int) -> np.ndarray:
    """Of the nodes at the centres of an axis's voxels."""
    return elastic.natural_spline_weights((np.arange(size) + 0.5) / size, nodes)


def draw_turn(draw: np.random.Generator, most_degrees: float) -> np.ndarray:
    """A rotation `(3, 3)` float64: its axis is uniform on the sphere, its angle uniform from 0 to `most_degrees`."""
    axis = draw.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = np.deg2rad(draw.uniform(0, most_degrees))
    across = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * across @ across  # Rodrigues
