"""Radiographs with named landmarks: the phantom, and folders with tables or files of 3D Slicer."""

import numpy as np
import pytest

from tests.data.test_endoscopy import frame
from tfmed.data import phantoms, sources
from tfmed.data.phantoms.radiograph import FIELD_MM, landmark_names, radiograph, radiograph_points
from tfmed.errors import DataError, UserError
from tfmed.io.itk import LPS_RAS
from tfmed.io.points import write_markups

pytestmark = pytest.mark.current


def test_landmarks_are_where_the_label_map_says():
    made = radiograph(3, (96, 72))
    assert made.points.shape == (20, 2) and len(set(landmark_names())) == 20
    for number, point in enumerate(made.points, 1):
        y, x = np.nonzero(made.labels.array[0] == number)
        if len(x) > 3:  # others are hidden by a neighbour
            np.testing.assert_allclose([x.mean(), y.mean()], point, atol=1.0)
    np.testing.assert_array_equal(radiograph_points(3, (96, 72)), made.points)
    assert made.volume.array.dtype == np.int16 and made.volume.spacing == pytest.approx(
        (1, FIELD_MM / 96, FIELD_MM / 96)
    )
    assert made.volume.array.tobytes() == radiograph(3, (96, 72)).volume.array.tobytes()


def test_landmarks_lie_on_bone_in_the_image_and_keep_their_order():
    bright = []
    for seed in range(40):
        points = radiograph_points(seed, (64, 48))
        assert ((points > 0) & (points < [47, 63])).all(), seed
        assert (np.linalg.norm(points[[3, 7, 11, 15, 19]] - points[0], axis=1) > 10).all()  # tips are far from it
    for seed in range(3):
        made = radiograph(seed, (128, 96), noise=0.0)
        image = made.volume.array[0]
        x, y = np.rint(made.points).astype(int).T
        bright.append(np.median(image[y, x]) / np.median(image))
    assert min(bright) > 1.5
    fewer = radiograph_points(5, (64, 48), fingers=2)
    np.testing.assert_array_equal(fewer, radiograph_points(5, (64, 48))[:8])
    assert landmark_names(2) == landmark_names()[:8]


@pytest.mark.parametrize("options, said", [
    ({"shape": (16, 16)}, "shape is y,x of 32"), ({"fingers": 6}, "fingers must be 1 to 5"),
    ({"turn": 200}, "turn must be"), ({"noise": -1}, "noise must be"), ({"seed": -1}, "seed must be"),
])  # fmt: skip
def test_arguments_out_of_range(options, said):
    with pytest.raises(UserError, match=said):
        radiograph(**{"seed": 0} | options)


def test_the_source_names_landmarks_and_leaves_some_out():
    cases = sources.open("phantom_radiograph", cases=6, seed=2, shape=[64, 48], fingers=2, unlabelled=2)
    assert ["points" in case.meta for case in cases] == [True] * 4 + [False] * 2
    assert cases[0].meta["names"] == list(landmark_names(2)) and list(cases[0].images) == ["image"]
    made = phantoms.read(cases[1].images["image"])
    assert made.shape == (1, 64, 48)
    chosen = phantoms.parse(cases[1].images["image"])[1]
    np.testing.assert_allclose(cases[1].meta["points"], radiograph_points(chosen["seed"], (64, 48), 2), atol=1e-3)
    some = sources.open("phantom_radiograph", cases=40, missing=0.3)
    gone = np.isnan(np.array([case.meta["points"] for case in some])).all(-1)
    assert 0.2 < gone.mean() < 0.4
    for missing in (1.0, -0.1, True, "x"):
        with pytest.raises(DataError, match="missing must be a number"):
            sources.open("phantom_radiograph", missing=missing)


def test_a_folder_of_grey_pictures_with_known_pixels(tmp_path):
    for name in ("a.png", "b.png"):
        frame(tmp_path / name)
    (tmp_path / "points.csv").write_text("image,name,x,y\na.png,tip,3,4\na.png,base,,\n")
    one, other = sources.open("points_folder", tmp_path, grey=True, spacing_mm=0.1)
    assert one.images == {"image": f"{tmp_path / 'a.png'}::grey"} and one.meta["spacing_mm"] == [0.1, 0.1]
    assert one.meta["names"] == ["tip", "base"] and "points" not in other.meta
    (tmp_path / "points.csv").unlink()
    assert all("points" not in case.meta for case in sources.open("points_folder", tmp_path, table=""))
    with pytest.raises(DataError, match="spacing_mm must be a number"):
        sources.open("points_folder", tmp_path, table="", spacing_mm=-1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no case"):
        sources.open("points_folder", tmp_path / "empty", table="")


def test_a_folder_of_pictures_with_files_of_slicer(tmp_path):
    """As `tfmed predict` writes them, so that corrected predictions can train."""
    for name in ("a.png", "b.png", "c.png"):
        frame(tmp_path / name)
    points = np.array([[3.0, 4.5, 0], [np.nan] * 3])
    world = points @ LPS_RAS[:3, :3].T
    write_markups(tmp_path / "a_landmarks.mrk.json", ("tip", "base"), world)
    write_markups(tmp_path / "b.mrk.json", ("tip", "base"), world)
    cases = sources.open("points_folder", tmp_path, table="markups")
    for case in cases[:2]:
        np.testing.assert_allclose(case.meta["points"], [[3, 4.5], [np.nan, np.nan]])
        assert case.meta["names"] == ["tip", "base"]
    assert "points" not in cases[2].meta
    write_markups(tmp_path / "a.mrk.json", ("tip", "base"), world)
    with pytest.raises(DataError, match="lies beside it"):
        sources.open("points_folder", tmp_path, table="markups")
    (tmp_path / "a.mrk.json").write_text("{")
    (tmp_path / "a_landmarks.mrk.json").unlink()
    with pytest.raises(DataError, match="no JSON"):
        sources.open("points_folder", tmp_path, table="markups")
