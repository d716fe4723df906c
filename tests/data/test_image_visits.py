"""The reader of images at two visits: names, tables, formats, and everything that does not fit."""

import numpy as np
import pytest
from PIL import Image

from tfmed.data import sources
from tfmed.data.readers import read_address, read_label
from tfmed.errors import DataError
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current


def put(root, *names, folder="images", seed=0):
    (root / folder).mkdir(exist_ok=True)
    for name in names:
        array = np.random.default_rng(seed).integers(0, 300 if folder == "labels" else 255, (12, 14))
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".tif"):
            Image.fromarray(array.astype("uint16" if folder == "labels" else "uint8")).save(path)
        else:
            write_volume(Volume(array[None].astype("uint16"), np.eye(4)), path)


@pytest.fixture
def tree(tmp_path):
    put(tmp_path, "a.png", "b.tif", "c.nii.gz", "s1/d_visit1.png", "s1/d_visit2.png", "e-visit2.png", "e-visit1.png")
    put(tmp_path, "a.png", "c.nii.gz", "b.tif", "e-visit1.png", folder="labels")
    return tmp_path


def listed(root, **options):
    return {case.id: case for case in sources.open("image_visits", root, **options)}


def test_names_tell_which_belong_together(tree):
    cases = listed(tree)
    assert sorted(cases) == ["a", "b", "c", "d_visit1", "d_visit2", "e-visit1", "e-visit2"]
    assert {name: case.meta for name, case in cases.items() if case.meta} == {
        "d_visit1": {"pair": "s1/d", "visit": 1}, "d_visit2": {"pair": "s1/d", "visit": 2},
        "e-visit1": {"pair": "e", "visit": 1}, "e-visit2": {"pair": "e", "visit": 2},
    }  # fmt: skip
    assert cases["d_visit1"].group == cases["d_visit2"].group == "s1/d" and cases["a"].group == "a"
    assert [name for name, case in cases.items() if case.label] == ["a", "b", "c", "e-visit1"]
    for name in "abc":
        assert read_label(cases[name]).array.shape == read_address(cases[name].images["cells"]).array.shape
        assert read_label(cases[name]).array.max() > 255


def test_a_subject_keeps_all_its_images(tree):
    cases = listed(tree, group_pattern="([a-z])[^/]*$")
    assert {case.group for case in cases.values()} == set("abcde")


def test_a_table_tells_it(tree):
    put(tree, "x.png", "y.png")
    (tree / "pairs.csv").write_text("first;second\ny;x\ns1/d_visit2;s1/d_visit1\ne-visit1;e-visit2\n", "utf-8")
    cases = listed(tree)
    assert cases["x"].meta == {"pair": "y+x", "visit": 2} and cases["y"].meta["visit"] == 1
    assert cases["d_visit2"].meta["visit"] == 1 and cases["x"].group == cases["y"].group


def table(text):
    return lambda root: (root / "pairs.csv").write_text(text, "utf-8")


BAD = {
    "a missing visit": (lambda root: (root / "images/s1/d_visit2.png").unlink(), {}, "d_visit1.png", "visit 2 of s1/d"),
    "neither label nor partner": (lambda root: put(root, "f.png"), {}, "f.png", "neither a label map nor a second"),
    "a label of nothing": (lambda root: put(root, "z.png", folder="labels"), {}, "z.png", "no image has this name"),
    "a visit that is there twice": (lambda root: put(root, "e_visit1.png"), {}, "is visit 1 of e"),
    "a table that names no image": (table("first,second\na,q\n"), {}, "pairs.csv:2", "'q', which is not there"),
    "a table with a gap": (table("first,second\na\n"), {}, "pairs.csv:2", "no image, as visit 2"),
    "a table that names one twice": (table("first,second\na,b\nc,a\n"), {}, "pairs.csv:3", "'a' stands in another"),
    "a table of other columns": (table("one,two\na,b\n"), {}, "pairs.csv", "needs first and second"),
    "a malformed pattern": (lambda root: None, {"visit_pattern": "("}, "visit_pattern", "malformed"),
    "a pattern of one group": (lambda root: None, {"visit_pattern": "(.)"}, "two groups"),
    "a third visit": (lambda root: put(root, "g_visit3.png"), {"visit_pattern": "(.+)_visit(.)"}, "visits are 1 and 2"),
    "no images": (lambda root: None, {"images": "s"}, "does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit(name, tree):
    change, options, *words = BAD[name]
    change(tree)
    with pytest.raises(DataError) as caught:
        listed(tree, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
