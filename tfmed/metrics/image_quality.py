"""How close an image or a volume is to its reference: MAE, PSNR, SSIM, of all or a mask; edges. numpy, scipy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

_K1, _K2 = 0.01, 0.03  # Wang et al. 2004
MOST_DB = 100.0  # PSNR of equal patches, so that means stay finite


def mae(image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Mean absolute error, in the images' unit.

    Args:
        image, reference: arrays of one shape.
        mask: bool, of that shape: which elements count; None: all.

    Raises:
        ValueError: shapes that differ, an empty mask, values that are not finite.

    Example:
        >>> mae([10.0, 20.0], [12.0, 24.0])
        3.0
    """
    image, reference, mask = _checked(image, reference, mask)
    return float(np.abs(image - reference)[mask].mean())


def psnr(image: ArrayLike, reference: ArrayLike, data_range: float, mask: ArrayLike | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / mean squared error); infinite for equal images.

    Args (others as for `mae`):
        data_range: difference between the largest and the smallest value that images may have.

    Example:
        >>> round(psnr([0.1, 0.9], [0.0, 1.0], data_range=1.0), 6)  # 10 log10(1 / 0.01)
        20.0
    """
    image, reference, mask = _checked(image, reference, mask, data_range)
    error = float(np.square(image - reference)[mask].mean())
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


def ssim(
    image: ArrayLike,
    reference: ArrayLike,
    data_range: float,
    mask: ArrayLike | None = None,
    window: int = 7,
    sigma: float | None = None,
) -> float:
    """Structural similarity (Wang et al. 2004), mean over all places: 1 for equal images.

    The mean of `ssim_map`, which serves several masks.

    Args (others as for `mae`):
        data_range: difference between the largest and the smallest value that images may have.
        window, sigma: as of `ssim_map`.

    Raises:
        ValueError: as `mae`; a mask all of whose voxels are nearer to the border than half a window.
    """
    _, _, mask = _checked(image, reference, mask, data_range)
    found = ssim_map(image, reference, data_range, window, sigma)[mask]
    if np.isnan(found).all():
        raise ValueError("every voxel of the mask is nearer to the border than half a window; give a smaller window")
    return float(np.nanmean(found))


def ssim_map(
    image: ArrayLike, reference: ArrayLike, data_range: float, window: int = 7, sigma: float | None = None
) -> np.ndarray:
    """Structural similarity at each place, float64, of the images' shape; NaN where the window crosses the border.

    Means, variances and covariances are unbiased over a uniform window or, as in the paper (window 11, sigma 1.5),
    weighted by a Gaussian.

    Args (others as for `mae`):
        data_range: difference between the largest and the smallest value that images may have.
        window: its side in voxels, odd; an axis that is shorter has a window of its own (odd) length.
        sigma: standard deviation of the Gaussian in voxels; None: uniform.

    Raises:
        ValueError: as `mae`; a window or an image that is too small.
    """
    image, reference, _ = _checked(image, reference, None, data_range)
    if window % 2 == 0 or window < 3:
        raise ValueError(f"window is {window}; give an odd number from 3")
    sides = tuple(min(window, size - 1 + size % 2) for size in image.shape)
    inside = tuple(slice(side // 2, size - side // 2) for side, size in zip(sides, image.shape, strict=True))
    if np.prod(sides) == 1:
        raise ValueError(f"image {image.shape} is too small for a window; SSIM needs an axis of at least 3")
    found = np.full(image.shape, np.nan)
    found[inside] = _similarity(image, reference, data_range, sides, sigma)[inside]
    return found


def edge_correlation(image: ArrayLike, reference: ArrayLike) -> float:
    """Pearson correlation of the Sobel gradients' magnitudes of two pictures: 1 where edges lie alike, NaN without any.

    Args:
        image, reference: arrays `(y, x)`.

    Raises:
        ValueError: as `mae`.

    Example:
        >>> step = np.repeat([[0.0, 0, 1, 1]], 4, 0)
        >>> round(edge_correlation(5 - 2 * step, step), 6)
        1.0
    """
    image, reference, _ = _checked(image, reference, None)
    one, other = (np.hypot(ndimage.sobel(each, 0), ndimage.sobel(each, 1)) for each in (image, reference))
    one, other = one - one.mean(), other - other.mean()
    size = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / size) if size > 0 else float("nan")


def around(mask: ArrayLike, margin: int = 5) -> tuple[slice, ...]:
    """The box around all that is True in a mask, `margin` wider on each side, cut at the borders; a slice per axis.

    Raises:
        ValueError: nothing is True.

    Example:
        >>> around([[0, 0, 0, 0], [0, 0, 1, 0]], margin=1)
        (slice(0, 2, None), slice(1, 4, None))
    """
    mask = np.asarray(mask, bool)
    if not mask.any():
        raise ValueError("the mask is empty: there is no box around it")
    places = np.nonzero(mask)
    return tuple(slice(max(int(at.min()) - margin, 0), min(int(at.max()) + margin + 1, size))
                 for at, size in zip(places, mask.shape, strict=True))  # fmt: skip


def patch_scores(image: ArrayLike, reference: ArrayLike, mask: ArrayLike, margin: int = 5) -> dict[str, float]:
    """{"L1", "PSNR", "SSIM"} of what fills the holes of an image in [0, 1], over the box `around` them.

    SSIM by a Gaussian window of 11 and 1.5 pixels; PSNR in dB, and 100 where the images are equal there.

    Args:
        image, reference: `(y, x)` in [0, 1].
        mask: True in the holes.
        margin: pixels of the box beyond the holes, on each side.

    Raises:
        ValueError: shapes that differ, an empty mask, values that are not finite, a box of a single pixel.
    """
    box = around(mask, margin)
    image, reference = np.asarray(image)[box], np.asarray(reference)[box]
    return {
        "L1": mae(image, reference),
        "PSNR": min(psnr(image, reference, 1.0), MOST_DB),
        "SSIM": ssim(image, reference, 1.0, window=11, sigma=1.5),
    }


def _similarity(
    x: np.ndarray, y: np.ndarray, data_range: float, sides: tuple[int, ...], sigma: float | None
) -> np.ndarray:
    def smooth(array: np.ndarray) -> np.ndarray:
        if sigma is None:
            return ndimage.uniform_filter(array, sides)
        for axis, side in enumerate(sides):
            array = ndimage.gaussian_filter1d(array, sigma, axis, truncate=(side // 2) / sigma)
        return array

    count = np.prod(sides)
    unbiased = count / (count - 1) if sigma is None else 1.0
    mean_x, mean_y = smooth(x), smooth(y)
    var_x = unbiased * (smooth(x * x) - mean_x * mean_x)
    var_y = unbiased * (smooth(y * y) - mean_y * mean_y)
    covariance = unbiased * (smooth(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance * (2 * covariance + c2) / (var_x + var_y + c2)


def _checked(
    image: ArrayLike, reference: ArrayLike, mask: ArrayLike | None, data_range: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both as float64, and the mask."""
    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    if image.shape != reference.shape:
        raise ValueError(f"image {image.shape} and reference {reference.shape} differ in shape")
    if not image.size or not (np.isfinite(image).all() and np.isfinite(reference).all()):
        raise ValueError("an image is empty, or has values that are NaN or infinite")
    if not data_range > 0:
        raise ValueError(f"data_range is {data_range!r}; it must be above 0")
    mask = np.ones(image.shape, bool) if mask is None else np.asarray(mask, bool)
    if mask.shape != image.shape or not mask.any():
        raise ValueError(f"the mask must have the image's shape {image.shape} and at least one voxel")
    return image, reference, mask
