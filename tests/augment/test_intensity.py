"""Values change by the seed and the image alone; closed forms; shapes, dtypes and graphs."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from tfmed.augment import intensity

pytestmark = pytest.mark.one_stack

OPERATIONS = [
    intensity.brightness,
    intensity.exposure,
    intensity.gamma,
    intensity.contrast,
    intensity.noise,
    intensity.blur,
    intensity.bias_field,
]
SEEDS = np.array([4, 9, 11])


def pictures(shape=(10, 12, 2), batch=3):
    return np.random.default_rng(0).normal(3, 2, (batch, *shape)).astype("float32")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(10, 12, 2), (5, 6, 7, 1)])
def test_a_pure_function_of_image_and_seed(operation, shape):
    """The same in another batch, in another place, in a graph, and untouched by TensorFlow's global seed."""
    images = pictures(shape)
    tf.random.set_seed(1)
    changed = operation(images, SEEDS).numpy()
    tf.random.set_seed(2)
    alone = operation(images[1:2], SEEDS[1:2]).numpy()
    assert changed.shape == images.shape and np.isfinite(changed).all() and (changed != images).any()
    np.testing.assert_allclose(alone[0], changed[1], atol=1e-6)
    graph = tf.function(lambda i, s: operation(i, s)).get_concrete_function(
        tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None,), tf.int64)
    )
    np.testing.assert_allclose(graph(images, SEEDS), changed, rtol=1e-4, atol=1e-5)
    assert not any("PyFunc" in node.op for node in graph.graph.as_graph_def().node)
    twins = operation(np.stack([images[0]] * 3), [4, 5, 4]).numpy()
    np.testing.assert_allclose(twins[0], twins[2], atol=1e-5)
    assert (twins[0] != twins[1]).any()
    pairs = operation(images, np.array([[4, 0], [9, 0], [11, 1]])).numpy()
    np.testing.assert_allclose(pairs[:2], changed[:2], atol=1e-5)
    assert (pairs[2] != changed[2]).any()


def test_slices_change_by_factors_of_their_own():
    """Brightness and contrast of each slice, within their bounds; a volume's norm does not undo it."""
    volumes = pictures((6, 8, 9, 2))
    changed = intensity.slices(volumes, SEEDS, 0.4).numpy()
    alone = intensity.slices(volumes[1:2], SEEDS[1:2], 0.4).numpy()
    np.testing.assert_allclose(alone[0], changed[1], atol=1e-6)
    before, after = (v.mean((2, 3)) for v in (volumes, changed))
    brightness = after / before
    contrast = changed.std((2, 3)) / volumes.std((2, 3))
    for factors in (brightness, contrast):
        np.testing.assert_allclose(factors[..., 0], factors[..., 1], rtol=1e-4)  # channels change together
        assert 0.6 <= factors.min() < 0.8 and 1.2 < factors.max() <= 1.4
        assert np.ptp(factors[..., 0], axis=1).min() > 0.1
    assert np.abs(np.corrcoef(brightness[..., 0].ravel(), contrast[..., 0].ravel())[0, 1]) < 0.6
    np.testing.assert_array_equal(changed, intensity.slices(volumes, SEEDS, 0.4))
    with pytest.raises(ValueError, match="volumes"):
        intensity.slices(pictures(), SEEDS)


RECORDED = {  # two values, mean and standard deviation, with the strengths that are the default
    "brightness": [3.15901, 5.55246, 2.86270, 2.01825],
    "gamma": [3.67756, 5.93985, 3.35755, 1.96628],
    "contrast": [3.22991, 5.54575, 2.95515, 1.93780],
    "noise": [3.17843, 5.75711, 2.94530, 2.02292],
    "blur": [3.66038, 3.36031, 2.95109, 0.81807],
    "bias_field": [3.11075, 5.23552, 2.72507, 1.85242],
    "exposure": [3.66534, 6.36345, 3.33131, 2.27515],
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_same_numbers_on_every_stack(operation):
    """What a run drew before it draws after an upgrade, and each function draws numbers of its own."""
    changed = operation(pictures(batch=1), SEEDS[:1]).numpy()
    found = [changed[0, 0, 0, 0], changed[0, 5, 6, 1], changed.mean(), changed.std()]
    np.testing.assert_allclose(found, RECORDED[operation.__name__], rtol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_dtypes(operation):
    assert operation(pictures().astype("float16"), SEEDS).dtype == tf.float16
    with pytest.raises(ValueError, match="int32"):
        operation(pictures().astype("int32"), SEEDS)
    with pytest.raises(ValueError, match="seeds"):
        operation(pictures(), 3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_finite(operation):
    images = tf.constant(np.concatenate([pictures()[:2], np.zeros((1, 10, 12, 2), "float32")]))
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(operation(images, SEEDS) ** 2)
    assert np.isfinite(tape.gradient(total, images)).all()


def test_gamma_keeps_the_range():
    images = pictures()
    changed = intensity.gamma(images, SEEDS, (0.5, 0.5)).numpy()
    low, high = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    expected = low + (high - low) * ((images - low) / (high - low)) ** 0.5
    np.testing.assert_allclose(changed, expected, rtol=1e-4, atol=1e-4)
    flat = np.full((3, 4, 4, 1), 2.0, "float32")
    np.testing.assert_array_equal(intensity.gamma(flat, SEEDS), flat)


def test_brightness_adds_one_number():
    images = pictures(batch=400)
    added = intensity.brightness(images, np.arange(400), (-0.2, 0.5)).numpy() - images
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1, :1], added.shape), atol=1e-5)
    assert added.min() >= -0.2001 and added.max() <= 0.5001 and added.mean() == pytest.approx(0.15, abs=0.03)


def test_contrast_keeps_the_mean_of_each_channel():
    images = pictures()
    changed = intensity.contrast(images, SEEDS, (2, 2)).numpy()
    np.testing.assert_allclose(changed.mean((1, 2)), images.mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(changed.std((1, 2)), 2 * images.std((1, 2)), rtol=1e-4)


def test_noise_has_its_deviation():
    images = np.zeros((3, 64, 64, 1), "float32")
    changed = intensity.noise(images, SEEDS, (0.5, 0.5)).numpy()
    np.testing.assert_allclose(changed.std((1, 2, 3)), 0.5, rtol=0.05)
    assert np.corrcoef(changed.reshape(3, -1))[0, 1] < 0.1
    np.testing.assert_array_equal(intensity.noise(pictures(), SEEDS, (0, 0)), pictures())


@pytest.mark.parametrize("shape", [(10, 12, 2), (5, 6, 7, 1)])
def test_blur_is_a_gaussian_filter(shape):
    images = pictures(shape)
    axes = (0, *[1.2] * (len(shape) - 1), 0)
    expected = gaussian_filter(images.astype(float), axes, mode="nearest", radius=[0, *[4] * (len(shape) - 1), 0])
    np.testing.assert_allclose(intensity.blur(images, SEEDS, (1.2, 1.2)), expected, atol=1e-4)


def test_a_bias_field_is_smooth_and_bounded():
    field = intensity.bias_field(np.ones((3, 40, 50, 1), "float32"), SEEDS, 0.3).numpy()
    assert np.abs(np.log(field)).max() <= 0.3 and field.std() > 0.02
    assert np.abs(np.diff(field, axis=1)).max() < 0.05


def test_gamma_of_a_normal_exponent():
    """log g ~ N(0, s): the same image by many seeds."""
    middle = np.tile(np.float32([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1), (300, 1, 1, 1))
    changed = tf.function(intensity.gamma)(middle, np.arange(300), deviation=0.2).numpy()[:, 1, 0, 0]
    logs = np.log(np.log(changed) / np.log(0.5))
    assert abs(logs.mean()) < 0.04 and logs.std() == pytest.approx(0.2, rel=0.15)


def test_a_random_window_lies_in_its_ranges():
    """Where values become 0 and 1 tells its centre and width."""
    ramp = np.tile(np.linspace(-2000, 1000, 3001, dtype=np.float32).reshape(1, -1, 1, 1), (100, 1, 1, 1))
    found = tf.function(intensity.window)(ramp, np.arange(100)).numpy()[:, :, 0, 0]
    low = np.array([ramp[0, np.flatnonzero(row > 0)[0] - 1, 0, 0] for row in found])
    high = np.array([ramp[0, np.flatnonzero(row >= 1)[0], 0, 0] for row in found])
    centre, width = (low + high) / 2, high - low
    assert found.min() == 0 and found.max() == 1
    assert -702 < centre.min() < -680 and -520 < centre.max() < -498
    assert 1298 < width.min() < 1320 and 1680 < width.max() < 1702


def test_chosen_changes_a_share():
    images = np.zeros((300, 2, 2, 1), np.float32)
    for share, low, high in ((0.0, 0, 0), (0.3, 0.22, 0.38), (1.0, 1, 1)):
        found = tf.function(intensity.chosen)(np.arange(300), share, images + 1, images).numpy()
        assert set(np.unique(found)) <= {0, 1} and low <= found.mean() <= high
        assert (found.std((1, 2, 3)) == 0).all()


def test_hue_is_tensorflow_s_and_saturation_pillow_s():
    """Whose draws are given: one number for each image."""
    from PIL import Image, ImageEnhance

    colours = tf.random.stateless_uniform((2, 6, 7, 3), (3, 3))
    seed = tf.constant([4, 5], tf.int64)
    for value in (-0.2, 0.05):
        turned = intensity.hue(colours, seed, (value, value))
        np.testing.assert_allclose(turned, tf.image.adjust_hue(colours, value), atol=1e-5)
    whole = np.uint8(np.round(255 * colours[0]))
    for factor in (0.0, 0.7, 1.2):
        ours = intensity.saturation(whole[None].astype("float32"), seed[:1], (factor, factor))[0]
        theirs = np.asarray(ImageEnhance.Color(Image.fromarray(whole)).enhance(factor)).astype("float32")
        np.testing.assert_allclose(np.clip(ours, 0, 255), theirs, atol=2.0)
    grey = tf.fill((1, 3, 3, 3), 0.4)
    np.testing.assert_allclose(intensity.saturation(grey, seed[:1]), grey, atol=1e-6)
    varied = intensity.hue(colours[:1].numpy().repeat(2, 0), seed)
    assert np.abs(varied[0] - varied[1]).max() > 1e-3
