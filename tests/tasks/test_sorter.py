"""Sorting into groups: votes of slices, names from a table, what cannot be read is named and all else is sorted."""

import csv

import nibabel
import numpy as np
import pytest

from tests.support.dicom import save, series_in, slice_of
from tfmed.errors import DataError, UserError
from tfmed.tasks.sorter import Sorter, evenly, most, named

pytestmark = pytest.mark.one_stack


def test_slices_are_spread_evenly():
    assert evenly(3, None).tolist() == evenly(3, 5).tolist() == [0, 1, 2]
    assert evenly(10, 5).tolist() == [1, 3, 5, 7, 9] and evenly(7, 1).tolist() == [3]


def test_slices_vote_for_names_and_unnamed_clusters_for_themselves():
    away = np.array([[1, 9, 9, 9], [9, 2, 9, 9], [9, 3, 9, 9], [9, 9, 9, 0], [9, 9, 9, 0.0]])  # 0, 1, 1, 3, 3
    assert most(away, ["a", "a", "", ""]) == (1, 2.0, 0.6)  # three of one name; most of these are in cluster 1
    assert most(away, [""] * 4) == (3, 0.0, 0.4)  # a tie: the nearest
    assert most(away[:1], ["", "", "", ""]) == (0, 1.0, 1.0)


def test_tables_of_names(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("id;name;images\n1;T2, dark;7\n0;;\n")
    assert named(path, 3) == ["", "T2, dark", ""]
    assert named(path, 3, "images") == [["", "T2, dark", ""], ["", "7", ""]]
    for text, said in (("id,title\n", "no column name"), ("id,name\n3,a\n", ":2: cluster '3' is none of 0 .. 2"),
                       ("id,name\n1,a\n1,b\n", ":3: cluster '1' is there twice"),
                       ("id,name\nx,a\n", "none of")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            named(path, 3)


def by_mean(slices):
    """Distances from 0, 100, 200 and 1000."""
    return np.abs(slices.mean((1, 2))[:, None] - np.array([0.0, 100, 200, 1000])).astype(np.float32)


@pytest.mark.filterwarnings("ignore")
def test_a_folder_is_sorted_and_what_cannot_be_read_is_named(tmp_path, caplog):
    archive = tmp_path / "archive"
    (archive / "nifti").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for k, middle in enumerate((0, 100, 200)):
        array = (middle + draw.normal(0, 9, (12, 10, 6))).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), archive / "nifti" / f"{k}.nii.gz")
    whole = (archive / "nifti" / "0.nii.gz").read_bytes()
    (archive / "nifti" / "torn.nii.gz").write_bytes(whole[:-300])
    (archive / "old.bmp").write_bytes(b"BM")
    for k in range(3):
        pixels = 2024 + draw.integers(0, 9, (8, 8))  # 1000 HU
        save(slice_of(k, pixels), archive / "ct" / f"{k}.dcm")
    series_in(archive / "bad", 2)
    torn = archive / "bad" / "IM0001.dcm"
    torn.write_bytes(torn.read_bytes()[:300])
    (tmp_path / "names.csv").write_text("id,name\n3,CT\n1,T2\n")
    sorter = Sorter((), 4, [""] * 4, by_mean)
    with caplog.at_level("WARNING", "tfmed"), pytest.raises(DataError, match="3 of 7 inputs could not be sorted"):
        list(sorter.predict([str(archive), f"names={tmp_path / 'names.csv'}"], tmp_path / "out"))
    with open(tmp_path / "out" / "groups.csv", encoding="utf-8") as stream:
        rows = {row["input"]: row for row in csv.DictReader(stream)}
    found = {name: (row["cluster"], row["name"]) for name, row in rows.items()}
    assert found == {"nifti/0.nii.gz": ("0", ""), "nifti/1.nii.gz": ("1", "T2"), "nifti/2.nii.gz": ("2", ""),
                     "ct": ("3", "CT"), "nifti/torn.nii.gz": ("", ""), "bad": ("", ""),
                     "old.bmp": ("", "")}  # fmt: skip
    for name in ("torn.nii.gz", "IM0001.dcm", "old.bmp"):
        assert name in caplog.text and any(name in row["problem"] for row in rows.values())
    assert float(rows["ct"]["distance"]) < 10 and rows["ct"]["share"] == "1.000"


def test_single_files_and_words_that_are_nothing(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "b.txt").write_text("")
    sorter = Sorter((), None, ["x", "", "", ""], by_mean)
    (path,) = sorter.predict([str(tmp_path / "a.nii")], tmp_path / "out")
    assert path.read_text().splitlines()[1].startswith("a.nii,0,x,")
    for words, said in ((["none"], "no such file"), ([str(tmp_path / "b.txt")], "neither a volume nor"),
                        (["names=x.csv"], "x.csv"), ([], "nothing to sort")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            list(sorter.predict(words, tmp_path / "out"))
