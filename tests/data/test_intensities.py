"""Values under masks: percentiles, mean and deviation of all voxels together."""

import numpy as np
import pytest

from tfmed.data.intensities import foreground_intensities
from tfmed.errors import DataError

pytestmark = [pytest.mark.current, pytest.mark.one_stack]


def test_voxels_of_all_masks_are_pooled():
    rng = np.random.default_rng(0)
    images = [rng.normal(50 * k, 20, (6, 7, 8, 1)) for k in range(3)]
    masks = [rng.random((6, 7, 8)) < share for share in (0.1, 0.5, 0.9)]
    pooled = np.concatenate([image[..., 0][mask] for image, mask in zip(images, masks, strict=True)])
    found = foreground_intensities(zip(images, masks, strict=True))
    np.testing.assert_allclose([found.low, found.high], np.percentile(pooled, [0.5, 99.5]))
    np.testing.assert_allclose([found.mean, found.deviation], [pooled.mean(), pooled.std()])
    few = foreground_intensities(zip(images, masks, strict=True), most=60)
    np.testing.assert_allclose([few.mean, few.deviation], [pooled.mean(), pooled.std()], rtol=0.4)


def test_nothing_to_measure_is_told():
    with pytest.raises(DataError, match="all empty"):
        foreground_intensities([(np.ones((2, 3)), np.zeros((2, 3)))])
    with pytest.raises(DataError, match="all voxels under the masks are 7"):
        foreground_intensities([(np.full((2, 3), 7.0), np.ones((2, 3)))])
