"""How two measurements of the same cases, or two sets of labels, agree."""

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


def cohen_kappa(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> np.ndarray:
    """Cohen's kappa of two sets of yes-or-no labels, (po - pe) / (1 - pe), float64: agreement beyond chance (Cohen
    1960).

    That is 2 (tp tn - fp fn) / ((tp + fp)(fp + tn) + (tp + fn)(fn + tn)); the more true negatives there are, the nearer
    it comes to Dice. Where both give one and the same label throughout it is 1, where one of them does, 0.

    Args:
        tp, fp, fn, tn: counts of one shape; float64 holds them up to 2^53.

    Example:
        >>> float(cohen_kappa(tp=20, fp=10, fn=5, tn=15))
        0.4
    """
    tp, fp, fn, tn = (np.asarray(count, np.float64) for count in (tp, fp, fn, tn))
    agreed, by_chance = 2 * (tp * tn - fp * fn), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(by_chance > 0, agreed / by_chance, 1.0)
