"""Scores of points: matching against brute force, and the figures of the paper whose averages they are."""

import itertools

import numpy as np
import pytest

from tfmed.metrics.landmarks import Counts, error_summary, errors, failure_rate, match, success_curve


def greedy(predicted, true, radius):
    """The closest pair that is left, again and again."""
    predicted, true, pairs = list(map(tuple, predicted)), list(map(tuple, true)), 0
    while predicted and true:
        distance, p, t = min((np.hypot(p[0] - t[0], p[1] - t[1]), p, t) for p in predicted for t in true)
        if distance >= radius:
            break
        predicted.remove(p), true.remove(t)
        pairs += 1
    return pairs


@pytest.mark.parametrize("seed", range(6))
def test_matching_is_the_closest_pair_first(seed):
    rng = np.random.default_rng(seed)
    predicted, true = (rng.uniform(0, 40, (n, 2)) for n in rng.integers(0, 14, 2))
    found = match(predicted, true, 6.0)
    c = found.counts
    assert c.true_positives == greedy(predicted, true, 6.0) == len(found.pairs)
    assert c.true_positives + c.false_positives == len(predicted)
    assert c.true_positives + c.false_negatives == len(true)
    assert (found.distances < 6).all() and (np.diff(found.distances) >= 0).all()
    for column in found.pairs.T:
        assert len(set(column)) == len(column)
    for _ in range(3):
        one, other = rng.permutation(predicted), rng.permutation(true)
        again = match(one, other, 6.0)
        assert again.counts == c
        np.testing.assert_allclose(again.distances, found.distances)


def test_ties_do_not_depend_on_the_order():
    """One prediction between two true points, another near one of them only."""
    predicted, true = np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([[2.0, 0.0], [-2.0, 0.0]])
    counts = {match(predicted[list(p)], true[list(t)], 3.0).counts
              for p, t in itertools.product(itertools.permutations(range(2)), repeat=2)}  # fmt: skip
    assert len(counts) == 1


def test_the_radius_itself_is_no_match():
    true = np.array([[0.0, 0.0]])
    assert match(np.array([[6.0, 0.0]]), true, 6.0).counts == Counts(0, 1, 1)
    assert match(np.array([[5.999, 0.0]]), true, 6.0).counts == Counts(1, 0, 0)
    assert match(np.array([[1.0, 0.0], [0.0, 1.0]]), true, 6.0).counts == Counts(1, 1, 0)
    assert match(np.zeros((0, 2)), true, 6.0).counts == Counts(0, 0, 1)


def test_scores_of_counts():
    total = Counts(3, 1, 0) + Counts(0, 0, 2)
    assert (total.precision, total.sensitivity, total.f1) == (0.75, 0.6, pytest.approx(2 * 0.75 * 0.6 / 1.35))
    assert np.isnan([Counts().precision, Counts().sensitivity, Counts().f1]).all()


@pytest.mark.parametrize("precision, sensitivity, f1, spread", [
    ([84.37, 54.79, 76.84, 74.18, 77.89], [79.63, 72.25, 68.64, 80.20, 77.48], 74.31, (9.99, 4.48)),
    ([62.24, 67.35, 54.92, 66.54], [51.81, 54.44, 44.22, 50.45], 55.79, (4.93, 3.76)),
])  # fmt: skip
def test_the_paper_s_averages_are_means_over_folds_with_population_deviations(precision, sensitivity, f1, spread):
    p, s = np.array(precision), np.array(sensitivity)
    assert np.mean(2 * p * s / (p + s)) == pytest.approx(f1, abs=0.05)
    assert (np.std(p), np.std(s)) == (pytest.approx(spread[0], abs=0.02), pytest.approx(spread[1], abs=0.02))


def test_errors_of_named_landmarks():
    predicted = np.array([[3.0, 4.0], [np.nan, np.nan], [10.0, 10.0], [1.0, 1.0]])
    true = np.array([[0.0, 0.0], [1.0, 1.0], [10.0, 11.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(errors(predicted, true), [5, np.nan, 1, np.nan])
    np.testing.assert_allclose(errors(predicted, true, (2.0, 0.5))[0], np.hypot(6, 2))
    there = ~np.isnan(true).any(-1)
    found = errors(predicted, true)
    assert failure_rate(found, 2.0, there) == pytest.approx(2 / 3)  # one too far, one not found
    assert failure_rate(found, 5.0, there) == pytest.approx(1 / 3)
    np.testing.assert_allclose(success_curve(found, (0.5, 1.0, 5.0), there), [0, 1 / 3, 2 / 3])
    assert np.isnan(failure_rate(found, 1.0, np.zeros(4, bool)))


def test_a_summary_of_errors_leaves_out_what_is_missing():
    found = np.array([1.0, np.nan, 3.0, 8.0])
    assert error_summary(found) == {"mean": 4.0, "std": pytest.approx(np.std([1, 3, 8], ddof=1)), "median": 3.0}
    assert error_summary(found, [True, True, True, False]) == {"mean": 2.0, "std": pytest.approx(2**0.5), "median": 2}
    assert np.isnan(list(error_summary([np.nan]).values())).all()
    assert error_summary([2.0])["mean"] == 2.0 and np.isnan(error_summary([2.0])["std"])
