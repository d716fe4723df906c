"""Precision, recall, density, coverage: brute force, invariants, and the cases that they were made for."""

import numpy as np
import pytest
import scipy.spatial
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.metrics import manifold
from tfmed.metrics.manifold import density_coverage, precision_recall

pytestmark = pytest.mark.current


def brute(x, y, k):
    """(precision, recall, density, coverage) by the definitions."""

    def radii(a):
        return np.sort(scipy.spatial.distance.cdist(a, a), axis=1)[:, k]  # the first is the sample itself

    between = scipy.spatial.distance.cdist(x, y)
    in_real, in_fake = between <= radii(y)[None], between <= radii(x)[:, None]
    return (in_real.any(1).mean(), in_fake.any(0).mean(), in_real.sum() / (k * len(x)), in_real.any(0).mean())


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(6, 30), st.integers(6, 30), st.integers(1, 5), st.integers(3, 40))
def test_equal_the_definitions_whatever_the_blocks(seed, n, m, k, rows):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifold, "_ROWS", rows)
        found, more = precision_recall(x, y, k), density_coverage(x, y, k)
    assert (found.precision, found.recall, more.density, more.coverage) == pytest.approx(brute(x, y, k))
    swapped = precision_recall(y, x, k)
    assert (swapped.precision, swapped.recall) == (found.recall, found.precision)


def test_what_lies_on_a_ball_lies_within():
    """Real samples at 0 and 1 have balls of radius 1: a sample at 2 lies in the second one, one at 2.1 in none."""
    real = np.array([[0.0], [1.0]])
    on, outside = np.array([[2.0], [2.0]]), np.array([[2.1], [2.1]])
    assert precision_recall(on, real, 1).precision == 1 and precision_recall(outside, real, 1).precision == 0
    assert density_coverage(on, real, 1) == manifold.DensityCoverage(1.0, 0.5)
    assert density_coverage(outside, real, 1) == manifold.DensityCoverage(0.0, 0.0)
    assert precision_recall(real, on + [[0.0], [1.0]], 1).recall == 0.5


def test_the_four_cases():
    """Equal distributions, all apart, half of the modes, and half of the samples nonsense."""
    rng = np.random.default_rng(0)

    def draw(centres, n=400):
        return np.array([[10.0 * c, 0.0] for c in rng.choice(centres, n)]) + rng.normal(size=(n, 2))

    real = draw([0, 1])
    same, apart, half, strange = draw([0, 1]), draw([7]), draw([0]), draw([0, 1, 8, 9])
    values = {name: (precision_recall(x, real), density_coverage(x, real)) for name, x in
              (("same", same), ("apart", apart), ("half", half), ("strange", strange))}  # fmt: skip
    assert values["same"][0].precision > 0.95 and values["same"][0].recall > 0.95
    assert values["same"][1].density == pytest.approx(1, abs=0.15) and values["same"][1].coverage > 0.9
    assert (values["apart"][0].precision, values["apart"][0].recall, values["apart"][1].coverage) == (0, 0, 0)
    assert values["half"][0].precision > 0.95 and values["half"][0].recall == pytest.approx(0.5, abs=0.1)
    assert values["half"][1].coverage == pytest.approx(0.5, abs=0.1)
    assert values["strange"][0].precision == pytest.approx(0.5, abs=0.1) and values["strange"][0].recall > 0.9


@pytest.mark.parametrize("function, words", [
    (lambda: precision_recall(np.zeros((3, 2)), np.zeros((9, 2))), "features: a precision needs at least 4 samples"),
    (lambda: density_coverage(np.zeros((9, 2)), np.zeros((5, 2))), "reference: a density needs at least 6 samples"),
    (lambda: precision_recall(np.zeros((9, 2)), np.zeros((9, 3))), "use one network for both"),
])  # fmt: skip
def test_too_few(function, words):
    with pytest.raises(ValueError, match=words):
        function()
