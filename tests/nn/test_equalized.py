"""StyleGAN2's layers in 3-D: against reference loops, closed forms, and what must not change."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfmed import compat
from tfmed.nn.equalized import (
    EqualizedConv3D,
    EqualizedDense,
    MinibatchDeviation,
    ModulatedConv3D,
    NoiseBiasActivation,
    convolve,
)
from tfmed.nn.recompute import recompute
from tfmed.nn.resample3d import downsample3d, fir3d, upsample3d

pytestmark = pytest.mark.current


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# --- resampling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resample", [upsample3d, downsample3d])
def test_a_constant_stays_constant_away_from_borders(resample):
    out = resample(tf.ones((1, 8, 10, 12, 2))).numpy()
    np.testing.assert_allclose(out[:, 2:-2, 2:-2, 2:-2], 1.0, atol=1e-6)


def test_five_taps_put_a_lattice_on_a_constant():
    """The authors' filter: its even and odd taps have sums 5 and 6 of 11."""
    inner = upsample3d(tf.ones((1, 8, 8, 8, 1)), (1, 3, 3, 3, 1)).numpy()[0, 4:-4, 4:-4, 4:-4, 0]
    assert inner.min() == pytest.approx((10 / 11) ** 3, rel=1e-5)
    assert inner.max() == pytest.approx((12 / 11) ** 3, rel=1e-5)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 1), (1, 3, 3, 3, 1), (2, 1)], ids=str)
def test_filter_equals_scipy(taps):
    x = normal(1, 9, 8, 10, 1)
    found = fir3d(x, taps, 3.0, (len(taps), len(taps))).numpy()[0, ..., 0]
    padded = np.pad(x[0, ..., 0], len(taps)).astype(float)
    for axis in range(3):
        padded = np.apply_along_axis(np.convolve, axis, padded, np.array(taps) / sum(taps), "valid")
    np.testing.assert_allclose(found, 3.0 * padded, atol=1e-5)


def test_upsampling_is_linear_interpolation_between_voxels():
    """(1, 3, 3, 1) / 4 puts new voxels at quarters: 3/4 of the nearer old one, 1/4 of the other."""
    x = normal(1, 5, 4, 6, 1)
    found = upsample3d(x).numpy()[0, ..., 0]
    places = np.meshgrid(*[(np.arange(2 * n) - 0.5) / 2 for n in (5, 4, 6)], indexing="ij")
    expected = ndimage.map_coordinates(x[0, ..., 0], places, order=1, mode="grid-constant")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_strided_filter_is_the_filter_and_every_second_voxel():
    x = normal(2, 8, 6, 10, 3)
    np.testing.assert_allclose(downsample3d(x), fir3d(x, padding=(1, 1))[:, ::2, ::2, ::2], atol=1e-6)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 3, 3, 3, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("size", [1, 3])
def test_resampling_convolutions_have_the_right_size(size, taps):
    x, kernel = normal(1, 4, 6, 8, 2), normal(size, size, size, 2, 5)
    assert convolve(x, kernel, "up", taps).shape == (1, 8, 12, 16, 5)
    assert convolve(x, kernel, "down", taps).shape == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("size", [1, 3])
def test_convolving_while_resampling_equals_doing_one_after_the_other(size):
    """Away from borders: up, then convolve; filter, then convolve with stride 2."""
    x, kernel = normal(1, 6, 6, 6, 2), normal(size, size, size, 2, 3)
    up = tf.nn.conv3d(upsample3d(x), kernel, (1,) * 5, "SAME")
    np.testing.assert_allclose(convolve(x, kernel, "up")[:, 3:-3, 3:-3, 3:-3], up[:, 3:-3, 3:-3, 3:-3], atol=1e-4)
    x = normal(1, 12, 12, 12, 2)
    even = convolve(x, kernel, "down").numpy()
    # Convolution and filter change places: the filter's half-voxel shift is that of `downsample3d`.
    other = downsample3d(tf.nn.conv3d(x, kernel, (1,) * 5, "SAME")).numpy()
    np.testing.assert_allclose(even[:, 2:-2, 2:-2, 2:-2], other[:, 2:-2, 2:-2, 2:-2], atol=1e-4)


# --- layers ---------------------------------------------------------------------------------------------------------


def test_equalised_layers_keep_the_variance():
    keras.utils.set_random_seed(0)
    dense = EqualizedDense(400, "leaky", rate=0.01)
    assert np.mean(dense(normal(200, 300)) ** 2) == pytest.approx(1.04, rel=0.1)  # 2 (1 + 0.2^2) / 2
    assert float(tf.math.reduce_std(dense.kernel)) == pytest.approx(100, rel=0.05)  # so a step moves it 0.01 as much
    conv = EqualizedConv3D(32)
    assert np.var(conv(normal(2, 8, 8, 8, 16))[:, 1:-1, 1:-1, 1:-1]) == pytest.approx(1, rel=0.2)


def modulated(**options):
    keras.utils.set_random_seed(1)
    layer = ModulatedConv3D(5, **options)
    x, w = normal(2, 4, 5, 6, 3), normal(2, 7, seed=1)
    layer(x, w)
    layer.style.kernel.assign(normal(7, 3, seed=2))
    return layer, x, w


def kernels(layer, w):
    """w'' of each sample `(n, k, k, k, c, filters)`, as the paper writes it."""
    style = np.asarray(layer.style(w))
    scaled = style[:, None, None, None, :, None] * np.asarray(layer.kernel) * layer.scale
    if not layer.demodulate:
        return scaled
    return scaled / np.sqrt((scaled**2).sum(axis=(1, 2, 3, 4), keepdims=True) + 1e-8)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("resample", [None, "up"])
def test_modulated_convolution_equals_a_kernel_per_sample(resample, demodulate):
    layer, x, w = modulated(resample=resample, demodulate=demodulate)
    expected = [convolve(x[i : i + 1], kernel, resample) for i, kernel in enumerate(kernels(layer, w))]
    np.testing.assert_allclose(layer(x, w), tf.concat(expected, 0), atol=1e-4)


def test_demodulated_kernels_have_unit_norm():
    layer, _, w = modulated()
    np.testing.assert_allclose((kernels(layer, w) ** 2).sum(axis=(1, 2, 3, 4)), 1.0, rtol=1e-5)


def test_styles_start_at_one_plus_what_w_says():
    keras.utils.set_random_seed(0)
    layer = ModulatedConv3D(2)
    layer(normal(1, 2, 2, 2, 3), tf.zeros((1, 4)))
    np.testing.assert_array_equal(layer.style(tf.zeros((1, 4))), 1.0)


def test_float16_does_not_overflow_with_strong_styles():
    keras.utils.set_random_seed(0)
    layer, plain = (ModulatedConv3D(4, dtype=policy) for policy in ("mixed_float16", "float32"))
    x, w = normal(2, 4, 4, 4, 3), 1e5 * normal(2, 6)
    for one in (plain, layer):
        one(x, w)
    layer.set_weights(plain.get_weights())
    assert layer(x, w).dtype == tf.float16
    np.testing.assert_allclose(layer(x, w), plain(x, w), atol=0.02)


def test_noise_has_no_effect_at_first_and_then_its_strength():
    layer, x = NoiseBiasActivation(), tf.abs(normal(1, 2, 3, 4, 2))
    noise = tf.abs(normal(1, 2, 3, 4, 1, seed=1))
    np.testing.assert_array_equal(layer(x, noise), layer(x))
    layer.strength.assign(0.5)
    np.testing.assert_allclose(layer(x, noise), np.sqrt(2) * (x + 0.5 * noise), rtol=1e-5)
    assert len(NoiseBiasActivation(use_noise=False).weights) == 0


def test_minibatch_deviation_of_equal_and_of_known_samples():
    layer = MinibatchDeviation(2)
    same = layer(tf.repeat(normal(1, 2, 2, 2, 3), 2, axis=0))
    assert same.shape == (2, 2, 2, 2, 4)
    np.testing.assert_allclose(same[..., 3], 1e-4, rtol=1e-3)
    values = np.array([0, 2, 5, 11], "float32")[:, None, None, None, None] * np.ones((1, 2, 2, 2, 3), "float32")
    np.testing.assert_allclose(layer(values)[:, 0, 0, 0, 3], [1, 1, 3, 3], rtol=1e-5)


@pytest.mark.parametrize("layer, arguments", [
    (EqualizedDense(3, "leaky", bias=1.0, rate=0.1), [(2, 5)]), (MinibatchDeviation(2), [(2, 2, 2, 2, 3)]),
    (EqualizedConv3D(3, 1, "down", "leaky", False, (1, 2, 1)), [(1, 4, 4, 4, 2)]),
    (ModulatedConv3D(3, 3, False, "up", (1, 1)), [(1, 2, 2, 2, 2), (1, 4)]),
    (NoiseBiasActivation(False), [(1, 2, 2, 2, 3)]),
], ids=lambda v: type(v).__name__)  # fmt: skip
def test_configs_give_the_same_layer(layer, arguments):
    inputs = [normal(*shape) for shape in arguments]
    expected = layer(*inputs)
    again = type(layer).from_config(layer.get_config())
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(*inputs), expected)


# --- recomputing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_recomputed_gradients_equal_kept_ones_to_second_order(compiled):
    keras.utils.set_random_seed(0)
    layer, x, w = modulated(resample="up")
    weights = [compat.tensor_variable(v) for v in layer.trainable_variables]
    x, w = tf.constant(x), tf.constant(w)

    def values(keep):
        with tf.GradientTape() as outer:
            outer.watch(w)
            with tf.GradientTape() as tape:
                tape.watch((x, w))
                y = layer(x, w) if keep else recompute(layer, x, w)
                loss = tf.reduce_sum(y**3)
            first = tape.gradient(loss, [x, w, *weights])
            penalty = tf.reduce_sum(first[1] ** 2)
        return [*first, *outer.gradient(penalty, [w, *weights])]

    run = tf.function(values) if compiled else values
    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-3)
