"""The affine transform between two images of the same things, by the normalised correlation of their grey values.

A transform is a matrix `(2, 3)`, a 2 x 2 matrix with a shift as its last column: it takes a place `(y, x)` in the first
image, in pixels, to the same thing's place in the second one, as `tfmed.data.matching.moved` applies it. Plain numpy
and scipy; everything is a pure function of its arguments.
"""

import dataclasses
import itertools

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, optimize

TURNS, SCALES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0), (0.96, 1.0, 1.04)  # degrees and factors of starts
LEVELS = (4, 2, 1)  # pixels between those that are compared, in turn; coarse ones of large images alone
LEAST_OVERLAP = 0.25  # share of the first image that must lie in the second one
_KEPT = 6  # starts that are followed on the coarsest level, and half as many on each other
_COMPARED = 45  # pixels along a side that a level compares at least
_FARTHEST = 0.34  # share of a side that the second image may be shifted by at the start


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """What a fit found.

    Attributes:
        affine: float64 `(2, 3)`, from the first image's places to the second one's.
        correlation: of both images' grey values where they overlap, in [-1, 1].
        overlap: share of the first image's pixels that lie in the second one.
    """

    affine: np.ndarray
    correlation: float
    overlap: float


def fit_affine(first: ArrayLike, second: ArrayLike, engine: str = "own") -> Fit:
    """Fit the six numbers of an affine transform by maximising the correlation of two images (minimising 1 - NCC).

    From coarse to fine, begun at the best of many turns and sizes, each with the shift that phase correlation and plain
    correlation give it; L-BFGS, whose steps need no learning rate, finds the rest with exact gradients.

    Args:
        first, second: `(y, x)`, real grey values, which may differ in shape, brightness and contrast.
        engine: "own", or "simpleitk": its registration by the same measure refines the same start.

    Raises:
        ValueError: images that are not finite, smaller than 8 pixels, or of one value, or an unknown engine.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> image = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 3)
        >>> np.round(fit_affine(image[4:60, 4:60], image[6:62, 1:57]).affine).astype(int).tolist()
        [[1, 0, -2], [0, 1, 3]]
    """
    one, other = _image(first, "first"), _image(second, "second")
    if engine not in ("own", "simpleitk"):
        raise ValueError(f"the engine of a fit is 'own' or 'simpleitk', not {engine!r}")
    levels = [step for step in LEVELS if min(one.shape) >= _COMPARED * step] or LEVELS[-1:]
    found = _starts(one, other, levels[0])
    for number, step in enumerate(levels if engine == "own" else levels[:1]):
        problem = _Problem(one, other, step)
        found = [problem.refined(affine) for affine in found]
        found = sorted(found, key=problem.value)[: max(1, _KEPT >> (number + 1))]
    affine = found[0] if engine == "own" else _by_simpleitk(one, other, found[0])
    return Fit(affine, *correlation(one, other, affine))


def correlation(first: ArrayLike, second: ArrayLike, affine: ArrayLike) -> tuple[float, float]:
    """(correlation of two images' grey values under a transform, share of the first one that lies in the second one).

    The correlation is -1 where they overlap by less than `LEAST_OVERLAP`, and 0 where either is of one value there.
    """
    problem = _Problem(_image(first, "first"), _image(second, "second"), 1, smooth=False)
    return 1 - problem.value(np.asarray(affine, np.float64)), problem.overlap(np.asarray(affine, np.float64))


def inverted(affine: ArrayLike) -> np.ndarray:
    """The transform back, `(axes, axes + 1)`.

    Raises:
        ValueError: it cannot be inverted.

    Example:
        >>> inverted([[2, 0, 4], [0, 1, -3]]).tolist()
        [[0.5, 0.0, -2.0], [0.0, 1.0, 3.0]]
    """
    affine = np.asarray(affine, np.float64)
    matrix = affine[:, :-1]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(matrix) < len(matrix):
        raise ValueError("this affine transform cannot be inverted")
    back = np.linalg.inv(matrix)
    return np.concatenate([back, -back @ affine[:, -1:]], axis=1) + 0.0


class _Problem:
    """1 - NCC as a function of a transform, on every `step`-th pixel of images that are smoothed to match."""

    def __init__(self, first: np.ndarray, second: np.ndarray, step: int, smooth: bool = True) -> None:
        sigma = step / 2
        if smooth:
            first, second = (ndimage.gaussian_filter(image, sigma, mode="nearest") for image in (first, second))
        self.places = np.stack(np.meshgrid(*(np.arange((n - 1) % step // 2, n, step) for n in first.shape),
                                           indexing="ij"), -1).reshape(-1, 2).astype(float)  # fmt: skip
        self.values = first[tuple(self.places.astype(int).T)]
        self.second = second
        self.middle = (np.array(first.shape) - 1) / 2
        self.reach = max(self.middle)  # so that a step of 1 moves some pixel by about one pixel, whichever number it is
        self.from_middle = (self.places - self.middle) / self.reach

    def overlap(self, affine: np.ndarray) -> float:
        """Share of the pixels that lie in the second image."""
        return float(self._inside(self.places @ affine[:, :2].T + affine[:, 2]).mean())

    def value(self, affine: np.ndarray) -> float:
        """1 - NCC."""
        return self._with_slope(self._numbers(affine))[0]

    def refined(self, affine: np.ndarray) -> np.ndarray:
        """The nearest transform that is best."""
        found = optimize.minimize(self._with_slope, self._numbers(affine), jac=True, method="L-BFGS-B",
                                  options={"maxiter": 60, "ftol": 1e-8})  # fmt: skip
        return self._affine(found.x)

    def _numbers(self, affine: np.ndarray) -> np.ndarray:
        """Six numbers that are all of the size of pixels."""
        shift = affine[:, :2] @ self.middle + affine[:, 2] - self.middle
        return np.concatenate([((affine[:, :2] - np.eye(2)) * self.reach).ravel(), shift])

    def _affine(self, numbers: np.ndarray) -> np.ndarray:
        matrix = np.eye(2) + numbers[:4].reshape(2, 2) / self.reach
        return np.concatenate([matrix, (numbers[4:] + self.middle - matrix @ self.middle)[:, None]], axis=1)

    def _inside(self, places: np.ndarray) -> np.ndarray:
        return ((places >= 0) & (places <= np.array(self.second.shape) - 1)).all(1)

    def _with_slope(self, numbers: np.ndarray) -> tuple[float, np.ndarray]:
        affine = self._affine(numbers)
        places = self.places @ affine[:, :2].T + affine[:, 2]
        inside = self._inside(places)
        if inside.mean() < LEAST_OVERLAP:
            return 2.0, np.zeros(6)
        moved, slopes = _bilinear(self.second, places[inside])
        a, b = self.values[inside] - self.values[inside].mean(), moved - moved.mean()
        sizes = np.linalg.norm(a), np.linalg.norm(b)
        if min(sizes) < 1e-9:
            return 1.0, np.zeros(6)
        ncc = float(a @ b / sizes[0] / sizes[1])
        # The mean's own slope is 0: the vector below has none.
        along = (ncc * b / sizes[1] - a / sizes[0]) / sizes[1]
        pull = along[:, None] * slopes
        return 1 - ncc, np.concatenate([(pull.T @ self.from_middle[inside]).ravel(), pull.sum(0)])


def _starts(first: np.ndarray, second: np.ndarray, step: int) -> list[np.ndarray]:
    """The best of many transforms, each a turn and a size with the shift that correlations give it."""
    problem = _Problem(first, second, step)
    shape = tuple(len(range((n - 1) % step // 2, n, step)) for n in first.shape)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in shape))
    still = np.fft.rfft2((problem.values - problem.values.mean()).reshape(shape) * window)
    middles = problem.middle, (np.array(second.shape) - 1) / 2
    found = [np.eye(2, 3)]
    for degrees, scale in itertools.product(TURNS, SCALES):
        angle = np.deg2rad(degrees)
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places = (problem.places - middles[0]) @ matrix.T + middles[1]
        turned = _bilinear(problem.second, np.clip(places, 0, np.array(second.shape) - 1))[0].reshape(shape)
        cross = still * np.conj(np.fft.rfft2((turned - turned.mean()) * window))
        for spectrum in (cross, cross / np.maximum(np.abs(cross), 1e-9)):
            shift = step * _peak(np.fft.irfft2(spectrum, shape))
            found.append(np.concatenate([matrix, (middles[1] - matrix @ (middles[0] + shift))[:, None]], axis=1))
    return sorted(found, key=problem.value)[:_KEPT]


def _peak(surface: np.ndarray) -> np.ndarray:
    """The shift at which a circular correlation is greatest, of those that are not too far."""
    shifts = [np.fft.fftfreq(n, 1 / n) for n in surface.shape]
    near = [np.abs(shift) <= max(1, _FARTHEST * len(shift)) for shift in shifts]
    at = np.unravel_index(np.argmax(np.where(np.logical_and.outer(*near), surface, -np.inf)), surface.shape)
    return np.array([shift[k] for shift, k in zip(shifts, at, strict=True)])


def _bilinear(image: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values, their exact slopes `(n, 2)`) at places inside of an image."""
    lower = np.minimum(places.astype(np.intp), np.array(image.shape) - 2)
    y, x = (places - lower).T
    flat, index, width = image.ravel(), lower[:, 0] * image.shape[1] + lower[:, 1], image.shape[1]
    a, b, c, d = (flat[index + more] for more in (0, 1, width, width + 1))
    top, bottom = a + x * (b - a), c + x * (d - c)
    return top + y * (bottom - top), np.stack([bottom - top, (1 - y) * (b - a) + y * (d - c)], axis=1)


def _image(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "biuf" or min(array.shape) < 8:
        raise ValueError(f"{name}: an image to register has two axes of 8 pixels or more, not {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or np.ptp(array) == 0:
        raise ValueError(f"{name}: an image to register holds finite values that are not all the same")
    return (array - array.mean()) / array.std()


def _by_simpleitk(first: np.ndarray, second: np.ndarray, start: np.ndarray) -> np.ndarray:
    """SimpleITK's registration from a start; its places are (x, y)."""
    import SimpleITK as sitk

    fixed, moving = (sitk.GetImageFromArray(image.astype(np.float32)) for image in (first, second))
    transform = sitk.AffineTransform(2)
    transform.SetMatrix(start[::-1, 1::-1].ravel().tolist())
    transform.SetTranslation(start[::-1, 2].tolist())
    task = sitk.ImageRegistrationMethod()
    task.SetMetricAsCorrelation()
    task.SetInterpolator(sitk.sitkLinear)
    task.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    task.SetOptimizerScalesFromPhysicalShift()
    task.SetShrinkFactorsPerLevel([2, 1])
    task.SetSmoothingSigmasPerLevel([1.0, 0.5])
    task.SetInitialTransform(transform, inPlace=True)
    task.SetNumberOfThreads(1)  # sums in one order: the same numbers each time
    task.Execute(fixed, moving)
    matrix = np.array(transform.GetMatrix()).reshape(2, 2)
    shift = np.array(transform.GetTranslation()) + (np.eye(2) - matrix) @ np.array(transform.GetCenter())
    return np.concatenate([matrix[::-1, ::-1], shift[::-1, None]], axis=1)
