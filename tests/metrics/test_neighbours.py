"""Nearest similarities: all pairs one by one, self-pairs, copiers and collapsed generators."""

import numpy as np
import pytest
import scipy.ndimage

from tfmed.metrics.ms_ssim import Pyramid, ms_ssim
from tfmed.metrics.neighbours import Nearest, Similarities, flags, mean_similarity, nearest, similarities

pytestmark = pytest.mark.current


def images(n, seed=0, size=16):
    """Smooth random images in [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=(max(n, 1), size, size))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)[:n]


@pytest.fixture(scope="module")
def small_blocks():
    """Blocks of 3 x 3 pairs, so that sets of 5 and 7 need several, of which the last is not full."""
    pyramid = Pyramid((16, 16))
    pyramid.batch = 9
    return pyramid


def matrix(a, b):
    return np.array([ms_ssim(np.repeat(x[None], len(b), 0), b) for x in a])


def test_the_nearest_of_all_pairs(small_blocks):
    a, b = images(5), images(7, 1)
    expected = matrix(a, b)
    found = nearest(a, b, measure=small_blocks)
    np.testing.assert_allclose(found.similarity, expected.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(found.index, expected.argmax(axis=1))


def test_no_image_is_its_own_neighbour(small_blocks):
    b = images(7, 1)
    expected = matrix(b, b)
    np.fill_diagonal(expected, -1)
    found = nearest(b, measure=small_blocks)
    np.testing.assert_allclose(found.similarity, expected.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(found.index, expected.argmax(axis=1))


def test_some_images_are_looked_for_among_all(small_blocks):
    a, b = images(8), images(7, 1)
    chosen = [1, 2, 4, 7]
    for others in (b, None):
        every, some = nearest(a, others, measure=small_blocks), nearest(a, others, measure=small_blocks, chosen=chosen)
        np.testing.assert_allclose(some.similarity, every.similarity[chosen], atol=1e-6)
        np.testing.assert_array_equal(some.index, every.index[chosen])


def test_a_copier_and_a_constant_generator():
    real, fresh = images(12), images(12, 1)
    level = {"level": 0.05}
    honest = similarities(fresh, real)
    assert flags(honest, **level) == {"memorised": False, "collapsed": False}
    copier = similarities(real[:8], real)
    np.testing.assert_allclose(copier.s_r.similarity, 1, atol=1e-5)
    np.testing.assert_array_equal(copier.s_r.index, range(8))
    assert flags(copier, **level)["memorised"]
    constant = similarities(np.repeat(fresh[:1], 8, axis=0), real)
    np.testing.assert_allclose(constant.s_s.similarity, 1, atol=1e-5)
    assert flags(constant, **level) == {"memorised": False, "collapsed": True}
    assert set(honest.medians()) == {"S_S", "S_R", "R_R"}


def test_flags_of_medians_alone():
    def found(s_s, s_r, r_r):
        return Similarities(*(Nearest(np.array(part), np.zeros(len(part), int)) for part in (s_s, s_r, r_r)))

    assert flags(found([0.5, 0.6], [0.5, 0.5], [0.6, 0.6]), level=None) == {"memorised": False, "collapsed": False}
    assert flags(found([0.5, 0.6], [0.6, 0.6], [0.6, 0.6]), level=None)["memorised"]
    assert flags(found([0.7, 0.7], [0.5, 0.5], [0.6, 0.6]), level=None)["collapsed"]
    # As near to each other as real ones: no collapse. As near to real ones as these to each other: that is a copier.
    assert not flags(found([0.6, 0.6], [0.5, 0.5], [0.6, 0.6]), level=None)["collapsed"]
    more = Similarities(*(Nearest(np.full(2, value), np.zeros(2, int)) for value in (0.5, 0.65, 0.6, 0.7)))
    assert not flags(more, level=None)["memorised"]  # real images are as near, where all are looked through
    assert set(more.medians()) == {"S_S", "S_R", "R_R", "R_all"}
    assert flags(found([0.5, 0.6], [0.5, 0.995], [0.6, 0.6]))["memorised"]
    # Two values of each cannot be significant.
    assert flags(found([0.7, 0.7], [0.7, 0.7], [0.6, 0.6])) == {"memorised": False, "collapsed": False}


def test_mean_similarity():
    x = images(6)
    expected = matrix(x, x)[~np.eye(6, dtype=bool)]
    assert mean_similarity(x, pairs=2000) == pytest.approx(expected.mean(), abs=0.01)
    assert mean_similarity(np.repeat(x[:1], 4, axis=0), pairs=10) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="1 images make no pair"):
        mean_similarity(x[:1])


@pytest.mark.parametrize("a, b, words", [
    (images(1), None, "1 images are too few"), (images(2), images(0), "0 images are too few"),
    (images(2), images(2, size=20), "differ in shape; resize one set"), (images(2, size=9), None, "too small"),
    (images(2) * 3, None, "outside of value_range"),
])  # fmt: skip
def test_what_cannot_be_compared(a, b, words):
    with pytest.raises(ValueError, match=words):
        nearest(a, b)
