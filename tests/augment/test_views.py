"""Views of one size: boxes within the image, their pixels, the same in a graph."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.augment.views import centre_box, centre_views, resized_crop, resized_view

pytestmark = pytest.mark.one_stack


@pytest.mark.parametrize("shape", [(40, 60), (9, 200)])
def test_boxes_lie_inside_and_have_the_areas_and_ratios_asked_for(shape):
    draw = np.random.default_rng(0)
    boxes = np.array([resized_crop(draw, shape, (0.2, 0.9), (0.5, 3.0)) for _ in range(500)])
    assert (boxes[:, :2] >= -1e-9).all() and (boxes[:, :2] + boxes[:, 2:] <= np.array(shape) + 1e-6).all()
    ratios, areas = boxes[:, 3] / boxes[:, 2], boxes[:, 2] * boxes[:, 3] / np.prod(shape)
    assert ratios.min() >= 0.5 - 1e-6 and ratios.max() <= 3 + 1e-6
    assert areas.max() <= 0.9 + 1e-6
    if shape == (40, 60):
        assert ratios.max() / ratios.min() > 4 and areas.min() >= 0.2 - 1e-6 and areas.max() - areas.min() > 0.5
    whole = resized_crop(draw, (10, 100), (1.0, 1.0), (1.0, 1.0))  # no square has the area: the middle one
    assert whole == (0.0, 45.0, 10.0, 10.0)


def test_the_whole_image_at_its_own_size_is_itself():
    image = np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)
    np.testing.assert_allclose(resized_view(image, (0, 0, 12, 12), 12), image, atol=1e-5)
    np.testing.assert_allclose(resized_view(image, (0, 0, 12, 12), 12, mirrored=True), image[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(resized_view(image, (0, 0, 12, 12), 12, degrees=90.0), np.rot90(image, -1), atol=1e-4)
    np.testing.assert_allclose(resized_view(image, (2, 3, 6, 6), 6), image[2:8, 3:9], atol=1e-5)


def test_large_images_are_averaged_and_what_lies_beyond_has_the_least_value():
    board = np.indices((64, 64)).sum(0) % 2 * 2.0 - 1
    assert np.abs(resized_view(board, (0, 0, 64, 64), 16)).max() < 1e-6
    turned = resized_view(np.full((20, 20), 7.0) - np.eye(20), (0, 0, 20, 20), 20, degrees=45.0)
    assert turned[0, 0] == 6.0 and turned.max() == 7.0


@pytest.mark.parametrize("shape, size", [((30, 44), 16), ((100, 64), 8), ((9, 8), 12)])
def test_centre_views_are_alike_in_a_graph(shape, size):
    images = np.random.default_rng(2).normal(size=(3, *shape)).astype(np.float32)
    ours = np.stack([resized_view(image, centre_box(shape), size) for image in images])
    np.testing.assert_allclose(centre_views(tf.constant(images), size), ours, atol=1e-4)
