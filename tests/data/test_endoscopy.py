"""Frames with suture points: AdaptOR's tree, a folder with a table, and the phantom."""

import json

import numpy as np
import pytest
from PIL import Image

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.endoscopy import endoscopy, endoscopy_points
from tfmed.errors import DataError, UserError
from tfmed.io import read_volume
from tfmed.io.picture_header import check_picture


def frame(path, size=(16, 12), colour=(200, 90, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), colour, "uint8")).save(path)
    return path


def adaptor_tree(root):
    for surgery, video, name in (("aicm1", "v1", "f1"), ("aicm1", "v2", "f1"), ("aicm2", "v1", "f9")):
        frame(root / surgery / video / "images" / f"{name}.png")
    sides = {"imageWidth": 16, "imageHeight": 12}
    (root / "aicm1/v1/point_labels").mkdir()
    (root / "aicm1/v1/point_labels/f1.json").write_text(json.dumps(sides | {"points": [{"x": 3, "y": 4.5}]}))
    (root / "aicm2/v1/point_labels").mkdir()
    (root / "aicm2/v1/point_labels/f9.json").write_text(json.dumps(sides | {"shapes": []}))
    (root / "aicm1/v1/images/._f1.png").write_bytes(b"shadow")
    return root


def test_adaptor_s_tree(tmp_path):
    cases = sources.open("adaptor", adaptor_tree(tmp_path), domain="intraop")
    assert [case.group for case in cases] == ["aicm1", "aicm1", "aicm2"]
    assert [case.id for case in cases] == ["aicm1-v1-f1", "aicm1-v2-f1", "aicm2-v1-f9"]
    assert [case.meta.get("points") for case in cases] == [[[3, 4.5]], None, []]
    assert cases[0].meta["domain"] == "intraop"
    colours = [read_volume(cases[0].images[name]).array for name in ("red", "green", "blue")]
    assert [int(one[0, 0, 0]) for one in colours] == [200, 90, 10] and colours[0].shape == (1, 12, 16)
    assert sources.unused(tmp_path, cases) == []


@pytest.mark.parametrize("name, words", [
    ("lost", "of no frame"), ("outside", "outside of the image of 16 x 12"), ("other size", "the image has 16 x 12"),
    ("damaged", "no JSON"), ("flat", "no folder of a surgery"), ("empty", "holds no case"), ("picture", "cannot hold"),
])  # fmt: skip
def test_what_is_wrong_with_a_tree(name, words, tmp_path):
    if name not in ("empty", "flat"):
        adaptor_tree(tmp_path)
    label = tmp_path / "aicm1/v1/point_labels/f1.json"
    if name == "lost":
        label.with_name("f7.json").write_text("{}")
    elif name == "outside":
        label.write_text('{"points": [{"x": 30, "y": 2}, {"x": 1, "y": 1}]}')
    elif name == "other size":
        label.write_text('{"imageWidth": 512, "imageHeight": 288, "points": []}')
    elif name == "damaged":
        label.write_text("{")
    elif name == "flat":
        frame(tmp_path / "images" / "a.png")
    elif name == "picture":
        path = tmp_path / "aicm1/v1/images/f1.png"
        path.write_bytes(path.read_bytes()[:16] + b"\0\0\xff\xff" * 2 + path.read_bytes()[24:])
    with pytest.raises(DataError) as caught:
        sources.open("adaptor", tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_and_its_table(tmp_path):
    for name in ("p1/a.png", "p2/b.png", "p2/c.png"):
        frame(tmp_path / name)
    (tmp_path / "points.csv").write_text("image,name,x,y\np1/a.png,tip,3,4\np1/a.png,base,,\np2/b.png,,,\n")
    cases = sources.open("points_folder", tmp_path, group_pattern="^(p[0-9])/")
    assert [(case.id, case.group) for case in cases] == [("a", "p1"), ("b", "p2"), ("c", "p2")]
    np.testing.assert_array_equal(cases[0].meta["points"], [[3, 4], [np.nan, np.nan]])
    assert cases[0].meta["names"] == ["tip", "base"]
    assert cases[1].meta["points"] == [] and "points" not in cases[2].meta
    (tmp_path / "points.csv").write_text("image,x,y\np1/a.png,3,40\np1/a.png,1,2\n")
    with pytest.raises(DataError, match="outside of the image of 16 x 12"):
        sources.open("points_folder", tmp_path)
    (tmp_path / "points.csv").write_text("image,x,y\np9/a.png,3,4\n")
    with pytest.raises(DataError, match=r"names the image p9/a\.png, which is not there"):
        sources.open("points_folder", tmp_path)
    (tmp_path / "points.csv").unlink()
    with pytest.raises(DataError, match=r"points\.csv: does not exist"):
        sources.open("points_folder", tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_the_size_of_a_picture_is_in_its_header(suffix, tmp_path):
    assert check_picture(frame(tmp_path / f"a.{suffix}", (19, 7))).size == (19, 7)


# --- the phantom ------------------------------------------------------------------------------------------------------

SMALL = (72, 120)


def test_a_frame_is_a_function_of_its_arguments():
    one, again = endoscopy(5, SMALL), endoscopy(5, SMALL)
    np.testing.assert_array_equal(one.red.array, again.red.array)
    np.testing.assert_array_equal(one.points, endoscopy_points(5, SMALL))
    assert one.red.array.dtype == np.int16 and one.labels.array.dtype == np.uint8
    assert (one.red.array != endoscopy(6, SMALL).red.array).any()
    other = endoscopy(5, SMALL, surgery=1)  # the same sutures in other tissue
    np.testing.assert_array_equal(one.points, other.points)
    assert abs(one.red.array.mean() - other.red.array.mean()) > 1


def test_points_are_in_the_frame_apart_and_as_many_as_were_asked_for():
    counts = []
    for seed in range(30):
        points = endoscopy_points(seed, (288, 512))
        counts.append(len(points))
        assert ((points >= 0) & (points <= [511, 287])).all()
        away = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
        assert len(points) < 2 or away.min() > 15.9
    assert min(counts) <= 1 and max(counts) >= 13
    assert {len(endoscopy_points(seed, fewest=3, most=3)) for seed in range(8)} == {3}
    assert endoscopy_points(0, fewest=0, most=0).shape == (0, 2)


def test_labels_lie_around_the_points_and_punctures_are_dark():
    made = endoscopy(3, (288, 512), look="simulator", fewest=8, most=8)
    grey = np.mean([made.red.array, made.green.array, made.blue.array], 0)[0]
    for number, (x, y) in enumerate(made.points, 1):
        place = round(y), round(x)
        assert made.labels.array[0][place] == number
        around = grey[max(place[0] - 9, 0) : place[0] + 10, max(place[1] - 9, 0) : place[1] + 10]
        assert grey[place[0] - 1 : place[0] + 2, place[1] - 1 : place[1] + 2].min() < 0.75 * np.median(around)


def test_the_two_looks_differ_and_specular_lights_are_surgery_s():
    real, made = (endoscopy(2, (144, 256), look=look) for look in ("surgery", "simulator"))
    np.testing.assert_array_equal(real.points, made.points)
    assert made.green.array.mean() > real.green.array.mean() + 20  # silicone is paler than tissue

    def lights(look):  # of frames without threads
        one = endoscopy(2, (144, 256), look=look, most=0)
        return np.all([c.array > 220 for c in (one.red, one.green, one.blue)], 0).sum()

    assert lights("surgery") > 2 * lights("simulator")


def test_the_source_lists_frames_of_surgeries():
    cases = sources.open("phantom_endoscopy", cases=10, surgeries=3, shape=list(SMALL), unlabelled=2, seed=4)
    assert len(cases) == 10 and len({case.group for case in cases}) == 3
    assert (
        [case.label is None for case in cases]
        == ["points" not in case.meta for case in cases]
        == [False] * 8 + [True] * 2
    )
    found = [phantoms.read(cases[0].images[name]) for name in ("red", "green", "blue")]
    assert all(one.shape == (1, *SMALL) for one in found)
    np.testing.assert_allclose(
        cases[0].meta["points"], np.reshape(endoscopy(**without_part(cases[0])).points, (-1, 2)), atol=1e-3
    )
    assert sources.open("phantom_endoscopy", cases=4, surgeries=3, shape=list(SMALL), seed=4) == cases[:4]
    sims = sources.open("phantom_endoscopy", cases=4, look="simulator", shape=list(SMALL))
    assert not {case.group for case in sims} & {case.group for case in cases}


def without_part(case):
    options = phantoms.parse(case.images["red"])[1]
    options.pop("part")
    return options


@pytest.mark.parametrize("options, words", [
    ({"cases": 0}, "cases must be"), ({"surgeries": 0}, "surgeries must be"), ({"look": "x"}, "look must be"),
    ({"most": 99}, "0 to 15"), ({"fewest": 9, "most": 3}, "in order"), ({"shape": [8, 8]}, "32 to 2048"),
    ({"loook": "x"}, "did you mean 'look'"), ({"seed": -1}, "seed must be"),
])  # fmt: skip
def test_bad_options(options, words):
    with pytest.raises((DataError, UserError)) as caught:
        sources.open("phantom_endoscopy", **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
