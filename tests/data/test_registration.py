"""Affine fits: known transforms come back, from both engines; slopes are exact; what does not belong together shows."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import approx_fprime

from tfmed.data import registration
from tfmed.data.phantoms import cell_pairs
from tfmed.data.registration import correlation, fit_affine, inverted

pytestmark = pytest.mark.one_stack


def affine(degrees=4.0, scale=1.03, shift=(5.0, -3.0), middle=40.0, shear=0.02):
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn) + shear], [np.sin(turn), np.cos(turn)]])
    return np.concatenate([matrix, (middle + np.array(shift) - matrix @ [middle, middle])[:, None]], axis=1)


def scene(seed=0, side=160):
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 3)


def seen(image, transform, shape=(80, 80), corner=(40, 40)):
    """What a camera sees of a scene: the pixel p shows the place of p by a transform, from a corner on."""
    pixels = np.stack(np.indices(shape), -1) @ transform[:, :2].T + transform[:, 2] + corner
    return ndimage.map_coordinates(image, np.moveaxis(pixels, -1, 0), order=3)


def apart(one, other, side=80):
    """Mean distance in px of where two transforms take the pixels of an image."""
    pixels = np.stack(np.indices((side, side)), -1).reshape(-1, 2)
    return np.linalg.norm(pixels @ (one - other)[:, :2].T + (one - other)[:, 2], axis=1).mean()


@pytest.mark.parametrize("engine", ["own", "simpleitk"])
def test_a_known_transform_comes_back(engine):
    """first(p) = scene(A p) and second(p) = scene(p), so that A takes places of the first to those of the second."""
    known = affine()
    first, second = seen(scene(), known), seen(scene(), np.eye(2, 3))
    found = fit_affine(first, second, engine)
    assert apart(found.affine, known) < 0.15 and found.correlation > 0.98
    assert 0.7 < found.overlap < 1


def test_brightness_and_contrast_do_not_matter_and_back_is_the_inverse():
    known = affine(-5, 0.97, (-4, 6))
    first, second = seen(scene(1), known), seen(scene(1), np.eye(2, 3))
    plain, other = fit_affine(first, second), fit_affine(first, 300 + 20 * second)
    np.testing.assert_allclose(other.affine, plain.affine, atol=1e-3)
    assert apart(fit_affine(second, first).affine, inverted(known)) < 0.2


def test_images_of_two_sizes():
    second = seen(scene(2), np.eye(2, 3), (96, 84))
    found = fit_affine(second[10:90, 3:83], second)
    assert apart(found.affine, np.array([[1, 0, 10], [0, 1, 3.0]])) < 0.05


def test_cells_under_noise_are_registered_to_a_pixel():
    for seed in (0, 5):  # these have starts that lead astray
        visits = [cell_pairs(seed, (96, 96), visit, spacing=16.0) for visit in (1, 2)]
        found = fit_affine(*(visit.volume.array[0] for visit in visits))
        assert apart(found.affine, visits[1].affine, 96) < 1.2


def test_images_of_nothing_in_common_do_not_correlate():
    noise = np.random.default_rng(0).standard_normal((56, 56))
    assert fit_affine(seen(scene(), affine(), (56, 56)), noise).correlation < 0.2


def test_correlation_is_that_of_the_pixels_that_overlap():
    first, second = scene(3, 30), scene(4, 30)
    found, overlap = correlation(first, second, [[1, 0, 4], [0, 1, -6]])
    assert found == pytest.approx(np.corrcoef(first[:-4, 6:].ravel(), second[4:, :-6].ravel())[0, 1])
    assert overlap == pytest.approx(26 * 24 / 900)
    assert correlation(first, second, [[1, 0, 29], [0, 1, 0]]) == (-1, pytest.approx(1 / 30))


def test_slopes_are_exact():
    problem = registration._Problem(scene(5, 40), scene(6, 40), 2)
    numbers = np.array([0.713, -0.431, 0.337, 1.119, 2.317, -1.623])  # no place on a pixel
    value, slope = problem._with_slope(numbers)
    away = approx_fprime(numbers, lambda p: problem._with_slope(p)[0], 1e-7)
    np.testing.assert_allclose(slope, away, atol=1e-6)
    assert 0 < value < 2


def test_the_inverse_takes_places_back():
    known, points = affine(), np.random.default_rng(0).uniform(0, 80, (5, 2))
    there = points @ known[:, :2].T + known[:, 2]
    back = inverted(known)
    np.testing.assert_allclose(there @ back[:, :2].T + back[:, 2], points)


@pytest.mark.parametrize("call, said", [
    (lambda: fit_affine(np.zeros((9, 9)), scene()), "not all the same"),
    (lambda: fit_affine(scene(), np.full((9, 9), np.nan)), "finite"),
    (lambda: fit_affine(scene(), scene()[:5]), "8 pixels or more"),
    (lambda: fit_affine(scene(), scene(), "elastix"), "'own' or 'simpleitk'"),
    (lambda: inverted([[1, 1, 0], [1, 1, 0]]), "cannot be inverted"),
])  # fmt: skip
def test_bad_arguments(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
