"""Free-form masks: against loops over pixels, bounds, seeds; depths against brute force."""

import numpy as np
import pytest

from tfmed.augment.masks import depth_map, free_form, lines

pytestmark = pytest.mark.one_stack
SMALL = dict(strokes=(2, 5), width=(2, 5), length=(2, 12))


def brush(shape, starts, ends, radii):
    """Pixel by pixel."""
    mask = np.zeros(shape, bool)
    for place in np.ndindex(*shape):
        for start, end, radius in zip(starts, ends, radii, strict=True):
            along = end - start
            share = np.clip(np.dot(place - start, along) / max(along @ along, 1e-12), 0, 1)
            mask[place] |= np.linalg.norm(place - start - share * along) <= radius + 1e-5
    return mask


def test_lines_are_those_of_a_loop_over_pixels():
    random = np.random.default_rng(3)
    starts, ends, radii = random.uniform(-4, 24, (6, 2)), random.uniform(-4, 24, (6, 2)), random.uniform(0.5, 4, 6)
    expected = brush((20, 14), starts, ends, radii)
    np.testing.assert_array_equal(lines((20, 14), starts, ends, radii), expected)
    assert 0 < expected.mean() < 1
    dot = lines((5, 5), [[2, 2]], [[2, 2]], [1.0])
    np.testing.assert_array_equal(dot, [[abs(y - 2) + abs(x - 2) <= 1 for x in range(5)] for y in range(5)])


@pytest.mark.parametrize("joined", [False, True])
def test_a_seed_gives_a_mask_within_bounds(joined):
    areas = []
    for seed in range(20):
        mask, again = (free_form(np.random.default_rng(seed), (32, 24), **SMALL, joined=joined, area=(0.05, 0.3))
                       for _ in range(2))  # fmt: skip
        assert mask.dtype == bool and mask.shape == (32, 24)
        np.testing.assert_array_equal(mask, again)
        areas.append(mask.mean())
    assert 0.05 <= min(areas) < max(areas) <= 0.3


def test_masks_of_the_published_numbers():
    """Within reach of one point: half a width and a length."""
    mask = free_form(np.random.default_rng(0), (256, 256))
    ys, xs = np.nonzero(mask)
    assert mask.any() and max(np.ptp(ys), np.ptp(xs)) <= 2 * (29 + 14.5) and mask.mean() < 0.1


def test_joined_strokes_reach_farther():
    how = dict(strokes=(30, 30), width=(2, 2), length=(8, 8))
    spans = [[np.ptp(np.nonzero(free_form(np.random.default_rng(seed), (128, 128), joined=joined, **how))[0])
              for seed in range(10)] for joined in (False, True)]  # fmt: skip
    assert max(spans[0]) <= 18 and np.mean(spans[1]) > 25


@pytest.mark.parametrize("options, said", [
    ({"area": (0.9, 1.0)}, "none of 200 masks covers 0.9 to 1 of 32 x 24"),
    ({"strokes": (3, 2)}, "strokes: 3, 2 is no range from 1 up"),
    ({"width": (0, 2)}, "width: 0, 2 is no range from 1 up"),
])  # fmt: skip
def test_what_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        free_form(np.random.default_rng(0), (32, 24), **SMALL | options)


def test_depth_is_the_distance_to_the_nearest_seen_pixel():
    mask = free_form(np.random.default_rng(1), (16, 16), **SMALL)
    seen = np.argwhere(~mask)
    expected = [[np.linalg.norm(seen - (y, x), axis=1).min() for x in range(16)] for y in range(16)]
    np.testing.assert_allclose(depth_map(mask), expected, rtol=1e-6)
    assert depth_map(mask).max() > 1 and not depth_map(mask)[~mask].any()
    with pytest.raises(ValueError, match="everything is missing"):
        depth_map(np.ones((3, 3)))
