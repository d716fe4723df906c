"""Entropies, PAvPU and calibration: closed forms, brute force, and what must hold for any probabilities."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.metrics.uncertainty import (
    PatchCounts,
    expected_calibration_error,
    expected_entropy,
    mutual_information,
    patch_counts,
    pavpu,
    predictive_entropy,
)

pytestmark = pytest.mark.current

SEEDS = st.integers(0, 2**31 - 1)
SHAPES = st.lists(st.integers(1, 6), min_size=0, max_size=3).map(tuple)


def passes(seed, shape=(4, 5), count=6, classes=3):
    """Random `(passes, ..., classes)`."""
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), (count, *shape))


def test_closed_forms():
    assert predictive_entropy([0.5, 0.5], math.e) == pytest.approx(math.log(2))
    assert predictive_entropy([0.5, 0.5], 2) == pytest.approx(1)
    assert predictive_entropy([0.0, 1.0, 0.0], 2) == 0.0
    assert predictive_entropy([0.25] * 4, 2) == pytest.approx(2)
    assert predictive_entropy([0.25] * 4, 4) == pytest.approx(1)
    certain_but_opposed = [[[1.0, 0.0]], [[0.0, 1.0]]]
    assert predictive_entropy(certain_but_opposed, 2, samples=0) == pytest.approx([1])
    assert expected_entropy(certain_but_opposed, 2) == pytest.approx([0])
    assert mutual_information(certain_but_opposed, 2) == pytest.approx([1])
    assert mutual_information([[[0.5, 0.5]]] * 3, 2) == pytest.approx([0])


@settings(max_examples=50, deadline=None)
@given(SEEDS, SHAPES, st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, math.e, 10]))
def test_entropies(seed, shape, count, classes, base):
    p = passes(seed, shape, count, classes)
    entropy = predictive_entropy(p, base, samples=0)
    assert entropy.shape == shape and entropy.dtype == np.float64
    np.testing.assert_allclose(entropy, scipy.stats.entropy(p.mean(axis=0), base=base, axis=-1), atol=1e-12)
    single = predictive_entropy(p, base)
    np.testing.assert_allclose(single, scipy.stats.entropy(p, base=base, axis=-1), atol=1e-12)
    np.testing.assert_allclose(expected_entropy(p, base), single.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(predictive_entropy(p[::-1], base, samples=0), entropy, atol=1e-12)
    assert (entropy >= single.mean(axis=0) - 1e-12).all()  # Jensen
    assert (entropy >= 0).all() and (entropy <= math.log(classes, base) + 1e-12).all()
    information = mutual_information(p, base)
    assert (information >= 0).all() and (information <= entropy + 1e-12).all()
    np.testing.assert_allclose(information, entropy - single.mean(axis=0), atol=1e-12)


def test_axes_and_kinds():
    p = passes(0)
    expected = predictive_entropy(p, 2, samples=0)
    moved = np.moveaxis(p, (0, -1), (2, 0))  # (classes, y, passes, x)
    np.testing.assert_allclose(predictive_entropy(moved, 2, axis=0, samples=2), expected)
    np.testing.assert_allclose(mutual_information(moved, 2, axis=0, samples=-2), mutual_information(p, 2))
    single = predictive_entropy(p.astype("float32"), 2, samples=0)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)
    assert predictive_entropy(p.astype("float16"), 2).dtype == np.float32
    assert predictive_entropy(np.zeros((0, 3)), 2).shape == (0,)
    assert predictive_entropy([1.0005, -1e-7, 0.0], 2) == 0.0


@pytest.mark.parametrize("p, words", [
    ([0.5, 0.6], "sum to 1"),
    ([0.5, np.nan], "finite and in"),
    ([2.0, -1.0], "softmax"),
    ([1.5, 0.0], "softmax"),
    ([np.inf, 0], "finite"),
    ([], "no classes"),
    (["a"], "numbers"),
])  # fmt: skip
def test_wrong_probabilities(p, words):
    with pytest.raises(ValueError, match=words):
        predictive_entropy(p, 2)
    with pytest.raises(ValueError, match=words):
        expected_calibration_error(p, 0)


def test_wrong_arguments_of_entropy():
    for base in (0, 1, -2, np.nan, 0.5):
        with pytest.raises(ValueError, match="base"):
            predictive_entropy([0.5, 0.5], base)
    for axes in ({"axis": 3}, {"samples": 2}, {"axis": 0, "samples": 0}, {"axis": 1, "samples": -1}):
        with pytest.raises(ValueError, match="no such axes"):
            predictive_entropy([[0.5, 0.5]], 2, **axes)
    with pytest.raises(ValueError, match="no classes or no passes"):
        predictive_entropy(np.zeros((0, 4, 2)), 2, samples=0)
    for function in (expected_entropy, mutual_information):
        with pytest.raises(ValueError, match="axis of the stochastic passes"):
            function([[0.5, 0.5]], 2, samples=None)


# --- PAvPU ------------------------------------------------------------------------------------------------------------


def by_loops(uncertainty, prediction, reference, size, accuracy, threshold):
    """Patch by patch, over the last two axes of a volume."""
    counts = dict.fromkeys(["ac", "au", "ic", "iu"], 0)
    for z in range(uncertainty.shape[0]):
        for y in range(0, uncertainty.shape[1], size[0]):
            for x in range(0, uncertainty.shape[2], size[1]):
                box = (z, slice(y, y + size[0]), slice(x, x + size[1]))
                right = np.mean(prediction[box] == reference[box]) >= accuracy
                sure = uncertainty[box].mean() <= threshold
                counts[("a" if right else "i") + ("c" if sure else "u")] += 1
    return tuple(counts.values())


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 5)] * 2))
def test_patches_equal_loops(seed, shape, size):
    rng = np.random.default_rng(seed)
    u, a, b = rng.random(shape), rng.integers(0, 2, shape), rng.integers(0, 2, shape)
    counts = patch_counts(u, a, b, size, 0.4, 0.45)
    assert counts == by_loops(u, a, b, size, 0.4, 0.45)
    assert pavpu(u, a, b, size, 0.4, 0.45) == pytest.approx((counts.n_ac + counts.n_iu) / sum(counts))
    default = patch_counts(u, a, b)
    assert default == by_loops(u, a, b, (4, 4), 0.5, u.mean() + 1e-12)


def test_pavpu_closed_forms():
    reference = np.zeros((8, 8), int)
    half = reference.copy()
    half[:4] = 1
    uncertain = half.astype(float)
    assert patch_counts(uncertain, half, reference) == (2, 0, 0, 2)
    assert pavpu(uncertain, half, reference) == 1.0
    assert pavpu(1 - uncertain, half, reference) == 0.0
    assert pavpu(np.full((8, 8), 0.1), reference, reference) == 1.0  # all equal: all certain
    assert pavpu(np.full((8, 8), 0.1), half, reference) == 0.5
    assert pavpu(uncertain, half, reference, threshold=2) == 0.5
    assert patch_counts(uncertain, half, reference, patch=8) == patch_counts(uncertain, half, reference, patch=(1, 8))


def test_shares_of_patches():
    counts = PatchCounts(6, 2, 3, 9)
    assert counts.pavpu == 0.75
    assert counts.accurate_if_certain == pytest.approx(6 / 9)
    assert counts.uncertain_if_inaccurate == pytest.approx(9 / 12)
    assert math.isnan(PatchCounts(0, 1, 0, 0).accurate_if_certain)
    assert math.isnan(PatchCounts(1, 1, 0, 0).uncertain_if_inaccurate)
    assert PatchCounts(*map(sum, zip(counts, counts, strict=True))).pavpu == counts.pavpu


@pytest.mark.parametrize("change, words", [
    ({"uncertainty": np.zeros((4, 5))}, "one shape"),
    ({"uncertainty": np.full((4, 4), np.nan)}, "uncertainty: some values are NaN"),
    ({"prediction": np.full((4, 4), np.inf)}, "prediction: some values are NaN"),
    ({"patch": (4, 4, 4)}, "does not fit 2 axes"),
    ({"patch": (0, 4)}, "whole numbers from 1"),
    ({"accuracy": 50}, "share from 0 to 1"),
])  # fmt: skip
def test_wrong_arguments_of_pavpu(change, words):
    given_ = {"uncertainty": np.zeros((4, 4)), "prediction": np.zeros((4, 4)), "reference": np.zeros((4, 4))}
    with pytest.raises(ValueError, match=words):
        pavpu(**{**given_, **change})
    with pytest.raises(ValueError, match="no voxel"):
        pavpu(*np.zeros((3, 0, 4)))


# --- calibration ------------------------------------------------------------------------------------------------------


def ece_by_loop(p, labels, bins):
    confidence, right = p.max(axis=-1), p.argmax(axis=-1) == labels
    total = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 20))
def test_calibration_error_equals_loop(seed, classes, bins):
    p = passes(seed, (7, 8), 1, classes)[0]
    labels = np.random.default_rng(seed).integers(0, classes, (7, 8))
    found = expected_calibration_error(p, labels, bins)
    assert found == pytest.approx(ece_by_loop(p, labels, bins)) and 0 <= found <= 1
    moved = np.moveaxis(p, -1, 0)
    assert expected_calibration_error(moved, labels, bins, axis=0) == pytest.approx(found)


def test_calibration_closed_forms():
    labels = np.array([0, 0, 0, 1])
    assert expected_calibration_error(np.tile([0.75, 0.25], (4, 1)), labels) == pytest.approx(0)
    assert expected_calibration_error(np.tile([1.0, 0.0], (4, 1)), labels) == pytest.approx(0.25)
    assert expected_calibration_error(np.tile([0.0, 1.0], (4, 1)), labels) == pytest.approx(0.75)


def test_wrong_arguments_of_calibration():
    p = np.tile([0.75, 0.25], (4, 1))
    for labels, words in (([0, 1], "do not fit"), ([0, 0, 0, 2], "0 to 1"), ([0, 0, 0, -1], "0 to 1"),
                          ([0.0, 0, 0, 1], "integers")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            expected_calibration_error(p, np.array(labels))
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error(p, np.zeros(4, int), bins=0)
    with pytest.raises(ValueError, match="no voxel"):
        expected_calibration_error(np.zeros((0, 2)), np.zeros(0, int))
