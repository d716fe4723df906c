"""Zoom, crop and flip as one grid: the same for images of a pair, within range, sideways only."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.augment.crop import centre_box, centre_views, crop_grid, resized_crop, resized_view
from tfmed.ops.warp import warp_array

pytestmark = pytest.mark.current

SEEDS = st.integers(0, 2**31 - 1)


@settings(max_examples=40)
@given(SEEDS, st.tuples(st.integers(9, 90), st.integers(9, 90)), st.sampled_from([16, 33]))
def test_one_zoom_in_range_no_turn_and_no_flip_upside_down(seed, shape, size):
    grid = crop_grid(seed, shape, size)
    down, right = np.diff(grid[..., 0], axis=0), np.diff(grid[..., 1], axis=1)
    assert down.min() >= 1 / 1.4 - 1e-4 and down.max() <= 1 / 0.6 + 1e-4
    np.testing.assert_allclose(np.abs(right), down[0, 0], atol=1e-4)
    assert (right > 0).all() or (right < 0).all()
    assert np.ptp(grid[..., 0], axis=1).max() == 0 and np.ptp(grid[..., 1], axis=0).max() == 0
    for axis, length in enumerate(shape):
        first, last = grid[..., axis].min(), grid[..., axis].max()
        inside, around = first >= -1e-3 and last <= length - 1 + 1e-3, first <= 1e-3 and last >= length - 1 - 1e-3
        assert inside or around  # a piece of the image, or all of it


def test_half_are_mirrored_and_crops_lie_anywhere():
    grids = [crop_grid(seed, (64, 64), 16, zoom=(1.0, 1.0)) for seed in range(400)]
    mirrored = np.mean([grid[0, 0, 1] > grid[0, -1, 1] for grid in grids])
    assert abs(mirrored - 0.5) < 3 * 0.5 / 20
    tops, lefts = (np.array([grid[..., axis].min() for grid in grids]) for axis in (0, 1))
    for places in (tops, lefts):
        assert places.min() < 3 and places.max() > 45 and abs(places.mean() - 24) < 3 * 48 / 12**0.5 / 20
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.2
    assert not any(grid[0, 0, 1] > grid[0, -1, 1] for grid in (crop_grid(s, (9, 9), 8, flip=0.0) for s in range(40)))


def test_a_pair_is_moved_alike_and_the_surround_is_filled():
    """A checkerboard and its negative stay each other's negative."""
    board = np.float32(np.indices((24, 24)).sum(0) % 2) * 2 - 1
    for seed in range(6):
        moved = warp_array(np.stack([board, -board], -1), crop_grid(seed, (24, 24), 32), fill="edge")
        np.testing.assert_allclose(moved[..., 0], -moved[..., 1], atol=1e-6)
    out = warp_array(np.ones((8, 8, 1), np.float32), crop_grid(0, (8, 8), 32), fill=-1.0)
    assert out.min() == -1 and out.max() == 1


def test_the_same_seed_gives_the_same_grid():
    np.testing.assert_array_equal(crop_grid(5, (20, 30), 16), crop_grid(5, (20, 30), 16))
    assert (crop_grid(5, (20, 30), 16) != crop_grid(6, (20, 30), 16)).any()


# --- views of one size ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 60), (9, 200)])
def test_boxes_lie_inside_and_have_the_areas_and_ratios_asked_for(shape):
    draw = np.random.default_rng(0)
    boxes = np.array([resized_crop(draw, shape, (0.2, 0.9), (0.5, 3.0)) for _ in range(500)])
    assert (boxes[:, :2] >= -1e-9).all() and (boxes[:, :2] + boxes[:, 2:] <= np.array(shape) + 1e-6).all()
    ratios, areas = boxes[:, 3] / boxes[:, 2], boxes[:, 2] * boxes[:, 3] / np.prod(shape)
    assert ratios.min() >= 0.5 - 1e-6 and ratios.max() <= 3 + 1e-6
    assert areas.max() <= 0.9 + 1e-6
    if shape == (40, 60):
        assert ratios.max() / ratios.min() > 4 and areas.min() >= 0.2 - 1e-6 and areas.max() - areas.min() > 0.5
    whole = resized_crop(draw, (10, 100), (1.0, 1.0), (1.0, 1.0))  # no square has the area: the middle one
    assert whole == (0.0, 45.0, 10.0, 10.0)


def test_the_whole_image_at_its_own_size_is_itself():
    image = np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)
    np.testing.assert_allclose(resized_view(image, (0, 0, 12, 12), 12), image, atol=1e-5)
    np.testing.assert_allclose(resized_view(image, (0, 0, 12, 12), 12, mirrored=True), image[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(resized_view(image, (0, 0, 12, 12), 12, degrees=90.0), np.rot90(image, -1), atol=1e-4)
    np.testing.assert_allclose(resized_view(image, (2, 3, 6, 6), 6), image[2:8, 3:9], atol=1e-5)


def test_large_images_are_averaged_and_what_lies_beyond_has_the_least_value():
    board = np.indices((64, 64)).sum(0) % 2 * 2.0 - 1
    assert np.abs(resized_view(board, (0, 0, 64, 64), 16)).max() < 1e-6
    turned = resized_view(np.full((20, 20), 7.0) - np.eye(20), (0, 0, 20, 20), 20, degrees=45.0)
    assert turned[0, 0] == 6.0 and turned.max() == 7.0


@pytest.mark.parametrize("shape, size", [((30, 44), 16), ((100, 64), 8), ((9, 8), 12)])
def test_centre_views_are_alike_in_a_graph(shape, size):
    images = np.random.default_rng(2).normal(size=(3, *shape)).astype(np.float32)
    ours = np.stack([resized_view(image, centre_box(shape), size) for image in images])
    np.testing.assert_allclose(centre_views(tf.constant(images), size), ours, atol=1e-4)
