"""imgaug works the same way on both stacks."""

import numpy as np
import pytest

from tfmed.compat import import_imgaug

pytestmark = pytest.mark.current


def picture(dtype):
    image = np.random.default_rng(0).integers(0, 255, (32, 40, 3))
    return (image / 255).astype(dtype) if dtype.startswith("float") else image.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_elastic_transformation_runs_and_repeats(dtype):
    augmenters = import_imgaug().augmenters

    def moved(seed):
        return augmenters.ElasticTransformation(alpha=20.0, sigma=4.0, seed=seed)(image=picture(dtype))

    assert moved(1).dtype == picture(dtype).dtype and moved(1).shape == (32, 40, 3)
    np.testing.assert_array_equal(moved(1), moved(1))
    assert (moved(1) != moved(2)).any() and (moved(1) != picture(dtype)).any()


def test_no_shift_is_the_identity():
    augmenters = import_imgaug().augmenters
    image = picture("uint8")
    np.testing.assert_array_equal(augmenters.ElasticTransformation(alpha=0.0, sigma=4.0)(image=image), image)


def test_labels_move_with_their_image():
    """A bright square and its mask end in the same place."""
    augmenters, image = import_imgaug().augmenters, np.zeros((64, 64, 1), "uint8")
    image[20:44, 20:44] = 200
    mask = (image > 0).astype("int32")[None]
    move = augmenters.ElasticTransformation(alpha=60.0, sigma=6.0, order=0, seed=3)
    moved, label = move(images=image[None], segmentation_maps=mask)
    assert (label[0] != mask[0]).any()
    np.testing.assert_array_equal(label[0] > 0, moved[0] > 0)


def test_importing_twice_changes_nothing():
    first = import_imgaug().augmenters.ElasticTransformation._map_coordinates
    assert import_imgaug().augmenters.ElasticTransformation._map_coordinates is first
