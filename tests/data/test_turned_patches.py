"""Turned patches: sampling beside scipy, points there and back, and nothing but the image where it is large enough."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.data.turned_patches import TurnedPatch
from tfmed.ops.moments import euler

pytestmark = pytest.mark.one_stack

VOLUME = np.random.default_rng(0).random((30, 34, 38)).astype("float32")


def test_samples_are_those_of_the_whole_volume():
    turn, spacing = euler([10, 20, -30]), np.array([1.0, 1.5, 0.7])
    patch = TurnedPatch(np.array([14.3, 17.0, 19.6]), 12, spacing, 0.5, turn)
    line = (np.arange(12) - 5.5) * 0.5
    offsets = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    places = [14.3, 17.0, 19.6] + (offsets @ turn.T) / spacing
    expected = ndimage.map_coordinates(VOLUME, np.moveaxis(places, -1, 0), order=1)
    found = patch.read(VOLUME)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    for axis, order in enumerate(((0, 1, 2), (1, 2, 0), (2, 0, 1))):
        np.testing.assert_allclose(patch.slice(VOLUME, axis, 3), found.transpose(order)[3], atol=1e-6)


def test_without_turn_or_shift_the_slices_are_plain():
    patch = TurnedPatch(np.array([14.5, 16.5, 18.5]), 10, (1, 1, 1), 1.0)
    plain = VOLUME[10:20, 12:22, 14:24]
    np.testing.assert_array_equal(patch.read(VOLUME), plain)
    np.testing.assert_array_equal(patch.slice(VOLUME, 0, 5), plain[5])
    np.testing.assert_array_equal(patch.slice(VOLUME, 1, 5), plain[:, 5].T)  # rows x, columns z


def test_image_and_mask_stay_together():
    """Of a volume that is its own mask, turned by any angle."""
    grid = np.stack(np.indices(VOLUME.shape), -1)
    ball = (((grid - [15, 17, 19]) ** 2).sum(-1) < 40).astype("uint8")
    patch = TurnedPatch(np.array([14.0, 18.0, 20.0]), 20, (1, 1, 1), 1.0, euler([25, -10, 40]))
    label, image = patch.read(ball, order=0), patch.read(ball.astype("float32"))
    assert label.dtype == np.uint8 and ((image > 0.5) != label).mean() < 0.01 and label.sum() > 200


def test_points_there_and_back():
    rng = np.random.default_rng(1)
    spacing = np.array([0.4, 1.1, 2.5])
    patch = TurnedPatch(rng.uniform(0, 30, 3), 16, spacing, 0.25, euler([33, -70, 120]))
    points = rng.uniform(-40, 40, (50, 3))
    back = patch.from_volume(patch.to_volume(points))
    assert np.abs(back - points).max() < 1e-4
    # distances in mm stay: anisotropic voxels are taken as such
    voxels = patch.to_volume(points)
    np.testing.assert_allclose(np.linalg.norm((voxels[1:] - voxels[0]) * spacing, axis=1),
                               np.linalg.norm(points[1:] - points[0], axis=1))  # fmt: skip
    assert patch.holds(patch.to_volume([[0, 0, 0], [1.9, 0, 0], [0, 2.1, 0]])).tolist() == [True, True, False]


def test_a_bright_voxel_is_found_where_the_points_say():
    """What `read` shows at a place is what lies there in the volume: by a spot, turned on anisotropic voxels."""
    volume, spot = np.zeros((40, 40, 40), "float32"), np.array([22.0, 18.0, 21.0])
    volume[tuple(spot.astype(int))] = 1
    volume = ndimage.gaussian_filter(volume, 1.5)
    patch = TurnedPatch(np.array([20.0, 20.0, 20.0]), 32, (1.0, 0.8, 1.2), 0.5, euler([0, 30, 60]))
    shown = patch.read(volume)
    middle = np.array(ndimage.center_of_mass(shown))
    np.testing.assert_allclose((middle - 15.5) * 0.5, patch.from_volume(spot[None])[0], atol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_filled_where_the_volume_is_large_enough(seed):
    rng, side = np.random.default_rng(seed), 12
    volume = np.ones((44, 44, 44), "float32")  # half a diagonal and 5 voxels of shift on each side
    centre = 21.5 + rng.uniform(-5, 5, 3)
    patch = TurnedPatch(centre, side, (1, 1, 1), 1.0, euler(rng.uniform(-30, 30, 3)))
    assert (patch.read(volume, fill=-9.0) == 1).all()
    outside = TurnedPatch(np.array([-20.0, 0, 0]), side, (1, 1, 1), 1.0)
    assert (outside.read(volume, fill=-9.0) == -9).all()
