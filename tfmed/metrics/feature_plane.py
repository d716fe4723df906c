"""Sets of features in the plane of the two main components of a reference, as ellipses that can be compared."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from tfmed.metrics.generative import _comparable, _samples


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """One standard deviation of a cloud of points in the plane.

    Args:
        centre: its mean, `(2,)`.
        axes: unit vectors along its axes, the longer first, `(2, 2)`, one a row.
        lengths: its semi-axes, `(2,)`: roots of the covariance's eigenvalues.
        points: the cloud, `(n, 2)`.
    """

    centre: np.ndarray
    axes: np.ndarray
    lengths: np.ndarray
    points: np.ndarray

    def outline(self, count: int = 128) -> np.ndarray:
        """Points on the ellipse, `(count, 2)`."""
        angle = np.linspace(0, 2 * np.pi, count)
        return self.centre + np.stack([np.cos(angle), np.sin(angle)], 1) * self.lengths @ self.axes

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Whether points `(..., 2)` lie in it."""
        inner = (points - self.centre) @ self.axes.T / np.maximum(self.lengths, 1e-12)
        return np.sum(inner**2, axis=-1) <= 1.0


def pca_ellipses(reference: ArrayLike, sets: Mapping[str, ArrayLike]) -> dict[str, Ellipse]:
    """Project sets of features onto the two main components of the reference, which alone determines the plane.

    Args:
        reference: `(n, d)`, d >= 2.
        sets: name -> features `(m, d)`, at least two samples each.

    Returns:
        {name: Ellipse}, the reference's under the name "reference".

    Raises:
        ValueError: too few samples or dimensions, different d, or values that are not finite.
    """
    y = _samples(reference, "reference", "plane")
    if y.shape[1] < 2:
        raise ValueError("reference: a plane needs features of at least two dimensions")
    mean = y.mean(axis=0)
    components = np.linalg.svd(y - mean, full_matrices=False)[2][:2]
    # The sign of a component is arbitrary: its largest entry points upwards.
    components *= np.sign(components[np.arange(2), np.abs(components).argmax(axis=1)])[:, None]
    return {name: ellipse_of((_comparable(x, y, f"ellipse ({name})")[0] - mean) @ components.T)
            for name, x in {"reference": y, **sets}.items()}  # fmt: skip


def ellipse_of(points: np.ndarray) -> Ellipse:
    """The Ellipse of a cloud `(n, 2)`."""
    values, vectors = np.linalg.eigh(np.cov(points, rowvar=False))
    return Ellipse(points.mean(axis=0), vectors.T[::-1], np.sqrt(np.maximum(values[::-1], 0.0)), points)


def centre_distance(one: Ellipse, other: Ellipse) -> float:
    """Distance between the centres of two ellipses."""
    return float(np.linalg.norm(one.centre - other.centre))


def overlap(one: Ellipse, other: Ellipse, grid: int = 512) -> float:
    """Intersection over union of two ellipses, counted on a grid: good to about 0.005."""
    outlines = np.concatenate([one.outline(), other.outline()])
    x, y = np.linspace(outlines.min(axis=0), outlines.max(axis=0), grid).T
    points = np.stack(np.meshgrid(x, y), axis=-1)
    a, b = one.holds(points), other.holds(points)
    return float((a & b).sum() / max((a | b).sum(), 1))
