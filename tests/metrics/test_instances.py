"""Scores per instance: the table's measures by their formulas with scipy and scikit-image, hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import find_boundaries

from tfmed.metrics.instances import instance_scores

pytestmark = pytest.mark.one_stack


def smooth_labels(seed, shape=(40, 44), rim=0):
    """Blobs with some numbers left out; `rim` pixels at the border are background."""
    rng = np.random.default_rng(seed)
    labels = ndimage.label(ndimage.gaussian_filter(rng.random(shape), 2.0) > 0.52)[0] * 3
    if rim:
        labels[:rim] = labels[-rim:] = 0
        labels[:, :rim] = labels[:, -rim:] = 0
    return labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_equals_the_formulas(seed):
    """Contours by scikit-image, distances by scipy's transform, as the study is read."""
    theirs = smooth_labels(seed, rim=2)
    ours = np.roll(smooth_labels(seed, rim=4), np.random.default_rng(seed).integers(-2, 3, 2), (0, 1))
    found = instance_scores(ours, theirs)
    assert found.reference.tolist() == [k for k in np.unique(theirs) if k]
    for k, number in enumerate(found.reference):
        b = theirs == number
        sizes = {j: np.count_nonzero(b & (ours == j)) for j in np.unique(ours) if j}
        best = max(sizes, key=lambda j: (sizes[j], -j), default=0)
        if not sizes or not sizes[best]:
            assert found.prediction[k] == 0 and found.missed[k] and found.dice[k] == found.jaccard[k] == 0
            assert found.area_difference[k] == 1 and np.isnan(found.mean_distance[k])
            continue
        a = ours == best
        assert found.prediction[k] == best
        assert found.jaccard[k] == (a & b).sum() / (a | b).sum()
        assert found.dice[k] == 2 * (a & b).sum() / (a.sum() + b.sum())
        assert found.area_difference[k] == abs(int(a.sum()) - int(b.sum())) / b.sum()
        rims = [find_boundaries(m, connectivity=1, mode="inner") for m in (a, b)]
        both = np.concatenate([ndimage.distance_transform_edt(~rims[1])[rims[0]],
                               ndimage.distance_transform_edt(~rims[0])[rims[1]]])  # fmt: skip
        expected = both.mean(), np.sqrt((both**2).mean()), both.max()
        np.testing.assert_allclose(
            [found.mean_distance[k], found.rms_distance[k], found.max_distance[k]], expected, rtol=1e-9, atol=1e-9
        )
    touched = set(np.unique(ours[theirs > 0]))
    assert found.extra == len(set(np.unique(ours)) - {0} - touched)


def test_equal_maps_are_perfect_whatever_the_numbers():
    labels = smooth_labels(1)
    other = np.where(labels > 0, 1000 - labels, 0).astype(np.uint16)
    found = instance_scores(other, labels)
    assert (found.prediction == 1000 - found.reference).all()
    assert found.means() == {"AP": 1, "DC": 1, "AD": 0, "ASD": 0, "RSD": 0, "MSD": 0, "missed": 0} and not found.extra


def test_a_square_that_is_shifted():
    theirs = np.zeros((20, 20), int)
    theirs[5:11, 5:11] = 1
    found = instance_scores(np.roll(theirs, 2, 1) * 8, theirs)
    assert found.jaccard[0] == 24 / 48 and found.dice[0] == 48 / 72 and found.max_distance[0] == 2
    assert found.means()["RSD"] > found.means()["ASD"] > 0


def test_mean_jaccard_is_at_least_that_of_the_mean_dice():
    """By convexity, as the study's table has it."""
    for seed in range(5):
        means = instance_scores(np.roll(smooth_labels(seed), 2, 1), smooth_labels(seed)).means()
        assert means["AP"] >= means["DC"] / (2 - means["DC"]) - 1e-12


def test_no_objects_on_either_side():
    none, one = np.zeros((6, 7), int), np.pad([[5]], ((2, 3), (2, 4)))
    assert instance_scores(none, none).means().keys() == {"AP", "DC", "AD", "ASD", "RSD", "MSD", "missed"}
    assert all(np.isnan(value) for value in instance_scores(one, none).means().values())
    assert instance_scores(one, none).extra == 1
    lost = instance_scores(none, one)
    assert lost.missed.tolist() == [True] and lost.means()["missed"] == 1 and np.isnan(lost.means()["ASD"])
    full = np.full((3, 3), 7)
    assert instance_scores(full, full).prediction.tolist() == [7]


@pytest.mark.parametrize("prediction, reference, said", [
    ([[1.0]], [[1]], "prediction: an instance map holds integers"),
    ([[1]], [[-1]], "reference: the numbers"),
    ([[1, 0]], [[1]], "different shapes"),
])  # fmt: skip
def test_bad_arguments(prediction, reference, said):
    with pytest.raises(ValueError, match=said):
        instance_scores(prediction, reference)
