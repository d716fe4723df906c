"""Template matching: OpenCV or the direct sum as oracle, planted templates, lattices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.metrics.template_matching import Lattice, nearest_templates, template_match

pytestmark = pytest.mark.current


def direct(t, canvas, centred=False):
    windows = np.lib.stride_tricks.sliding_window_view(canvas, t.shape)
    if centred:
        t, windows = t - t.mean(), windows - windows.mean(axis=(2, 3), keepdims=True)
    scale = np.sqrt(np.sum(t * t) * np.sum(windows**2, axis=(2, 3)))
    return np.divide(np.sum(t * windows, axis=(2, 3)), scale, out=np.zeros(scale.shape), where=scale > 1e-6)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.tuples(*[st.integers(2, 7)] * 2), st.tuples(*[st.integers(7, 20)] * 2), st.booleans())
def test_equals_the_direct_sum(seed, small, large, centred):
    rng = np.random.default_rng(seed)
    t, canvas = rng.random(small), rng.random(large)
    canvas[: large[0] // 2] = 0  # windows without any energy
    found = template_match(t, canvas, centred)
    np.testing.assert_allclose(found, direct(t, canvas, centred), atol=1e-4)
    assert found.min() >= (-1 - 1e-9 if centred else -1e-9) and found.max() <= 1 + 1e-9
    np.testing.assert_allclose(template_match(7 * t, canvas, centred), found, atol=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_equals_opencv(centred):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    t, canvas = rng.random((9, 11)).astype(np.float32), rng.random((40, 50)).astype(np.float32)
    theirs = cv2.matchTemplate(canvas, t, cv2.TM_CCOEFF_NORMED if centred else cv2.TM_CCORR_NORMED)
    np.testing.assert_allclose(template_match(t, canvas, centred), theirs, atol=1e-4)


@pytest.mark.parametrize("centred", [False, True])
def test_a_planted_template_is_found(centred):
    rng = np.random.default_rng(0)
    t, canvas = rng.random((8, 6)), rng.random((30, 40))
    canvas[11:19, 23:29] = 0.5 * t
    found = template_match(t, canvas, centred)
    assert np.unravel_index(found.argmax(), found.shape) == (11, 23)
    assert found.max() == pytest.approx(1)


def test_nothing_matches_nothing():
    assert not template_match(np.zeros((3, 3)), np.ones((9, 9))).any()
    assert not template_match(np.ones((3, 3)), np.zeros((9, 9))).any()
    assert not template_match(np.random.default_rng(0).random((3, 3)), np.ones((9, 9)), centred=True).any()


@pytest.mark.parametrize("gap", [0, 3])
def test_lattice(gap):
    images = np.random.default_rng(0).random((7, 4, 5))
    lattice = Lattice.of(images, columns=3, gap=gap)
    assert lattice.canvas.shape == (3 * (4 + gap) - gap, 3 * (5 + gap) - gap)
    for i, image in enumerate(images):
        p, q = lattice.corner(i)
        np.testing.assert_array_equal(lattice.canvas[p : p + 4, q : q + 5], image)
        assert lattice.tile((p, q)) == i
    assert lattice.canvas.sum() == pytest.approx(images.sum())


@pytest.mark.parametrize("gap", [0, 5])
def test_nearest_templates(gap):
    images = np.random.default_rng(0).random((7, 6, 6))
    found = nearest_templates(images[3:5], images, gap=gap)
    np.testing.assert_array_equal(found.index, [3, 4])
    np.testing.assert_allclose(found.similarity, 1)
    alone = nearest_templates(images, gap=gap)
    assert (alone.similarity < 0.99).all() and (alone.index != range(7)).all()
    twins = nearest_templates(np.concatenate([images, images[:1]]), gap=gap)
    assert (twins.index[0], twins.index[7]) == (7, 0) and twins.similarity[0] == pytest.approx(1)


@pytest.mark.parametrize("t, canvas, words", [
    (np.ones((5, 5)), np.ones((4, 9)), "does not fit into the canvas"), (np.ones(5), np.ones((9, 9)), "does not fit"),
    (np.ones((5, 5)), np.full((9, 9), np.nan), "finite"), (np.full((3, 3), np.inf), np.ones((9, 9)), "NaN or infinite"),
])  # fmt: skip
def test_what_does_not_fit(t, canvas, words):
    with pytest.raises(ValueError, match=words):
        template_match(t, canvas)
