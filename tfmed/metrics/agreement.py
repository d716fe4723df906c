"""How two measurements of the same cases agree."""

import numpy as np
from numpy.typing import ArrayLike


def bland_altman(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """(mean difference, lower, upper 95 % limit of agreement) of `first - second` (Bland and Altman 1986).

    The limits are 1.96 standard deviations of the sample from the mean; of one case they are nan.

    Raises:
        ValueError: no cases, different lengths, or values that are not finite.

    Example:
        >>> [round(value, 2) for value in bland_altman([3.0, 5.0, 7.0], [2.0, 4.0, 9.0])]
        [0.0, -3.39, 3.39]
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(f"one number per case of both is needed, got shapes {first.shape} and {second.shape}")
    gaps = first - second
    if not np.isfinite(gaps).all():
        raise ValueError("some values are NaN or infinite")
    spread = 1.96 * gaps.std(ddof=1) if len(gaps) > 1 else np.nan
    return float(gaps.mean()), float(gaps.mean() - spread), float(gaps.mean() + spread)
