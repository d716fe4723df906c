"""Needles: closed forms of both errors, and lines that thresholds and RANSAC must find."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from tfmed.metrics import needles
from tfmed.metrics.needles import Needle

pytestmark = pytest.mark.current


def line(slope=0.5, start=3.0, entry=0.0, tip=20.0, axis=1):
    return Needle(axis, Polynomial([start, slope]), entry, tip)


def drawn(needle, shape=(40, 60), thick=0):
    mask = np.zeros(shape, bool)
    for y, x in np.rint(needle.points()).astype(int):
        mask[max(y - thick, 0) : y + thick + 1, x] = True
    return mask


# --- errors -----------------------------------------------------------------------------------------------------------


def test_errors_of_equal_needles_are_none():
    bent = Needle(1, Polynomial([5.0, 0.4, 0.004]), 3.0, 48.0)
    for one in (line(), bent):
        assert needles.tip_error(one, one) == 0
        assert needles.shaft_error(one, one) == pytest.approx(0, abs=1e-3)


def test_tip_error_is_a_distance_in_mm():
    found, true = line(tip=20.0), line(start=6.0, tip=24.0)
    assert needles.tip_error(found, true) == pytest.approx(np.hypot(5, 4))
    assert needles.tip_error(found, true, (0.2, 3.0)) == pytest.approx(np.hypot(0.2 * 5, 3.0 * 4))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.25, 2.0), (2.0, 0.25)])
def test_parallel_lines_are_their_distance_apart(spacing):
    """Offset times the cosine of the slope, both in mm; whatever the found one's ends, and along whichever axis."""
    dy, dx = spacing
    slope = 0.5 * dy / dx
    expected = 4 * dy / np.hypot(1, slope)
    found = line(start=7.0, entry=8.0, tip=9.0)
    assert needles.shaft_error(found, line(), spacing) == pytest.approx(expected, rel=1e-6)
    turned = Needle(0, Polynomial([-14.0, 2.0]), 11.0, 12.0)  # the same line, as x of y
    assert needles.shaft_error(turned, line(), spacing) == pytest.approx(expected, rel=1e-6)


def test_shaft_error_is_the_mean_over_the_true_needle():
    """Two lines that cross at the entry: distances grow evenly along the true one."""
    found, true = line(slope=0.0, start=0.0), line(slope=0.75, start=0.0)
    assert needles.shaft_error(found, true) == pytest.approx(0.75 * 10, rel=1e-6)
    assert needles.shaft_error(true, found) == pytest.approx(10 * 0.75 / 1.25, rel=1e-6)


# --- what is labelled, what is seen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("entry, tip, bend", [(2.0, 50.0, 0.004), (55.0, 10.0, -0.01)])
def test_a_labelled_needle_ends_where_it_lies_deepest(entry, tip, bend):
    slope = 0.5 if tip > entry else -0.6
    start = 4.0 if tip > entry else 60.0
    curve = Polynomial([start, slope, bend if tip > entry else 0.0])
    mask = drawn(Needle(1, curve, entry, tip), (60, 64), thick=1)
    found = needles.labelled(mask)
    assert found.axis == 1 and (found.entry, found.tip) == (entry, tip)
    np.testing.assert_allclose(found.points()[:, 0], curve(found.points()[:, 1]), atol=0.3)


def test_a_steep_needle_runs_along_y():
    mask = drawn(line(slope=3.0, start=1.0, tip=10.0), (40, 20)).T
    along_x, along_y = needles.labelled(mask.T), needles.labelled(mask)
    assert (along_x.axis, along_y.axis) == (0, 1)
    assert (along_x.entry, along_x.tip) == (1, 31)


def test_short_needles_lower_the_degree():
    mask = np.zeros((5, 5))
    mask[2, 1:3] = 1
    np.testing.assert_allclose(needles.labelled(mask, degree=3).points(), [[2, 1], [2, 2]], atol=1e-9)
    with pytest.raises(ValueError, match="1 pixels are marked"):
        needles.labelled(np.eye(1))


def test_candidates_are_bright_and_beside_an_edge():
    """A ramp's Sobel response is its slope; the middle of a line has none, its neighbours have."""
    ramp = np.repeat([0.1 * np.arange(8.0)], 6, 0)
    np.testing.assert_array_equal(needles.candidates(ramp, 0.35, 0.09), np.repeat([ramp[0] >= 0.35], 6, 0))
    assert not needles.candidates(ramp, 0.35, 0.11).any() and not needles.candidates(ramp, 0.75, 0.01).any()
    np.testing.assert_array_equal(needles.candidates(ramp.T, 0.35, 0.09), needles.candidates(ramp, 0.35, 0.09).T)
    thin = np.zeros((9, 9))
    thin[4] = 1
    np.testing.assert_array_equal(needles.candidates(thin, 0.5, 0.49), thin > 0)
    wide = np.zeros((9, 9))
    wide[2:7] = 1
    np.testing.assert_array_equal(needles.candidates(wide, 0.5, 0.49)[:, 4], [0, 0, 1, 1, 0, 1, 1, 0, 0])


# --- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("degree", [1, 2])
def test_a_needle_is_found_among_other_pixels(axis, degree):
    true = Needle(1, Polynomial([5.0, 0.4, 0.004 if degree == 2 else 0.0]), 3.0, 48.0)
    seen = drawn(true)
    seen |= np.random.default_rng(0).random(seen.shape) < 0.01
    found = needles.detect(seen if axis else seen.T, degree, tolerance=1.0, gap=4.0)
    assert found.axis == axis
    if axis == 0:
        true = Needle(0, true.curve, 3.0, 48.0)
    assert needles.shaft_error(found, true) < 0.4 and needles.tip_error(found, true) < 4
    again = needles.detect(seen if axis else seen.T, degree, tolerance=1.0, gap=4.0)
    assert (again.entry, again.tip) == (found.entry, found.tip)


def test_candidates_lie_on_a_curve_by_their_distance_from_it():
    """Two diagonals, 2 px apart along y and 1.41 px across: one of them has both within 1.6 px, not within 1.4 px."""
    along = np.arange(30.0)
    both = np.concatenate([np.stack([along, along + off], 1) for off in (0, 2)])
    for tolerance, all_of_them in ((1.6, True), (1.4, False)):
        curve, near = needles._ransac(both, 1, tolerance, 500, 0)
        assert near.all() == all_of_them and curve is not None


def test_a_gap_ends_a_needle():
    seen = drawn(line(tip=40.0))
    seen[:, 26:31] = False
    step = 6 * np.hypot(1, 0.5)  # from column 25 to 31, along the line
    assert needles.detect(seen, 1, gap=1.01 * step).tip == 40
    cut = needles.detect(seen, 1, gap=0.99 * step)
    assert (cut.entry, cut.tip) == (0, 25)


def test_nothing_is_found_where_nothing_is():
    assert needles.detect(np.zeros((9, 9), bool)) is None
    assert needles.detect(np.eye(9)[:, :3] > 0) is None  # a curve through any three


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_boxes_lie_where_nothing_is_seen():
    needle = line(slope=0.0, start=10.0, entry=2.0, tip=21.0)
    seen = np.zeros((30, 40), bool)
    assert needles.unseen_boxes(seen, needle, 8, 2).tolist() == [[2, 8, 10, 13], [10, 8, 18, 13], [18, 8, 22, 13]]
    seen[12, 9] = seen[13, 12] = True  # inside of the first box, just outside of the second
    found = needles.unseen_boxes(seen, needle, 8, 2)
    assert found.tolist() == [[10, 8, 18, 13], [18, 8, 22, 13]]
    mask = needles.inside(found, seen.shape)
    assert mask[8:13, 10:22].all() and mask.sum() == 5 * 12
    assert len(needles.unseen_boxes(np.ones_like(seen), needle)) == 0
    steep = Needle(0, needle.curve, 2.0, 21.0)
    boxes = needles.unseen_boxes(seen.T, steep, 8, 2)
    assert boxes.tolist() == [[8, 10, 13, 18], [8, 18, 13, 22]]


def test_boxes_follow_the_needle_and_stay_inside():
    needle = line(slope=1.0, start=-4.0, entry=0.0, tip=11.0)
    found = needles.unseen_boxes(np.zeros((8, 10), bool), needle, 4, 1)
    assert found.tolist() == [[0, 0, 4, 1], [4, 0, 8, 5], [8, 3, 10, 7]]
