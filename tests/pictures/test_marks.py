"""Points and boxes as layers: where they lie in space, on fine and coarse grids, and what is written."""

import numpy as np
import pytest

from tfmed.io import Volume
from tfmed.io.itk import LPS_RAS
from tfmed.pictures import marks

pytestmark = pytest.mark.current
THICK = Volume(np.zeros((9, 60, 50), np.float32), np.diag([0.5, -0.5, 4.0, 1.0]))
SMALL = Volume(np.zeros((1, 30, 40), np.float32), LPS_RAS @ np.diag([0.2, 0.2, 1.0, 1.0]))


def middles_mm(layer):
    """{class number: (middle, most distant voxel from it)} in mm of a layer's classes."""
    found = {}
    for number in np.unique(layer.volume.array[layer.volume.array > 0]):
        at = np.argwhere(layer.volume.array == number)[:, ::-1] @ layer.volume.affine[:3, :3].T
        at += layer.volume.affine[:3, 3]
        found[int(number)] = at.mean(0), np.linalg.norm(at - at.mean(0), axis=1).max()
    return found


@pytest.mark.parametrize("ground, places", [(THICK, [[3.0, 20.0, 11.0], [6.0, 41.0, 33.0]]),
                                            (SMALL, [[0.0, 7.25, 9.5], [0.0, 20.0, 31.75]])])  # fmt: skip
@pytest.mark.parametrize("reference", [False, True])
def test_points_lie_where_they_are_in_space(ground, places, reference):
    layer = marks.points("p", ground, np.array([*places, [np.nan] * 3]), "abc", np.ones(3, bool), reference)
    found = middles_mm(layer)
    assert found.keys() == {1, 2}
    step = max(layer.volume.spacing[1:])
    for number, place in enumerate(places, 1):
        middle, reach = found[number]
        np.testing.assert_allclose(middle, (ground.affine @ [*place[::-1], 1])[:3], atol=step / 2)
        at = np.rint(np.linalg.solve(layer.volume.affine, [*middle, 1])[2::-1]).astype(int)
        assert (
            bool(layer.volume.array[tuple(at)]) is not reference
        )  # rings are empty, so that found points show in them
        assert step < reach < 30 * step + 4


def test_a_point_in_a_thick_slice_or_beyond_the_image():
    between = marks.points("p", THICK, np.array([[3.4, 20.0, 11.0], [30.0, 5.0, 5.0]]), "ab", np.ones(2, bool))
    assert np.unique(between.volume.array).tolist() == [0, 1] and between.volume.array[3, 20, 11] == 1


def test_a_line_leads_from_a_found_point_to_the_true_one():
    towards = np.array([[0.0, 7.0, 30.0], [np.nan] * 3])
    layer = marks.points("p", SMALL, np.array([[0.0, 7.0, 9.0], [0.0, 20.0, 9.0]]), "ab", np.array([True, False]),
                         towards=towards)  # fmt: skip
    row = layer.volume.array[0, int(7.5 * layer.volume.shape[1] / 30)]
    columns = np.flatnonzero(row == 1) * 40 / layer.volume.shape[2]
    assert columns.min() < 9.5 and columns.max() > 30 and np.diff(columns).max() < 0.2
    assert np.ptp(np.argwhere(layer.volume.array == 2)[:, 2]) < layer.volume.shape[2] / 20


def test_outlines_of_boxes_enclose_what_the_boxes_enclose():
    """A box reaches from edge to edge of its pixels; true ones lie around it, and one beyond the border is cut."""
    corners = np.array([[4.0, 6.0, 12.0, 20.0], [30.0, -5.0, 45.0, 9.0]])
    found = marks.boxes("b", SMALL, corners, "ab", np.array([True, False]))
    true = marks.boxes("b", SMALL, corners, "ab", np.array([True, False]), reference=True)
    finer = found.volume.shape[1] / 30
    for layer, out in ((found, 0), (true, 2)):
        _, rows, columns = np.nonzero(layer.volume.array == 1)
        sides = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(sides, corners[0] * finer + np.array([-out, -out, out, out]))
        assert not layer.volume.array[0, int(13 * finer), int(8 * finer)]
        assert layer.volume.array[0, int(3 * finer), -1] == 0  # cut at the border, not closed there
    assert not ((found.volume.array == 1) & (true.volume.array == 1)).any()
    assert found.written == (1, 2) and true.written == (2,)  # true boxes that were found are named already
    assert found.classes[1][1] != found.classes[2][1] and found.classes[2][1] == true.classes[2][1]
