"""Points follow whatever moves their image: an image of a bright dot and its point are moved alike and compared."""

import numpy as np
import pytest

from tfmed.augment.paired import STRONG, Policy, VolumePolicy, sample_grid
from tfmed.data import preprocess
from tfmed.data.points import (
    Landmarks,
    along_affine,
    as_points,
    between_grids,
    cropped,
    flipped,
    inside,
    mean_shape,
    padded,
    present,
    resized,
    rotated,
    swapped,
    through_grid,
    within,
)
from tfmed.errors import DataError
from tfmed.io.volume import Volume
from tfmed.ops.warp import identity_grid, warp_array


def dot(point, shape, sigma=2.0):
    """An image of a Gaussian dot at a point (x, y[, z])."""
    places = identity_grid(shape)
    return np.exp(-((places - np.asarray(point)[::-1]) ** 2).sum(-1) / (2 * sigma**2)).astype("float32")


def centre(image):
    """The centre of mass (x, y[, z]) of what is bright."""
    weight = np.maximum(image - 0.05 * image.max(), 0)
    return (identity_grid(image.shape) * weight[..., None]).reshape(-1, image.ndim).sum(0)[::-1] / weight.sum()


POLICIES = {
    "flip": Policy(flip=1.0, shift=None),
    "shift": Policy(flip=None, shift=(-0.1, 0.1)),
    "rotate": Policy(flip=None, shift=None, rotate=(20, 40)),
    "scale": Policy(flip=None, shift=None, scale=(0.8, 1.2)),
    "all": Policy(flip=0.5, rotate=(-40, 40), shear=(-0.2, 0.2), scale=(0.8, 1.2)),
    "elastic": Policy(flip=None, shift=None, alpha=STRONG.alpha / 4, sigma=12.0),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_dot_and_its_point_move_alike(name):
    shape, tolerance = (64, 96), 1e-3 if name in ("flip", "shift", "rotate") else 0.12
    for seed in range(3):
        point = np.random.default_rng(seed).uniform([30, 22], [66, 42])
        grid = sample_grid(seed, shape, POLICIES[name])
        image = warp_array(dot(point, shape, 1.0 if name == "elastic" else 2.0)[..., None], grid)[..., 0]
        (found,) = through_grid(point[None], grid)
        np.testing.assert_allclose(found, centre(image), atol=max(tolerance, 0.02), err_msg=f"{name} {seed}")
        if name == "flip":
            expected = flipped(flipped(point[None], 0, 96), 1, 64)
            np.testing.assert_allclose(found[None], expected, atol=1e-4)


def test_a_turn_is_the_grid_s():
    policy = Policy(flip=None, shift=None, rotate=(30, 30))
    grid, points = sample_grid(1, (40, 60), policy), np.array([[20.0, 12.0], [31.5, 25.25]])
    np.testing.assert_allclose(through_grid(points, grid), rotated(points, 30, (60, 40)), atol=1e-4)


def test_volumes_and_points_in_them():
    shape = (20, 28, 36)
    policy = VolumePolicy(rotate=(-20, 20), scale=(0.9, 1.1), elastic=1.5, knots=12)
    for seed in range(3):
        point = np.random.default_rng(seed).uniform([14, 11, 8], [22, 17, 12])
        grid = sample_grid(seed, shape, policy)
        image = warp_array(dot(point, shape, 1.5)[..., None], grid)[..., 0]
        (found,) = through_grid(point[None], grid)
        np.testing.assert_allclose(found, centre(image), atol=0.2)


def test_what_leaves_the_image_is_missing_and_what_is_missing_stays_so():
    points = np.array([[3.0, 4.0], [np.nan, np.nan], [9.0, 9.0]])
    moved = through_grid(points, identity_grid((10, 10)) + [0.0, 4.0])  # read from 4 pixels to the right
    assert np.isnan(moved[:2]).all()
    np.testing.assert_allclose(moved[2], [5, 9], atol=1e-5)
    assert len(present(moved)) == 1
    assert through_grid(np.zeros((0, 2)), identity_grid((4, 4))).shape == (0, 2)
    with pytest.raises(ValueError, match="2 axes"):
        through_grid(np.zeros((1, 2)), identity_grid((4, 4, 4)))


def test_crops_and_inside():
    points = np.array([[3.0, 4.0], [8.0, 1.0]])
    np.testing.assert_array_equal(cropped(points, (2, 1), (4, 5)), [[1, 3], [np.nan, np.nan]])
    np.testing.assert_array_equal(cropped(points, (-2, -1), (40, 50)), points + [2, 1])  # padded
    assert inside(np.array([[-0.5, 0], [-0.6, 0], [9.5, 0], [9.6, 0], [np.nan, 0]]), (10, 1)).tolist() == [
        True, False, True, False, False]  # fmt: skip
    assert np.isnan(within(np.array([[11.0, 2.0]]), (10, 10))).all()


def test_resized_points_are_those_of_a_resampled_dot():
    shape, point = (32, 40), np.array([17.3, 12.6])
    step = preprocess.Resample(shape=(1, 48, 80))
    volume = Volume(dot(point, shape, 3.0)[None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    moved = step.apply(volume)
    (found,) = resized(point[None], (40, 32), (80, 48))
    np.testing.assert_allclose(found, centre(moved.array[0]), atol=0.1)
    np.testing.assert_allclose(between_grids(point[None], volume.affine, moved.affine)[0], found, atol=0.02)
    back = between_grids(found[None], moved.affine, volume.affine)
    np.testing.assert_allclose(back, point[None], atol=0.02)


def test_to_millimetres():
    affine = np.array([[2.0, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    np.testing.assert_array_equal(along_affine(np.array([[1.0, 2, 3]]), affine), [[7, 12, 19]])
    np.testing.assert_allclose(between_grids(np.array([[1.0, 2, 3]]), affine, np.eye(4)), [[7, 12, 19]])


def test_lists_of_different_lengths():
    rows, there = padded(np.array([[1.0, 2], [np.nan, 0], [3, 4]]), 4)
    assert rows.tolist() == [[1, 2], [3, 4], [0, 0], [0, 0]] and there.tolist() == [True, True, False, False]
    with pytest.raises(DataError, match="3 points where at most 2"):
        padded(np.ones((3, 2)), 2)
    assert as_points([]).shape == (0, 2) and as_points([], 3).shape == (0, 3)
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        as_points([[1, 2, 3]])


def test_names():
    marks = Landmarks.of({"tip": (1, 2), "base": (3, 4)}, ("base", "apex", "tip"))
    np.testing.assert_array_equal(marks.points, [[3, 4], [np.nan, np.nan], [1, 2]])
    assert marks.missing == ("apex",)
    moved = marks.moved(flipped(marks.points, 0, 10))
    np.testing.assert_array_equal(moved.points, [[6, 4], [np.nan, np.nan], [8, 2]])
    with pytest.raises(ValueError, match="give each name one"):
        Landmarks(("a", "a"), np.zeros((2, 2)))


def test_mirrored_names_change_places_where_that_is_said():
    marks = Landmarks(("left", "middle", "right"), np.array([[1.0, 2], [5, 6], [np.nan] * 2]))
    np.testing.assert_array_equal(marks.mirrored(10).points, [[8, 2], [4, 6], [np.nan] * 2])
    other = marks.mirrored(10, [("left", "right")])
    assert other.names == marks.names and other.missing == ("left",)
    np.testing.assert_array_equal(other.points, [[np.nan] * 2, [4, 6], [8, 2]])
    np.testing.assert_array_equal(other.mirrored(10, [("right", "left")]).points, marks.points)
    for pairs, said in (([("left", "top")], "top is no landmark"), ([("left", "left")], "more than one pair"),
                        ([("left", "right"), ("right", "middle")], "right stands in more than one")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            swapped(marks.names, pairs)


def test_a_mean_shape_leaves_missing_landmarks_out():
    nan = [np.nan, np.nan]
    shapes = np.array([[[0.0, 2], nan, nan], [[2, 4], [3, 5], nan]])
    np.testing.assert_array_equal(mean_shape(shapes), [[1, 3], [3, 5], nan])
