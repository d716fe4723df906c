"""Boxes of objects in files: what is written is read again, and what is wrong is told in one line."""

import json

import numpy as np
import pytest

from tfmed.errors import DataError, UserError
from tfmed.io.objects import (
    Objects,
    check_boxes,
    read_boxes_csv,
    read_coco,
    read_voc,
    write_boxes_csv,
    write_coco,
    write_voc,
)

SOME = Objects(np.array([[1.5, 2, 10, 12], [30, 5, 64, 48]]), ("I/A <Handpiece>", "Knife"))
NONE = Objects(np.zeros((0, 4)), ())
FOUND = Objects(SOME.boxes, SOME.names, np.array([0.75, 0.1]))


def same(one, other):
    np.testing.assert_allclose(one.boxes, other.boxes)
    assert one.names == other.names and (one.scores is None) == (other.scores is None)
    if one.scores is not None:
        np.testing.assert_allclose(one.scores, other.scores)


def test_voc(tmp_path):
    for name, objects in (("some", SOME), ("none", NONE)):
        write_voc(tmp_path / f"{name}.xml", objects, (64, 48), "frame & 1.png")
        same(read_voc(tmp_path / f"{name}.xml", (64, 48)), objects)
    larger = read_voc(tmp_path / "some.xml", (128, 96))  # the frame, of which a smaller copy was annotated
    np.testing.assert_allclose(larger.boxes, 2 * SOME.boxes)
    with pytest.raises(DataError, match="is for an image of 64 x 48 pixels, and the image has 96 x 96"):
        read_voc(tmp_path / "some.xml", (96, 96))


def test_coco(tmp_path):
    path = tmp_path / "boxes.json"
    write_coco(path, {"a.png": ((64, 48), FOUND), "b.png": ((64, 48), NONE)}, ("Knife", "I/A <Handpiece>", "Hook"))
    found = read_coco(path)
    assert list(found) == ["a.png", "b.png"] and found["a.png"][0] == (64, 48)
    same(found["a.png"][1], FOUND)
    same(found["b.png"][1], NONE)
    table = json.loads(path.read_text())
    assert table["annotations"][0]["bbox"] == [1.5, 2, 8.5, 10] and table["annotations"][0]["category_id"] == 2
    table["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(table))
    assert read_coco(path)["a.png"][1].names == ("Knife",)


def test_pycocotools_reads_it(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    write_coco(tmp_path / "boxes.json", {"a.png": ((64, 48), FOUND)}, ("Knife", "I/A <Handpiece>"))
    loaded = coco.COCO(str(tmp_path / "boxes.json"))
    assert [one["bbox"] for one in loaded.loadAnns(loaded.getAnnIds(catIds=[1]))] == [[30, 5, 34, 43]]


def test_tables(tmp_path):
    for objects in (SOME, FOUND):
        write_boxes_csv(tmp_path / "boxes.csv", {"a.png": objects, "b.png": NONE})
        found = read_boxes_csv(tmp_path / "boxes.csv")
        same(found["a.png"], objects)
        same(found["b.png"], NONE)


VOC = "<annotation><size><width>64</width><height>48</height></size>{}</annotation>"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.mark.parametrize("text, words", [
    ('<!DOCTYPE a [<!ENTITY e "x">]>' + VOC.format(OBJECT.format("&e;", 1, 1, 5, 5)), "has a DTD, which is refused"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + VOC.format(""), "has a DTD"),
    (VOC.format(OBJECT.format(1, 5, 1, 5, 9)), "of 0 x 8 pixels"),
    (VOC.format(OBJECT.format(1, 9, 1, 5, 9)), "of -4 x 8 pixels"),
    (VOC.format(OBJECT.format(1, 5, 1, "nan", 9)), "no place"),
    (VOC.format(OBJECT.format(1, 5, 1, 80, 9)), "outside of the image of 64 x 48"),
    (VOC.format(OBJECT.format(1, "left", 1, 80, 9)), "is 'left', no number"),
    (VOC.format(OBJECT.format("", 1, 1, 8, 9)), "has no name"),
    (VOC.format("<object><name>1</name></object>"), "has no bndbox"),
    ("<a/>", "no annotation of Pascal VOC"), ("<annotation>", "not well-formed"), ("", "not well-formed"),
    (VOC.format("<a>" * 100 + "</a>" * 100), "nested"), (VOC.replace("64", "1e99").format(""), "no size"),
])  # fmt: skip
def test_xml_that_cannot_be_right(text, words, tmp_path):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_voc(tmp_path / "a.xml", (64, 48))
    assert "a.xml" in str(caught.value) and "\n" not in str(caught.value)


IMAGE, KIND = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}, {"id": 1, "name": "Knife"}


@pytest.mark.parametrize("change, words", [
    ({"images": []}, "it lists no image"), ({"images": [IMAGE, IMAGE]}, "two images have the id 1"),
    ({"images": [IMAGE | {"width": 0}]}, "lacks id, file_name or size"), ({"images": [{"id": 1}]}, "no number"),
    ({"annotations": [{"image_id": 7, "category_id": 1}]}, "of image '7', which is not listed"),
    ({"annotations": [{"image_id": 1, "category_id": 3}]}, "of class '3', which is not listed"),
    ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2]}]}, "no bbox of four numbers"),
    ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 0, 4]}]}, "of 0 x 4 pixels"),
    ({"annotations": "none"}, "it has no lists"), ({"annotations": [3]}, "it has no lists"),
])  # fmt: skip
def test_coco_that_cannot_be_right(change, words, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"images": [IMAGE], "annotations": [], "categories": [KIND]} | change))
    with pytest.raises(UserError, match=words):
        read_coco(tmp_path / "a.json")


@pytest.mark.parametrize("text, words", [
    ("image,xmin,ymin,xmax,ymax\n", "no column class_name"), ("image,class,xmin,ymin,xmax\n", "no column ymax"),
    ("image,class,xmin,ymin,xmax,ymax\na.png,Knife,1,2,x,4\n", "line 2: xmax is 'x'"),
    ("image,class,xmin,ymin,xmax,ymax\n,Knife,1,2,3,4\n", "names no image"),
    ("image,class,xmin,ymin,xmax,ymax\na.png,,1,2,3,4\n", "names no class"),
    ("image,class,xmin,ymin,xmax,ymax\na.png,Knife,3,2,3,4\n", "of 0 x 2 pixels"),
])  # fmt: skip
def test_tables_that_cannot_be_right(text, words, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_boxes_csv(tmp_path / "a.csv")


def test_boxes_that_reach_over_the_border_by_rounding_are_cut():
    np.testing.assert_array_equal(check_boxes([[-1, 0, 65, 48.5]], "here", (64, 48)), [[0, 0, 64, 48]])
