"""Least squares and F-tests against statsmodels, and the study's scaling law."""

import numpy as np
import pytest
from scipy import stats

from tfmed.metrics.regression import least_squares, scaling_by_planes

pytestmark = pytest.mark.one_stack


def grid(noise, seed=0):
    rng = np.random.default_rng(seed)
    a, t, _ = (one.ravel() for one in np.meshgrid([4, 8, 12, 16], [128, 256, 384, 512], np.arange(12), indexing="ij"))
    return a, t, 0.019 * np.log(a) + 0.010 * np.log(t) + 0.80 + rng.normal(0, noise, a.size)


def test_planted_coefficients_come_back():
    fit = scaling_by_planes(*grid(0.0))
    assert fit.coefficients == pytest.approx({"annotated": 0.019, "training": 0.010}) and fit.constant == pytest.approx(
        0.8
    )
    errors = []
    for seed in range(20):
        noisy = scaling_by_planes(*grid(0.02, seed))
        errors.append((noisy.coefficients["annotated"] - 0.019, noisy.coefficients["training"] - 0.010))
    assert np.abs(np.mean(errors, 0)).max() < 0.002 and np.abs(errors).max() < 0.012


def test_equals_statsmodels():
    api = pytest.importorskip("statsmodels.api")
    a, t, y = grid(0.03, 1)
    ours = scaling_by_planes(a, t, y)
    theirs = api.OLS(y, api.add_constant(np.stack([np.log(a), np.log(t)], 1))).fit()
    np.testing.assert_allclose([ours.constant, *ours.coefficients.values()], theirs.params, rtol=1e-9)
    for names, rows in (
        (["annotated"], [[0, 1, 0]]),
        (["training"], [[0, 0, 1]]),
        (["annotated", "training"], np.eye(3)[1:]),
    ):
        test, expected = ours.without(names), theirs.f_test(np.array(rows))
        assert (test.f, test.p) == pytest.approx((float(np.squeeze(expected.fvalue)), float(expected.pvalue)), rel=1e-8)
        assert (test.dropped, test.freedom) == (len(rows), 189)


def test_what_the_study_prints_has_a_typing_error():
    """F = 6.2 of 192 runs is p = 0.014, where 0.14 stands."""
    assert stats.f.sf(6.2, 1, 189) == pytest.approx(0.0136, abs=1e-4)
    assert stats.f.sf(9.9, 1, 189) == pytest.approx(0.0019, abs=1e-4)


@pytest.mark.parametrize("terms, y, said", [
    ({"x": [1.0, 2]}, [1.0, 2, 3], "of that shape"), ({"x": [1.0, np.nan, 2]}, [1.0, 2, 3], "not finite"),
    ({"x": [1.0, 1, 1]}, [1.0, 2, 3], "not independent"),
    ({"x": [1.0, 2, 3], "y": [2.0, 4, 6]}, [1.0, 2, 4], "leave one"),
])  # fmt: skip
def test_bad_values(terms, y, said):
    with pytest.raises(ValueError, match=said):
        least_squares(terms, y)


def test_bad_tests():
    fit = least_squares({"x": [1.0, 2, 4]}, [1.0, 2, 3])
    for names, said in (([], "name terms"), (["z"], "have no")):
        with pytest.raises(ValueError, match=said):
            fit.without(names)
    with pytest.raises(ValueError, match="no freedom"):
        least_squares({"x": [1.0, 2]}, [1.0, 2]).without(["x"])
    with pytest.raises(ValueError, match="begin at 1"):
        scaling_by_planes([4, 4], [0, 128], [0.5, 0.6])
