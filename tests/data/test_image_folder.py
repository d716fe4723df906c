"""The source of 2D images in folders of classes, in the layouts of BUSI and of Kermany's chest radiographs."""

import numpy as np
import PIL.Image
import pytest

from tfmed.data import sources
from tfmed.data.classes import by_class
from tfmed.errors import DataError
from tfmed.io import read_volume

pytestmark = pytest.mark.current


def image(path, value=7, shape=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full(shape, value, np.uint8)).save(path)
    (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7 Mac OS X")


def test_busi(tmp_path):
    for label in ("benign", "malignant", "normal"):
        for number in (1, 10):
            image(tmp_path / label / f"{label} ({number}).png", number)
            image(tmp_path / label / f"{label} ({number})_mask.png")
    image(tmp_path / "benign" / "benign (1)_mask_1.png")
    cases = sources.open("image_folder", tmp_path)
    assert [(case.id, case.meta) for case in cases] == [
        (f"{label} ({number})", {"class": label}) for label in ("benign", "malignant", "normal") for number in (1, 10)
    ]
    assert len({case.group for case in cases}) == 6 and all(case.label is None for case in cases)
    assert [read_volume(case.images["image"]).array[0, 0, 0] for case in cases[:2]] == [1, 10]
    assert len(sources.open("image_folder", tmp_path, ignore="")) == 13


def test_kermany(tmp_path):
    """A patient's images stay together through the pattern; the parts are the data set's own."""
    for part, label, name in (
        ("train", "NORMAL", "IM-0115-0001"), ("train", "PNEUMONIA", "person1_bacteria_1"),
        ("train", "PNEUMONIA", "person1_bacteria_2"), ("val", "NORMAL", "IM-0001-0001"),
        ("test", "PNEUMONIA", "person7_virus_9"), ("test", "NORMAL", "IM-0001-0001"),
    ):  # fmt: skip
        image(tmp_path / part / label / f"{name}.jpeg")
    cases = sources.open("image_folder", tmp_path, group_pattern=r"(person\d+|IM-\d+)", modality="xray")
    found = {case.id: (case.group, case.meta["class"], case.meta["part"]) for case in cases}
    assert found["person1_bacteria_1"] == found["person1_bacteria_2"] == ("person1", "PNEUMONIA", "train")
    assert found["val-NORMAL-IM-0001-0001"] == ("IM-0001", "NORMAL", "validation")
    assert found["person7_virus_9"] == ("person7", "PNEUMONIA", "test") and len(found) == 6
    assert list(cases[0].images) == ["xray"]


def test_wrong_folders_get_one_line(tmp_path):
    def refused(root, said, **options):
        with pytest.raises(DataError) as caught:
            sources.open("image_folder", root, **options)
        text = str(caught.value)
        assert said in text and "\n" not in text and "one sub-folder per class" in text

    refused(None, "needs data.root")
    refused(tmp_path / "none", "does not exist")
    refused(tmp_path, "holds no case")
    image(tmp_path / "loose.png")
    refused(tmp_path, "loose.png: lies in no folder of a class")
    with pytest.raises(DataError, match="must have exactly one"):
        image(tmp_path / "a" / "x.png")
        sources.open("image_folder", tmp_path, ignore="loose*", group_pattern="x")


def test_masks_of_protein_atlas_patches(tmp_path):
    """Masks are found by name, also one that lies in a folder of its class; classes are those of the other folders."""
    for name in ("positive/a_0_0", "positive/a_0_1", "negative/b_0_0", "negative/a_0_0"):
        image(tmp_path / f"{name}.png")
    for name in ("a_0_1_mask", "positive/a_0_0"):
        image(tmp_path / "masks" / f"{name}.png", 1)
    options = dict(colour=True, masks="masks", group_pattern=r"([ab])_\d+_\d+")
    with pytest.raises(DataError, match="is of two classes"):
        by_class(sources.open("image_folder", tmp_path, **options))
    cases = sources.open("image_folder", tmp_path, colour=True, masks="masks")
    found = {case.id: (case.meta["class"], case.label and read_volume(case.label).array.max()) for case in cases}
    assert found == {"positive-a_0_0": ("positive", 1), "a_0_1": ("positive", 1), "b_0_0": ("negative", None),
                     "negative-a_0_0": ("negative", None)}  # fmt: skip
    assert list(cases[0].images) == ["red", "green", "blue"]
    image(tmp_path / "masks" / "c.png")
    with pytest.raises(DataError, match="no image has this name"):
        sources.open("image_folder", tmp_path, masks="masks")
    with pytest.raises(DataError, match="does not exist"):
        sources.open("image_folder", tmp_path, masks="none")
