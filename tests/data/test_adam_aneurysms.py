"""The layout of the ADAM challenge, on a miniature tree."""

import numpy as np
import pytest

from tfmed.data import sources
from tfmed.data.aneurysms import aneurysms_of
from tfmed.data.spheres import draw
from tfmed.errors import DataError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.metrics.lesions import centres, match_points

pytestmark = pytest.mark.current

AFFINE = np.array([[-0.4, 0, 0, 60.0], [0, 0.4, 0, -50.0], [0, 0, 0.7, 10.0], [0, 0, 0, 1]])
SHAPE = (10, 14, 12)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(array, AFFINE), path)


def add(root, name, locations, label=None, label_name="aneurysms.nii.gz"):
    image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    for file in ("orig/TOF.nii.gz", "orig/struct.nii.gz", "pre/TOF.nii.gz", "pre/struct_aligned.nii.gz"):
        write(root / name / file, image)
    write(root / name / label_name, np.zeros(SHAPE, np.uint8) if label is None else label)
    (root / name / "location.txt").write_text(locations, encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[3:6, 4:9, 5:8] = 1
    label[8, 1:3, 1:3] = 2
    add(tmp_path, "10001", "\ufeff6, 6, 4, 1.5\n", label)
    add(tmp_path, "10046B", "")
    add(tmp_path, "10046F", "3.5, 2.25, 4, 1\r\n\r\n9, 8, 7, 2.2", label_name="aneurysms.nii")
    (tmp_path / "10001" / "._aneurysms.nii.gz").write_bytes(b"shadow")
    return tmp_path


def test_cases(root):
    cases = sources.open("adam", root)
    assert [case.id for case in cases] == ["10001", "10046B", "10046F"]
    assert [case.group for case in cases] == ["10001", "10046", "10046"]
    assert [case.images["tof"].removeprefix(str(root)) for case in cases[:1]] == ["/10001/orig/TOF.nii.gz"]
    assert cases[2].label.endswith("10046F/aneurysms.nii") and list(cases[0].images) == ["tof"]
    assert cases[1].meta["aneurysms"] == []
    assert cases[2].meta["aneurysms"] == [{"centre_zyx": (4.0, 2.25, 3.5), "radius_mm": 1.0},
                                          {"centre_zyx": (7.0, 8.0, 9.0), "radius_mm": 2.2}]  # fmt: skip


def test_locations_lie_where_the_label_is(root):
    """The file's x, y, z is the label's centre of mass whatever the direction of the axes; it scores as a hit."""
    case = sources.open("adam", root)[0]
    label = read_volume(case.label)
    [centre] = centres(label.array == 1)
    [sphere] = aneurysms_of(case, label.affine)
    np.testing.assert_allclose(sphere.centre_zyx(label.affine), centre)
    np.testing.assert_allclose(sphere.centre_mm, [60 - 0.4 * 6, -50 + 0.4 * 6, 10 + 0.7 * 4], atol=1e-5)
    assert draw([sphere], SHAPE, label.affine)[4, 6, 6] == 1
    assert match_points([sphere.centre_mm], [sphere.centre_mm], [sphere.radius_mm]).tp == 1


def test_options(root):
    case = sources.open("adam", root, stage="pre", treated="aneurysm", structural=True)[0]
    assert {name: path.removeprefix(str(root / "10001")) for name, path in case.images.items()} == {
        "tof": "/pre/TOF.nii.gz", "struct": "/pre/struct_aligned.nii.gz"}  # fmt: skip
    assert case.meta["label_values"] == {0: 0, 1: 1, 2: 1}
    assert sources.open("adam", root)[0].meta["label_values"] == {0: 0, 1: 1, 2: 0}
    for options in ({"stage": "post"}, {"treated": "ignored"}):
        with pytest.raises(DataError, match="stage must be orig or pre, and treated background or aneurysm"):
            sources.open("adam", root, **options)


def test_test_cases_have_neither_label_nor_locations(root):
    (root / "10001" / "aneurysms.nii.gz").unlink()
    (root / "10001" / "location.txt").unlink()
    case = sources.open("adam", root)[0]
    assert case.label is None and "aneurysms" not in case.meta
    with pytest.raises(DataError, match="10001: its source tells no aneurysms"):
        aneurysms_of(case, AFFINE)


@pytest.mark.parametrize("text, said", [
    ("1, 2, 3\n", "line 1 is not x, y, z, radius"), ("1, 2, 3, 4\n1 2 3 4\n", "line 2 is not x, y, z, radius"),
    ("1, 2, 3, 0", "line 1 has a voxel or a radius"), ("-1, 2, 3, 1", "line 1 has a voxel or a radius"),
    ("1, 2, 3, nan", "line 1 has a voxel or a radius"), ("1, 2, nan, 1", "line 1 has a voxel or a radius"),
])  # fmt: skip
def test_malformed_locations(root, text, said):
    (root / "10001" / "location.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"10001/location\.txt: {said}"):
        sources.open("adam", root)


def test_what_is_missing_or_too_much_is_named(root):
    with pytest.raises(DataError, match=r"holds no case; source adam expects <case>/orig/TOF"):
        sources.open("adam", root / "10001" / "orig")
    assert [case.id for case in sources.open("adam", root / "10001")] == ["10001"]
    (root / "10001" / "pre" / "struct_aligned.nii.gz").unlink()
    with pytest.raises(DataError, match="10001: has no pre/struct_aligned"):
        sources.open("adam", root, structural=True)
    write(root / "10046F" / "aneurysms.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match="the same adam case"):
        sources.open("adam", root)
    (root / "10046F" / "aneurysms.nii.gz").unlink()
    (root / "10046F" / "orig" / "TOF.nii.gz").unlink()
    with pytest.raises(DataError, match=r"10046F/aneurysms\.nii: belongs to no orig/TOF"):
        sources.open("adam", root)


def test_not_a_utf8_table(root):
    (root / "10001" / "location.txt").write_bytes(b"\xff\xfe1\x00")
    with pytest.raises(DataError, match=r"location\.txt: .*not UTF-8"):
        sources.open("adam", root)
