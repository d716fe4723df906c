"""From one number per case to what a table prints: means, percentiles, intervals and tests. numpy, scipy, statsmodels.

A distance is inf where one of two masks is empty. Such a case must not vanish in silence nor turn a mean into inf:
`summary` counts it in `undefined` and leaves it out of the rest.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a set of cases amounts to; nan where there are too few.

    Attributes:
        n: cases with a finite value; all that follows is of them.
        undefined: cases whose value is inf or, where allowed, NaN.
        mean, std, median: the standard deviation is the sample's (n - 1); nan for one case.
        p5, p95: 5th and 95th percentiles, linearly interpolated.
        low, high: bootstrap interval of the mean; nan for fewer than two cases.
        confidence: of that interval.
    """

    n: int
    undefined: int
    mean: float
    std: float
    median: float
    p5: float
    p95: float
    low: float
    high: float
    confidence: float


def summary(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0, allow_nan: bool = False
) -> Summary:
    """Mean, spread, 5th and 95th percentile and a bootstrap interval of one number per case.

    Args:
        values: `(cases,)`, at least one.
        confidence, resamples, seed: of the interval, as for `bootstrap_interval`.
        allow_nan: NaN counts as undefined, as inf does, and is no error.

    Returns:
        Summary.

    Raises:
        ValueError: no cases, not one-dimensional, or NaN.

    Example:
        >>> found = summary([1.0, 2.0, 3.0, float("inf")])
        >>> found.n, found.undefined, found.mean, found.std
        (3, 1, 2.0, 1.0)
    """
    values = _vector(values, "values", finite=False)
    if not allow_nan and np.isnan(values).any():
        raise ValueError(f"values: {np.count_nonzero(np.isnan(values))} of {len(values)} are NaN; leave them out, or "
                         "pass allow_nan=True to have them counted")  # fmt: skip
    finite = values[np.isfinite(values)]
    low, high = math.nan, math.nan
    if len(finite) >= 2:
        low, high = bootstrap_interval(np.mean, finite, confidence=confidence, resamples=resamples, seed=seed)
    p5, median, p95 = np.percentile(finite, [5, 50, 95]) if len(finite) else (math.nan,) * 3
    mean = finite.mean() if len(finite) else math.nan
    std = finite.std(ddof=1) if len(finite) >= 2 else math.nan
    mean, std, median, p5, p95 = (float(number) for number in (mean, std, median, p5, p95))
    return Summary(len(finite), len(values) - len(finite), mean, std, median, p5, p95, low, high, confidence)


def mean_and_std(name: str, values: ArrayLike) -> dict[str, float]:
    """{"<name> mean", "<name> std"} of numbers, for a row of a table; std of the sample (n - 1), nan for one value.

    Example:
        >>> mean_and_std("Dice", [0.5, 1.0, 0.75])
        {'Dice mean': 0.75, 'Dice std': 0.25}
    """
    values = np.asarray(values, np.float64)
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return {f"{name} mean": float(values.mean()), f"{name} std": spread}


def relative(scores: ArrayLike, baseline: ArrayLike) -> tuple[float, float]:
    """(mean of scores / mean of the baseline, its standard deviation), by first-order propagation of both spreads.

    With r = m / b: s_r^2 = r^2 (s_m^2 / m^2 + s_b^2 / b^2), the deviations those of the samples (n - 1).

    Args:
        scores, baseline: `(runs,)`, one score for each trained model; nan for the deviation where either has one run.

    Raises:
        ValueError: no scores, scores that are not finite, or a baseline of mean 0.

    Example:
        >>> relative([0.4, 0.6], [1.0, 1.0])[0]
        0.5
    """
    scores, baseline = _vector(scores, "scores"), _vector(baseline, "baseline")
    if baseline.mean() == 0:
        raise ValueError("the baseline's mean is 0; nothing is relative to it")
    ratio = float(scores.mean() / baseline.mean())
    if min(len(scores), len(baseline)) < 2:
        return ratio, math.nan
    variances = scores.var(ddof=1) + ratio**2 * baseline.var(ddof=1)
    return ratio, float(math.sqrt(variances) / abs(baseline.mean()))


def bootstrap_interval(
    statistic: Callable[..., Any],
    *samples: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    paired: bool = False,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (Efron 1979), by `scipy.stats.bootstrap`.

    Args:
        statistic: `statistic(*samples, axis=...)` that reduces that axis, such as `numpy.mean`.
        samples: one or more `(n_i,)`, at least two values each; several are resampled independently of one another.
        confidence: in (0, 1).
        resamples: how many; the same `seed` gives the same interval.
        paired: the samples are the same cases and are resampled together.

    Returns:
        `(low, high)`, floats; equal where all values are.

    Raises:
        ValueError: fewer than two values, values that are not finite, paired samples of different lengths.
    """
    if not samples:
        raise ValueError("there is no sample")
    samples = [_vector(sample, f"sample {i}") for i, sample in enumerate(samples, 1)]
    if min(len(sample) for sample in samples) < 2:
        raise ValueError("a bootstrap needs at least two values of each sample")
    if paired and len({len(sample) for sample in samples}) > 1:
        raise ValueError(f"paired samples must have one length, not {[len(sample) for sample in samples]}")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence lies between 0 and 1 and resamples from 1; got {confidence} and {resamples}")
    result = scipy.stats.bootstrap(
        samples, statistic, n_resamples=int(resamples), batch=256, vectorized=True, paired=paired,
        confidence_level=confidence, method="percentile", rng=np.random.default_rng(seed))  # fmt: skip
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@dataclasses.dataclass(frozen=True)
class SignedRank:
    """A statistic, its p-value, and the number of pairs that differ."""

    statistic: float
    p: float
    n: int


def wilcoxon(first: ArrayLike, second: ArrayLike, alternative: str = "two-sided") -> SignedRank:
    """Wilcoxon's signed-rank test of paired cases (Wilcoxon 1945), by `scipy.stats.wilcoxon`.

    Pairs that are equal are left out; where all are, nothing speaks against equality and p is 1.

    Args:
        first, second: `(cases,)`, the same cases in the same order.
        alternative: "two-sided", or "less" / "greater": what `first` is compared with `second`.

    Returns:
        SignedRank.

    Raises:
        ValueError: different lengths, no cases, values that are not finite, or an unknown alternative.

    Example:
        >>> wilcoxon([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
        SignedRank(statistic=0.0, p=1.0, n=0)
    """
    first, second = _vector(first, "first"), _vector(second, "second")
    if len(first) != len(second):
        raise ValueError(f"paired samples must have one length, not {len(first)} and {len(second)}")
    if alternative not in ("two-sided", "less", "greater"):
        raise ValueError(f"alternative is two-sided, less or greater, not {alternative!r}")
    gaps = first - second
    gaps = gaps[gaps != 0]
    if not len(gaps):
        return SignedRank(0.0, 1.0, 0)
    result = scipy.stats.wilcoxon(gaps, alternative=alternative)
    return SignedRank(float(result.statistic), float(result.pvalue), len(gaps))


@dataclasses.dataclass(frozen=True)
class Coefficient:
    """One coefficient of a regression, its standard error and the p-value of its being 0."""

    value: float
    error: float
    p: float


def paired_t_test(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """(t, two-tailed p-value) of Student's test whether the differences of pairs have a mean other than 0.

    Pairs that differ all alike have an infinite t and p = 0; without any difference t is 0 and p is 1.

    Args:
        first, second: `(n,)`, n >= 2; of the same classes, images or patients.

    Raises:
        ValueError: lengths that differ, fewer than two pairs, or values that are not finite.

    Example:
        >>> t, p = paired_t_test([3.0, 4.0, 6.0], [1.0, 2.5, 3.0])
        >>> round(t, 2), round(p, 3)
        (4.91, 0.039)
    """
    ours, theirs = _vector(first, "first"), _vector(second, "second")
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(f"{len(ours)} and {len(theirs)} values: a paired test needs two pairs or more")
    if np.ptp(ours - theirs) == 0:
        away = float((ours - theirs)[0])
        return (math.copysign(math.inf, away), 0.0) if away else (0.0, 1.0)
    found = scipy.stats.ttest_rel(ours, theirs)
    return float(found.statistic), float(found.pvalue)


def quantile_regression(values: ArrayLike, factors: Mapping[str, ArrayLike], tau: float) -> dict[str, Coefficient]:
    """How factors move a quantile of the cases (Koenker & Bassett 1978), by statsmodels' `QuantReg`.

    Args:
        values: `(cases,)`, the number per case.
        factors: dict from a factor's name to `(cases,)`, for example 0 and 1 for off and on.
        tau: the quantile, in (0, 1): .05 for the worst Dice, .95 for the worst distance.

    Returns:
        dict from "intercept" and each factor's name to its Coefficient.

    Raises:
        ValueError: different lengths, values that are not finite, tau out of range, fewer cases than coefficients + 1,
            or factors that determine one another.
    """
    from statsmodels.regression.quantile_regression import QuantReg

    values = _vector(values, "values")
    if not 0 < tau < 1:
        raise ValueError(f"tau lies between 0 and 1, not {tau}")
    if "intercept" in factors:
        raise ValueError("a factor cannot be named intercept: that one is added")
    columns = {"intercept": np.ones(len(values))}
    for name, factor in factors.items():
        columns[name] = _vector(factor, f"factor {name}")
        if len(columns[name]) != len(values):
            raise ValueError(f"factor {name} has {len(columns[name])} cases, the values have {len(values)}")
    design = np.stack(list(columns.values()), axis=1)
    if len(values) <= design.shape[1]:
        raise ValueError(f"{design.shape[1]} coefficients need more than {len(values)} cases")
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"the factors {', '.join(factors)} are constant or determine one another")
    fit = QuantReg(values, design).fit(q=tau, max_iter=5000)
    numbers = zip(fit.params, fit.bse, fit.pvalues, strict=True)
    return {name: Coefficient(*map(float, three)) for name, three in zip(columns, numbers, strict=True)}


def _vector(values: ArrayLike, name: str, finite: bool = True) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name}: one number for each of at least one case is needed; got shape {values.shape}")
    if finite and not np.isfinite(values).all():
        raise ValueError(f"{name}: some values are NaN or infinite")
    return values
