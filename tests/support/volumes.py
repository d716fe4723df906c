"""Volumes and comparisons that the tests of tfmed.io share."""

import numpy as np

from tfmed.io import ImageIntegrityError, Volume, read_volume

AFFINE = np.array([[-0.8, 0, 0, 91.5], [0, 0.7, 0, -120.25], [0, 0, 2.5, -310.0], [0, 0, 0, 1]])


def ct_like(shape=(9, 12, 14), seed=0):
    """A small Volume: int16, anisotropic, not symmetric in any axis."""
    return Volume(np.random.default_rng(seed).integers(-1024, 2000, shape).astype("int16"), AFFINE)


def assert_same(first, second, atol=1e-6):
    """The same voxels, dtype and geometry."""
    assert first.array.dtype == second.array.dtype
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.affine, second.affine, rtol=1e-6, atol=atol)


def smooth(shape=(24, 40, 48)):
    """A volume that deflate can pack, as real images are."""
    z, y, x = np.indices(shape)
    return Volume((1000 * np.sin(z / 5) * np.cos(y / 7 + x / 11)).astype("int16") // 8, AFFINE)


def outcome(path, original):
    """ "refused" or "same"; anything else fails."""
    try:
        volume = read_volume(path)
    except ImageIntegrityError as error:
        message = str(error)
        assert message.startswith(f"{path}: ") and "\n" not in message and ";" in message
        return "refused"
    assert_same(volume, original)
    return "same"
