"""One folder per modality: which names are pairs, and what is said where they are none."""

import pytest

from tfmed.data import sources
from tfmed.errors import DataError

pytestmark = pytest.mark.current


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_images_of_one_name_are_a_case(tmp_path):
    """Also below sub-folders, with the modality at the name's end, in another format."""
    touch(tmp_path, "mr/a/p1_mr.nii.gz", "ct/a/p1.nrrd", "mr/p2.nii", "ct/p2_ct.nii.gz", "ct/notes.txt", "mr/.p3.nii")
    cases = sources.open("modality_folders", tmp_path)
    assert [case.id for case in cases] == ["p1", "p2"]
    assert cases[0].images == {"mr": str(tmp_path / "mr/a/p1_mr.nii.gz"), "ct": str(tmp_path / "ct/a/p1.nrrd")}
    assert cases[0].label is None and cases[0].group == "p1"


def test_names_that_repeat_and_patients(tmp_path):
    touch(tmp_path, *(f"{m}/{p}/scan{k}.nii" for m in ("t1", "t2") for p in ("anna", "bert") for k in (1, 2)))
    cases = sources.open("modality_folders", tmp_path, modalities="t1, t2", group_pattern="^(.*?)/")
    assert [case.id for case in cases] == ["anna-scan1", "anna-scan2", "bert-scan1", "bert-scan2"]
    assert [case.group for case in cases] == ["anna", "anna", "bert", "bert"]


BAD = {
    "other patients": (("mr/p1.nii", "mr/p2.nii", "ct/q1.nii"), {}, ("no name stands in all", "p1", "q1", "one name")),
    "one without a partner": (("mr/p1.nii", "mr/p2.nii", "ct/p1.nii"), {}, ("p2.nii", "no partner in ct/", "add it")),
    "several": (("mr/p1.nii", "mr/p2.nii", "ct/p1.nii", "ct/p3.nii"), {}, ("1 more", "remove")),
    "no such folder": (("mr/p1.nii",), {}, ("ct", "does not exist")),
    "empty folder": (("mr/p1.nii", "ct/notes.txt"), {}, ("ct", "holds no volume")),
    "twice": (("mr/p1.nii", "mr/p1.nii.gz", "ct/p1.nii"), {}, ("the same modality_folders case",)),
    "modalities": (("mr/p1.nii",), {"modalities": "mr,mr"}, ("modalities is 'mr,mr'",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_one_clear_line(name, tmp_path):
    files, options, words = BAD[name]
    with pytest.raises(DataError) as caught:
        sources.open("modality_folders", touch(tmp_path, *files), **options)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)
