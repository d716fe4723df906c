"""The principal axes of a weighted cloud of points, and the rotation from one cloud's axes to another's.

Eigenvectors have no sign: four proper rotations take the axes of one cloud to those of another, three of them wrong by
half a turn. The third moments along the axes tell the signs of a cloud that is skewed. Plain numpy.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

CLOSE = 0.1  # two eigenvalues that differ by a smaller share leave their axes open
_LEAST = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Of a map of weights.

    Attributes:
        mass: sum of the weights.
        centre: `(3,)` in voxels, 0 the centre of the first one.
        variances: eigenvalues of the second-moment matrix in mm^2 `(3,)`, the largest first.
        axes: orthonormal columns `(3, 3)`, in the order of the variances; their signs mean nothing.
        skewness: third central moment along each axis over its variance^1.5, `(3,)`; of the axis as `axes` has it.
    """

    mass: float
    centre: np.ndarray
    variances: np.ndarray
    axes: np.ndarray
    skewness: np.ndarray

    @property
    def ambiguous(self) -> bool:
        """Whether two neighbouring variances differ by less than a tenth, so that their axes may lie anyhow."""
        return bool((self.variances[1:] > (1 - CLOSE) * self.variances[:-1]).any())

    def oriented(self) -> np.ndarray:
        """The axes `(3, 3)`, each towards its longer tail, the least skewed one so that the determinant is +1."""
        axes = self.axes * np.where(self.skewness < 0, -1.0, 1.0)
        if np.linalg.det(axes) < 0:
            axes[:, np.abs(self.skewness).argmin()] *= -1
        return axes


def moments(weights: ArrayLike, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Moments | None:
    """The `Moments` of a map `(i, j, k)` that is not negative; None where it has no extent along some axis.

    Args:
        weights: the map.
        spacing: mm of a voxel along (i, j, k).

    Example:
        >>> bar = np.zeros((3, 3, 9))
        >>> bar[1, :, 2:] = 1
        >>> bar[0, 1, 5] = 1
        >>> found = moments(bar)
        >>> int(np.abs(found.axes[:, 0]).argmax()), found.centre.round(2).tolist()
        (2, [0.95, 1.0, 5.0])
    """
    weights = np.asarray(weights, np.float64)
    mass = float(weights.sum())
    if weights.ndim != 3 or not mass > _LEAST:
        return None
    along = [np.arange(n, dtype=np.float64) for n in weights.shape]
    sums = [weights.sum(tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    centre = np.array([(one * place).sum() / mass for one, place in zip(sums, along, strict=True)])
    here = np.nonzero(weights)
    offsets = (np.stack(here, -1) - centre) * np.asarray(spacing, np.float64)
    shares = weights[here] / mass
    variances, axes = np.linalg.eigh((offsets * shares[:, None]).T @ offsets)
    variances, axes = variances[::-1], axes[:, ::-1]
    if variances[-1] <= _LEAST:
        return None
    skewness = shares @ (offsets @ axes) ** 3 / variances**1.5
    return Moments(mass, centre, variances, axes, skewness)


def candidates(reference: Moments, target: Moments) -> list[np.ndarray]:
    """The four proper rotations `(3, 3)` that take the reference's axes to the target's, the smallest one first."""
    found = []
    for signs in itertools.product((1.0, -1.0), repeat=3):
        rotation = (target.axes * signs) @ reference.axes.T
        if np.linalg.det(rotation) > 0:
            found.append(rotation)
    return sorted(found, key=angle_of)


def by_skewness(reference: Moments, target: Moments) -> np.ndarray:
    """The rotation Q `(3, 3)`, determinant +1, from the reference's oriented axes to the target's: Q a_ref = a_target.

    Example:
        >>> cloud = np.random.default_rng(0).random((5, 6, 7)) ** 4
        >>> one = moments(cloud)
        >>> bool(np.allclose(by_skewness(one, one), np.eye(3)))
        True
    """
    return target.oriented() @ reference.oriented().T


def angle_of(rotation: np.ndarray) -> float:
    """The angle of a rotation in degrees, 0 to 180."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1.0, 1.0))))


def euler(degrees: Sequence[float]) -> np.ndarray:
    """The rotation `(3, 3)` about the first, then the second, then the third axis, by so many degrees each.

    Example:
        >>> (euler([0, 0, 90]) @ [1, 0, 0]).round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    found = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(np.asarray(degrees, np.float64))):
        turn, (a, b) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[b, a] = np.sin(angle)
        turn[a, b] = -turn[b, a]
        found = turn @ found
    return found
