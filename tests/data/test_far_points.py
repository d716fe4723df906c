"""Points that keep a distance: the brightest against a loop over all voxels, drawn ones in law and to the last."""

import numpy as np
import pytest

from tfmed.data.far_points import FarPoints

SPACING = (0.7, 0.5, 0.5)


def distances(points, spacing, metric):
    away = np.abs(points[:, None] - points[None]) * spacing
    found = np.sqrt((away**2).sum(-1)) if metric == "euclidean" else away.max(-1)
    return found[np.triu_indices(len(points), 1)]


def looped(image, spacing, least, metric, count):
    """Every voxel by falling intensity, taken if it is far from all before it."""
    found = []
    for place in np.argsort(-image, axis=None):
        voxel = np.array(np.unravel_index(place, image.shape))
        away = np.abs(np.array(found).reshape(-1, 3) - voxel) * spacing
        near = np.sqrt((away**2).sum(-1)) if metric == "euclidean" else away.max(-1)
        if not (near < least).any():
            found.append(voxel)
        if len(found) == count:
            break
    return np.array(found)


@pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
@pytest.mark.parametrize("count", [5, 10_000])
def test_the_brightest_are_those_of_a_loop(metric, count):
    image = np.random.default_rng(0).permutation(21 * 37 * 30).reshape(21, 37, 30).astype(np.float32)
    found = FarPoints(image.shape, SPACING, 4.0, metric).brightest(image, count)
    np.testing.assert_array_equal(found, looped(image, SPACING, 4.0, metric, count))
    assert distances(found, SPACING, metric).min() >= 4.0
    assert (np.diff(image[tuple(found.T)]) < 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
def test_drawn_ones_keep_their_distance_and_leave_no_room(metric):
    points = FarPoints((20, 24, 28), SPACING, 5.0, metric)
    found = points.drawn(10_000, np.random.default_rng(0))
    assert distances(found, SPACING, metric).min() >= 5.0 and not points.free.any()
    everywhere = np.stack(np.meshgrid(*map(np.arange, (20, 24, 28)), indexing="ij"), -1).reshape(-1, 1, 3)
    away = np.abs(everywhere - found) * SPACING
    nearest = np.sqrt((away**2).sum(-1)) if metric == "euclidean" else away.max(-1)
    assert (nearest.min(1) < 5.0).all()


def test_a_seed_decides_and_all_that_are_free_are_drawn_alike():
    one, same, other = (FarPoints((9, 9, 9), (1, 1, 1), 3.0).drawn(8, np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    draw, counts = np.random.default_rng(0), np.zeros(6, int)
    points = FarPoints((100, 100, 100), (1, 1, 1), 1.0)
    for _ in range(240):  # 6 of 10^6 voxels may be drawn: too few to be met by chance
        points.free[:] = False
        points.free[3, 4, :6] = True
        counts[points.drawn(1, draw)[0, 2]] += 1
    assert counts.min() > 20


def test_what_is_not_allowed_is_not_chosen():
    allowed = np.zeros((8, 8, 8), bool)
    allowed[2:4, :, 5] = True
    image = np.random.default_rng(0).random((8, 8, 8), np.float32)
    among = np.zeros_like(allowed)
    among[3] = True
    first, second = (FarPoints(image.shape, (1, 1, 1), 2.0, allowed=allowed) for _ in range(2))
    third, draw = FarPoints(image.shape, (1, 1, 1), 2.0), np.random.default_rng(0)
    for found in (first.brightest(image, 99), second.drawn(99, draw), third.drawn(99, draw, among & allowed)):
        assert len(found) > 1 and allowed[tuple(found.T)].all()
    assert (found[:, 0] == 3).all()


def test_boxes_that_meet_a_sphere_are_closed():
    """Against all voxels of the boxes, at half a voxel's step."""
    points = FarPoints((24, 24, 24), (1.0, 0.8, 0.8), 0.0)
    half, centre, radius = np.array([3.0, 2.4, 2.4]), np.array([10.3, 11.0, 12.6]), 3.3
    points.close_cubes(centre, half, radius)
    for voxel in np.random.default_rng(0).integers(0, 24, (300, 3)):
        nearest = np.clip(centre * (1.0, 0.8, 0.8), voxel * (1.0, 0.8, 0.8) - half, voxel * (1.0, 0.8, 0.8) + half)
        meets = np.linalg.norm(nearest - centre * (1.0, 0.8, 0.8)) <= radius
        assert points.free[tuple(voxel)] != meets


def test_points_outside_of_the_volume_close_what_is_near():
    points = FarPoints((5, 5, 5), (1, 1, 1), 3.0)
    points.close_around((-2.0, 2.0, 2.0))
    assert not points.free[0, 2, 2] and points.free[1].all()
    points.close_around((40.0, 2.0, 2.0))
    assert points.free[1:].all()
