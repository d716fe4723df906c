"""Signed distances in mm, positive inside, on the voxels of a coarse grid: organs as arithmetic."""

import numpy as np

from .tubes import rasterise


def smooth_min(k, first, *others):
    """The smallest of several fields; where two are nearly equal, edges are rounded over about `k` mm."""
    for other in others:
        gap = np.maximum(k - np.abs(first - other), 0)
        first = np.minimum(first, other) - gap * gap * np.float32(0.25 / k)
    return first


def smooth_max(k, first, *others):
    """The largest of several fields, rounded like `smooth_min`."""
    return -smooth_min(k, -first, *(-other for other in others))


def step(distance, width=5.0):
    """0 outside, 1 inside, linear over `width` mm around the surface."""
    return np.clip(distance * np.float32(1 / width) + np.float32(0.5), 0, 1)


def ellipsoid(z, y, x, centre, radii):
    """About the distance to an ellipsoid; coordinates broadcast, `centre` and `radii` in order z, y, x."""
    u = [(c - np.float32(m)) / np.float32(r) for c, m, r in zip((z, y, x), centre, radii, strict=True)]
    rho = np.sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2]) + np.float32(1e-4)
    slope = sum((v / np.float32(r)) ** 2 for v, r in zip(u, radii, strict=True))
    return (1 - rho) * rho / np.sqrt(slope + np.float32(1e-8))


def tube_distance(tubes, grid, margin):
    """Distance to the nearest tube's surface, `grid.shape` float32; `-margin` wherever all are farther than that."""
    index, distance, radius = rasterise(tubes, grid, margin)
    inside = radius - distance
    order = np.argsort(inside, kind="stable")  # of a voxel's several values the last one written stays: the largest
    field = np.full(int(np.prod(grid.shape)), -margin, np.float32)
    field[index[order]] = inside[order]
    return field.reshape(grid.shape)


def rotation(turns):
    """Rotation matrix `(3, 3)` for coordinates z, y, x from angles in radians about the z, y and x axes."""
    matrix = np.eye(3)
    for (a, b), angle in zip(((1, 2), (0, 2), (0, 1)), turns, strict=True):
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix
