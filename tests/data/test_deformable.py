"""Registration of volumes: no displacement of what is the same, shifts and turns that come back, in mm."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.data.deformable import correlation, register
from tfmed.ops.moments import angle_of, euler

pytestmark = pytest.mark.one_stack

SCENE = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((36, 40, 44)), 2.5)
POINTS = np.array([[16.0, 20.0, 22.0], [18.0, 15.0, 25.0]])


def test_the_same_patch_is_not_moved():
    found = register(SCENE, SCENE, iterations=10)
    assert np.abs(found.displacement).max() < 0.1
    np.testing.assert_allclose(found.moved(POINTS), POINTS, atol=0.05)
    assert found.before == pytest.approx(1) and found.after > 0.999


@pytest.mark.parametrize("steps", [{}, {"rigid": False}, {"demons": False}])
def test_a_shift_moves_points_in_its_direction(steps):
    """Each of the two stages finds two voxels by itself; and in the direction of the anatomy, not the other."""
    moving = ndimage.shift(SCENE, (2, 0, 0), order=1, mode="nearest")
    found = register(SCENE, moving, iterations=30, **steps)
    np.testing.assert_allclose(found.moved(POINTS) - POINTS, [[2, 0, 0]] * 2, atol=0.3)
    assert found.after > max(found.before, 0.95)


def test_millimetres_of_anisotropic_voxels():
    fixed = SCENE[::2]
    moving = ndimage.shift(fixed, (1, 0, 2), order=1, mode="nearest")
    found = register(fixed, moving, (2.0, 1.0, 0.5), iterations=20)
    points = POINTS * [1, 1, 0.5]
    np.testing.assert_allclose(found.moved(points) - points, [[2, 0, 1]] * 2, atol=0.3)
    other = register(fixed, fixed[:, :, ::2], (2.0, 1.0, 0.5), (2.0, 1.0, 1.0), demons=False)
    np.testing.assert_allclose(other.moved(points), points, atol=0.2)  # another grid over the same anatomy


def test_a_turn_of_other_intensities():
    """Eight degrees about the middle; brightness and contrast of the moving volume differ."""
    middle, turn = (np.array(SCENE.shape) - 1) / 2, euler([0, 0, 8])
    moving = 50 + 300 * ndimage.affine_transform(SCENE, turn.T, middle - turn.T @ middle, order=1, mode="nearest")
    found = register(SCENE, moving, iterations=20)
    assert angle_of(found.rigid[:, :3] @ turn.T) < 2
    np.testing.assert_allclose(found.moved(POINTS), (POINTS - middle) @ turn.T + middle, atol=0.4)
    again = register(SCENE, moving, iterations=20)
    np.testing.assert_array_equal(found.displacement, again.displacement)
    np.testing.assert_array_equal(found.rigid, again.rigid)


def test_coarse_levels_alone():
    """They find a shift roughly; where a volume is too small for them its own voxels are used."""
    moving = ndimage.shift(SCENE, (2, 0, 0), order=1, mode="nearest")
    found = register(SCENE, moving, demons=False, factors=(4, 2))
    np.testing.assert_allclose(found.moved(POINTS) - POINTS, [[2, 0, 0]] * 2, atol=0.5)
    small = register(SCENE[:12], SCENE[:12], demons=False, factors=(4, 2))
    np.testing.assert_allclose(small.moved(POINTS), POINTS, atol=0.1)


def test_a_smooth_warp_is_followed_by_demons_alone():
    grid = np.stack(np.indices(SCENE.shape), 0).astype(float)
    bend = 1.5 * np.sin(2 * np.pi * grid[2] / 40)
    places = grid.copy()
    places[1] += bend
    moving = ndimage.map_coordinates(SCENE, places, order=1, mode="nearest")  # moving(x) = fixed(x + bend)
    found = register(SCENE, moving, iterations=40)
    shift = -1.5 * np.sin(2 * np.pi * POINTS[:, 2] / 40)
    away = np.abs(found.moved(POINTS)[:, 1] - POINTS[:, 1] - shift)
    rigid = np.abs(register(SCENE, moving, demons=False).moved(POINTS)[:, 1] - POINTS[:, 1] - shift)
    assert away.max() < 0.4 and away.mean() < 0.7 * rigid.mean()


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(ValueError, match=r"moving.*same"):
        register(SCENE, np.ones_like(SCENE))
    with pytest.raises(ValueError, match=r"fixed.*8 voxels"):
        register(SCENE[:4], SCENE)
    assert correlation(np.ones(5), np.arange(5)) == 0
