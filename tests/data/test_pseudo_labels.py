"""Pseudo-labels: the pass over all images, k-means, whitening, and the balanced choice."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from tfmed.data.pseudo_labels import (
    PseudoLabels,
    balanced_choice,
    distances_from,
    feature_pass,
    kmeans,
    nearest,
    unit_rows,
    whitening,
)
from tfmed.errors import DataError

pytestmark = pytest.mark.one_stack


def draws(seed=0):
    return np.random.default_rng(seed)


def test_rows_have_unit_length_and_a_row_of_zeros_stays():
    rows = np.float32([[3, 4], [0, 0], [1e-20, 0], [1e18, 1e18]])
    found = unit_rows(rows)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1e-8, 1], rtol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_the_pass_covers_every_image_once_in_order(count):
    asked = []

    def read(k):
        asked.append(k)
        return np.full((2, 3), k, np.float32)

    found = feature_pass(read, count, (2, 3), lambda images: tf.reduce_sum(images, 2) * 2, 2, 4)
    assert isinstance(found, np.memmap) and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.arange(count)[:, None] * np.full((1, 2), 6))
    assert set(asked) == set(range(count))


def test_what_reading_raises_is_told_as_it_is():
    def read(k):
        raise DataError("scan.nii: is damaged")

    with pytest.raises(DataError, match="is damaged"):
        feature_pass(read, 3, (2,), lambda images: images, 2, 2)


def blobs(count=300, width=5, seed=0):
    middle = draws(seed).normal(0, 5, (6, width))
    return (middle[np.arange(count) % 6] + draws(seed + 1).normal(size=(count, width))).astype(np.float32)


def test_kmeans_is_scikit_learn_s_and_repeats_itself():
    rows = blobs()
    kept = rows.copy()
    groups, centres = kmeans(rows, 6, 11)
    np.testing.assert_allclose(rows, kept, atol=1e-5)
    same = KMeans(6, init="random", n_init=1, max_iter=20, tol=0, algorithm="lloyd", random_state=11).fit(kept)
    np.testing.assert_array_equal(groups, same.labels_)
    np.testing.assert_allclose(centres, same.cluster_centers_, atol=1e-5)
    again, other = kmeans(kept.copy(), 6, 11), kmeans(kept.copy(), 6, 12)
    np.testing.assert_array_equal(again[0], groups)
    np.testing.assert_array_equal(again[1], centres)
    assert (other[0] != groups).any()
    which, away = nearest(rows, centres)
    np.testing.assert_array_equal(which, groups)
    np.testing.assert_allclose(away, distances_from(rows, centres, groups), atol=1e-4)
    np.testing.assert_allclose(away, np.linalg.norm(kept - centres[groups], axis=1), atol=1e-4)


def test_few_different_rows_leave_clusters_empty_and_too_few_are_refused():
    groups, centres = kmeans(np.repeat(np.eye(3, dtype=np.float32), 4, 0), 5, 0)
    assert len(np.unique(groups)) == 3 and len(centres) == 5
    with pytest.raises(ValueError, match="2 rows make no 5 clusters"):
        kmeans(np.eye(2, dtype=np.float32), 5, 0)


def test_mini_batches_find_clusters_that_lie_apart():
    rows = np.repeat(np.eye(4, dtype=np.float32), 50, 0) * 9
    assert len(np.unique(kmeans(rows, 4, 3, minibatch=True)[0])) >= 3


def test_whitening_is_that_of_scikit_learn_up_to_the_sign():
    rows = blobs(9000, 4) @ draws(3).normal(size=(4, 4)).astype(np.float32)  # more than a block
    mean, matrix = whitening(rows, 3)
    found, expected = (rows - mean) @ matrix, PCA(3, whiten=True, svd_solver="full").fit_transform(rows)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-3)
    np.testing.assert_allclose(np.cov(found.T), np.eye(3), atol=2e-3)


def test_every_label_that_occurs_is_drawn_alike():
    labels = np.repeat([0, 2, 7, 9], [900, 90, 9, 1])
    found = balanced_choice(labels, 1000, draws())
    assert found.shape == (1000,) and set(labels[found]) == {0, 2, 7, 9}
    counts = np.unique(labels[found], return_counts=True)[1]
    assert counts.sum() == 1000 and counts.max() <= 251 and counts.min() >= 251 - 4  # of m = 251 each, 4 are cut
    alone = found[labels[found] == 9]
    assert set(alone) == {999}  # again and again
    large = found[labels[found] == 0]
    assert len(np.unique(large)) == len(large)  # more than m of them: none twice
    whole = balanced_choice(labels, 1000 - 1000 % 4 + 3, draws(1))
    assert len(whole) == 1003


def test_before_it_is_cut_each_label_occurs_m_times():
    class Uncut(np.random.Generator):
        """Gives the permutation before it is cut."""

        kept = None

        def permutation(self, values):
            Uncut.kept = values
            return super().permutation(values)

    labels = np.repeat([1, 4, 5], [30, 2, 8])
    found = balanced_choice(labels, 40, Uncut(np.random.Philox(3)))
    assert np.unique(labels[Uncut.kept], return_counts=True)[1].tolist() == [40 // 3 + 1] * 3
    assert len(found) == 40 and (np.diff(labels[found]) != 0).sum() > 10  # shuffled


def test_of_nine_to_one_half_are_drawn():
    labels = np.repeat([0, 1], [900, 100])
    share = (labels[balanced_choice(labels, 1000, draws(2))] == 1).mean()
    assert abs(share - 0.5) <= 0.02


def test_samples_are_a_function_of_the_index_and_the_labels_of_the_round():
    labels = np.repeat([0, 3], [30, 10])
    one, other = (PseudoLabels(labels, seed, 40, 48) for seed in (1, 2))
    first = [one.of(index) for index in range(48)]
    assert all(labels[image] == label for image, label in first)
    assert first[:8] == first[40:]  # behind the end it begins again
    second = [one.of(index) for index in range(48, 96)]
    assert second != first and [one.of(index) for index in range(48)] == first
    assert [other.of(index) for index in range(48)] != first
    one.use(np.arange(40) % 2)
    assert {label for _, label in map(one.of, range(48))} == {0, 1}
    natural = PseudoLabels(labels, 1, 40, 48, balanced=False)
    assert sorted(natural.choice(0)) == list(range(40))
    assert len(PseudoLabels(labels, 1, 100, 100, balanced=False).choice(1)) == 100
