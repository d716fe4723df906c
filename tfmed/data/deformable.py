"""Registration of two volumes of the same anatomy, rigid and then by diffeomorphic demons, and where it takes points.

SimpleITK does the work: a Euler transform from coarse to fine, then the stationary velocity field of diffeomorphic
demons (Vercauteren et al. 2009) on a pyramid, which its filter has not of its own. Both lower squared differences of
grey values, whose histograms are matched first. The fixed volume is the reference: its landmarks then move forward, and
nothing has to be inverted.

Places are (z, y, x) in mm from the centre of a volume's first voxel; voxels may be anisotropic.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

FACTORS = (4, 2, 1)  # voxels of the levels, from coarse to fine
_LEAST = 8  # voxels that a level has along each axis at least
_COMPARED = 60_000  # voxels, regularly spaced, by which the rigid fit compares the finest levels
_BINS, _QUANTILES = 256, 7  # of histogram matching


@dataclasses.dataclass(frozen=True, eq=False)
class Transport:
    """Where the places of a fixed volume lie in a moving one: A (x + u(x)).

    Attributes:
        rigid: `(3, 4)`, rotation and shift in mm.
        displacement: u in mm on the fixed volume's voxels, float32 `(z, y, x, 3)`; None: none.
        spacing: of the fixed volume's voxels in mm.
        before, after: correlation of grey values as the volumes lie, and once they are registered.
    """

    rigid: np.ndarray
    displacement: np.ndarray | None
    spacing: tuple[float, ...]
    before: float
    after: float

    def moved(self, points: ArrayLike) -> np.ndarray:
        """Points of the fixed volume `(n, 3)` in mm -> the same anatomy's places in the moving one, in mm."""
        points = np.asarray(points, np.float64).reshape(-1, 3)
        if self.displacement is not None:
            voxels = (points / np.asarray(self.spacing)).T
            points = points + np.stack(
                [ndimage.map_coordinates(self.displacement[..., axis], voxels, order=1, mode="nearest")
                 for axis in range(3)], -1
            )  # fmt: skip
        return points @ self.rigid[:, :3].T + self.rigid[:, 3]


def register(
    fixed: ArrayLike,
    moving: ArrayLike,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    moving_spacing: Sequence[float] | None = None,
    rigid: bool = True,
    demons: bool = True,
    iterations: int = 50,
    smoothing: float = 1.5,
    match: bool = True,
    factors: Sequence[int] = FACTORS,
) -> Transport:
    """Register two volumes.

    Args:
        fixed, moving: `(z, y, x)`, finite grey values of one kind.
        spacing, moving_spacing: mm of their voxels (z, y, x); the second by default as the first.
        rigid: fit a rotation and a shift first.
        demons: fit a smooth invertible displacement then.
        iterations: of demons, on each level.
        smoothing: voxels; standard deviation of the Gaussian that smooths the displacement after each of them.
        match: give the moving volume the fixed one's histogram first.
        factors: voxels of both stages' levels, from coarse to fine; those that leave fewer than 8 along an axis are
            left out, and where none is left the volumes' own voxels are the one level.

    Returns:
        `Transport`. The same arguments give the same numbers.

    Raises:
        ValueError: a volume has not three axes of 8 voxels, is not finite, or has one value only.

    Example:
        >>> z, y, x = np.mgrid[:24, :24, :24]
        >>> ball = np.exp(-((z - 12.0) ** 2 + (y - 11) ** 2 / 2 + (x - 12) ** 2) / 18)
        >>> found = register(ball, np.roll(ball, 2, 0), iterations=5)
        >>> found.moved([[12.0, 11.0, 12.0]]).round().astype(int).tolist()
        [[14, 11, 12]]
    """
    import SimpleITK as sitk

    spacing = tuple(float(one) for one in spacing)
    still = _image(fixed, "fixed", spacing)
    other = _image(moving, "moving", spacing if moving_spacing is None else tuple(map(float, moving_spacing)))
    if match:
        other = sitk.HistogramMatching(other, still, _BINS, _QUANTILES, True)
    # In one unit: the steps of both stages, and when they end, depend on the size of grey values.
    values = sitk.GetArrayViewFromImage(still)
    shift, scale = -float(values.mean()), 1 / float(values.std())
    still, other = (sitk.ShiftScale(image, shift, scale) for image in (still, other))
    before = _correlation(still, _resampled(other, still, sitk.Transform()))
    transform = _rigid(still, other, factors) if rigid else sitk.Euler3DTransform()
    turned = _resampled(other, still, transform)
    field, displacement = None, None
    if demons:
        field = _demons(still, turned, iterations, smoothing, factors)
        displacement = sitk.GetArrayFromImage(field)[..., ::-1].astype(np.float32)
        turned = _resampled(turned, still, sitk.DisplacementFieldTransform(field))  # which takes the field away
    return Transport(_matrix(transform), displacement, spacing, before, _correlation(still, turned))


def _image(values: ArrayLike, name: str, spacing: Sequence[float]) -> Any:
    import SimpleITK as sitk

    array = np.asarray(values)
    if array.ndim != 3 or array.dtype.kind not in "biuf" or min(array.shape) < _LEAST:
        raise ValueError(f"{name}: a volume to register has three axes of {_LEAST} voxels or more, not {array.shape}")
    if not np.isfinite(array).all() or np.ptp(array) == 0:
        raise ValueError(f"{name}: a volume to register holds finite values that are not all the same")
    image = sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))
    image.SetSpacing(tuple(spacing)[::-1])
    return image


def _resampled(image: Any, onto: Any, transform: Any) -> Any:
    """On another's voxels; past its border its nearest voxel goes on, so that no edge is seen there."""
    import SimpleITK as sitk

    return sitk.Resample(
        image, onto, transform, sitk.sitkLinear, 0.0, image.GetPixelID(), useNearestNeighborExtrapolator=True
    )


def _levels(image: Any, factors: Sequence[int]) -> list[int]:
    return [factor for factor in factors if min(image.GetSize()) >= _LEAST * factor] or [1]


def _rigid(still: Any, other: Any, factors: Sequence[int]) -> Any:
    import SimpleITK as sitk

    levels, voxels = _levels(still, factors), int(np.prod(still.GetSize()))
    middle = still.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in still.GetSize()])
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle)
    task = sitk.ImageRegistrationMethod()
    task.SetMetricAsMeanSquares()
    task.SetInterpolator(sitk.sitkLinear)
    task.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 100, 0.5, 1e-8)
    task.SetOptimizerScalesFromPhysicalShift()
    task.SetShrinkFactorsPerLevel(levels)
    task.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0.0 for factor in levels])
    task.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    task.SetMetricSamplingStrategy(task.REGULAR)
    shares = [min(1.0, _COMPARED * factor**3 / voxels) for factor in levels]
    task.SetMetricSamplingPercentagePerLevel(shares, seed=1)  # it moves its voxels a little, at random
    task.SetInitialTransform(transform, inPlace=True)
    task.SetNumberOfThreads(1)  # sums in one order: the same numbers each time
    task.Execute(still, other)
    return transform


def _demons(still: Any, turned: Any, iterations: int, smoothing: float, factors: Sequence[int]) -> Any:
    """The displacement field on the fixed volume's voxels, from coarse to fine."""
    import SimpleITK as sitk

    field = None
    for factor in _levels(still, factors):
        one, other = (_coarser(image, factor) for image in (still, turned))
        task = sitk.DiffeomorphicDemonsRegistrationFilter()
        task.SetNumberOfIterations(iterations)
        task.SetSmoothDisplacementField(True)
        task.SetStandardDeviations(smoothing)
        if field is None:
            field = task.Execute(one, other)
        else:
            field = task.Execute(one, other, _resampled(field, one, sitk.Transform()))
    return field


def _coarser(image: Any, factor: int) -> Any:
    """Smoothed, and every `factor`-th voxel along each axis."""
    import SimpleITK as sitk

    if factor == 1:
        return image
    smooth = sitk.SmoothingRecursiveGaussian(image, [factor / 2 * one for one in image.GetSpacing()])
    return sitk.Shrink(smooth, [factor] * 3)


def _matrix(transform: Any) -> np.ndarray:
    """A transform about a centre as `(3, 4)`, in the order (z, y, x)."""
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    shift = np.array(transform.GetTranslation()) + centre - matrix @ centre
    return np.concatenate([matrix[::-1, ::-1], shift[::-1, None]], 1)


def _correlation(one: Any, other: Any) -> float:
    import SimpleITK as sitk

    return correlation(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other))


def correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Normalised correlation of two arrays of one shape, in [-1, 1]; 0 where either has one value only.

    Example:
        >>> correlation([1.0, 2.0, 3.0], [6.0, 4.0, 2.0])
        -1.0
    """
    first, second = (np.asarray(values, np.float64).ravel() for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first @ first) * (second @ second)))
    return float(np.clip(first @ second / scale, -1.0, 1.0)) if scale > 0 else 0.0
