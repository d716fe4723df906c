"""Which cases to label next: scores by hand, strategies against brute force, and what they do to rare classes."""

import itertools
import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances

from tfmed.data.acquisition import cases as acquisition
from tfmed.errors import UserError

pytestmark = pytest.mark.one_stack
SCORES = (acquisition.confidence_scores, acquisition.margin_scores, acquisition.entropy_scores)


def draw(seed=0):
    return np.random.default_rng(seed)


def pool(count, labelled, seed=0):
    found = np.zeros(count, bool)
    found[draw(seed).permutation(count)[:labelled]] = True
    return found


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores_of_uniform_and_of_sure_probabilities(classes):
    uniform, sure = np.full((1, classes), 1 / classes), np.eye(classes)
    expected = (1 - 1 / classes, 1.0, math.log(classes))
    for score, value in zip(SCORES, expected, strict=True):
        assert score(uniform)[0] == pytest.approx(value)
        np.testing.assert_allclose(score(sure), 0, atol=1e-15)


@given(st.integers(2, 6), st.integers(0, 2**31))
def test_scores_do_not_depend_on_the_order_of_classes(classes, seed):
    rng = draw(seed)
    p, order = rng.dirichlet(np.ones(classes), 7), rng.permutation(classes)
    h = rng.normal(size=(7, 3))
    for score in (*SCORES, lambda q: acquisition.last_layer_change(q, h),
                  lambda q: acquisition.last_layer_change(q, h, expected=True)):  # fmt: skip
        np.testing.assert_allclose(score(p), score(p[:, order]), rtol=1e-12)
    if classes == 2:
        np.testing.assert_allclose(acquisition.margin_scores(p), 2 * acquisition.confidence_scores(p), rtol=1e-12)


def test_scores_by_hand():
    p = [[0.5, 0.3, 0.2]]
    assert acquisition.confidence_scores(p)[0] == pytest.approx(0.5)
    assert acquisition.margin_scores(p)[0] == pytest.approx(0.8)
    assert acquisition.entropy_scores(p)[0] == pytest.approx(scipy.stats.entropy(p[0]))
    h = [[2.0, 0.0, 1.0, 2.0]]  # with the offset's 1 of length sqrt(10)
    lengths = [math.sqrt(10 * sum((q - (k == y)) ** 2 for k, q in enumerate(p[0]))) for y in range(3)]
    assert acquisition.last_layer_change(p, h)[0] == pytest.approx(lengths[0])
    assert acquisition.last_layer_change(p, h, True)[0] == pytest.approx(np.dot(p[0], lengths))
    np.testing.assert_allclose(acquisition.last_layer_change(np.eye(3), np.ones((3, 2))), 0, atol=1e-15)


# --- what all strategies promise --------------------------------------------------------------------------------------


def strategies(scores, points, seed):
    """Every strategy as a function of (labelled, count)."""
    return {
        "random": lambda known, n: acquisition.random_cases(known, n, draw(seed)),
        "top_n": lambda known, n: acquisition.top_cases(known, scores, n),
        "mixture": lambda known, n: acquisition.mixed(
            known, lambda k, m: acquisition.top_cases(k, scores, m), n, 0.2, draw(seed)
        ),
        "buckets": lambda known, n: acquisition.bucket_cases(known, scores, n, draw(seed)),
        "k_nearest": lambda known, n: acquisition.nearest_cases(known, scores, points, n, draw(seed), 3),
        "core_set": lambda known, n: acquisition.core_set(known, points, n, scores),
        "one shot": lambda known, n: acquisition.core_set(known, points, n, scores, one_shot=True),
        "cosine": lambda known, n: acquisition.core_set(known, points, n, metric="cosine"),
        "manhattan": lambda known, n: acquisition.nearest_cases(known, scores, points, n, draw(seed), 2, "manhattan"),
    }


@given(st.integers(1, 40), st.integers(0, 39), st.integers(0, 40), st.integers(0, 2**31))
def test_every_strategy_gives_so_many_others(count, labelled, budget, seed):
    """Distinct, none labelled before, the same for the same seed; more than there are is refused."""
    labelled = min(labelled, count)
    known = pool(count, labelled, seed)
    scores, points = draw(seed).random(count), draw(seed + 1).normal(size=(count, 4))
    for name, strategy in strategies(scores, points, seed).items():
        if budget > count - labelled:
            with pytest.raises(UserError, match="have no label") as caught:
                strategy(known, budget)
            assert "\n" not in str(caught.value)
            continue
        found = strategy(known, budget)
        assert len(found) == len(set(found.tolist())) == budget and not known[found].any(), name
        np.testing.assert_array_equal(found, strategy(known, budget))


def test_embeddings_that_are_not_finite_are_told():
    with pytest.raises(UserError, match="NaN"):
        acquisition.core_set(pool(5, 1), np.full((5, 2), np.nan), 1)


@given(st.integers(1, 20), st.integers(0, 2**31))
def test_top_cases_score_highest_and_the_released_code_takes_the_lowest(budget, seed):
    known, scores = pool(40, 10, seed), draw(seed).random(40)
    for ascending, sign in ((False, 1), (True, -1)):
        found = acquisition.top_cases(known, scores, budget, ascending)
        left = np.setdiff1d(np.flatnonzero(~known), found)
        assert (sign * scores[found]).min() >= (sign * scores[left]).max()


@pytest.mark.parametrize("share, sure", [(0.0, 10), (0.2, 8), (0.25, 7), (0.9, 1), (1.0, 0)])
def test_a_mixture_has_so_many_random_cases(share, sure):
    known, scores = pool(400, 50), draw().random(400)
    best = acquisition.top_cases(known, scores, 10)
    found = acquisition.mixed(known, lambda k, n: acquisition.top_cases(k, scores, n), 10, share, draw(5))
    assert found[:sure].tolist() == best[:sure].tolist()
    taken = known.copy()
    taken[found[:sure]] = True
    np.testing.assert_array_equal(found[sure:], acquisition.random_cases(taken, 10 - sure, draw(5)))


def test_buckets_take_their_shares():
    scores = np.arange(100) / 100
    found = acquisition.bucket_cases(np.zeros(100, bool), scores, 20, draw())
    assert [int(((found >= low) & (found < high)).sum()) for low, high in ((70, 100), (30, 70), (0, 30))] == [12, 6, 2]


# --- distances --------------------------------------------------------------------------------------------------------


def test_nearest_cases_by_brute_force():
    """The neighbours of labelled cases, the most informative first; what one has taken the next one cannot."""
    known, scores, points = pool(60, 12), draw(1).random(60), draw(2).normal(size=(60, 5))
    expected, free = [], np.flatnonzero(~known).tolist()
    for seed in sorted(np.flatnonzero(known), key=lambda k: -scores[k]):
        near = sorted(free, key=lambda k, seed=seed: np.linalg.norm(points[k] - points[seed]))[:4]
        expected, free = expected + near, [k for k in free if k not in near]
    found = acquisition.nearest_cases(known, scores, points, 30, draw(), neighbours=4)
    assert found.tolist() == expected[:30]
    one = acquisition.nearest_cases(known, scores, points, 1, draw(), neighbours=1)
    top = max(np.flatnonzero(known), key=lambda k: scores[k])
    assert one[0] == min(np.flatnonzero(~known), key=lambda k: np.linalg.norm(points[k] - points[top]))
    low = acquisition.nearest_cases(known, -scores, points, 30, draw(), neighbours=4)
    assert low.tolist() == acquisition.nearest_cases(known, scores, points, 30, draw(), 4, ascending=True).tolist()


def greedy(known, points, count, weights, metric):
    """The plain rule, by all distances."""
    away, centres, chosen = pairwise_distances(points, metric=metric), known.copy(), []
    for _ in range(count):
        key = np.where(centres, -np.inf, weights * away[:, centres].min(1))
        chosen.append(int(key.argmax()))
        centres[chosen[-1]] = True
    return chosen


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count, labelled, budget", [(50, 5, 45), (600, 40, 150)])
@pytest.mark.parametrize("top", [1, 20, 1024])  # how many are compared with every centre: it changes nothing
def test_core_set_is_the_greedy_rule(metric, weighted, count, labelled, budget, top, monkeypatch):
    monkeypatch.setattr(acquisition, "_TOP", top)
    monkeypatch.setattr(acquisition, "_AT_ONCE", 256)
    known, points = pool(count, labelled, 3), draw(4).normal(size=(count, 6)) + 5
    weights = draw(5).random(count) if weighted else np.ones(count)
    found = acquisition.core_set(known, points, budget, weights if weighted else None, metric)
    assert found.tolist() == greedy(known, points, budget, weights, metric)


def radius(points, centres):
    return pairwise_distances(points, points[list(centres)]).min(1).max()


@pytest.mark.parametrize("seed", range(5))
def test_a_core_set_covers_the_pool_at_most_twice_as_widely_as_the_best(seed):
    points, known = draw(seed).normal(size=(12, 2)), np.arange(12) < 2
    found = acquisition.core_set(known, points, 3).tolist()
    radii = [radius(points, [0, 1, *found[:n]]) for n in range(4)]
    assert (np.diff(radii) <= 1e-12).all()
    best = min(radius(points, [0, 1, *three]) for three in itertools.combinations(range(2, 12), 3))
    assert best <= radii[-1] <= 2 * best + 1e-12


def test_one_shot_takes_two_of_one_cluster():
    far, nearer = draw(0).normal(0, 0.01, (5, 2)) + (10, 0), draw(1).normal(0, 0.01, (5, 2)) + (0, 9)
    points, known = np.concatenate([[[0.0, 0.0]], far, nearer]), np.arange(11) < 1
    assert {k > 5 for k in acquisition.core_set(known, points, 2)} == {False, True}
    assert max(acquisition.core_set(known, points, 2, one_shot=True)) <= 5


def test_components_are_those_of_scikit_learn():
    points = draw().normal(size=(30, 5)) * (5, 4, 3, 2, 1)
    found, expected = acquisition.reduced(points, 2), PCA(2).fit_transform(points)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)
    assert acquisition.reduced(points[:3], 9).shape == (3, 3)


# --- what becomes of rare classes -------------------------------------------------------------------------------------


def labelled_shares(strategy, seed):
    """(majority's, minority's) share of what is labelled after three queries of 2 %, of three clouds in the plane."""
    rng = draw(seed)
    kinds = rng.choice(3, 1000, p=(0.67, 0.24, 0.09))
    points = rng.normal(size=(1000, 2)) + np.array([(0, 0), (3, 0), (1.5, 2.6)])[kinds]
    known = np.zeros(1000, bool)
    known[[np.flatnonzero(kinds == k)[0] for k in range(3)]] = True  # so that a classifier knows all classes
    known[acquisition.random_cases(known, 17, rng)] = True
    for _ in range(3):
        p = LogisticRegression().fit(points[known], kinds[known]).predict_proba(points)
        scores = acquisition.margin_scores(p)
        known[strategies(scores, points, seed)[strategy](known, 20) if strategy != "inverted" else
              acquisition.top_cases(known, scores, 20, ascending=True)] = True  # fmt: skip
    return (kinds[known] == 0).mean(), (kinds[known] == 2).mean()


def test_rare_classes_are_found_by_uncertainty_and_by_coverage_and_lost_by_the_inverted_order():
    """Means over ten seeds."""
    names = ("random", "top_n", "inverted", "core_set")
    found = {name: np.mean([labelled_shares(name, seed) for seed in range(10)], 0) for name in names}
    assert found["core_set"][1] >= 1.5 * found["random"][1] and found["top_n"][1] >= 1.5 * found["random"][1]
    assert found["inverted"][0] > found["random"][0] > found["top_n"][0]
