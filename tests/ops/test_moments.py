"""Principal axes: known clouds, rotations that come back, and signs that the third moments tell."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfmed.ops.moments import angle_of, by_skewness, candidates, euler, moments

pytestmark = pytest.mark.one_stack


def cloud(turn=None, side=41, spacing=(1.0, 1.0, 1.0)):
    """Three Gaussian lobes, skewed along every axis, turned about the middle; sampled on a grid of some spacing."""
    grid = (np.stack(np.indices((side,) * 3), -1) - (side - 1) / 2) * spacing
    places = np.array([[0.0, 0, 0], [0, 0, 9], [0, 5.0, 2], [-3.0, 0, -1]])
    places = places if turn is None else places @ turn.T
    return sum(w * np.exp(-((grid - p) ** 2).sum(-1) / 5) for w, p in zip((1, 0.5, 0.3, 0.4), places, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_turned_skewed_cloud_gives_its_rotation(seed):
    turn = Rotation.random(random_state=seed).as_matrix()
    one, other = moments(cloud()), moments(cloud(turn))
    found = by_skewness(one, other)
    assert angle_of(found @ turn.T) < 1 and np.linalg.det(found) == pytest.approx(1)
    four = candidates(one, other)
    away = sorted(angle_of(q @ turn.T) for q in four)
    assert len(four) == 4 and away[0] < 1 and away[1] > 170  # the others are half turns off
    assert all(np.linalg.det(q) == pytest.approx(1) for q in four)
    assert [angle_of(q) for q in four] == sorted(angle_of(q) for q in four)


def test_against_itself_it_is_no_turn():
    one = moments(cloud(euler([20, -50, 70])))
    np.testing.assert_allclose(by_skewness(one, one), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(candidates(one, one)[0], np.eye(3), atol=1e-12)


def test_spacing_counts():
    """A cloud on anisotropic voxels has the same axes in mm."""
    spacing = np.array([0.5, 1.0, 2.0])
    one, other = moments(cloud()), moments(cloud(spacing=spacing, side=61), spacing)
    np.testing.assert_allclose(one.variances, other.variances, rtol=0.05)
    assert angle_of(by_skewness(one, other)) < 2
    wrong = moments(cloud(spacing=spacing, side=61))
    assert not np.allclose(one.variances, wrong.variances, rtol=0.08)


def test_axes_that_are_alike_are_told():
    ball = cloud()[::1] * 0
    ball[20, 20, 20] = 1
    ball = ndimage.gaussian_filter(ball, (2, 2, 4))
    assert moments(ball).ambiguous and not moments(cloud()).ambiguous
    assert moments(np.zeros((4, 4, 4))) is None
    flat = np.zeros((4, 4, 4))
    flat[2] = 1
    assert moments(flat) is None  # no extent along the first axis


def test_turns_about_axes():
    for axis in range(3):
        for degrees in (10, -40, 170):
            angles = np.zeros(3)
            angles[axis] = degrees
            expected = Rotation.from_rotvec(np.deg2rad(degrees) * np.eye(3)[axis]).as_matrix()
            np.testing.assert_allclose(euler(angles), expected, atol=1e-12)
    np.testing.assert_allclose(euler([10, 20, 30]), Rotation.from_euler("xyz", [10, 20, 30], True).as_matrix(),
                               atol=1e-12)  # fmt: skip
    assert angle_of(euler([0, 25, 0])) == pytest.approx(25)
