"""Grids are compared where their corners fall, in voxels; headers that rounding touched are read."""

import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.quaternions import quat2mat

from tests.support.volumes import AFFINE, ct_like
from tfmed.io import read_volume, write_volume
from tfmed.io.geometry import Geometry, corner_distance, same_grid

SHAPE = (60, 512, 512)


def turned(degrees, affine=AFFINE):
    """The affine turned about its origin and the z axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return np.block([[turn @ affine[:3, :3], affine[:3, 3:]], [np.zeros((1, 3)), np.ones((1, 1))]])


def grid(affine, shape=SHAPE):
    return Geometry(shape, affine, np.dtype("i2"))


def test_distance_is_that_of_the_farthest_corner():
    shifted = AFFINE.copy()
    shifted[:3, 3] += AFFINE[:3, :3] @ (3, -4, 0)
    assert corner_distance(SHAPE, AFFINE, shifted) == pytest.approx(5)
    longer = AFFINE @ np.diag([1, 1, 1.01, 1])
    assert corner_distance((100, 4, 4), AFFINE, longer) == pytest.approx(0.995)


@pytest.mark.parametrize("affine, same", [
    (AFFINE + np.eye(4, 4, 3) * 1e-3 * [[1], [0], [0], [0]], True),
    (AFFINE.astype(np.float32).astype(np.float64), True),
    (turned(0.57), False),  # 5 voxels at the far corners, though no entry differs by 0.01
    (turned(0.005), True),
    (turned(180), False),
])  # fmt: skip
def test_same_grid(affine, same):
    assert same_grid(grid(AFFINE), grid(affine)) == same
    assert same_grid(grid(affine), grid(AFFINE)) == same


def test_small_voxels_and_large_ones():
    """Two voxels of 4 micrometres are not to be overlooked, a tenth of a millimetre in 5 mm is."""
    small, large = np.diag([0.004, 0.004, 0.01, 1]), np.diag([5.0, 5, 5, 1])
    beside = small.copy()
    beside[0, 3] = 0.008
    assert not same_grid(grid(small), grid(beside))
    beside = large.copy()
    beside[0, 3] = 0.1
    assert same_grid(grid(large), grid(beside))
    assert not same_grid(grid(large), grid(beside), tolerance=0.01)
    assert not same_grid(grid(large), grid(large, (60, 512, 511)))


def with_quaternion(path, values):
    """A NIfTI whose qform has these (b, c, d), and no sform."""
    write_volume(ct_like(), path)
    data = bytearray(path.read_bytes())
    data[252:256] = np.array([1, 0], "<i2").tobytes()
    data[256:268] = np.array(values, "<f4").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("values", [(0, 0, 1.000001), (0.6000004, 0.8000004, 0), (0.70711, 0.70711, 0.0001)])
def test_quaternion_longer_than_one_by_rounding(tmp_path, values):
    with_quaternion(tmp_path / "x.nii", values)
    found = read_volume(tmp_path / "x.nii").affine
    unit = np.array([0, *values]) / np.linalg.norm(values)
    ours = found[:3, :3] / np.linalg.norm(found[:3, :3], axis=0)
    ours[:, 2] *= np.sign(np.linalg.det(ours))
    np.testing.assert_allclose(ours, quat2mat(unit), atol=1e-3)
    image = sitk.ReadImage(str(tmp_path / "x.nii"))
    theirs = np.diag([-1, -1, 1]) @ np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    np.testing.assert_allclose(found[:3, :3], theirs, atol=2e-3)
