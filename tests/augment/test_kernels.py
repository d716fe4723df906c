"""Virtual kernels: FBPAug's card, beside scikit-image's projections, and what each route does alike."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter
from skimage.transform import iradon
from skimage.transform import radon as projected

from tfmed.augment import kernels
from tfmed.ops import radon

pytestmark = pytest.mark.one_stack

ROUTES = ("radon", "gridding", "fourier")


def away(side):
    return np.hypot(*(np.mgrid[:side, :side] - side // 2))


def disc(side=128, radius=40, texture=0.0, seed=0):
    """HU of a disc of water in air, with waves in it, its edge as smooth as a scanner's: `(1, side, side)`."""
    inside = np.clip(radius + 0.5 - away(side), 0, 1)
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:side, :side]
    waves = sum(np.cos(rng.uniform(-1, 1) * y + rng.uniform(-1, 1) * x + rng.uniform(0, 6)) for _ in range(8))
    return (gaussian_filter(inside * (1000 + texture * waves), 0.8) - 1000)[None].astype(np.float32)


def blobs(side, seed=0):
    """HU of smooth mounds in air, well inside of the circle."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:side, :side] - side // 2
    image = np.full((side, side), -1000.0)
    for _ in range(5):
        cy, cx = rng.uniform(-0.2, 0.2, 2) * side
        image += rng.uniform(200, 500) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (0.08 * side) ** 2))
    return image[None].astype(np.float32)


def shown(hu, a, b, route="radon", **options):
    numbers = (tf.fill([len(hu)], float(value)) for value in (a, b))
    return kernels.reconstructed(hu, *numbers, route, **options).numpy()


def core(hu, radius=20):
    return hu[0][away(hu.shape[1]) < radius].mean()


def high_band(hu):
    """Energy above half of the Nyquist frequency."""
    spectrum = np.abs(np.fft.fft2(hu[0])) ** 2
    return spectrum[np.hypot(*np.meshgrid(*[np.fft.fftfreq(len(spectrum))] * 2)) > 0.25].sum()


# 1. a = 0


@pytest.mark.parametrize("side, views", [(64, 64), (65, 40)])
def test_without_a_change_it_is_scikit_images_ramp(side, views):
    """The frequency's power b has nothing to say then. To 1e-6 of the values in float64, here to float32's rounding."""
    hu = disc(side, 0.3 * side, 100)
    degrees = np.arange(views) * 180 / views
    sinogram = projected((hu[0] + 1000.0) * radon.circle(side), degrees, circle=True)
    wanted = np.clip(iradon(sinogram, degrees, filter_name="ramp", circle=True) - 1000, -1000, 3000)
    inner = away(side) < side // 2 - 1
    exact = radon.filtered_back_projection(sinogram.T[None], way="direct").numpy()[0] - 1000
    np.testing.assert_allclose(np.clip(exact, -1000, 3000)[inner], wanted[inner], atol=1e-6)
    for b in (0.3, 2.0):
        np.testing.assert_allclose(shown(hu, 0, b, views=views)[0][inner], wanted[inner], atol=0.01)


@pytest.mark.parametrize("route", ROUTES)
def test_smooth_slices_stay_as_they_are(route):
    hu = blobs(96)
    assert np.linalg.norm(shown(hu, 0, 1, route) - hu) < 0.02 * np.linalg.norm(hu + 1000)


@pytest.mark.parametrize("route", ROUTES)
def test_residual_keeps_the_slice_itself(route):
    hu, inner = disc(64, 20, 20), away(64) < 15
    np.testing.assert_allclose(shown(hu, 0, 1, route, residual=True), hu, atol=2e-3)
    whole, plain, added = (
        shown(hu, a, 1, route, residual=a and added)[0][inner] for a, added in ((0.5, False), (0, False), (0.5, True))
    )
    np.testing.assert_allclose(added - hu[0][inner], whole - plain, atol=0.01)


# 2. - 3. affine in a, linear in the slice; what a does


@pytest.mark.parametrize("route", ROUTES)
def test_affine_in_a_and_linear_in_the_slice(route):
    """Before values are cut: of a slice that stays between -1000 and 3000 HU."""
    hu = disc(64, 40, 100) * 0.4 + 200  # -200 .. 240 HU all over the circle
    inner = away(64) < 20
    zero, one, some = (shown(hu, a, 2, route)[0][inner] for a in (0, 1, -0.7))
    np.testing.assert_allclose(some, zero - 0.7 * (one - zero), atol=5e-3)  # float32's rounding of 1000 HU above air
    other = disc(64, 40, 60, seed=1) * 0.2
    mean = shown((hu + other) / 2, 1, 2, route)[0][inner]
    np.testing.assert_allclose(mean, (one + shown(other, 1, 2, route)[0][inner]) / 2, atol=5e-3)


@pytest.mark.parametrize("route", ROUTES)
def test_a_raises_and_lowers_the_high_band(route):
    hu = disc(96, 30, 60)
    energies = [high_band(shown(hu, a, 1.5, route)) for a in (-1, -0.6, -0.3, 0, 3, 10)]
    assert energies == sorted(energies) and energies[0] < 0.5 * energies[3] < 0.2 * energies[5]


def test_at_nyquist_nothing_is_left_of_a_minus_one():
    assert 1 - radon.frequencies(128)[-1] ** 0.7 == 0
    y = np.arange(96)[:, None]
    stripes = np.float32(100 * (-1.0) ** y * (away(96) < 40))[None]
    left = shown(stripes, -1, 0.7, "fourier")[0][away(96) < 25]
    assert left.std() < 0.02 * 100


# 4. - 6. the mean of an object, turns, ranges and shapes


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("a, b, bound", [(30, 3, 0.02), (-1, 0.7, 0.06)])
def test_the_core_of_a_disc_keeps_its_contrast_over_air(route, a, b, bound):
    hu = disc()
    contrast = (core(shown(hu, a, b, route)) + 1000) / (core(hu) + 1000)
    assert contrast == pytest.approx(1, abs=bound)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("side", [64, 65])
def test_turning_by_a_quarter_commutes(route, side):
    hu = disc(side, 0.3 * side, 60, seed=2)
    first = np.rot90(shown(hu, 30, 3, route, views=64), axes=(1, 2))
    second = shown(np.ascontiguousarray(np.rot90(hu, axes=(1, 2))), 30, 3, route, views=64)
    assert np.linalg.norm(first - second) < 0.1 * np.linalg.norm(second + 1000)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (50, 64), (64, 41)])
def test_range_shape_and_air_around(route, shape):
    rng = np.random.default_rng(0)
    hu = rng.uniform(-1200, 4000, (2, *shape)).astype(np.float32)
    side = max(shape)
    top, left = ((side - n) // 2 for n in shape)
    around = radon.circle(side)[top : top + shape[0], left : left + shape[1]] == 0
    for a, b in ((40, 1), (-1, 0.1)):
        found = shown(hu, a, b, route)
        assert found.shape == hu.shape and found.dtype == np.float32 and np.isfinite(found).all()
        assert found.min() >= -1000 and found.max() <= 3000
        np.testing.assert_array_equal(found[:, around], -1000)
        assert found[:, ~around].std() > 1


# 7. routes


@pytest.mark.parametrize("route", ["gridding", "fourier"])
@pytest.mark.parametrize(
    "a, b, bound", [(-1, 0.7, 0.02), (-0.5, 0.3, 0.03), (-1, 0.1, 0.15), (30, 3, 0.05), (10, 1, 0.03)]
)
def test_routes_agree(route, a, b, bound):
    """Nearly nothing is left of the mean at (-1, 0.1), and that is what differs."""
    hu = disc(128, 50, 40)
    inner = away(128) < 60
    first, second = (shown(hu, a, b, way)[0][inner] for way in ("radon", route))
    assert np.corrcoef(first, second)[0, 1] > 0.99
    assert np.linalg.norm(first - second) < bound * np.linalg.norm(first + 1000)


def test_views_matter_to_the_radon_route():
    hu = disc(64, 20, 100)
    few, many = shown(hu, 30, 3, views=8), shown(hu, 30, 3, views=64)
    assert np.abs(few - many).max() > 50


# 8. the sampler


def test_drawn_kernels():
    seeds = np.stack([np.arange(600), np.full(600, 7)], 1)
    draw = tf.function(kernels.drawn)
    ranges = {"sharpen": (10, 40, 1, 4), "smooth": (-1, 0, 0.1, 1)}
    for kind, (low, high, least, most) in ranges.items():
        a, b = (values.numpy() for values in draw(seeds, kind))
        assert low <= a.min() < low + 0.03 * (high - low) and high - 0.03 * (high - low) < a.max() <= high
        assert least <= b.min() < least + 0.1 and most - 0.1 < b.max() <= most
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.155
    a, b = (values.numpy() for values in draw(seeds))
    sharp = a > 0
    assert 0.44 < sharp.mean() < 0.56 and (b[sharp] >= 1).all() and (b[~sharp] <= 1).all()
    again, _ = kernels.drawn(seeds[500:520])
    np.testing.assert_array_equal(again, a[500:520])
    assert (draw(seeds + [0, 1])[0].numpy() != a).mean() > 0.99
    a, b = (values.numpy() for values in draw(seeds, "coupled"))
    share = a[a > 0] / b[a > 0]
    assert 5 <= share.min() < 5.4 and 14.6 < share.max() <= 15 and -0.5 <= a.min() < -0.47


def test_bad_arguments():
    hu = tf.zeros((1, 8, 8))
    for call, said in (
        (lambda: shown(hu, 0, 1, "fast"), "route"), (lambda: shown(tf.zeros((1, 8, 8, 1)), 0, 1), "static size"),
        (lambda: kernels.drawn([[0, 0]], "hard"), "kind"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            call()
