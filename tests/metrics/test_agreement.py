"""Bland-Altman: the textbook's formulas."""

import numpy as np
import pytest

from tfmed.metrics.agreement import bland_altman


def test_bias_and_limits():
    rng = np.random.default_rng(0)
    first, second = rng.normal(50, 5, 40), rng.normal(48, 5, 40)
    gaps = first - second
    spread = 1.96 * np.sqrt(((gaps - gaps.mean()) ** 2).sum() / 39)
    assert bland_altman(first, second) == pytest.approx((gaps.mean(), gaps.mean() - spread, gaps.mean() + spread))
    assert bland_altman(second, first)[0] == pytest.approx(-gaps.mean())


def test_one_case_has_a_bias_and_no_limits():
    bias, low, high = bland_altman([3.0], [1.0])
    assert bias == 2 and np.isnan(low) and np.isnan(high)


@pytest.mark.parametrize("first, second", [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([[1.0]], [[1.0]])])
def test_bad_values(first, second):
    with pytest.raises(ValueError):
        bland_altman(first, second)
