"""The five sets of histology in miniature trees of their true layouts."""

import math

import numpy as np
import pytest
from PIL import Image

from tfmed.data import sources
from tfmed.data.readers import read_address, read_label
from tfmed.errors import DataError, UserError
from tfmed.io import read_geometry
from tfmed.io.addresses import companions_of
from tfmed.io.drawn import discs, fused


def picture(path, shape=(20, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(len(path.name)).integers(0, 255, (*shape, 3), dtype=np.uint8)
    Image.fromarray(colours).save(path, **options)
    return colours


def grey(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def test_glas(tmp_path):
    top = tmp_path / "Warwick QU Dataset (Released 2016_07_08)"
    instances = np.zeros((20, 30), np.uint8)
    instances[2:9, 3:11], instances[12:, 20:] = 1, 2
    for name in ("train_1", "train_2", "testA_1", "testB_1"):
        colours = picture(top / f"{name}.bmp")
        grey(top / f"{name}_anno.bmp", instances)
    (top / "Grade.csv").write_text("name, patient ID, grade\n")
    cases = sources.open("glas", tmp_path)
    assert [(case.id, case.meta["part"]) for case in cases] == [
        ("testA_1", "test"), ("testB_1", "test"), ("train_1", "train"), ("train_2", "train")]  # fmt: skip
    np.testing.assert_array_equal(read_label(cases[1]).array[0], instances)
    np.testing.assert_array_equal(read_address(cases[1].images["green"]).array[0], colours[..., 1])
    (top / "train_2.bmp").unlink()
    with pytest.raises(DataError, match=r"train_2_anno\.bmp: is a map without"):
        sources.open("glas", tmp_path)


def test_monuseg(tmp_path):
    """Outlines become filled areas; the file of no size of its own follows the picture; never an empty mask."""
    picture(tmp_path / "Tissue Images" / "TCGA-18-5592-01Z-00-DX1.tif", (60, 80))
    place = tmp_path / "Annotations" / "TCGA-18-5592-01Z-00-DX1.xml"
    place.parent.mkdir()
    corners = [[(10, 10), (30, 10), (30, 25), (10, 25)], [(70, 50), (95, 50), (95, 70), (70, 70)]]
    regions = "".join("<Region><Vertices>" + "".join(f'<Vertex X="{x}.0" Y="{y}.0" Z="0"/>' for x, y in one)
                      + "</Vertices></Region>" for one in corners)  # fmt: skip
    place.write_text(f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>")
    (case,) = sources.open("monuseg", tmp_path)
    assert case.group == "TCGA-18-5592"
    label = read_label(case).array[0]
    assert label.shape == (60, 80) and label[17, 20] == 1 and label[17, 40] == 0 and label[55, 79] == 1
    assert abs(int(label[:40].sum()) - 20 * 15) <= 36  # the outline's own pixels may count
    assert read_geometry(case.label).shape == (1, 60, 80)
    assert companions_of(case.label) == (str((tmp_path / "Tissue Images" / f"{case.id}.tif").resolve()),)
    place.write_text(place.read_text().replace('X="10.0"', 'X="nan"', 1))
    with pytest.raises(UserError, match="'nan' is no place in a picture"):
        read_label(case)


def marks(path, *kinds):
    path.write_text("<annotations>" + "".join(f'<graphic description="{kind}"><point-list><point>{x},{y}</point>'
                    "</point-list></graphic>" for kind, x, y in kinds) + "</annotations>")  # fmt: skip


def test_breastpathq(tmp_path):
    place = tmp_path / "cells" / "12_Region 3_crop.tif"
    picture(place, (90, 120))
    marks(place.with_name("12_Region 3_key.xml"), ("IDC", 30, 40), ("MC- E", 60, 40), ("UDH", 62, 41),
          ("TIL-S", 118, 2), ("Blood", 90, 70), ("TIL-E", 500, 500))  # fmt: skip
    (case,) = sources.open("breastpathq", tmp_path)
    label = read_label(case).array[0]
    assert case.group == "12" and label.shape == (90, 120) and set(np.unique(label)) == {0, 1, 2, 3}
    assert abs((label[:, :44] == 1).sum() / (math.pi * 12**2) - 1) < 0.05  # a disc alone
    assert label[41, 62] == 2 and label[40, 60] == 2  # later ones cover earlier ones
    assert label[70, 90] == 0 and label[0, 119] == 3  # another kind; cut off at the border
    marks(tmp_path / "bad.xml", ("IDC", "a", 3))
    with pytest.raises(UserError, match="'a' is no place in a picture"):
        discs(tmp_path / "bad.xml", place)


def test_digestpath(tmp_path):
    """A mask that JPEG has blurred is cut at 127."""
    top = tmp_path / "tissue-train-pos-v1"
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 8:33] = 255
    picture(top / "a_1.jpg", (64, 64))
    grey(top / "a_1_mask.jpg", mask, quality=40)
    picture(tmp_path / "tissue-train-neg" / "b.jpg", (32, 32))
    (case,) = sources.open("digestpath", tmp_path)
    label = read_label(case).array[0]
    assert set(np.unique(label)) == {0, 1} and (label != (mask > 127)).mean() < 0.01
    assert [one.label is None for one in sources.open("digestpath", tmp_path, negative=True)] == [False, True]
    (top / "a_1.jpg").unlink()
    with pytest.raises(DataError, match="is a mask without"):
        sources.open("digestpath", tmp_path, negative=True)


def test_gleason2019(tmp_path):
    """The majority wins where all but one agree, 6 becomes 2, a stray 7 is as in the first map."""
    graded = np.zeros((24, 24), np.uint8)
    graded[:, 8:], graded[:, 16:] = 3, 6
    picture(tmp_path / "Train_imgs" / "slide001_core011.jpg", (24, 24))
    picture(tmp_path / "Train_imgs" / "slide001_core012.jpg", (24, 24))
    picture(tmp_path / "Train_imgs" / "slide002_core001.jpg", (24, 24))
    for number in (1, 3, 4):
        other = graded.copy()
        if number == 3:
            other[4:8, 4:8] = 5
        grey(tmp_path / f"Maps{number}_T" / "slide001_core011_classimg_nonconvex.png", other)
    grey(tmp_path / "Maps2_T" / "slide001_core012_classimg_nonconvex.png", graded)
    cases = sources.open("gleason2019", tmp_path)
    assert [(case.group, case.label is None) for case in cases] == [
        ("slide001", False), ("slide001", False), ("slide002", True)]  # fmt: skip
    expected = np.where(graded == 6, 2, graded)
    for case in cases[:2]:
        np.testing.assert_array_equal(read_label(case).array[0], expected)
    maps = sorted(tmp_path.glob("Maps*_T/*core011*"))
    stray = graded.copy()
    stray[0, 0] = 7
    for path in maps[1:]:
        grey(path, stray)
    assert fused(maps).array[0, 0, 0] == graded[0, 0]
    grey(maps[0], np.full((24, 24), 9))
    with pytest.raises(UserError, match="which is no grade"):
        fused(maps[:1])
    grey(maps[0], np.zeros((9, 24)))
    with pytest.raises(UserError, match="where a grey map of"):
        fused(maps)


@pytest.mark.parametrize("name", ["glas", "monuseg", "breastpathq", "digestpath", "gleason2019"])
def test_empty_folders_are_one_line(name, tmp_path):
    with pytest.raises(DataError, match=f"source {name} expects"):
        sources.open(name, tmp_path)
