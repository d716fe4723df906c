"""YOLOv5's changes of pictures: pixels and boxes go together, and what is hardly left is gone."""

import numpy as np
import pytest

from tfmed.augment import mosaic as augment
from tfmed.augment.boxes import FILL
from tfmed.data.objects import mask_boxes
from tfmed.metrics.detection import pairwise_iou

HEIGHT, WIDTH = 40, 60
BOX = np.array([[10.0, 5, 50, 35]])


def pictures():
    """Four, each of one value with a box of another."""
    found = []
    for number in range(4):
        image = np.full((HEIGHT, WIDTH, 3), 10 + number, np.uint8)
        image[5:35, 10:50] = 200 + number
        found.append((image, BOX))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_four_pictures_meet_in_a_point(seed):
    image, boxes, rows = augment.mosaic(pictures(), np.random.default_rng(seed))
    assert image.shape == (2 * HEIGHT, 2 * WIDTH, 3) and image.dtype == np.uint8
    value = image[..., 0]
    tops, lefts = ([int(np.flatnonzero((np.isin(value, (10 + k, 200 + k))).any(axis))[0]) for k in range(4)]
                   for axis in (1, 0))  # fmt: skip
    y, x = tops[2], lefts[1]  # where the lower and the right ones begin
    assert tops[2] == tops[3] and lefts[1] == lefts[3]
    assert HEIGHT / 2 <= y <= 1.5 * HEIGHT and WIDTH / 2 <= x <= 1.5 * WIDTH
    for row, column, number in ((0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3)):
        part = value[slice(y, None) if row else slice(y), slice(x, None) if column else slice(x)]
        assert set(np.unique(part)) <= {10 + number, 200 + number, FILL}
        there = min(part.shape[0], HEIGHT), min(part.shape[1], WIDTH)  # all that there is room for, and no more
        assert (part != FILL).sum() == np.prod(there)
    for box, number in zip(boxes, rows, strict=True):
        np.testing.assert_array_equal(box, mask_boxes(value == 200 + number, [1])[0])
    again = augment.mosaic(pictures(), np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0], image)


@pytest.mark.parametrize("seed", range(8))
def test_a_placed_box_encloses_what_was_in_it(seed):
    draw = np.random.default_rng(seed)
    image, boxes, rows = augment.placed(*pictures()[0], draw, (30, 50), scale=0.5, translate=0.2)
    assert image.shape == (30, 50, 3) and rows.tolist() == [0]
    inside = (image[..., 0] > 160).astype(np.uint8)  # beyond the grey of the border
    assert pairwise_iou(boxes, mask_boxes(inside, [1]).astype(float))[0, 0] > 0.8


def test_amounts_are_those_that_are_asked_for():
    sides, middles = [], []
    for seed in range(200):
        boxes = augment.placed(*pictures()[0], np.random.default_rng(seed), (400, 600), 0.5, 0.1)[1][0]
        sides.append((boxes[2] - boxes[0]) / 40)
        middles.append([(boxes[0] + boxes[2]) / 1200, (boxes[1] + boxes[3]) / 800])
    assert 0.5 <= min(sides) < 0.55 and 1.45 < max(sides) <= 1.5
    assert (np.min(middles, 0) >= 0.4).all() and (np.max(middles, 0) <= 0.6).all() and np.ptp(middles, 0).min() > 0.18
    still = augment.placed(*pictures()[0], np.random.default_rng(0), (HEIGHT, WIDTH), 0.0, 0.0)
    np.testing.assert_array_equal(still[0], pictures()[0][0])
    np.testing.assert_array_equal(still[1], BOX)


def test_what_is_hardly_left_of_a_box_is_gone():
    boxes = np.array([
        [-38, 0, 2, 40],  # 2 px
        [-90, 0, 9, 30],  # 9 %
        [-89, 0, 11, 30],  # 11 %
        [0, 0, 45, 2.2],  # 20 times as long as wide
        [0, 0, 43, 2.2],
        [70, 0, 90, 20],  # outside
    ], float)  # fmt: skip
    left, rows = augment.cut(boxes, (HEIGHT, WIDTH))
    assert rows.tolist() == [2, 4] and left.tolist() == [[0, 0, 11, 30], [0, 0, 43, 2.2]]
    none = augment.cut(np.zeros((0, 4)), (HEIGHT, WIDTH))
    assert none[0].shape == (0, 4) and not len(none[1])


def test_hues_are_turned_and_the_rest_is_scaled():
    """matplotlib's colours are the oracle."""
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    found = augment.other_hues(image, np.random.default_rng(0), (0, 0, 0))
    np.testing.assert_allclose(found.astype(int), image, atol=5)  # hues are rounded to 2 degrees
    for seed in range(5):
        most = (0.1, 0.7, 0.4)
        hsv = rgb_to_hsv(image / 255) * (1 + np.random.default_rng(seed).uniform(-1, 1, 3) * most)
        hsv[..., 0] %= 1
        found = augment.other_hues(image, np.random.default_rng(seed), most)
        assert np.abs(found - 255 * hsv_to_rgb(np.minimum(hsv, 1))).mean() < 2
