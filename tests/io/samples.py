"""Volumes and comparisons that the tests of tfmed.io share."""

import numpy as np

from tfmed.io import Volume

AFFINE = np.array([[-0.8, 0, 0, 91.5], [0, 0.7, 0, -120.25], [0, 0, 2.5, -310.0], [0, 0, 0, 1]])


def ct_like(shape=(9, 12, 14), seed=0):
    """A small Volume: int16, anisotropic, not symmetric in any axis."""
    return Volume(np.random.default_rng(seed).integers(-1024, 2000, shape).astype("int16"), AFFINE)


def assert_same(first, second, atol=1e-6):
    """The same voxels, dtype and geometry."""
    assert first.array.dtype == second.array.dtype
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.affine, second.affine, rtol=1e-6, atol=atol)
