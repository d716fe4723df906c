"""Stains: as scikit-image tells them apart, and back."""

import numpy as np
import pytest
import tensorflow as tf
from skimage import color

from tfmed.ops.colour import HED_FROM_RGB, RGB_FROM_HED, combine_stains, separate_stains

pytestmark = pytest.mark.one_stack


def test_equal_scikit_image():
    np.testing.assert_array_equal(RGB_FROM_HED, color.rgb_from_hed)
    np.testing.assert_allclose(HED_FROM_RGB, color.hed_from_rgb)
    pictures = np.random.default_rng(0).random((2, 9, 7, 3))
    pictures[0, 0, 0], pictures[0, 0, 1] = 0, 1
    theirs = color.rgb2hed(pictures)
    ours = tf.function(separate_stains)(tf.constant(pictures, tf.float32)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(combine_stains(theirs), color.hed2rgb(theirs), atol=1e-5)


def test_pure_stains_are_found_alone():
    amounts = np.eye(3, dtype=np.float32)[None] * 0.2
    np.testing.assert_allclose(separate_stains(combine_stains(amounts)), amounts, atol=1e-5)
