"""One grid per sample: seeded, exact for flips and whole shifts, as imgaug's operations, pairing image and label."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from tfmed.augment import paired
from tfmed.augment.paired import STRONG, STRONG_VOLUME, Policy, VolumePolicy, sample_grid
from tfmed.compat import import_imgaug
from tfmed.ops.warp import identity_grid, warp

pytestmark = pytest.mark.current

SHAPES = [(24, 32), (10, 14, 12)]
NOTHING = Policy(flip=None, shift=None)
NOTHING_3D = VolumePolicy(flip=None, shift=None)


def only(shape, **strengths):
    """A policy with these transforms alone."""
    return dataclasses.replace(NOTHING if len(shape) == 2 else NOTHING_3D, **strengths)


def moved(image, grid, order=1, fill=0.0):
    return warp(image[None], grid[None], order, fill)[0].numpy()


def picture(shape, channels=1, seed=0):
    return np.random.default_rng(seed).random((*shape, channels), np.float32)


# --- what a sample is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["weak", "strong"])
@pytest.mark.parametrize("shape", SHAPES)
def test_same_seed_same_grid(shape, policy):
    first, again = sample_grid(7, shape, policy), sample_grid(7, shape, policy)
    assert first.shape == (*shape, len(shape)) and first.dtype == np.float32 and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert (first != sample_grid(8, shape, policy)).any()


RECORDED = {  # first place, last place, mean place
    ((24, 32), "weak", 3): [25.2623, 1.1407, 2.2623, 32.1407, 13.7623, 16.6407],
    ((24, 32), "strong", 3): [27.3290, 0.0976, 9.9743, 37.0138, 20.1540, 19.1169],
    ((24, 32), "strong", 5): [-6.3325, 2.8663, 24.1228, 19.3696, 8.9332, 11.8554],
    ((24, 32), "strong", 9): [26.7923, -7.1589, 1.0889, 25.5734, 14.7106, 8.6486],
    ((24, 32), "strong", 11): [25.4992, -0.6400, -2.0696, 28.1929, 11.2573, 12.2836],
    ((10, 14, 12), "weak", 3): [0.7451, 0.8124, -1.1081, 9.7451, 13.8124, 9.8919, 5.2451, 7.3124, 4.3920],
    ((10, 14, 12), "strong", 3): [0.2081, 10.9851, -1.2987, 8.1447, 1.2531, 11.4274, 4.6862, 6.4012, 5.7628],
    ((10, 14, 12), "strong", 4): [1.4222, 1.7493, -2.5023, 6.3385, 12.1748, 11.2332, 3.8804, 6.9620, 4.3655],
    ((10, 14, 12), "strong", 6): [-0.1992, 13.4469, 10.0647, 11.8087, 0.1989, 1.8542, 5.7413, 6.5905, 6.0077],
    ((10, 14, 12), "strong", 7): [8.9990, 0.5851, -1.1295, 0.0487, 13.5134, 9.8098, 4.5238, 7.0492, 4.3401],
}


@pytest.mark.parametrize("shape, policy, seed", RECORDED)
def test_the_same_numbers_on_every_stack(shape, policy, seed):
    grid = sample_grid(seed, shape, policy).reshape(-1, len(shape))
    np.testing.assert_allclose([*grid[0], *grid[-1], *grid.mean(0)], RECORDED[shape, policy, seed], atol=2e-3)


def test_drawing_leaves_no_trace():
    """Neither numpy's nor imgaug's global state matters, nor is numpy's touched."""
    import_imgaug().seed(1)
    np.random.seed(5)
    first = sample_grid(3, (24, 32), "strong")
    after = np.random.random()
    import_imgaug().seed(2)
    np.random.seed(5)
    assert np.random.random() == after
    np.testing.assert_array_equal(sample_grid(3, (24, 32), "strong"), first)


# --- exactness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_no_movement_is_the_identity(shape):
    np.testing.assert_array_equal(sample_grid(0, shape, only(shape)), identity_grid(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_flips_move_pixels_exactly_and_undo_themselves(shape):
    policy = only(shape, flip=1.0 if len(shape) == 2 else (1.0, 0.0, 1.0))
    grid, image = sample_grid(0, shape, policy), picture(shape)
    axes = (0, 1) if len(shape) == 2 else (0, 2)
    for order in (0, 1):
        once = moved(image, grid, order)
        np.testing.assert_array_equal(once, np.flip(image, axes))
        np.testing.assert_array_equal(moved(once, grid, order), image)


@pytest.mark.parametrize("shape, steps", [((24, 32), (6, 8)), ((12, 16, 20), (3, 4, 5))])
def test_whole_shifts_move_pixels_exactly(shape, steps):
    image, grid = picture(shape), sample_grid(0, shape, only(shape, shift=(0.25, 0.25)))
    inside = tuple(slice(step, None) for step in steps)
    source = tuple(slice(None, -step) for step in steps)
    expected = np.full_like(image, -2.0)
    expected[inside] = image[source]
    for order in (0, 1):
        np.testing.assert_array_equal(moved(image, grid, order, -2.0), expected)


@given(st.integers(3, 20), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_four_quarter_turns_are_the_identity(size, seed):
    image = picture((size, size), seed=seed)
    grid = sample_grid(seed, (size, size), only((0, 0), rotate=(90, 90)))
    turned = moved(image, grid)
    np.testing.assert_allclose(turned, np.rot90(image, -1), atol=1e-5)  # clockwise
    for _ in range(3):
        turned = moved(turned, grid)
    np.testing.assert_allclose(turned, image, atol=1e-5)


def test_quarter_turns_of_a_volume_keep_distances_in_mm():
    """A turn about z by 90 degrees with pixels twice as long in y as in x."""
    policy = only((1, 1, 1), rotate=((90, 90), (0, 0), (0, 0)), spacing=(3.0, 2.0, 1.0))
    grid = sample_grid(0, (5, 9, 17), policy)
    mm = (grid - grid[2, 4, 8]) * [3, 2, 1]
    own = (identity_grid((5, 9, 17)) - [2, 4, 8]) * [3, 2, 1]
    np.testing.assert_allclose(np.linalg.norm(mm, axis=-1), np.linalg.norm(own, axis=-1), atol=1e-4)
    np.testing.assert_allclose(np.abs(mm[2, 8, 8]), [0, 0, 8], atol=1e-4)


# --- pairing ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.sampled_from(SHAPES))
@settings(max_examples=15, deadline=None)
def test_an_image_equal_to_its_label_stays_equal(seed, shape):
    label = np.random.default_rng(0).integers(0, 4, (*shape, 1))
    grid = sample_grid(seed, shape, "strong")
    image_after, label_after = moved(label.astype("float32"), grid, 0, 9.0), moved(label, grid, 0, 9)
    np.testing.assert_array_equal(image_after, label_after)
    outside = ((grid < -0.5) | (grid >= np.array(shape) - 0.5)).any(-1)
    np.testing.assert_array_equal(label_after[..., 0] == 9, outside)


# --- strengths --------------------------------------------------------------------------------------------------------


def ours_and_imgaug(strength, options):
    """The same smooth picture moved by a grid and by imgaug's own Affine, away from the border."""
    y, x = np.mgrid[:64, :48].astype("float32")
    image = (np.sin(y / 7) + np.cos(x / 5) + x / 50)[..., None].astype("float32")
    grid = sample_grid(0, (64, 48), dataclasses.replace(NOTHING, **strength))
    theirs = import_imgaug().augmenters.Affine(**options, order=1, backend="skimage")(image=image)
    return moved(image, grid)[16:-16, 12:-12], theirs[16:-16, 12:-12]


@pytest.mark.parametrize("strength, options", [
    ({"rotate": (17, 17)}, {"rotate": 17}),
    ({"scale": (1.1, 1.1)}, {"scale": 1.1}),
    ({"shift": (0.125, 0.125)}, {"translate_percent": {"x": 0.125, "y": 0.125}}),
])  # fmt: skip
def test_the_movements_are_those_of_imgaug(strength, options):
    ours, theirs = ours_and_imgaug(strength, options)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_the_elastic_strength_is_that_of_smoothed_noise():
    """Standard deviation and smoothness of the displacement over seeds, against scipy's Gaussian filter."""
    shape, alpha, sigma = (64, 64), 100.0, 5.0
    noise = np.random.default_rng(0).uniform(-alpha, alpha, (40, 104, 104, 2))
    theirs = gaussian_filter(noise, (0, sigma, sigma, 0))[:, 20:-20, 20:-20]
    policy = only(shape, alpha=alpha, sigma=sigma)
    ours = np.stack([sample_grid(seed, shape, policy) - identity_grid(shape) for seed in range(40)])
    assert ours.std() == pytest.approx(alpha / (6.14 * sigma), rel=0.05)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.05) and abs(ours.mean()) < 0.1 * ours.std()
    assert np.diff(ours, axis=1).std() == pytest.approx(np.diff(theirs, axis=1).std(), rel=0.05)


def test_shear_and_scale_by_their_definition():
    grid = sample_grid(0, (21, 31), only((0, 0), shear=(0.2, 0.2)))
    np.testing.assert_allclose(grid[20] - grid[0], np.tile(np.float32([20, -4]), (31, 1)), atol=1e-5)
    grid = sample_grid(0, (21, 31), only((0, 0), scale=(2, 2)))
    np.testing.assert_allclose(grid[0, 0], [5, 7.5], atol=1e-5)


def test_weak_is_flips_and_shifts_within_a_tenth():
    flips, shifts = set(), []
    for seed in range(60):
        grid = sample_grid(seed, (20, 40), "weak").astype(float)
        steps = grid[1, 1] - grid[0, 0]
        np.testing.assert_allclose(np.abs(steps), 1, atol=1e-4)
        flips.add(tuple(np.sign(steps)))
        shifts.append((grid.mean((0, 1)) - [9.5, 19.5]) / [20, 40])
    assert len(flips) == 4 and np.abs(shifts).max() <= 0.1 and np.abs(shifts).max() > 0.08


def test_strong_chooses_three_to_eight_movements_in_any_order():
    ran = [[transform for transform, _ in paired._drawn(seed, STRONG)] for seed in range(80)]
    assert {len(r) for r in ran} == {3, 4, 5, 6, 7, 8} and len({name for r in ran for name in r}) == 8
    assert all(len(set(r)) == len(r) for r in ran) and any(r != sorted(r) for r in ran)


def test_volumes_deform_without_folding():
    policy = dataclasses.replace(STRONG_VOLUME, flip=None, chosen=None)
    for seed in range(5):
        grid = sample_grid(seed, (40, 44, 48), policy).astype(float)
        slopes = np.stack([np.diff(grid, axis=a)[:39, :39, :39] for a in range(3)], -1)
        assert np.linalg.det(slopes).min() > 0
    bend = sample_grid(1, (40, 44, 48), only((1, 1, 1), elastic=6.0)) - identity_grid((40, 44, 48))
    assert 0.5 < np.abs(bend).max() <= 6.0 + 1e-4


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ValueError, match="'weak' and 'strong'"):
        sample_grid(0, (8, 8), "wild")
    with pytest.raises(ValueError, match="got Policy for shape"):
        sample_grid(0, (8, 8, 8), STRONG)
    with pytest.raises(ValueError, match="non-negative"):
        sample_grid(-1, (8, 8), "weak")


def test_threads_do_not_disturb_each_other():
    """As a pipeline draws: many samples at once, seeds of any size."""
    seeds = [*range(30), 2**31, 2**62]
    with ThreadPoolExecutor(4) as pool:
        grids = list(pool.map(lambda seed: sample_grid(seed, (12, 16), "strong"), seeds))
    for seed, grid in zip(seeds, grids, strict=True):
        np.testing.assert_array_equal(grid, sample_grid(seed, (12, 16), "strong"))


@pytest.mark.parametrize("shape", [(5, 7), (1, 4)])
def test_places_beyond_an_image_are_folded_back(shape):
    """As numpy mirrors, however far away; places inside stay."""
    from tfmed.augment.paired import reflected

    image = np.random.default_rng(0).normal(size=shape)
    far = 9
    padded = np.pad(image, far, mode="reflect")
    grid = np.moveaxis(np.indices(padded.shape), 0, -1) - far
    y, x = np.moveaxis(reflected(grid, shape), -1, 0).astype(int)
    np.testing.assert_array_equal(image[y, x], padded)
    np.testing.assert_allclose(reflected(np.array([[0.0, 2.7]]), shape), [[0.0, 2.7]], atol=1e-6)
