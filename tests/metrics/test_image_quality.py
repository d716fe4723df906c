"""MAE, PSNR and SSIM: against scikit-image, closed forms, and masks."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from skimage import metrics as reference

from tfmed.metrics.image_quality import MOST_DB, around, edge_correlation, mae, patch_scores, psnr, ssim

pytestmark = pytest.mark.current

RANGE = 3276.7


def pair(shape, seed=0, noise=200.0):
    rng = np.random.default_rng(seed)
    first = rng.uniform(-1024, 2252.7, shape)
    return first, (first + rng.normal(0, noise, shape)).astype(np.float32)


@hypothesis.given(st.tuples(*[st.integers(7, 14)] * 3), st.integers(0, 1000), st.floats(1, 2000))
@hypothesis.settings(max_examples=15)
def test_volumes_as_scikit_image(shape, seed, noise):
    one, other = pair(shape, seed, noise)
    assert psnr(one, other, RANGE) == pytest.approx(
        reference.peak_signal_noise_ratio(one, other.astype(float), data_range=RANGE)
    )
    expected = reference.structural_similarity(one, other.astype(float), data_range=RANGE, win_size=7)
    assert ssim(one, other, RANGE) == pytest.approx(expected, abs=1e-9)
    assert mae(one, other) == pytest.approx(np.abs(one - other).mean())


def test_images_as_scikit_image():
    one, other = pair((40, 31))
    expected = reference.structural_similarity(one, other.astype(float), data_range=RANGE, win_size=7)
    assert ssim(one, other, RANGE) == pytest.approx(expected, abs=1e-9)


def test_masked_similarity_is_the_mean_of_its_map():
    one, other = pair((12, 15, 11))
    mask = np.random.default_rng(1).random(one.shape) < 0.3
    _, whole = reference.structural_similarity(one, other.astype(float), data_range=RANGE, win_size=7, full=True)
    inside = (slice(3, -3),) * 3
    assert ssim(one, other, RANGE, mask) == pytest.approx(whole[inside][mask[inside]].mean(), abs=1e-9)
    assert mae(one, other, mask) == pytest.approx(np.abs(one - other)[mask].mean())
    assert psnr(one, other, RANGE, mask) == pytest.approx(
        10 * np.log10(RANGE**2 / np.square(one - other)[mask].mean()))  # fmt: skip


def test_equal_images_and_a_constant_difference():
    one, _ = pair((9, 9, 9))
    assert (mae(one, one), psnr(one, one, RANGE)) == (0, np.inf)
    assert ssim(one, one, RANGE) == pytest.approx(1, abs=1e-12)
    assert mae(one, one + 32.767) == pytest.approx(32.767)
    assert psnr(one, one + 32.767, RANGE) == pytest.approx(40)


def test_thin_volumes_have_thinner_windows():
    """Three slices: the window is 3 x 7 x 7."""
    one, other = pair((3, 20, 20))
    assert ssim(one, one, RANGE) == pytest.approx(1, abs=1e-12)
    assert ssim(one[:1], other[:1], RANGE) == pytest.approx(ssim(one[0], other[0], RANGE), rel=1e-9)


@pytest.mark.parametrize("measure, said", [
    (lambda a: mae(a, a[:5]), "differ in shape"),
    (lambda a: mae(a, a, np.zeros(a.shape, bool)), "at least one voxel"),
    (lambda a: psnr(a, a * np.nan, 1.0), "NaN"),
    (lambda a: psnr(a, a, 0.0), "above 0"),
    (lambda a: ssim(a, a, 1.0, window=4), "odd"),
    (lambda a: ssim(a[:2, :2, :2], a[:2, :2, :2], 1.0), "too small"),
    (lambda a: ssim(a, a, 1.0, np.arange(a.size).reshape(a.shape) == 0), "nearer to the border"),
])  # fmt: skip
def test_what_cannot_be_compared(measure, said):
    with pytest.raises(ValueError, match=said):
        measure(pair((9, 9, 9))[0])


def test_edges_correlate_as_scikit_image_finds_them():
    one, other = (np.random.default_rng(seed).random((9, 12)) for seed in range(2))
    from skimage.filters import sobel

    inner = (slice(1, -1),) * 2  # borders are continued in another way
    flat = [np.pad(image[inner], 4, constant_values=0.5) for image in (one, other)]
    expected = np.corrcoef(*(sobel(image).ravel() for image in flat))[0, 1]
    assert edge_correlation(*flat) == pytest.approx(expected, abs=1e-9)
    assert edge_correlation(one, 3 - 2 * one) == pytest.approx(1)
    assert np.isnan(edge_correlation(one, np.ones_like(one)))


def test_gaussian_windows_as_scikit_image():
    one, other = pair((31, 40))
    how = dict(data_range=RANGE, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    expected = reference.structural_similarity(one, other.astype(float), **how)
    assert ssim(one, other, RANGE, window=11, sigma=1.5) == pytest.approx(expected, abs=1e-9)


def test_patches_are_boxes_around_holes_cut_at_borders():
    mask = np.zeros((40, 30), bool)
    mask[2:6, 10], mask[3, 25:29] = True, True
    assert around(mask, 5) == (slice(0, 11), slice(5, 30))
    truth = np.random.default_rng(0).random((40, 30))
    image = np.where(mask, 0.5, truth)
    image[20:] = 0  # outside of the box
    found, box = patch_scores(image, truth, mask, 5), (slice(0, 11), slice(5, 30))
    assert found["L1"] == pytest.approx(np.abs(image - truth)[box].mean())
    expected = reference.peak_signal_noise_ratio(truth[box], image[box], data_range=1.0)
    assert found["PSNR"] == pytest.approx(expected)
    how = dict(data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    expected = reference.structural_similarity(truth[box], image[box], **how)
    assert found["SSIM"] == pytest.approx(expected, abs=1e-9)
    assert patch_scores(truth, truth, mask) == {"L1": 0, "PSNR": MOST_DB, "SSIM": pytest.approx(1)}
    with pytest.raises(ValueError, match="the mask is empty"):
        around(np.zeros((3, 3)))
