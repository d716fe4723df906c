"""Tables from cases: closed forms, scipy and statsmodels as they are, coverage of the intervals, wrong input."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.stats

from tfmed.metrics.aggregate import (
    bootstrap_interval,
    paired_t_test,
    quantile_regression,
    relative,
    summary,
    wilcoxon,
)
from tfmed.metrics.segmentation import bridging_coefficient

pytestmark = pytest.mark.current


def test_summary():
    values = np.arange(101.0)
    found = summary(values, seed=3)
    assert (found.n, found.undefined, found.mean, found.median, found.p5, found.p95) == (101, 0, 50, 50, 5, 95)
    assert found.std == pytest.approx(values.std(ddof=1))
    half = 1.96 * found.std / np.sqrt(101)
    assert found.low == pytest.approx(50 - half, abs=1) and found.high == pytest.approx(50 + half, abs=1)
    assert found == summary(values, seed=3) != summary(values, seed=4)
    assert summary(list(values), confidence=0.5).high < found.high
    assert all(type(v) in (int, float) for v in dataclasses.asdict(found).values())


def test_cases_without_a_value_are_counted():
    found = summary([1.0, 3.0, np.inf])
    assert (found.n, found.undefined, found.mean) == (2, 1, 2.0)
    assert summary([1.0, np.nan, np.inf], allow_nan=True).undefined == 2
    one = summary([4.0])
    assert one.mean == one.median == one.p5 == one.p95 == 4.0
    assert math.isnan(one.std) and math.isnan(one.low) and math.isnan(one.high)
    two = summary([1.0, 3.0])
    assert two.std == pytest.approx(np.sqrt(2)) and 1 <= two.low <= two.high <= 3
    nothing = summary([np.inf])
    assert (nothing.n, nothing.undefined) == (0, 1) and math.isnan(nothing.mean) and math.isnan(nothing.p95)
    constant = summary([2.0, 2.0, 2.0])
    assert (constant.std, constant.low, constant.high) == (0.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        summary([1.0, np.nan])
    for wrong in ([], [[1.0, 2.0]], 3.0):
        with pytest.raises(ValueError, match="one number for each"):
            summary(wrong)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(150):
        low, high = bootstrap_interval(np.mean, rng.normal(5, 2, 40), resamples=400, seed=seed)
        inside += low <= 5 <= high
    assert 0.87 <= inside / 150 <= 0.99


def test_interval_of_a_bridging_coefficient():
    rng = np.random.default_rng(1)
    few, method, full = (rng.normal(mean, 0.01, 12) for mean in (0.7, 0.75, 0.8))
    low, high = bootstrap_interval(bridging_coefficient, method, few, full)
    point = bridging_coefficient(method, few, full)
    assert 0.3 < low < point < high < 0.7


def test_paired_samples_stay_together():
    rng = np.random.default_rng(2)
    a = rng.normal(0, 10, 30)
    b = a + rng.normal(1, 0.1, 30)

    def gap(x, y, axis):
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    low, high = bootstrap_interval(gap, a, b, paired=True)
    assert 0.9 < low < high < 1.1
    apart = bootstrap_interval(gap, a, b)
    assert apart[1] - apart[0] > 10 * (high - low)
    with pytest.raises(ValueError, match="one length"):
        bootstrap_interval(gap, a, b[1:], paired=True)


def test_wrong_bootstrap():
    for samples, words in (((), "no sample"), (([1.0],), "at least two"), (([1.0, np.nan],), "sample 1: some values")):
        with pytest.raises(ValueError, match=words):
            bootstrap_interval(np.mean, *samples)
    for setting in ({"confidence": 95}, {"confidence": 0}, {"resamples": 0}):
        with pytest.raises(ValueError, match="confidence lies between"):
            bootstrap_interval(np.mean, [1.0, 2.0], **setting)


def test_wilcoxon_by_enumeration():
    """All signs of the ranks are equally likely under the null hypothesis."""
    gaps = np.array([0.3, -0.1, 0.8, 1.3, 0.5, -0.2, 0.9])
    ranks = scipy.stats.rankdata(np.abs(gaps))
    observed = ranks[gaps > 0].sum()
    sums = [np.dot(ranks, signs) for signs in itertools.product([0, 1], repeat=len(gaps))]
    expected = np.mean(np.array(sums) >= observed)
    base = np.linspace(0, 1, len(gaps))
    found = wilcoxon(base + gaps, base, "greater")
    assert found.p == pytest.approx(expected) and found.n == 7
    assert wilcoxon(base, base + gaps, "less").p == pytest.approx(expected)
    assert wilcoxon(base + gaps, base).p == pytest.approx(2 * expected)


def test_wilcoxon_of_equal_pairs():
    assert wilcoxon([1.0, 2.0], [1.0, 2.0]).p == 1.0
    rng = np.random.default_rng(0)
    a = rng.normal(size=30)
    b = a + rng.normal(0.5, 0.3, 30)
    assert wilcoxon(b, a).p < 1e-4
    some = wilcoxon(np.append(a, 1.0), np.append(b, 1.0))
    assert some.n == 30 and some.p == pytest.approx(wilcoxon(a, b).p)


def test_wrong_wilcoxon():
    with pytest.raises(ValueError, match="one length"):
        wilcoxon([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="second: some values are NaN"):
        wilcoxon([1.0], [np.inf])
    for second in ([1.0], [2.0]):  # also where there is nothing to rank
        with pytest.raises(ValueError, match=r"^alternative is two-sided, less or greater, not 'more'"):
            wilcoxon([1.0], second, "more")


def factorial(seed=0, each=100):
    """Two 0/1 factors with known effects on the whole distribution."""
    rng = np.random.default_rng(seed)
    first, second = np.array(list(itertools.product([0.0, 1.0], [0.0, 1.0], range(each)))).T[:2]
    return 10 + 2 * first - 1 * second + rng.normal(0, 0.5, 4 * each), {"uncertainty": first, "slice": second}


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.95])
def test_quantile_regression_finds_effects(tau):
    values, factors = factorial()
    found = quantile_regression(values, factors, tau)
    assert list(found) == ["intercept", "uncertainty", "slice"]
    assert found["uncertainty"].value == pytest.approx(2, abs=0.35) and found["uncertainty"].p < 1e-3
    assert found["slice"].value == pytest.approx(-1, abs=0.35) and found["slice"].p < 1e-3
    assert found["intercept"].value == pytest.approx(10 + 0.5 * scipy.stats.norm.ppf(tau), abs=0.3)
    assert all(c.error > 0 for c in found.values())


def test_quantile_regression_alone_is_a_quantile():
    values = np.random.default_rng(0).normal(size=201)
    found = quantile_regression(values, {}, 0.95)
    assert found["intercept"].value == pytest.approx(np.quantile(values, 0.95), abs=1e-2)


def test_wrong_quantile_regression():
    values, factors = factorial(each=3)
    for changed, tau, words in (
        (factors, 1, "tau lies between 0 and 1"),
        (factors, 1.5, "tau lies between 0 and 1"),
        (factors, 0, "tau lies between 0 and 1"),
        ({"intercept": factors["slice"]}, 0.5, "cannot be named"),
        ({"a": factors["slice"][:-1]}, 0.5, "11 cases"),
        ({"a": factors["slice"] * np.nan}, 0.5, "factor a: some values"),
        ({"a": np.ones(12)}, 0.5, "constant"),
        ({"a": factors["slice"], "b": 1 - factors["slice"]}, 0.5, "determine one another"),
    ):
        with pytest.raises(ValueError, match=words):
            quantile_regression(values, changed, tau)
    with pytest.raises(ValueError, match="more than 1 cases"):
        quantile_regression([1.0], {}, 0.5)


def test_relative_joins_both_spreads():
    """Against the formula, and against repeated draws."""
    scores, baseline = [0.5, 0.6, 0.55], [0.8, 0.9, 1.0]
    ratio, spread = relative(scores, baseline)
    m, b = np.mean(scores), np.mean(baseline)
    expected = (m / b) ** 2 * (np.var(scores, ddof=1) / m**2 + np.var(baseline, ddof=1) / b**2)
    assert ratio == pytest.approx(m / b) and spread == pytest.approx(expected**0.5)
    draw = np.random.default_rng(0)
    ratios = draw.normal(0.5, 0.01, 50_000) / draw.normal(0.8, 0.01, 50_000)
    _, spread = relative(draw.normal(0.5, 0.01, 50_000), draw.normal(0.8, 0.01, 50_000))
    assert spread == pytest.approx(ratios.std(), rel=0.03)
    assert np.isnan(relative([0.5], [1.0, 0.9])[1])
    with pytest.raises(ValueError, match="mean is 0"):
        relative([0.5], [0.0])


def test_the_t_test_of_two_published_rows_of_classes():
    """Twelve tools, teacher and student (Jiang et al. 2021), who print p = 0.0014; rounded values give 0.0015."""
    teacher = [74.2, 55.0, 65.5, 79.1, 48.8, 53.6, 76.1, 73.9, 73.9, 55.1, 81.4, 74.1]
    student = [74.0, 60.1, 68.9, 82.9, 56.7, 62.8, 77.3, 75.8, 74.5, 65.0, 89.1, 75.5]
    t, p = paired_t_test(student, teacher)
    assert round(t, 2) == 4.21 and round(p, 4) == 0.0015
    assert (round(np.mean(teacher), 1), round(np.mean(student), 1)) == (67.6, 71.9)
    assert paired_t_test(teacher, student) == (-t, p)
    assert paired_t_test([1, 2], [1, 2]) == (0.0, 1.0) and paired_t_test([2, 3], [1, 2])[1] == 0
    for first, second in (([1.0], [2.0]), ([1, 2], [1, 2, 3]), ([1, np.nan], [1, 2])):
        with pytest.raises(ValueError):
            paired_t_test(first, second)
