"""Boxes: from masks, from files, as slices, on other grids; tiles; and patches that vote where an object is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from tfmed.data import boxes as b
from tfmed.data import patch_votes as v
from tfmed.errors import DataError

pytestmark = [pytest.mark.current, pytest.mark.one_stack]
COUNT = 60  # toy slices


def ellipse(rng, axes, side=512):
    """A turned ellipse in a slice, and a box that is far too wide for it."""
    y, x = np.mgrid[:side, :side] - side / 2
    a, c = rng.uniform(*axes, 2)
    angle = rng.uniform(0, np.pi)
    first, second = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    mask = (first / a) ** 2 + (second / c) ** 2 <= 1
    tight = b.tight_box(mask)
    grown = [int(n) for n in rng.uniform(0.1, 0.6, 4) * (tight[1] - tight[0], tight[1] - tight[0],
                                                         tight[3] - tight[2], tight[3] - tight[2])]  # fmt: skip
    wide = np.clip(tight + np.array([-grown[0], grown[1], -grown[2], grown[3]]), 0, side)
    return mask, tight, wide.astype(np.int32)


# --- boxes of masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [2, 3])
def test_boxes_of_masks_are_those_of_scikit_image(axes):
    mask = np.random.default_rng(axes).random((14,) * axes) < (0.08 if axes == 2 else 0.04)
    expected = sorted(
        (-int(one.area), *np.stack([one.bbox[:axes], one.bbox[axes:]], 1).ravel().tolist())
        for one in regionprops(label(mask, connectivity=1))
    )
    found = b.component_boxes(mask)
    assert sorted(row[1:] for row in expected) == sorted(map(tuple, found.tolist()))
    (whole,) = regionprops(mask.astype(int))
    assert b.tight_box(mask).tolist() == np.stack([whole.bbox[:axes], whole.bbox[axes:]], 1).ravel().tolist()
    assert b.tight_box(np.zeros((4,) * axes)).tolist() == [0] * 2 * axes
    assert b.component_boxes(np.zeros((4,) * axes)).shape == (0, 2 * axes)


def test_the_largest_part_comes_first():
    mask = np.zeros((10, 10))
    mask[0, 0], mask[4:7, 3:9] = 1, 1
    assert b.component_boxes(mask).tolist() == [[4, 7, 3, 9], [0, 1, 0, 1]]


def test_a_3d_box_gives_each_slice_its_rectangle():
    volume = np.zeros((6, 8, 9))
    volume[2, 3:5, 1:4] = volume[4, 6, 7] = 1
    box = b.tight_box(volume)
    assert box.tolist() == [2, 5, 3, 7, 1, 8]
    found = b.slice_boxes(box, 6)
    assert found[2:5].tolist() == [[3, 7, 1, 8]] * 3 and not found[[0, 1, 5]].any()
    tight = b.tight_boxes(volume)
    assert tight[2].tolist() == [3, 5, 1, 4] and not tight[3].any()
    expected = np.mean([2 * 3 / (4 * 7), 1 / (4 * 7)])  # slice 3 shows nothing and does not count
    assert b.mean_iou(found, tight) == pytest.approx(expected)
    assert np.isnan(b.mean_iou(found, np.zeros_like(found)))


@given(st.lists(st.integers(0, 12), min_size=8, max_size=8))
def test_iou_is_that_of_masks(ends):
    one, other = (np.sort(np.array(part).reshape(2, 2), 1).ravel() for part in (ends[:4], ends[4:]))
    masks = np.zeros((2, 12, 12), bool)
    for mask, box in zip(masks, (one, other), strict=True):
        b.cut(mask, box)[...] = True
    union = (masks[0] | masks[1]).sum()
    expected = (masks[0] & masks[1]).sum() / union if union else 1.0
    assert b.iou(one, other) == pytest.approx(expected)
    assert b.area(one) == masks[0].sum()


def test_boxes_grow_move_and_turn():
    boxes = np.array([[3, 6, 0, 9], [0, 0, 0, 0]], np.int32)
    assert b.enlarged(boxes, 2, (7, 12)).tolist() == [[1, 7, 0, 11], [0, 0, 0, 0]]
    assert b.shifted(boxes, (2, -4)).tolist() == [[1, 4, 4, 13], [0, 0, 0, 0]]
    mask = np.zeros((7, 12))
    b.cut(mask, boxes[0])[...] = 1
    for axis in (0, 1):
        found = b.mirrored(boxes, axis, mask.shape[axis])
        assert found[0].tolist() == b.tight_box(np.flip(mask, axis)).tolist() and not found[1].any()


# --- tiles ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(2, 33))
def test_tiles_cover_every_pixel_half_a_side_apart(length, side):
    starts = b.tile_starts(length, side)
    covered = np.zeros(max(length, side), bool)
    for start in starts:
        covered[start : start + side] = True
    assert covered.all() and starts[0] == 0 and starts[-1] == max(length - side, 0)
    steps = np.diff(starts)
    assert (steps[:-1] == side // 2).all() and (not len(steps) or 0 < steps[-1] <= side // 2)


@pytest.mark.parametrize("box", [(3, 20, 2, 31), (0, 5, 0, 40), (10, 13, 7, 10)])
def test_tiles_are_cut_from_the_box_and_its_border_goes_on(box):
    image = np.random.default_rng(0).random((24, 40, 2))
    found = b.tiles(image, box, 8)
    assert found.shape[:2] == b.lattice(box, 8)
    part = image[box[0] : box[1], box[2] : box[3]]
    for i, j in np.ndindex(found.shape[:2]):
        y, x = (b.tile_starts(n, 8)[k] + np.arange(8) for n, k in zip(part.shape, (i, j), strict=False))
        expected = part[np.minimum(y, len(part) - 1)[:, None], np.minimum(x, part.shape[1] - 1)]
        np.testing.assert_array_equal(found[i, j], expected)
        np.testing.assert_array_equal(b.tile(image, box, 8, i, j), expected)


# --- votes ------------------------------------------------------------------------------------------------------------


def test_half_of_a_patch_is_not_enough():
    masks = np.zeros((3, 4, 4))
    masks[1, :2] = masks[2, :2] = 1
    masks[2, 3, 3] = 1
    assert v.shows_object(masks).tolist() == [False, False, True]


@given(st.data())
def test_a_corrected_box_lies_within_the_wide_one(data):
    y0, x0 = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    box = np.array([y0, y0 + data.draw(st.integers(1, 60)), x0, x0 + data.draw(st.integers(1, 60))], np.int32)
    side = data.draw(st.sampled_from([4, 5, 8, 16]))
    votes = np.random.default_rng(data.draw(st.integers(0, 99))).random(b.lattice(box, side)) < 0.2
    cleanup = data.draw(st.sampled_from(["none", "largest_component", "min_neighbours"]))
    found = v.corrected_box(box, votes, side, cleanup)
    assert (found[::2] >= box[::2]).all() and (found[1::2] <= box[1::2]).all() and b.area(found) > 0
    everything, nothing = np.ones_like(votes), np.zeros_like(votes)
    assert v.corrected_box(box, everything, side, cleanup).tolist() == box.tolist()
    assert v.corrected_box(box, nothing, side, cleanup).tolist() == box.tolist()
    assert v.corrected_box(box, nothing, side, cleanup, "drop").tolist() == [0, 0, 0, 0]


def test_a_box_is_the_rectangle_of_the_patches_that_vote():
    box = (10, 40, 5, 51)  # starts at 0, 4, ..., 20, 22 and 0, 4, ..., 36, 38
    votes = np.zeros(b.lattice(box, 8), bool)
    votes[2, 3] = votes[4, 1] = True
    assert v.corrected_box(box, votes, 8).tolist() == [10 + 8, 10 + 16 + 8, 5 + 4, 5 + 12 + 8]
    votes[-1, -1] = True  # flush with the far corner
    assert v.corrected_box(box, votes, 8).tolist() == [18, 40, 9, 51]


def test_cleanups_drop_what_stands_alone():
    votes = np.zeros((7, 9), bool)
    votes[2:5, 3:6] = votes[0, 8] = votes[6, 0] = True
    whole = votes.copy()
    whole[0, 8] = whole[6, 0] = False
    for cleanup in ("largest_component", "min_neighbours"):
        np.testing.assert_array_equal(v.cleaned(votes, cleanup), whole)
    np.testing.assert_array_equal(v.cleaned(votes, "none"), votes)
    lone = np.zeros((5, 5), bool)
    lone[1, 1] = True
    np.testing.assert_array_equal(v.cleaned(lone, "min_neighbours"), lone)  # better than nothing
    row = np.array([[False, True, True, False]])  # one row: each has one neighbour at its end
    assert (
        v.cleaned(np.array([[True, True, False, False]]), "min_neighbours").any() and v.cleaned(row, "none").all() != 1
    )


@pytest.fixture(scope="module")
def toys():
    rng = np.random.default_rng(0)
    return [ellipse(rng, (60, 110)) for _ in range(COUNT)]


def mean_iou(toys, side, flips=0.0, cleanup="none"):
    rng, found = np.random.default_rng(1), []
    for mask, tight, wide in toys:
        votes = v.perfect_votes(mask, wide, side)
        votes = votes ^ (rng.random(votes.shape) < flips)
        found.append(b.iou(v.corrected_box(wide, votes, side, cleanup), tight))
    return float(np.mean(found))


def test_perfect_votes_find_ellipses(toys):
    """Item 4 of the card, and what its table says of false votes."""
    before = float(np.mean([b.iou(wide, tight) for _, tight, wide in toys]))
    small, large = mean_iou(toys, 16), mean_iou(toys, 32)
    assert small >= 0.9 and large >= 0.8 and small > large
    assert min(small, large) >= before + 0.3
    flipped = mean_iou(toys, 16, 0.02)
    assert flipped < small - 0.3 and mean_iou(toys, 16, 0.02, "largest_component") > small - 0.05
    assert mean_iou(toys, 16, 0.02, "min_neighbours") > flipped + 0.2


def test_a_volume_is_corrected_slice_by_slice():
    wide = b.slice_boxes([1, 3, 2, 18, 0, 20], 4)
    seen = []

    def vote(z, box):
        seen.append((z, box.tolist()))
        votes = np.zeros(b.lattice(box, 8), bool)
        votes[0, z] = True
        return votes

    found = v.corrected_boxes(wide, vote, 8)
    assert seen == [(1, [2, 18, 0, 20]), (2, [2, 18, 0, 20])]
    assert found.tolist() == [[0] * 4, [2, 10, 4, 12], [2, 10, 8, 16], [0] * 4]


# --- boxes that somebody drew -----------------------------------------------------------------------------------------

HEAD = "case,z_first,z_last,y_first,y_last,x_first,x_last\n"


def test_a_file_of_boxes(tmp_path):
    (tmp_path / "boxes.csv").write_text(HEAD + "a,0,3,10,19,5,5\n# a comment\nb 2,1,1,0,0,7,9\n")
    found = b.read_boxes(tmp_path / "boxes.csv")
    assert {name: box.tolist() for name, box in found.items()} == {
        "a": [0, 4, 10, 20, 5, 6],
        "b 2": [1, 2, 0, 1, 7, 10],
    }


@pytest.mark.parametrize(
    "text, words",
    [
        ("case;z_first;z_last;y_first;y_last;x_first\na;1;2;3;4;5\n", "no column x_last"),
        (HEAD + "a,3,0,10,19,5,5\n", "line 2: z_first 3 lies behind z_last 0"),
        (HEAD + "a,0,3,10,-19,5,5\n", "y_last is '-19'"),
        (HEAD + "a,0,3,10,19.5,5,5\n", "y_last is '19.5'"),
        (HEAD + "a,0,3,10,19,5\n", "x_last is ''"),
        (HEAD + "a,0,3,1,9,5,5\na,0,3,1,9,5,5\n", "line 3: case a has a box already"),
        (HEAD + f"a,0,3,1,9,5,{'9' * 4000}\n", "x_last is"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_line(tmp_path, text, words):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        b.read_boxes(tmp_path / "boxes.csv")
    message = str(caught.value)
    assert words in message and "\n" not in message and "boxes.csv" in message and len(message) < 300


def test_a_box_outside_of_its_image_is_refused():
    b.check_within([0, 4, 0, 5, 0, 6], (4, 5, 6), "a")
    with pytest.raises(DataError, match="a: its box reaches from y 2 to 5, and the image from 0 to 4"):
        b.check_within([0, 4, 2, 6, 0, 6], (4, 5, 6), "a")


def test_a_box_on_the_grid_of_prepared_images():
    """The same steps that move a mask move its box."""
    from tfmed.data.preprocess import Crop, Orient, Resample, run
    from tfmed.io.volume import Volume

    mask = np.zeros((12, 20, 24), np.uint8)
    mask[3:9, 4:12, 8:20] = 1
    volume = Volume(mask, np.diag([-0.8, 0.8, 2.5, 1.0]))
    steps = [Orient(to="RAS"), Resample(spacing_mm=(2.5, 1.6, 1.6)), Crop(shape=(10, 8, None))]
    moved = run(steps, volume, is_label=True)
    found = b.on_grid(b.tight_box(mask), volume.affine, moved.affine, moved.shape)
    assert found.tolist() == b.tight_box(moved.array).tolist()
    with pytest.raises(DataError, match="cuts away"):
        b.on_grid([0, 1, 0, 2, 0, 2], volume.affine, moved.affine, moved.shape)
