"""COVID-19 Radiography in a miniature tree of the true layout, of newer and of older releases."""

import numpy as np
import pytest
from PIL import Image

from tfmed.data import sources
from tfmed.data.readers import read_address
from tfmed.errors import DataError

pytestmark = pytest.mark.one_stack
COUNTS = {"COVID": 3, "Normal": 4, "Lung_Opacity": 2, "Viral Pneumonia": 1}


def tree(root, images="images"):
    base = root / "COVID-19_Radiography_Dataset"
    for name, count in COUNTS.items():
        for n in range(1, count + 1):
            for kind in (images, "masks"):
                folder = base / name / kind
                folder.mkdir(parents=True, exist_ok=True)
                shape = (299, 299) if n > 1 else (299, 299, 3)  # some are stored as colours
                Image.fromarray(np.full(shape, 40 * n, np.uint8)).save(folder / f"{name}-{n}.png")
        (base / f"{name}.metadata.xlsx").touch()
    return root


@pytest.mark.parametrize("images, below", [("images", ""), ("", "COVID-19_Radiography_Dataset")])
def test_radiographs_have_the_class_of_their_folder(tmp_path, images, below):
    cases = sources.open("covid19_radiography", tree(tmp_path, images) / below)
    classes = [case.meta["class"] for case in cases]
    assert {name: classes.count(name) for name in COUNTS} == COUNTS | {"Lung_Opacity": 0}
    assert len({case.group for case in cases}) == 8
    volume = read_address(cases[0].images["image"])
    assert volume.array.shape == (1, 299, 299) and volume.array.max() == 40
    whole = sources.open("covid19_radiography", tmp_path, classes=("COVID", "Lung_Opacity"))
    assert {case.id for case in whole} == {"COVID-1", "COVID-2", "COVID-3", "Lung_Opacity-1", "Lung_Opacity-2"}


def test_what_is_wrong_is_one_line(tmp_path):
    tree(tmp_path)
    with pytest.raises(DataError, match="classes are some of Normal"):
        sources.open("covid19_radiography", tmp_path, classes=("Pneumonia",))
    for file in (tmp_path / "COVID-19_Radiography_Dataset" / "COVID" / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="covid19_radiography expects Normal") as caught:
        sources.open("covid19_radiography", tmp_path)
    assert "\n" not in str(caught.value)
