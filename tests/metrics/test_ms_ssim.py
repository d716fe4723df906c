"""MS-SSIM: TensorFlow's as oracle in 2D, a plain loop in 3D, invariants, and what does not fit."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tfmed.metrics import generative
from tfmed.metrics.ms_ssim import WEIGHTS, Pyramid, feasible_scales, ms_ssim

pytestmark = pytest.mark.one_stack


def images(shape, n=3, seed=0):
    """Smooth random images in [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=(n, *shape))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, *[2.0] * len(shape)))
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def with_noise(x, level, seed=1):
    return np.clip(x + level * np.random.default_rng(seed).normal(size=x.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("shape, scales", [((80, 80), 3), ((83, 97), 4), ((161, 176), 5)])
def test_equals_tensorflow(shape, scales):
    a = images(shape)
    b = with_noise(a, 0.1)
    assert feasible_scales(shape) == scales
    factors = tuple(np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]))
    theirs = tf.image.ssim_multiscale(a[..., None], b[..., None], 1.0, power_factors=factors)
    np.testing.assert_allclose(ms_ssim(a, b), theirs, atol=3e-5)
    theirs = tf.image.ssim_multiscale(a[..., None], b[..., None], 1.0, (0.3, 0.7), filter_size=7, filter_sigma=1.1)
    np.testing.assert_allclose(ms_ssim(a, b, filter_size=7, sigma=1.1, weights=(0.3, 0.7)), theirs, atol=3e-5)


def plain(x, y, scales, filter_size=11, sigma=1.5):
    """The definition for one pair of any rank, with scipy's filters and the window of the scale's own size."""
    result = 1.0
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    for level, weight in enumerate(weights):
        if level:
            for axis in range(x.ndim):
                x, y = ((z.take(range(0, z.shape[axis], 2), axis) + z.take(range(1, z.shape[axis], 2), axis)) / 2
                        for z in (x, y))  # fmt: skip

        def local(z):
            for axis, side in enumerate(z.shape):
                width = min(filter_size, side)
                offsets = np.arange(width) - (width - 1) / 2
                window = np.exp(-0.5 * (offsets / (sigma * width / filter_size)) ** 2)
                z = np.apply_along_axis(np.convolve, axis, z, window / window.sum(), "valid")
            return z

        mx, my = local(x), local(y)
        vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
        cs = (2 * cov + 0.03**2) / (vx + vy + 0.03**2)
        if level == scales - 1:
            cs = cs * (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        result *= max(cs.mean(), 0) ** weight
    return result


@pytest.mark.parametrize("shape, options", [
    ((24, 32, 48), {"scales": 2}),
    ((16, 32, 48), {"scales": 3, "shrink_window": True}),
])  # fmt: skip
def test_volumes_equal_the_definition(shape, options):
    a = images(shape, 2)
    b = with_noise(a, 0.1)
    expected = [plain(x.astype(float), y.astype(float), options["scales"]) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ms_ssim(a, b, **options), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(48, 40), (16, 24, 20)])
def test_one_for_itself_symmetric_and_falling_with_noise(shape):
    a = images(shape)
    np.testing.assert_allclose(ms_ssim(a, a), 1.0, atol=1e-5)
    scores = [ms_ssim(a, with_noise(a, level)) for level in (0.02, 0.05, 0.1, 0.2)]
    assert all((x > y).all() for x, y in itertools.pairwise(scores))
    b = with_noise(a, 0.1)
    np.testing.assert_allclose(ms_ssim(a, b), ms_ssim(b, a), atol=1e-6)
    np.testing.assert_allclose(ms_ssim(2 * a - 1, 2 * b - 1, value_range=(-1, 1)), ms_ssim(a, b), atol=1e-5)
    assert (ms_ssim(a, 1 - a) == 0).any() or ms_ssim(a, 1 - a).max() < 0.1  # negative structure counts as 0


def test_all_pairs_and_batches():
    a, b = images((40, 40), 5), images((40, 40), 4, seed=3)
    pyramid = Pyramid((40, 40))
    matrix = pyramid.all_pairs(pyramid.read(a), pyramid.read(b)).numpy()
    for i, j in itertools.product(range(5), range(4)):
        assert matrix[i, j] == pytest.approx(ms_ssim(a[i : i + 1], b[j : j + 1])[0], abs=1e-5)
    many = images((40, 40), 7)
    pyramid.batch = 3
    whole = np.concatenate([pyramid.pairs(pyramid.read(many[i : i + 3]), pyramid.read(many[::-1][i : i + 3]))
                            for i in (0, 3, 6)])  # fmt: skip
    np.testing.assert_allclose(generative.ms_ssim(many, many[::-1]), whole, atol=1e-6)
    assert ms_ssim(many[:0], many[:0]).shape == (0,)


@pytest.mark.parametrize("shape, filter_size, scales", [
    ((80, 80), 11, 3), ((80, 80), 7, 4), ((80, 80), 5, 5), ((160, 200), 11, 4), ((161, 200), 11, 5), ((9, 80), 11, 0),
    ((80, 96, 112), 11, 3),
])  # fmt: skip
def test_how_many_scales_fit(shape, filter_size, scales):
    assert feasible_scales(shape, filter_size) == scales
    if scales:
        assert len(Pyramid(shape, filter_size=filter_size).weights) == scales
        assert sum(Pyramid(shape, filter_size=filter_size).weights) == pytest.approx(1)


@pytest.mark.parametrize("a, b, options, words", [
    ((2, 80, 80), (2, 80, 80), {"scales": 4}, "too small for 4 .* need 81 pixels .* at most 3 scales, .* at most 10"),
    ((2, 9, 80), (2, 9, 80), {}, "too small for 1 scales .* a window of at most 9, or shrink_window"),
    ((2, 80, 80), (2, 80, 81), {}, "differ in shape; pair them up"),
    ((2, 80, 80, 1), (2, 80, 80, 1), {}, "too small"),
    ((80, 80), (80, 80), {}, "one grey channel"),
    ((2, 80, 80), (2, 80, 80), {"weights": (1.0,), "scales": 2}, "one per scale"),
    ((2, 80, 80), (2, 80, 80), {"value_range": (1, 0)}, "value_range"),
    ((2, 600, 600), (2, 600, 600), {"scales": 6}, "more than 5"),
])  # fmt: skip
def test_what_does_not_fit(a, b, options, words):
    with pytest.raises(ValueError, match=words):
        ms_ssim(np.zeros(a, np.float32), np.zeros(b, np.float32), **options)


@pytest.mark.parametrize("value, words", [(2.0, "2 lie outside of value_range"), (-1.0, "outside"), (np.nan, "NaN")])
def test_values_out_of_range(value, words):
    x = np.zeros((1, 16, 16), np.float32)
    x[0, 3, 3] = value
    with pytest.raises(ValueError, match=words):
        ms_ssim(x, np.zeros_like(x))
