"""Simulated compound figures: where panels lie, what they show, which modes they have."""

import numpy as np
import pytest

from tfmed.data.panels import FigureSimulator, PanelStyle, resized
from tfmed.data.sources import open as open_source

pytestmark = pytest.mark.one_stack

SIDES = ((30, 40), (64, 20), (25, 25), (17, 90))


def pictures():
    """{key: image}, the first letter of a key is its class; no two are alike, none has the paper's white."""
    rng = np.random.default_rng(0)
    return {f"{name}{k}": rng.integers(0, 250, (*shape, 3)).astype("uint8")
            for name in "abc" for k, shape in enumerate(SIDES)}  # fmt: skip


PICTURES = pictures()
SINGLES = {name: [key for key in PICTURES if key[0] == name] for name in "abc"}


def simulator(counts, seed=0, **style):
    style = PanelStyle(**{"size": (96, 128), "gaps": (2, 5)} | style)
    return FigureSimulator(SINGLES, PICTURES.get, counts, seed, style)


@pytest.mark.parametrize("style", [{}, {"keep_ratio": False}, {"size": None, "sides": (60, 140)}])
def test_panels_lie_within_the_figure_apart_and_show_their_images(style):
    made = simulator({"mixed": 60, "intra_class": 30, "single": 10}, **style)
    seen = set()
    for number in range(len(made)):
        figure = made(number)
        height, width = figure.image.shape[:2]
        assert style.get("size", 1) is None or (height, width) == (96, 128)
        boxes = figure.boxes.astype(int)
        assert len(boxes) and (boxes == figure.boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
        covered = np.zeros((height, width), int)
        for (x0, y0, x1, y1), name, key in zip(boxes, figure.names, figure.keys, strict=True):
            covered[y0:y1, x0:x1] += 1
            image = PICTURES[key]
            assert name == key[0]
            np.testing.assert_array_equal(figure.image[y0:y1, x0:x1], resized(image, (y1 - y0, x1 - x0)))
            if made.style.keep_ratio:
                wide = (y1 - y0) * image.shape[1] / image.shape[0]
                high = (x1 - x0) * image.shape[0] / image.shape[1]
                assert min(abs(wide - (x1 - x0)), abs(high - (y1 - y0))) <= 1
        assert covered.max() == 1 and (figure.image[covered == 0] == 255).all()
        seen.add(len(boxes))
    assert len(seen) > 4  # figures of many kinds


def test_rows_have_one_height_and_columns_one_width():
    """But for a panel alone in its line, which is shrunk where it does not fit."""
    found = {"rows": 0, "columns": 0}
    made = simulator({"mixed": 200}, attached=0.0)
    for number in range(len(made)):
        boxes = made(number).boxes
        alike = {}
        for axis, name in ((1, "rows"), (0, "columns")):
            lines = [boxes[boxes[:, axis] == start] for start in np.unique(boxes[:, axis])]
            alike[name] = all(len(np.unique(line[:, axis + 2])) == 1 for line in lines) and lines[0][0, axis] == 0
            if alike[name] and max(map(len, lines)) > 1:
                found[name] += 1
        assert any(alike.values())
    assert min(found.values()) > 40


def test_without_gaps_neighbours_share_an_edge_and_with_gaps_none_do():
    for attached, style in ((1.0, {}), (0.0, {}), (1.0, {"keep_ratio": False}), (0.0, {"keep_ratio": False})):
        made = simulator({"mixed": 40}, attached=attached, **style)
        for number in range(40):
            boxes = made(number).boxes
            if len(boxes) < 2:
                continue
            shared = [
                any(((a[2] == b[0] or a[0] == b[2]) and min(a[3], b[3]) > max(a[1], b[1]))
                    or ((a[3] == b[1] or a[1] == b[3]) and min(a[2], b[2]) > max(a[0], b[0]))
                    for j, b in enumerate(boxes) if j != i)
                for i, a in enumerate(boxes)
            ]  # fmt: skip
            assert not any(shared) if not attached else sum(shared) >= 2
            if attached and style:  # stretched panels cover the whole figure
                assert (boxes[:, 2:] - boxes[:, :2]).prod(-1).sum() == 96 * 128


def test_modes_are_counted_and_mean_what_they_say():
    made = simulator({"single": 7, "mixed": 20, "intra_class": 11})
    modes = [made.mode(number) for number in range(len(made))]
    assert {mode: modes.count(mode) for mode in set(modes)} == {"single": 7, "mixed": 20, "intra_class": 11}
    figures = [made(number) for number in range(len(made))]
    assert all(len(f.names) == 1 for f, mode in zip(figures, modes, strict=True) if mode == "single")
    assert all(len(set(f.names)) == 1 for f, mode in zip(figures, modes, strict=True) if mode == "intra_class")
    assert max(len(set(f.names)) for f, mode in zip(figures, modes, strict=True) if mode == "mixed") > 1
    assert len({f.names[0] for f, mode in zip(figures, modes, strict=True) if mode == "intra_class"}) > 1
    for figure, mode in zip(figures, modes, strict=True):
        if mode == "single":
            side = figure.boxes[0, 2:] - figure.boxes[0, :2]
            assert side[0] == 128 or side[1] == 96  # as large as fits
    with pytest.raises(IndexError):
        made(len(made))


def test_a_figure_is_a_function_of_seed_and_number():
    one, same, other = simulator({"mixed": 6}), simulator({"mixed": 6}), simulator({"mixed": 6}, seed=1)
    for number in (5, 0, 3):
        np.testing.assert_array_equal(one(number).image, same(number).image)
        np.testing.assert_array_equal(one(number).boxes, same(number).boxes)
    assert any(one(k).image.tobytes() != other(k).image.tobytes() for k in range(6))
    assert one(0).image.tobytes() != one(1).image.tobytes()


def test_there_are_never_more_panels_than_asked_for():
    made = simulator({"mixed": 50}, most=3)
    assert max(len(made(number).names) for number in range(50)) == 3


@pytest.mark.parametrize("counts, singles, words", [
    ({"mix": 1}, SINGLES, "'mix' is none of"),
    ({"mixed": 0}, SINGLES, "no figure"),
    ({"mixed": 1}, {"a": []}, "no single image"),
])  # fmt: skip
def test_what_cannot_be_made_is_told(counts, singles, words):
    with pytest.raises(ValueError, match=words):
        FigureSimulator(singles, PICTURES.get, counts)


def test_phantom_panels_have_classes_in_turn_and_many_proportions():
    from tfmed.data import phantoms

    cases = open_source("phantom_panels", cases=8, sides=(16, 40))
    assert [case.meta["class"] for case in cases] == ["light", "fluorescence", "electron", "chart"] * 2
    shapes = set()
    for case in cases:
        array = np.stack([phantoms.read(case.images[name]).array[0] for name in ("red", "green", "blue")], -1)
        shapes.add(array.shape)
        assert array.dtype == np.int16 and array.min() >= 0 and array.max() <= 255 and array.std() > 5
        assert all(16 <= side <= 40 for side in array.shape[:2])
        grey = case.meta["class"] == "electron"
        assert grey == bool((np.ptp(array, axis=-1) == 0).all())
    assert len(shapes) > 4
    from tfmed.errors import DataError, UserError

    with pytest.raises(DataError, match="sides"):
        open_source("phantom_panels", sides=(4, 40))
    with pytest.raises(UserError, match="kind must be"):
        phantoms.panel(0, kind="x")
