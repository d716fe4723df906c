"""Zoom, crop and flip as one grid: the same for images of a pair, within range, sideways only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.augment.crop import area_read, crop_grid, resized_crop_grid
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


# --- resized, turned, cropped -----------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_a_picture_of_glas_gives_768_pixels_and_a_mask_stays_one():
    """775 x 522 pixels are enlarged as far as the crop needs; image and mask get the same geometry."""
    grid = resized_crop_grid(5, (522, 775), (768, 768))
    assert grid.shape == (768, 768, 2)
    assert grid.min() >= 0 and (grid.reshape(-1, 2).max(0) <= [521, 774]).all()
    checker = np.indices((522, 775)).sum(0) // 64 % 2
    image = warp_array((100.0 * checker[..., None]).astype(np.float32), grid, 1, "edge")
    mask = warp_array(checker[..., None].astype(np.uint8), grid, 0, "edge")
    assert set(np.unique(mask)) == {0, 1}
    assert ((image > 50) == (mask == 1)).mean() > 0.99  # but at borders of fields, where one blends


@pytest.mark.one_stack
@settings(max_examples=30)
@given(
    SEEDS, st.tuples(st.integers(20, 90), st.integers(20, 90)), st.sampled_from([(0.8, 1.2), (1.0, 1.0), (3.0, 3.0)])
)
def test_scale_turn_and_place(seed, shape, scale):
    """Neighbours lie 1 / factor apart, the factor being in range or what makes the crop fit; turns are small."""
    size = (24, 24)
    grid = resized_crop_grid(seed, shape, size, scale, rotate_degrees=15, flip=0.0)
    inner = grid[9:15, 9:15].astype(float)
    step = np.linalg.norm(np.diff(inner, axis=1), axis=-1)
    least = max(24 / min(shape), scale[0])
    assert np.median(step) <= 1 / least + 1e-3
    assert np.median(step) >= 1 / max(24 / min(shape), scale[1]) - 1e-3
    down, right = np.diff(inner, axis=0), np.diff(inner, axis=1)
    assert (np.median(np.abs(down[..., 1])) <= np.tan(np.deg2rad(15.1)) * np.median(np.abs(down[..., 0])) + 1e-3) or (
        np.median(step) < 1e-6
    )
    assert right.shape == (6, 5, 2)


@pytest.mark.one_stack
def test_whole_and_unturned_it_is_the_image_mirrored_or_not():
    plain = resized_crop_grid(1, (16, 16), (16, 16), (1, 1), rotate_degrees=0, flip=0.0)
    np.testing.assert_allclose(plain, np.stack(np.indices((16, 16)), -1), atol=1e-4)
    both = resized_crop_grid(1, (16, 16), (16, 16), (1, 1), rotate_degrees=0, flip=1.0)
    np.testing.assert_allclose(both, plain[::-1, ::-1], atol=1e-4)
    enlarged = resized_crop_grid(1, (16, 16), (16, 16), short_side=(32, 32), rotate_degrees=0, flip=0.0)
    np.testing.assert_allclose(np.diff(enlarged[..., 0], axis=0), 0.5, atol=1e-4)


@pytest.mark.one_stack
def test_a_centre_lies_in_the_middle_as_far_as_it_fits():
    grid = resized_crop_grid(2, (100, 100), (11, 11), (1, 1), rotate_degrees=15, flip=0.0, centre=(40, 60))
    np.testing.assert_allclose(grid[5, 5], (40, 60), atol=0.51)
    corner = resized_crop_grid(2, (100, 100), (11, 11), (1, 1), rotate_degrees=0, flip=0.0, centre=(0, 99))
    np.testing.assert_allclose(corner[0, -1], (0, 99), atol=1e-3)


@pytest.mark.one_stack
def test_of_a_large_image_a_part_is_read():
    image = np.random.default_rng(0).normal(size=(900, 700, 1)).astype(np.float32)
    grid = resized_crop_grid(3, (900, 700), (40, 40), (1, 1))
    part, within = area_read(image, grid)
    assert part.shape == (256, 256, 1)
    np.testing.assert_allclose(warp_array(part, within, 1, "edge"), warp_array(image, grid, 1, "edge"), atol=1e-3)
