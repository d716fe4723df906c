"""Weak and strong augmentation of pictures with boxes: what moves, what stays, and what is brought in."""

import numpy as np
import pytest

from tfmed.augment import boxes as augment
from tfmed.data.objects import mask_boxes
from tfmed.metrics.detection import pairwise_iou

SHAPE = (80, 120, 3)
BOXES = np.array([[20.0, 10, 60, 50], [70, 30, 110, 70]])


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, SHAPE).astype("uint8")


def painted():
    image = np.zeros(SHAPE, "uint8")
    for x0, y0, x1, y1 in BOXES.astype(int):
        image[y0:y1, x0:x1] = 255
    return image


def test_mirrored_twice_is_as_before():
    image, boxes = augment.mirrored(picture(), BOXES)
    np.testing.assert_array_equal(boxes[0], [60, 10, 100, 50])
    again = augment.mirrored(image, boxes)
    np.testing.assert_array_equal(again[0], picture())
    np.testing.assert_array_equal(again[1], BOXES)
    flips = [
        not np.array_equal(augment.weak(picture(), BOXES, np.random.default_rng(k))[0], picture()) for k in range(60)
    ]
    assert 15 < sum(flips) < 45
    np.testing.assert_array_equal(augment.weak(picture(), BOXES, np.random.default_rng(0), flip=0)[0], picture())


@pytest.mark.parametrize("seed", range(12))
def test_a_moved_box_encloses_what_was_in_it(seed):
    """Masks of one box at a time, moved as the picture is; of a translation the box is the mask's own."""
    matrix = augment.affine(SHAPE, np.random.default_rng(seed), 0.1, 30.0)
    boxes, rows = augment.inside(augment.warped_boxes(BOXES, matrix), SHAPE)
    for box, row in zip(boxes, rows, strict=True):
        mask = np.zeros(SHAPE, "uint8")
        x0, y0, x1, y1 = BOXES[row].astype(int)
        mask[y0:y1, x0:x1] = 255
        moved = augment.warped(mask, matrix)[..., 0].copy()
        moved[augment.warped(np.zeros(SHAPE, "uint8"), matrix)[..., 0] > 0] = 0  # what was brought in
        tight = mask_boxes(moved > 127, [1])[0]
        assert (box[:2] <= tight[:2] + 1).all() and (box[2:] >= tight[2:] - 1).all()
        if np.array_equal(matrix[:, :2], np.eye(2)):
            assert pairwise_iou(box[None], tight[None])[0, 0] > 0.9


def test_every_kind_of_move_is_drawn():
    found = [augment.affine(SHAPE, np.random.default_rng(k), 0.1, 30.0) for k in range(60)]
    still = [np.array_equal(one[:, :2], np.eye(2)) for one in found]
    assert 20 < sum(still) < 45 and {bool(one[0, 2]) for one, s in zip(found, still, strict=True) if s} == {True, False}
    shifts = np.abs([one[:, 2] for one, s in zip(found, still, strict=True) if s])
    assert (shifts <= [12, 8]).all() and (shifts > [9, 6]).any()
    angles = [np.degrees(np.arctan2(one[1, 0], one[0, 0])) for one in found if one[1, 0]]
    assert max(np.abs(angles)) <= 30


def test_what_comes_in_is_grey():
    moved = augment.warped(np.zeros(SHAPE, "uint8"), np.array([[1.0, 0, 30], [0, 1, 0]]))
    assert (moved[:, :29] == augment.FILL).all() and (moved[:, 31:] == 0).all() and augment.FILL == 125


def test_a_move_within_a_box_changes_its_pixels_alone():
    changed = 0
    for seed in range(12):
        made = augment.within_a_box(picture(), BOXES, np.random.default_rng(seed))
        differs = (made != picture()).any(-1)
        inside = np.zeros(SHAPE[:2], bool)
        x0, y0, x1, y1 = next(box for box in BOXES.astype(int) if differs[box[1] : box[3], box[0] : box[2]].any())
        inside[y0:y1, x0:x1] = True
        assert not differs[~inside].any()
        changed += differs.any()
    assert changed == 12
    np.testing.assert_array_equal(augment.within_a_box(picture(), BOXES[:0], np.random.default_rng(0)), picture())


def test_cutout_puts_1_to_5_grey_squares():
    shares = []
    for seed in range(30):
        made = augment.cut_out(np.zeros(SHAPE, "uint8"), np.random.default_rng(seed))
        assert set(np.unique(made)) <= {0, 125}
        shares.append((made > 0).mean())
    assert 0 < max(shares) <= 5 * (0.2 * 80) ** 2 / (80 * 120) * 1.1 and np.mean(shares) > 0.005


def test_strong_augmentation_is_its_generator_s_and_keeps_boxes_inside():
    kinds = set()
    for seed in range(40):
        image, boxes, rows = augment.strong(picture(), BOXES, np.random.default_rng(seed))
        again = augment.strong(picture(), BOXES, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, again[0])
        np.testing.assert_array_equal(boxes, again[1])
        assert image.dtype == np.uint8 and image.shape == SHAPE and (image != picture()).any()
        assert len(boxes) == len(rows) and (boxes >= 0).all() and (boxes <= [120, 80, 120, 80]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        kinds.add(np.array_equal(boxes, BOXES))
    assert kinds == {True, False}  # of one box, and of the whole picture
    only = [
        np.array_equal(augment.strong(picture(), BOXES, np.random.default_rng(k), "box")[1], BOXES) for k in range(9)
    ]
    assert all(only)


def test_boxes_that_leave_are_gone_with_their_classes():
    boxes, rows = augment.inside(np.array([[-20.0, 5, -2, 10], [100, 10, 140, 20], [119.5, 0, 130, 9]]), SHAPE)
    np.testing.assert_array_equal(boxes, [[100, 10, 120, 20]])
    assert rows.tolist() == [1]
    corner = np.array([[0.0, 0, 1.5, 1.5]])
    for seed in range(60):  # none left: as it was
        _, boxes, rows = augment.strong(picture(), corner, np.random.default_rng(seed), "image")
        assert len(boxes) == len(rows) == 1


def by_pillow(name, image, amount):
    """The same change of colour by Pillow."""
    from PIL import Image, ImageEnhance, ImageOps

    image = Image.fromarray(image)
    if name in ("color", "contrast", "brightness", "sharpness"):
        return np.asarray(getattr(ImageEnhance, name.capitalize())(image).enhance(0.1 + 1.8 * amount))
    given = {"solarize": (int(256 * amount),), "posterize": (4 + int(4 * amount),)}
    return np.asarray(getattr(ImageOps, name)(image, *given.get(name, ())))


@pytest.mark.parametrize("name", sorted(set(augment.COLOURS) - {"identity"}))
@pytest.mark.parametrize("kind", ["texture", "one value", "two values", "noise"])
def test_colours_are_pillow_s(name, kind):
    image = {"texture": picture(), "one value": np.full(SHAPE, 77, np.uint8),
             "two values": np.where(picture() > 100, 200, 40).astype(np.uint8),
             "noise": np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)}[kind]  # fmt: skip
    blended = name in ("color", "contrast", "brightness", "sharpness")  # whose rounding differs
    for amount in (0.1, 0.3, 0.5, 0.8, 0.9):
        before = image.copy()
        made, expected = augment.COLOURS[name](image, amount), by_pillow(name, image, amount)
        assert made.shape == SHAPE and made.dtype == np.uint8
        np.testing.assert_array_equal(image, before)
        difference = np.abs(made.astype(int) - expected)
        assert difference.max() <= (2 if blended else 0), (amount, difference.max())
        assert difference.mean() <= 0.6


def test_colours_are_drawn():
    drawn = {augment.coloured(picture(), np.random.default_rng(k)).tobytes() for k in range(40)}
    assert len(drawn) > 10
