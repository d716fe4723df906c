"""Masks that are exchanged between two visits: every rule on its own, and what must hold of all of them together."""

import json

import numpy as np
import pytest

from tfmed.data.instances import centres_of
from tfmed.data.matching import match, moved
from tfmed.data.phantoms import cell_pairs
from tfmed.data.transfer import Transferred, around, exchange, unchanged

pytestmark = pytest.mark.one_stack

SHAPE, STEP = (120, 130), 20
STILL = np.eye(2, 3)


def discs(radii=None, numbers=None, shift=(0.0, 0.0)):
    """5 x 5 discs that neither touch each other nor the border; a radius of 0 leaves one out."""
    y, x = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint16)
    for k in range(25):
        radius = 7.0 if radii is None else radii.get(k, 7.0)
        centre = 20 + STEP * (k // 5) + shift[0], 24 + STEP * (k % 5) + shift[1]
        if radius:
            labels[np.hypot(y - centre[0], x - centre[1]) <= radius] = k + 1 if numbers is None else numbers[k]
    return labels


def pairs_of(first, second, affine=STILL):
    return match(moved(centres_of(first)[1], affine), centres_of(second)[1], radius=9).pairs


def exchanged(first, second, affine=STILL, **options):
    return exchange(first, second, affine, pairs_of(first, second, affine), **options)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_nothing_changes_where_all_is_matched_and_usual():
    first, second = discs(), discs(shift=(3, -2))
    for own, one in zip((first, second), exchanged(first, second), strict=True):
        np.testing.assert_array_equal(one.labels, own)
        assert one.counts() == {"kept": 25, "replaced": 0, "copied": 0, "removed": 0} and not one.ignored.any()


@pytest.mark.parametrize("degrees", [0, 6])
def test_a_cell_that_is_missing_comes_back(degrees):
    turn, middle = np.deg2rad(degrees), np.array([60.0, 64.0])
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine = np.concatenate([matrix, (middle + (2, -3) - matrix @ middle)[:, None]], axis=1)
    whole = discs({k: 6 + k % 5 / 2 for k in range(25)})
    places = np.rint(np.stack(np.indices(SHAPE), -1) @ affine[:, :2].T + affine[:, 2]).astype(int)
    inside = ((places >= 0) & (places < SHAPE)).all(-1)
    first = np.where(inside, whole[tuple(np.moveaxis(np.where(inside[..., None], places, 0), -1, 0))], 0)
    one, other = exchanged(np.where(first == 8, 0, first), whole, affine)
    assert len(one.copied) == 1 and one.counts()["kept"] == 24 and not len(other.copied)
    assert iou(one.labels == one.copied[0], first == 8) >= 0.8
    np.testing.assert_array_equal(one.labels[first != 8], first[first != 8] * (one.labels[first != 8] > 0))


def test_a_cell_that_is_too_small_takes_its_partners_mask():
    first, second = discs({12: 3.0}), discs(shift=(2, 2))
    one, other = exchanged(first, second)
    assert one.replaced.tolist() == [13] and one.counts() == {"kept": 24, "replaced": 1, "copied": 0, "removed": 0}
    assert (one.labels == 13).sum() == (second == 13).sum() and other.counts()["kept"] == 25
    np.testing.assert_allclose(centres_of(one.labels)[1][12], centres_of(first)[1][12], atol=0.5)
    np.testing.assert_array_equal(np.where(one.labels == 13, 0, one.labels), np.where(first == 13, 0, first))


def test_two_cells_in_one_become_two():
    """The blob takes its partner's mask, and the cell that is now missing is copied."""
    first, second = discs({12: 0, 13: 0}), discs()
    first[53:68, 57:92] = 13
    one, _ = exchange(first, second, STILL, [(k, k if k < 13 else k + 1) for k in range(24)])
    assert one.replaced.tolist() == [13] and len(one.copied) == 1
    assert iou(one.labels == one.copied[0], second == 14) > 0.6
    np.testing.assert_allclose(centres_of(one.labels)[1][12], (60, 74), atol=1)  # the middle of both


def test_without_a_donor_an_unusual_cell_is_removed_and_ignored():
    for second in (discs({12: 0}), discs({12: 3.0})):  # no partner, and one that is unusual itself
        first = discs({12: 3.0})
        one, _ = exchanged(first, second)
        assert one.removed.tolist() == [13] and one.counts()["kept"] == 24
        assert not (one.labels == 13).any()
        np.testing.assert_array_equal(one.ignored, first == 13)


def test_a_copy_gives_way_and_is_dropped_where_it_loses_too_much():
    first, second = discs({6: 0}), discs()
    y, x = np.nonzero(second == 7)
    for rows, left in ((3, True), (8, False)):  # of 15
        held = first.copy()
        cover = y < y.min() + rows
        held[y[cover], x[cover]] = 2  # its neighbour above reaches down
        lost = cover.mean()
        assert (lost < 0.3) == left
        one, _ = exchange(held, second, STILL, [(k, k if k < 6 else k + 1) for k in range(24)], sigmas=9)
        assert len(one.copied) == int(left)
        np.testing.assert_array_equal(one.labels[held > 0], held[held > 0])
        if left:
            np.testing.assert_array_equal(one.labels == one.copied[0], (second == 7) & (held == 0))
    everything, _ = exchange(held, second, STILL, [(k, k if k < 6 else k + 1) for k in range(24)], 9, most_lost=0.99)
    assert len(everything.copied) == 1


def test_cells_at_the_border_are_neither_donors_nor_judged():
    first, second = discs({0: 0, 6: 0}), discs()
    first[:3, 60:64] = 77  # a tiny rest of a cell
    second = np.roll(second, -14, axis=0)  # the first row of cells reaches the border
    affine = np.array([[1, 0, -14], [0, 1, 0.0]])
    one, _ = exchange(first, second, affine, [])
    assert 77 in one.kept and (one.labels == 77).sum() == 12
    assert not set(one.labels[discs() == 1]) - {0}  # its donor is cut by the border
    assert iou(np.isin(one.labels, one.copied), discs() == 7) == 1


def test_a_copy_that_would_leave_the_image_is_dropped():
    first, second = np.zeros(SHAPE, int), discs()
    affine = np.array([[1, 0, 16], [0, 1, 0.0]])  # the first row of the second image lies above the first image's edge
    one, _ = exchange(first, second, affine, [])
    assert len(one.copied) == 20 and len(np.unique(one.labels)) == 21


def test_the_exchange_is_symmetric():
    visits = [cell_pairs(3, (160, 150), visit, spacing=16.0) for visit in (1, 2)]
    first, second = (visit.found.array[0] for visit in visits)
    affine = visits[1].affine
    back = np.linalg.inv(np.concatenate([affine, [[0, 0, 1]]]))[:2]
    pairs = match(moved(centres_of(first)[1], affine), centres_of(second)[1], radius=15).pairs
    there, here = exchange(first, second, affine, pairs), exchange(second, first, back, pairs[:, ::-1])[::-1]
    assert there[0].counts()["copied"] > 3 and there[1].counts()["copied"] > 3
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.ignored, other.ignored)
        assert one.counts() == other.counts()


def test_cells_that_a_segmenter_lost_come_back_in_phantoms():
    """What is copied are cells that had been lost, in their own outlines, where none comes or goes."""
    good = []
    for seed in range(2):
        visits = [cell_pairs(seed, (160, 160), visit, spacing=16.0, changed=0.0) for visit in (1, 2)]
        found = [visit.found.array[0] for visit in visits]
        pairs = match(moved(centres_of(found[0])[1], visits[1].affine), centres_of(found[1])[1], radius=15).pairs
        for visit, before, one in zip(visits, found, exchange(*found, visits[1].affine, pairs), strict=True):
            kept = np.isin(before, one.kept) & (before > 0)
            np.testing.assert_array_equal(one.labels[kept], before[kept])
            for number in one.copied:
                mask = one.labels == number
                true = np.bincount(visit.labels.array[0][mask]).argmax()
                good.append(true > 0 and iou(mask, visit.labels.array[0] == true) > 0.75)
    assert len(good) > 10 and np.mean(good) > 0.9


def test_the_median_sees_failures_that_move_mean_and_deviation():
    radii = {k: 3.0 for k in (1, 4, 7, 10, 13, 16, 19)}  # more than a quarter
    first, second = discs(radii), discs()
    assert exchanged(first, second)[0].counts()["replaced"] == 0
    assert sorted(exchanged(first, second, usual_size="median")[0].replaced - 1) == sorted(radii)


@pytest.mark.parametrize("first, second", [
    (np.zeros(SHAPE, int), np.zeros(SHAPE, int)), (np.zeros(SHAPE, int), discs()),
    (discs({k: 0 for k in range(1, 25)}), discs({k: 0 for k in range(1, 25)})),
])  # fmt: skip
def test_images_of_no_cell_and_of_one(first, second):
    one, other = exchanged(first, second)
    np.testing.assert_array_equal(one.labels > 0, second > 0)
    np.testing.assert_array_equal(other.labels, second)


def test_as_plain_values_and_back():
    one, _ = exchanged(discs({12: 3.0, 3: 0}), discs({12: 0}))
    again = Transferred.of_plain(json.loads(json.dumps(one.as_plain())))
    np.testing.assert_array_equal(again.labels, one.labels)
    np.testing.assert_array_equal(again.ignored, one.ignored)
    assert again.counts() == one.counts() and one.ignored.any()
    for bad in ({}, one.as_plain() | {"labels": [[2], [1]]}, one.as_plain() | {"kept": ["x"]}, None):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Transferred.of_plain(bad)


def test_around_what_came_in():
    one, _ = exchanged(discs({12: 0}), discs())
    y, x = np.nonzero(discs() == 13)
    expected = np.zeros(SHAPE, bool)
    expected[y.min() - 4 : y.max() + 5, x.min() - 4 : x.max() + 5] = True
    np.testing.assert_array_equal(around(one, 4), expected)
    assert not around(unchanged(discs()), 4).any()


@pytest.mark.parametrize("call, said", [
    (lambda: exchange(discs(), discs(), np.eye(2), []), r"is \(2, 3\)"),
    (lambda: exchange(discs(), discs(), STILL, [(0, 1), (0, 2)]), "once at most"),
    (lambda: exchange(discs(), discs(), STILL, [(25, 1)]), "once at most"),
    (lambda: exchange(discs(), discs(), STILL, [], sigmas=-1), "sigmas >= 0"),
    (lambda: exchange(discs()[None], discs()[None], STILL, []), "between images"),
    (lambda: exchange(discs().astype(float), discs(), STILL, []), "holds integers"),
])  # fmt: skip
def test_bad_arguments(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
