"""Instances from two maps and back: round trips, labels by brute force, pathological maps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops

from tfmed.data.instances import centres_of, centroids, instances, maps_of
from tfmed.data.phantoms import cell_pairs
from tfmed.metrics.instances import instance_scores

pytestmark = pytest.mark.one_stack

SEEDS = st.integers(0, 2**31)
ALL = np.ones((3, 3))


def discs(centres, radius, shape):
    """An instance map of discs, the later over the earlier."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for k, (a, b) in enumerate(centres, 1):
        labels[(y - a) ** 2 + (x - b) ** 2 <= radius**2] = k
    return labels


def patches(seed, shape=(24, 30), count=9):
    """Instance map whose objects touch: random numbers in the cells of a Voronoi diagram, with background."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    seeds = rng.uniform(0, shape, (count, 2))
    nearest = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    return (rng.permutation(count) * rng.integers(1, 5))[nearest].astype(np.uint16)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_centres_are_those_of_scikit_image(seed):
    labels = patches(seed).astype(int)
    numbers, centres = centres_of(labels)
    expected = regionprops(labels)
    assert numbers.tolist() == [one.label for one in expected]
    np.testing.assert_allclose(centres, [one.centroid for one in expected])


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(1, 5))
def test_no_component_of_a_map_is_of_two_objects(seed, radius):
    labels = patches(seed)
    centre, region = maps_of(labels, radius)
    assert set(np.unique(region)) <= {0, 1} and not (region.astype(bool) & (labels == 0)).any()
    for component in (
        ndimage.label(region, ALL)[0][None] == np.arange(1, ndimage.label(region, ALL)[1] + 1)[:, None, None]
    ):
        assert len(np.unique(labels[component])) == 1
    numbers, places = centres_of(labels)
    assert ndimage.label(centre, ALL)[1] <= len(numbers) + (radius > 2) * len(numbers)  # a bitten disc may fall apart
    y, x = np.indices(labels.shape)
    away = np.sqrt((y[..., None] - places[:, 0]) ** 2 + (x[..., None] - places[:, 1]) ** 2)
    assert not (centre.astype(bool) & (away.min(-1) > radius)).any()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_gap_is_as_defined_and_one_pixel_wide(seed):
    labels = patches(seed).astype(int)
    region = maps_of(labels)[1]
    padded = np.pad(labels, 1)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(*labels.shape, 9)
    expected = (labels > 0) & ~((around > 0) & (around < labels[..., None])).any(-1)
    np.testing.assert_array_equal(region, expected)
    two = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    assert maps_of(two)[1].tolist() == [[1, 1, 1, 0, 1, 1]] * 4


def test_discs_have_the_size_of_their_definition():
    labels = discs([(10, 10), (10, 30), (30, 20)], 8, (41, 41))
    centre, region = maps_of(labels)
    assert centre.sum() == 3 * 29 and ndimage.label(centre)[1] == 3  # 29 pixels within 3 of one
    np.testing.assert_array_equal(region, labels > 0)
    assert centre.dtype == region.dtype == np.uint8


@pytest.mark.parametrize("surface", ["distance", "region"])
@pytest.mark.parametrize("seed", range(3))
def test_maps_lead_back_to_the_cells(seed, surface):
    labels = cell_pairs(seed, (160, 170)).labels.array[0]
    centre, region = (m.astype(np.float32) for m in maps_of(labels))
    found = instances(centre, ndimage.gaussian_filter(region, 0.7) if surface == "region" else region, surface=surface)
    scores = instance_scores(found, labels)
    assert found.dtype == np.int32 and found.max() == len(np.unique(labels)) - 1 == len(scores.reference)
    assert scores.dice.mean() > 0.93 and not scores.missed.any() and scores.extra == 0


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(["distance", "region"]))
def test_as_many_instances_as_centroids_in_the_foreground(seed, surface):
    rng = np.random.default_rng(seed)
    centre, region = (ndimage.gaussian_filter(rng.random((40, 50)), 1.5) for _ in range(2))
    centre = (centre - centre.min()) / np.ptp(centre)
    threshold = float(np.median(region))
    found = instances(centre, region, 0.6, threshold, surface)
    pixels = {tuple(p) for p in np.rint(centroids(centre, 0.6)).astype(int) if region[tuple(p)] > threshold}
    assert len(np.unique(found[found > 0])) == found.max() == len(pixels)
    assert not ((found > 0) & (region <= threshold)).any()
    whole, count = ndimage.label(region > threshold)
    marked = {whole[p] for p in pixels}
    np.testing.assert_array_equal(found > 0, np.isin(whole, list(marked)))  # all of each piece that has a centroid
    for k in range(1, found.max() + 1):
        assert ndimage.label(found == k)[1] == 1
    assert count >= len(marked)


def test_touching_cells_part_half_way():
    labels = discs([(20, 14), (20, 28)], 8, (41, 43))
    centre = discs([(20, 14), (20, 28)], 3, (41, 43)) > 0
    found = instances(centre, labels > 0)
    assert found[20, 14] == 1 and found[20, 28] == 2
    assert set(np.unique(found[:, :20])) == {0, 1} and set(np.unique(found[:, 23:])) == {0, 2}
    np.testing.assert_array_equal(found > 0, labels > 0)


def test_otsu_finds_the_foreground_of_any_scale():
    labels = discs([(12, 12), (12, 34)], 8, (25, 47))
    noise = np.random.default_rng(0).normal(0, 0.02, labels.shape)
    for low, high in ((0.1, 0.3), (0.0, 1.0), (0.6, 0.9)):
        found = instances(maps_of(labels)[0], low + (high - low) * (labels > 0) + noise * (high - low))
        assert instance_scores(found, labels).dice.min() > 0.98


def test_maps_without_cells_or_contrast():
    empty = np.zeros((20, 30))
    assert not instances(empty, empty).any() and not instances(empty, np.ones((20, 30))).any()
    assert centroids(empty).shape == (0, 2) and centres_of(empty.astype(int))[1].shape == (0, 2)
    assert not maps_of(empty.astype(int))[0].any()
    one = discs([(10, 10)], 3, (20, 30)) > 0
    assert (instances(one, np.ones((20, 30))) == 1).all()  # no contrast: all is foreground above 0.5
    assert not instances(one, empty).any()
    ring = discs([(10, 10)], 8, (21, 21)) * (discs([(10, 10)], 5, (21, 21)) == 0)
    assert instances(ring + (discs([(10, 10)], 2, (21, 21)) > 0), np.ones((21, 21))).max() == 1  # one centre of two


def test_three_axes():
    labels = np.zeros((12, 20, 22), np.uint16)
    labels[2:9, 3:10, 3:10], labels[2:9, 3:10, 10:17] = 4, 9
    centre, region = maps_of(labels, 2.0)
    assert region[:, :, 10].sum() == 0 and ndimage.label(region)[1] == 2
    found = instances(centre, labels > 0)
    assert found.max() == 2 and (instance_scores(found, labels).dice > 0.9).all()


@pytest.mark.parametrize("call, said", [
    (lambda: instances(np.zeros((4, 4)), np.zeros((4, 5))), "differ in shape"),
    (lambda: instances(np.full((4, 4), np.nan), np.zeros((4, 4))), "NaN or infinite"),
    (lambda: instances(np.zeros((4, 4)), np.zeros((4, 4)), surface="depth"), "surface is"),
    (lambda: centroids(np.zeros(4)), "2 or 3 axes"),
    (lambda: maps_of(np.zeros((4, 4))), "holds integers"),
    (lambda: maps_of(-np.ones((4, 4), int)), "0 or above"),
    (lambda: maps_of(np.ones((4, 4), int), 0), "radius of a disc"),
])  # fmt: skip
def test_bad_arguments(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
