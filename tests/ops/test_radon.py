"""Projection and filtered back-projection beside scikit-image, the oracle; adjoints, graphs, gradients."""

import numpy as np
import pytest
import tensorflow as tf
from skimage.transform import iradon
from skimage.transform import radon as projected

from tfmed.ops import radon

pytestmark = pytest.mark.one_stack

SIDES = [(64, 48), (65, 33)]


def slices(side, count=2, seed=0, smooth=False):
    """Random images in the circle; smooth ones show a few discs."""
    rng = np.random.default_rng(seed)
    if not smooth:
        return rng.random((count, side, side)) * radon.circle(side)
    y, x = np.mgrid[:side, :side] - side // 2
    images = np.zeros((count, side, side))
    for image in images:
        for _ in range(6):
            cy, cx = rng.uniform(-0.25, 0.25, 2) * side
            image += rng.uniform(0.2, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (0.06 * side) ** 2))
    return images * radon.circle(side)


def degrees(views):
    return np.arange(views) * 180 / views


def inside(side):
    """Away from the circle's border, where scikit-image loses what rounding puts beyond the detector."""
    return np.hypot(*(np.mgrid[:side, :side] - side // 2)) < side // 2 - 1


def off(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


@pytest.mark.parametrize("side, views", SIDES)
def test_direct_is_scikit_image(side, views):
    """To rounding, in float64, for even and odd sides; in float32 to its rounding."""
    images = slices(side)
    sinograms = np.stack([projected(image, degrees(views), circle=True).T for image in images])
    np.testing.assert_allclose(radon.radon(images, views, "direct"), sinograms, atol=1e-10)
    np.testing.assert_allclose(radon.radon(np.float32(images), views, "direct"), sinograms, atol=2e-4)
    wanted = np.stack([iradon(s.T, degrees(views), circle=True, filter_name="ramp") for s in sinograms])
    found = radon.filtered_back_projection(sinograms, way="direct").numpy()
    np.testing.assert_allclose(found * inside(side), wanted * inside(side), atol=1e-10)
    np.testing.assert_array_equal(found * (1 - radon.circle(side)), 0)


@pytest.mark.parametrize("side, views", SIDES)
def test_gridding_is_near(side, views):
    """Sinograms of slices as smooth as anatomy within 0.2 %; of white noise, the worst, within 2 %."""
    for smooth, bounds in ((True, (0.002, 0.01)), (False, (0.02, 0.1))):
        images = slices(side, 3, smooth=smooth)
        sinograms = radon.radon(images, views, "direct").numpy()
        assert off(radon.radon(np.float32(images), views).numpy(), sinograms) < bounds[0]
        wanted = radon.filtered_back_projection(sinograms, way="direct").numpy() * inside(side)
        found = radon.filtered_back_projection(np.float32(sinograms)).numpy() * inside(side)
        assert off(found, wanted) < bounds[1]


def test_the_filter_is_scikit_images():
    from skimage.transform.radon_transform import _get_fourier_filter

    for side in (20, 64, 65, 384):
        wanted = _get_fourier_filter(radon.detector_length(side), "ramp").real[:, 0]
        np.testing.assert_allclose(radon.ramp(side), wanted[: len(wanted) // 2 + 1], atol=1e-12)
        assert radon.frequencies(side)[-1] == 1 and radon.frequencies(side)[0] == 0


@pytest.mark.parametrize("way", ["direct", "gridding"])
def test_gains_are_those_of_the_detectors_frequencies(way):
    """A gain per sample; one of 2 doubles the slice."""
    sinograms = radon.radon(np.float32(slices(32)), 24, way)
    plain = radon.filtered_back_projection(sinograms, way=way).numpy()
    gain = np.stack([np.ones(len(radon.frequencies(32))), np.full(len(radon.frequencies(32)), 2.0)])
    both = radon.filtered_back_projection(sinograms, gain, way).numpy()
    np.testing.assert_allclose(both, plain * np.array([1, 2])[:, None, None], atol=1e-5)


@pytest.mark.parametrize("way", ["direct", "gridding"])
def test_a_slice_does_not_depend_on_its_batch(way):
    """Odd batches too: gridding makes pairs."""
    images = np.float32(slices(24, 3))
    together = radon.radon(images, 16, way).numpy()
    back = radon.filtered_back_projection(together, way=way).numpy()
    for k in range(3):
        alone = radon.radon(images[k : k + 1], 16, way).numpy()
        np.testing.assert_allclose(alone[0], together[k], atol=1e-5)
        np.testing.assert_allclose(radon.filtered_back_projection(alone, way=way)[0], back[k], atol=1e-5)


@pytest.mark.parametrize("way", ["direct", "gridding"])
def test_graphs_with_unknown_batch_and_gradients(way):
    """The gradient of a linear operation is its adjoint: <A x, y> = <x, A' y>."""
    rng = np.random.default_rng(3)
    image, other = (tf.constant(rng.normal(size=(2, 20, 20)), tf.float32) for _ in range(2))

    @tf.function(input_signature=[tf.TensorSpec((None, 20, 20), tf.float32)])
    def chain(image):
        return radon.filtered_back_projection(radon.radon(image, 12, way), way=way)

    with tf.GradientTape() as tape:
        tape.watch(image)
        product = tf.reduce_sum(chain(image) * other)
    adjoint = tape.gradient(product, image)
    np.testing.assert_allclose(product, tf.reduce_sum(adjoint * image), rtol=1e-3)
    assert np.abs(adjoint).max() > 0.01


def test_bad_arguments():
    square = tf.zeros((1, 8, 8))
    for call, said in (
        (lambda: radon.radon(tf.zeros((1, 8, 9)), 4), "pad them to a square"),
        (lambda: radon.radon(square, 0), "views is 0"),
        (lambda: radon.radon(square, 4, "fast"), "direct and gridding"),
        (lambda: radon.radon(tf.zeros((8, 8)), 4), "three axes"),
        (lambda: radon.radon(tf.zeros((1, 8, 8), tf.float64), 4), "float64"),
        (lambda: radon.filtered_back_projection(tf.zeros((1, 4, 8), tf.int32)), "int32"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
