"""Files of points: written and read again, both forms of JSON, Slicer's two systems, and what is wrong in one line."""

import json

import numpy as np
import pytest

from tfmed.errors import DataError, UserError
from tfmed.io.points import (
    check_points,
    read_markups,
    read_points_csv,
    read_points_json,
    write_markups,
    write_points_csv,
    write_points_json,
)

POINTS = np.array([[10.5, 20.0], [300.25, 100.0]])


def written(path, table):
    path.write_text(table if isinstance(table, str) else json.dumps(table), encoding="utf-8")
    return path


def test_adaptor_and_labelme_say_the_same(tmp_path):
    sides = {"imageWidth": 512, "imageHeight": 288}
    one = written(tmp_path / "a.json", sides | {"points": [{"x": x, "y": y} for x, y in POINTS]})
    shapes = [{"label": "s", "shape_type": "point", "points": [point]} for point in POINTS.tolist()]
    other = written(tmp_path / "b.json", sides | {"shapes": shapes})
    for path in (one, other):
        np.testing.assert_array_equal(read_points_json(path), POINTS)
        np.testing.assert_array_equal(read_points_json(path, (512, 288)), POINTS)
    assert read_points_json(written(tmp_path / "c.json", sides | {"points": []})).shape == (0, 2)


def test_submissions_are_read_again(tmp_path):
    path = tmp_path / "s.json"
    write_points_json(path, POINTS, (512, 288), "surgery 1", "video", "f.png")
    table = json.loads(path.read_text())
    assert table["folderName"] == "surgery 1" and table["imageFileName"] == "f.png"
    assert table["points"][0] == {"x": 10.5, "y": 20.0}
    np.testing.assert_array_equal(read_points_json(path), POINTS)


BAD_JSON = {
    "not json": ("{", "no JSON"),
    "a list": ([], "no JSON object"),
    "nested": ("[" * 100000, "no JSON"),
    "nothing": ({"imageWidth": 5}, "neither"),
    "no list": ({"points": 3}, "no list"),
    "a word": ({"points": [{"x": "a", "y": 1}]}, "not two numbers"),
    "true": ({"points": [{"x": True, "y": 1}]}, "not two numbers"),
    "one number": ({"shapes": [{"points": [[1]]}]}, "not two numbers"),
    "shape without points": ({"shapes": [{}]}, "no list"),
    "not a number": ('{"points": [{"x": NaN, "y": 1}]}', "no place"),
    "infinite": ('{"points": [{"x": 1e999, "y": 1}]}', "no place"),
    "beyond reason": ({"points": [{"x": 10**400, "y": 1}]}, "not two numbers"),
    "outside": (
        {"imageWidth": 9, "imageHeight": 9, "points": [{"x": 4, "y": 1}, {"x": 20, "y": 1}]},
        "point 2 is (20, 1)",
    ),
    "turned": (
        {"imageWidth": 90, "imageHeight": 20, "points": [{"x": 4, "y": 50}, {"x": 7, "y": 1}]},
        "changed places",
    ),
    "twice": ({"points": [{"x": 4, "y": 1}, {"x": 2, "y": 1}, {"x": 4, "y": 1}]}, "(4, 1) stands there twice"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_what_is_wrong_with_json(name, tmp_path):
    table, words = BAD_JSON[name]
    path = written(tmp_path / "bad.json", table)
    with pytest.raises(UserError) as caught:
        read_points_json(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_points_of_another_image(tmp_path):
    write_points_json(tmp_path / "s.json", POINTS, (512, 288))
    with pytest.raises(DataError, match="512 x 288 pixels, and the image has 288 x 512"):
        read_points_json(tmp_path / "s.json", (288, 512))


def test_tables_are_read_again(tmp_path):
    nameless = {"a/1.png": (("", ""), POINTS), "b.png": ((), np.zeros((0, 2)))}
    write_points_csv(tmp_path / "p.csv", nameless)
    found = read_points_csv(tmp_path / "p.csv")
    assert list(found) == ["a/1.png", "b.png"] and found["b.png"][1].shape == (0, 2)
    np.testing.assert_array_equal(found["a/1.png"][1], POINTS)
    named = {"v.nii.gz": (("apex", "base"), np.array([[1.5, 2, 3], [np.nan] * 3]))}
    write_points_csv(tmp_path / "n.csv", named)
    names, points = read_points_csv(tmp_path / "n.csv")["v.nii.gz"]
    assert names == ("apex", "base")
    np.testing.assert_array_equal(points, named["v.nii.gz"][1])


@pytest.mark.parametrize("text, words", [
    ("image,x\na,1\n", "no column y"),
    ("image,x,y\n,1,2\n", "line 2: names no image"),
    ("image,x,y\na,1,b\n", "line 2: '1, b' is no place"),
    ("image,x,y\na,1,\n", "is no place"),
    ("image,x,y\na,nan,2\n", "no place"),
    ("image,name,x,y\na,tip,1,2\na,tip,3,4\n", "tip stands there twice"),
    ("image,x,y\na,1,2\na,1,2\n", "(1, 2) stands there twice"),
])  # fmt: skip
def test_what_is_wrong_with_a_table(text, words, tmp_path):
    path = written(tmp_path / "p.csv", text)
    with pytest.raises(DataError) as caught:
        read_points_csv(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_slicer_s_lists_are_read_again(system, tmp_path):
    points = np.array([[1.5, -2.0, 30.0], [np.nan] * 3, [4.0, 5.0, 6.0]])
    path = tmp_path / "F.mrk.json"
    write_markups(path, ("apex", "later", "base"), points, system)
    stored = json.loads(path.read_text())["markups"][0]
    assert stored["coordinateSystem"] == system and stored["type"] == "Fiducial"
    assert stored["controlPoints"][0]["position"] == ([1.5, -2, 30] if system == "RAS" else [-1.5, 2, 30])
    names, found = read_markups(path)
    assert names == ("apex", "later", "base")
    np.testing.assert_array_equal(found, points)


@pytest.mark.parametrize("table, words", [
    ({}, "not one list"),
    ({"markups": [{"coordinateSystem": "XYZ", "controlPoints": []}]}, "coordinate system is 'XYZ'"),
    ({"markups": [{"controlPoints": [{"position": [1, 2]}]}]}, "point 1 has the position"),
    ({"markups": [{"controlPoints": 3}]}, "no list"),
    ({"markups": [{"controlPoints": [{"position": [1, 2, 3]}, {"position": [1, 2, 3]}]}]}, "twice"),
    ('{"markups": [{"controlPoints": [{"position": [NaN, 2, 3]}]}]}', "no place"),
])  # fmt: skip
def test_what_is_wrong_with_slicer_s_list(table, words, tmp_path):
    with pytest.raises(UserError) as caught:
        read_markups(written(tmp_path / "F.mrk.json", table))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_points_on_the_border_are_good():
    check_points(np.array([[-0.5, 0], [512, 288]]), "here", (512, 288))
    with pytest.raises(DataError, match="here: point 1"):
        check_points(np.array([[513.0, 1.0]]), "here", (512, 288))
