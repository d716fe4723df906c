"""Distances between sets of features and inception score: closed forms, invariants, independent implementations."""

import importlib.util

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.metrics import generative
from tfmed.metrics.generative import (
    Moments,
    batch_mmd,
    frechet_distance,
    frechet_distances_at,
    frechet_of_moments,
    inception_score,
    kernel_distance,
    kernel_distances,
    mmd,
    sliced_wasserstein,
)

pytestmark = pytest.mark.current

SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(1, 20))


def features(seed, n=50, d=8):
    """Samples of a Gaussian with a mean and a covariance of their own."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def exactly(mean, deviations):
    """Samples whose mean and (diagonal, unbiased) covariance are exactly as given."""
    mean, deviations = np.asarray(mean, float), np.asarray(deviations, float)
    d = len(mean)
    n = 2 * d
    directions = np.vstack([np.eye(d), -np.eye(d)]) * np.sqrt((n - 1) / 2)
    return mean + directions * deviations


def by_square_root(a, b):
    """The definition, with scipy's square root of a matrix."""
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    gap = a.mean(axis=0) - b.mean(axis=0)
    return gap @ gap + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root).real


@settings(max_examples=50)
@given(SEEDS, SIZES)
def test_identical_sets_have_distance_zero(seed, sizes):
    n, _, d = sizes
    a = features(seed, n, d)
    scale = np.sum(np.var(a, axis=0)) + 1
    assert 0 <= frechet_distance(a, a) <= 1e-6 * scale
    assert 0 <= frechet_distance(a, a[::-1]) <= 1e-6 * scale  # the order does not matter


@settings(max_examples=50)
@given(SEEDS, SIZES)
def test_symmetric_and_not_negative(seed, sizes):
    n, m, d = sizes
    a, b = features(seed, n, d), features(seed + 1, m, d)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9, abs=1e-9)
    assert frechet_distance(a, b) >= 0


@settings(max_examples=50)
@given(SEEDS, SIZES, st.floats(-100, 100))
def test_equal_covariances_leave_the_distance_of_the_means(seed, sizes, shift):
    n, _, d = sizes
    a = features(seed, n, d)
    assert frechet_distance(a, a + shift) == pytest.approx(d * shift**2, rel=1e-7, abs=1e-5)


@settings(max_examples=50)
@given(SEEDS, SIZES)
def test_rotations_and_common_shifts_change_nothing_and_scale_squares(seed, sizes):
    n, m, d = sizes
    a, b = features(seed, n, d), features(seed + 1, m, d)
    turn = scipy.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    distance = frechet_distance(a, b)
    assert frechet_distance(a @ turn + 3, b @ turn + 3) == pytest.approx(distance, rel=1e-6, abs=1e-6)
    assert frechet_distance(5 * a, 5 * b) == pytest.approx(25 * distance, rel=1e-6, abs=1e-6)


NUMBERS = st.lists(st.tuples(*[st.floats(-5, 5)] * 2, *[st.floats(0, 5)] * 2), min_size=1, max_size=6)


@given(NUMBERS)
def test_diagonal_gaussians(rows):
    """sum (m1 - m2)^2 + (s1 - s2)^2, exactly."""
    m1, m2, s1, s2 = np.array(rows).T
    expected = np.sum((m1 - m2) ** 2 + (s1 - s2) ** 2)
    assert frechet_distance(exactly(m1, s1), exactly(m2, s2)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_one_dimension_by_hand():
    assert frechet_distance([[0.0], [2.0]], [[3.0], [5.0]]) == pytest.approx(9.0)
    assert frechet_distance([[-1.0], [1.0]], [[-3.0], [3.0]]) == pytest.approx((3 * np.sqrt(2) - np.sqrt(2)) ** 2)


@pytest.mark.parametrize("n, m, d", [(60, 80, 8), (300, 200, 32), (9, 9, 8), (8, 20, 8)])
def test_equals_the_matrix_square_root(n, m, d):
    a, b = features(0, n, d), features(1, m, d)
    assert frechet_distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-6)


@pytest.mark.parametrize("n, m, d", [(5, 6, 12), (2, 2, 30), (40, 6, 20)])
def test_equals_the_matrix_square_root_with_fewer_samples_than_features(n, m, d):
    """There the product is singular and scipy's root inexact, hence the tolerance."""
    a, b = features(2, n, d), features(3, m, d)
    assert frechet_distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-4)


def test_low_precision_features_are_handled_in_float64():
    a, b = features(0).astype("float32"), features(1).astype("float32")
    assert frechet_distance(a, b) == frechet_distance(a.astype("float64"), b.astype("float64"))
    assert frechet_distance(1e4 + a, 1e4 + a) < 1e-3


@pytest.mark.parametrize("a, b, words", [
    (np.zeros((1, 3)), np.zeros((4, 3)), "features: .*at least two samples"),
    (np.zeros((4, 3)), np.zeros((0, 3)), "reference: .*at least two samples"),
    (np.zeros(4), np.zeros((4, 3)), "features: "),
    (np.zeros((4, 3)), np.zeros((4, 2)), "3 dimensions, the reference has 2"),
    (np.full((4, 3), np.nan), np.zeros((4, 3)), "features: some values are NaN"),
    (np.zeros((4, 3)), np.full((4, 3), np.inf), "reference: some values are NaN or infinite"),
])  # fmt: skip
def test_impossible_input(a, b, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(a, b)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_gan") is None, reason="TensorFlow-GAN is installed on stack addons only"
)
@pytest.mark.parametrize("n, m, d", [(200, 150, 6), (500, 500, 16)])
def test_equal_tensorflow_gan(n, m, d):
    from tensorflow_gan.python.eval import classifier_metrics as tfgan

    a, b = (features(seed, size, d).astype("float32") for seed, size in ((0, n), (1, m)))
    theirs = float(tfgan.frechet_classifier_distance_from_activations(a, b))
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-4)
    logits = np.random.default_rng(0).normal(size=(n, d)).astype("float32")
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert inception_score(p) == pytest.approx(float(tfgan.classifier_score_from_logits(logits)), rel=1e-4)


# --- Frechet distance in batches, and at a size ----------------------------------------------------------------------


@settings(max_examples=20)
@given(SEEDS, st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_moments_of_batches_are_those_of_the_whole(seed, sizes):
    x = features(seed, sum(sizes) + 2, 6)
    moments = Moments()
    for batch in np.split(x, np.cumsum(sizes)):
        moments.add(batch)
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n, m, d", [(60, 80, 8), (5, 20, 12)])
def test_moments_give_the_same_distance(n, m, d):
    a, b = features(0, n, d), features(1, m, d)
    found = frechet_of_moments(Moments().add(a), Moments().add(b[:3]).add(b[3:]))
    assert found == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_moments_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="3 dimensions, those before 2; use one network"):
        Moments().add(np.zeros((4, 2))).add(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least two samples; got 1"):
        _ = Moments().add(np.zeros((1, 2))).covariance
    with pytest.raises(ValueError, match="use one network for both"):
        frechet_of_moments(Moments().add(np.zeros((4, 2))), Moments().add(np.zeros((4, 3))))


def test_what_equal_distributions_score():
    """Unit Gaussians in 128 dimensions score about 38 at 225 samples and 29 at 283 (known from simulation)."""
    x = np.random.default_rng(0).normal(size=(600, 128))
    assert frechet_distances_at(225, x, repeats=3).mean() == pytest.approx(38, rel=0.1)
    assert frechet_distances_at(283, x, repeats=3).mean() == pytest.approx(29, rel=0.1)
    shifted = frechet_distances_at(225, x, x[:300] + 1, repeats=3)
    assert shifted.shape == (3,) and shifted.min() > 128
    for least, arguments in ((602, (301, x)), (300, (300, x, x[:299]))):
        with pytest.raises(ValueError, match=f"too few for subsets of .*; {least} are needed"):
            frechet_distances_at(*arguments)
    assert np.isfinite(frechet_distances_at(2, x[:4, :3])).all()  # two subsets of two are the fewest
    with pytest.raises(ValueError, match="too few"):
        frechet_distances_at(1, x)


# --- sliced Wasserstein ---------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(SEEDS, st.tuples(st.integers(1, 30), st.integers(1, 30)), st.sampled_from([1, 2]))
def test_one_dimension_equals_scipy_and_quantiles(seed, sizes, order):
    """In one dimension every direction is the axis itself."""
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(n, 1)) * scale for n, scale in zip(sizes, (1, 3), strict=True))
    found = sliced_wasserstein(x, y, projections=3, order=order)
    if order == 1:
        assert found == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]))
    n, m = sizes
    a, b = np.repeat(np.sort(x[:, 0]), m), np.repeat(np.sort(y[:, 0]), n)  # the same quantile function, n m values each
    assert found == pytest.approx(np.mean(np.abs(a - b) ** order) ** (1 / order))


def test_a_shift_of_all_samples():
    """Along a random direction in d dimensions a shift s is |s|^2 / d long on average."""
    x = features(0, 40, 5)
    assert sliced_wasserstein(x, x) == 0
    assert sliced_wasserstein(x, x + 2, projections=4000) == pytest.approx(2, rel=0.05)
    assert sliced_wasserstein(x, x + 2, seed=1) == sliced_wasserstein(x.reshape(40, 5, 1), x[::-1] + 2, seed=1)
    with pytest.raises(ValueError, match="use one network for both"):
        sliced_wasserstein(x, x[:, :3])


# --- inception score ------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 5))
def test_sure_and_evenly_spread_scores_the_number_of_classes(classes, times):
    assert inception_score(np.tile(np.eye(classes), (times, 1))) == pytest.approx(classes)


@given(st.integers(1, 30), st.integers(1, 10), SEEDS)
def test_images_that_look_alike_score_one(classes, n, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(classes))
    assert inception_score(np.tile(p, (n, 1))) == pytest.approx(1.0)


@given(st.integers(1, 10), st.integers(1, 20), SEEDS)
def test_between_one_and_the_number_of_classes(classes, n, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.3), n)
    score = inception_score(p)
    assert 1 - 1e-9 <= score <= classes + 1e-9
    assert inception_score(p[rng.permutation(n)][:, rng.permutation(classes)]) == pytest.approx(score)
    assert inception_score(np.vstack([p, p])) == pytest.approx(score)


def test_two_images_by_hand():
    """Mean (1/2, 1/2): KL of (0.9, 0.1) to it is log 2 - entropy(0.9)."""
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert inception_score([[0.9, 0.1], [0.1, 0.9]]) == pytest.approx(2 * np.exp(-entropy))


@pytest.mark.parametrize("p", [[[0.5, 0.6]], [0.5, 0.5], np.zeros((0, 3)), [[np.nan, 1.0]], [[2.0, 3.0]]], ids=str)
def test_what_is_no_probability(p):
    with pytest.raises(ValueError, match="rows that sum to 1"):
        inception_score(p)


# --- kernel distance and MMD ----------------------------------------------------------------------------------------


def by_loops(x, y, kernel, biased=False):
    """The definition, pair by pair."""
    n, m = len(x), len(y)
    pairs = [[kernel(a, b) for b in second] for first, second in ((x, x), (y, y), (x, y)) for a in first]
    within_x, within_y, between = np.array(pairs[:n]), np.array(pairs[n : n + m]), np.array(pairs[n + m :])
    if biased:
        return within_x.mean() + within_y.mean() - 2 * between.mean()
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (within_x, within_y)]
    return sum(within) - 2 * between.mean()


def cubic(a, b):
    return (a @ b / len(a) + 1) ** 3


@settings(max_examples=20)
@given(SEEDS, st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6)))
def test_kernel_distances_equal_their_definitions(seed, sizes):
    n, m, d = sizes
    x, y = features(seed, n, d), features(seed + 1, m, d)
    expected = by_loops(x, y, cubic)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(x).max() ** 6)
    for biased in (False, True):
        expected = by_loops(x, y, lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 1.7**2)), biased)
        assert mmd(x, y, 1.7, biased) == pytest.approx(expected, abs=1e-9)


def test_sums_over_blocks_equal_the_whole(monkeypatch):
    x, y = features(0, 90), features(1, 70)
    whole = kernel_distance(x, y), mmd(x, y)
    monkeypatch.setattr(generative, "_ROWS_AT_A_TIME", 16)
    assert (kernel_distance(x, y), mmd(x, y)) == pytest.approx(whole)


def test_unbiased_around_zero_for_one_distribution_and_apart_for_two():
    rng = np.random.default_rng(0)
    same = np.array([[f(rng.normal(size=(40, 5)), rng.normal(size=(50, 5))) for f in (kernel_distance, mmd)]
                     for _ in range(60)])  # fmt: skip
    assert (np.abs(same.mean(axis=0)) < 4 * same.std(axis=0) / np.sqrt(60)).all() and (same < 0).any(axis=0).all()
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(50, 5)) + 1
    assert kernel_distance(x, y) > same[:, 0].max() and mmd(x, y) > same[:, 1].max()


def test_mmd_of_equal_sets_symmetry_and_images():
    x, y = features(0), features(1)
    assert mmd(x, x, biased=True) == pytest.approx(0, abs=1e-9)
    assert mmd(x, y) == pytest.approx(mmd(y, x))
    assert mmd(x.reshape(50, 2, 4), y.reshape(50, 2, 4)) == mmd(x, y)
    assert mmd(3 * x, 3 * y) == pytest.approx(mmd(x, y))  # the median follows the scale


def test_median_distance():
    x, y = features(0), features(1)
    expected = np.median(scipy.spatial.distance.pdist(np.concatenate([x, y])))
    assert generative.median_distance(x, y) == pytest.approx(expected)


def test_median_distance_of_samples_of_which_most_are_alike():
    x = np.array([[5.0, 1.0]] * 10 + [[5.0, 4.0]])
    assert generative.median_distance(x[:5], x[5:]) == pytest.approx(3)
    assert generative.median_distance(x[:5], x[5:10]) == 0


def test_kernel_distances_of_blocks():
    x, y = features(0, 43), features(1, 61)
    parts = kernel_distances(x, y, blocks=5)
    assert parts.shape == (5,) and np.array_equal(parts, kernel_distances(x, y, blocks=5))
    assert not np.array_equal(parts, kernel_distances(x, y, blocks=5, seed=1))
    assert kernel_distances(x, y).shape == frechet_distances_at(5, x, repeats=10).shape == (10,)
    assert kernel_distances(x, y, blocks=1)[0] == pytest.approx(kernel_distance(x, y))
    with pytest.raises(ValueError, match="43 samples are too few for 22 blocks"):
        kernel_distances(x, y, blocks=22)


@pytest.mark.parametrize("distance", [kernel_distance, mmd])
@pytest.mark.parametrize("a, b, words", [
    (np.zeros((1, 3)), np.zeros((4, 3)), "features: .*at least two samples"),
    (np.zeros((4, 3)), np.zeros((4, 2)), "3 dimensions, the reference has 2; use one network"),
    (np.zeros((4, 3)), np.full((4, 3), np.inf), "reference: some values are NaN or infinite"),
])  # fmt: skip
def test_impossible_kernel_distances(distance, a, b, words):
    with pytest.raises(ValueError, match=words):
        distance(a, b)


def test_a_bandwidth_must_be_positive():
    with pytest.raises(ValueError, match=r"bandwidth: 0\.0 is not positive"):
        mmd(np.ones((4, 3)), np.ones((4, 3)))


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_gan") is None, reason="TensorFlow-GAN is installed on stack addons only"
)
def test_kernel_distance_equals_tensorflow_gan():
    from tensorflow_gan.python.eval import classifier_metrics as tfgan

    a, b = features(0, 200, 16).astype("float32"), features(1, 150, 16).astype("float32")
    theirs = float(tfgan.kernel_classifier_distance_from_activations(tf.constant(a), tf.constant(b)))
    assert kernel_distance(a, b) == pytest.approx(theirs, rel=1e-4)


def test_features_in_a_memory_map_are_read_in_blocks(tmp_path, monkeypatch):
    """Same numbers as from arrays, whatever the blocks; the map is never copied as a whole."""
    x, y = features(0, 90).astype("float32"), features(1, 70).astype("float32")
    maps = []
    for name, part in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", part)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    distances = frechet_distance, kernel_distance, mmd, sliced_wasserstein
    whole = [distance(x, y) for distance in distances]
    monkeypatch.setattr(generative, "_ROWS_AT_A_TIME", 16)
    assert [distance(*maps) for distance in distances] == pytest.approx(whole, rel=1e-9)


@given(SEEDS)
def test_batch_mmd_is_the_sum_over_all_pairs(seed):
    """(sum XX' + sum YY' - 2 sum XY') / n^2, written out, of batches of little volumes."""
    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(4, 2, 3, 5)), draws.normal(0.3, 2.0, size=(4, 2, 3, 5))
    a, b = x.reshape(4, -1), y.reshape(4, -1)
    expected = ((a @ a.T).sum() + (b @ b.T).sum() - 2 * (a @ b.T).sum()) / 16
    assert batch_mmd(x, y) == pytest.approx(expected, rel=1e-9)
    assert batch_mmd(x, x[::-1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("images, message", [(np.zeros((2, 3)), "dimensions"), (np.full((2, 4), np.nan), "finite")])
def test_batch_mmd_refuses_what_cannot_be_compared(images, message):
    with pytest.raises(ValueError, match=message):
        batch_mmd(images, np.zeros((2, 4)))
