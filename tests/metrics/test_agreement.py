"""Bland-Altman and kappa: the textbook's formulas, scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tfmed.metrics.agreement import bland_altman, cohen_kappa


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


# --- kappa ------------------------------------------------------------------------------------------------------------


def counts(prediction, reference):
    prediction, reference = np.asarray(prediction, bool), np.asarray(reference, bool)
    pairs = ((prediction, reference), (prediction, ~reference), (~prediction, reference), (~prediction, ~reference))
    return [int((one & other).sum()) for one, other in pairs]


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    reference = rng.random(500) < rng.uniform(0.01, 0.6)
    prediction = np.where(rng.random(500) < 0.85, reference, ~reference)
    wanted = cohen_kappa_score(prediction, reference)
    assert float(cohen_kappa(*counts(prediction, reference))) == pytest.approx(wanted, abs=1e-12)


def test_kappa_of_what_is_perfect_independent_constant_and_reversed():
    rng = np.random.default_rng(0)
    reference = rng.random(200_000) < 0.3
    assert cohen_kappa(*counts(reference, reference)) == 1
    assert abs(cohen_kappa(*counts(rng.random(200_000) < 0.4, reference))) < 0.01
    assert cohen_kappa(*counts(np.zeros(9), np.arange(9) > 4)) == 0
    assert cohen_kappa(*counts(np.ones(9), np.arange(9) > 4)) == 0
    assert cohen_kappa(*counts(np.ones(9), np.zeros(9))) == 0
    assert cohen_kappa(0, 0, 0, 9) == 1
    assert cohen_kappa(*counts([1, 0], [0, 1])) == -1


def test_kappa_of_rare_labels_is_nearly_dice():
    """Half a percent of the voxels: a table in which the two differ by a factor of two is not of the same masks."""
    rng = np.random.default_rng(1)
    reference = rng.random(400_000) < 0.005
    for kept, more in ((0.3, 0.002), (0.8, 0.001), (0.95, 0.0)):
        prediction = (reference & (rng.random(400_000) < kept)) | (rng.random(400_000) < more)
        tp, fp, fn, tn = counts(prediction, reference)
        assert abs(cohen_kappa(tp, fp, fn, tn) - 2 * tp / (2 * tp + fp + fn)) < 0.01


def test_kappa_does_not_overflow_and_takes_arrays():
    found = cohen_kappa(np.array([1e9, 0.0]), 0.0, 0.0, np.array([1e15, 5.0]))
    np.testing.assert_array_equal(found, [1.0, 1.0])
