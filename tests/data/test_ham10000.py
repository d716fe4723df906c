"""HAM10000 in a miniature tree of the true layout."""

import numpy as np
import pytest
from PIL import Image

from tfmed.data import sources, splits
from tfmed.data.readers import read_address
from tfmed.errors import DataError

pytestmark = pytest.mark.one_stack

HEAD = "lesion_id,image_id,dx,dx_type,age,sex,localization"
ROWS = [
    "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
    "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp",
    "HAM_0002730,ISIC_0026769,nv,follow_up,,female,back",
    "HAM_0001466,ISIC_0031633,mel,histo,75.0,male,ear",
    "HAM_0009999,ISIC_0031634,vasc,consensus,5.0,unknown,face",
]


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join([HEAD, *ROWS]))
    for number, row in enumerate(ROWS):
        folder = tmp_path / f"HAM10000_images_part_{1 + number % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((12, 16, 3), (200, 10, 40 * number), np.uint8)).save(
            folder / f"{row.split(',')[1]}.jpg"
        )
    return tmp_path


def test_pictures_have_their_diagnosis_and_lesions_stay_together(tree):
    cases = sources.open("ham10000", tree, classes=("bkl", "nv", "mel"))
    assert {case.id: case.meta["class"] for case in cases} == {
        "ISIC_0025030": "bkl", "ISIC_0027419": "bkl", "ISIC_0026769": "nv", "ISIC_0031633": "mel"}  # fmt: skip
    assert [case.group for case in cases if case.meta["class"] == "bkl"] == ["HAM_0000118"] * 2
    assert read_address(cases[0].images["red"]).array.shape == (1, 12, 16)
    assert abs(int(read_address(cases[0].images["red"]).array.mean()) - 200) < 5
    parts = splits.by_group(cases, 0.34, 0.33, seed=1)
    assert sum(any(case.group == "HAM_0000118" for case in part) for part in parts.values()) == 1
    assert len(sources.open("ham10000", tree)) == 5


@pytest.mark.parametrize("change, said", [
    (lambda t: (t / "HAM10000_metadata.csv").unlink(), "ham10000 expects HAM10000_metadata"),
    (lambda t: next(t.rglob("ISIC_0031634.jpg")).unlink(), "no picture ISIC_0031634.jpg below"),
    (lambda t: (t / "HAM10000_metadata.csv").write_text("a,b\n1,2"), "has no column lesion_id"),
    (lambda t: (t / "HAM10000_metadata.csv").write_text(f"{HEAD}\n{ROWS[0].replace('bkl', 'wart')}"), "dx is 'wart'"),
    (lambda t: (t / "HAM10000_metadata.csv").write_text(f"{HEAD}\n{ROWS[0]}\n{ROWS[0]}"), "was named already"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(tree, change, said):
    change(tree)
    with pytest.raises(DataError, match=said) as caught:
        sources.open("ham10000", tree)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="classes are some of akiec"):
        sources.open("ham10000", tree, classes=("wart",))
