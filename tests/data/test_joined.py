"""Several sources as one: whose cases they are stays known, and what does not fit together is named."""

import pathlib

import pytest

from tests.data.test_sources import ids, write_volume
from tfmed.data import sources
from tfmed.data.settings import SplitConfig
from tfmed.data.splits import split
from tfmed.errors import DataError

pytestmark = pytest.mark.current

CHEST = {"source": "phantom_chest_ct", "options": {"cases": 2, "shape": [24, 24, 24]}}


def folder(root, *names):
    for name in names:
        write_volume(root / f"{name}.nii.gz")
    return {"source": "nifti_folder", "root": str(root), "options": {"group_pattern": "(p[0-9]+)"}}


def joined(root=None, labels="alike", **parts):
    return sources.open("joined", root, parts=parts, labels=labels)


def test_people_who_are_called_alike_stay_apart(tmp_path):
    one, other = folder(tmp_path / "one", "p1_a", "p1_b", "p2"), folder(tmp_path / "other", "p1_a", "p3")
    cases = joined(north=one, south=other)
    assert ids(cases) == ["north-p1_a", "north-p1_b", "north-p2", "south-p1_a", "south-p3"]
    assert [case.group for case in cases] == ["north-p1", "north-p1", "north-p2", "south-p1", "south-p3"]
    assert [case.meta["data_set"] for case in cases] == ["north"] * 3 + ["south"] * 2
    assert cases[3].images == {"ct": str(tmp_path / "other" / "p1_a.nii.gz")}


def test_roots_of_parts_may_lie_below_that_of_all(tmp_path):
    folder(tmp_path / "one", "p1"), folder(tmp_path / "elsewhere", "p1")
    parts = {"a": {"source": "nifti_folder", "root": "one"},
             "b": {"source": "nifti_folder", "root": str(tmp_path / "elsewhere")}, "c": CHEST}  # fmt: skip
    cases = joined(tmp_path, "some", **parts)
    assert ids(cases) == ["a-p1", "b-p1", "c-chest-0000000", "c-chest-0000001"]
    assert list(map(pathlib.Path, sources.roots_of("joined", tmp_path, {"parts": parts}))) == [
        tmp_path / "one", tmp_path / "elsewhere",
    ]  # fmt: skip


def test_files_that_no_part_uses_are_found_in_every_root(tmp_path):
    parts = {"a": folder(tmp_path / "one", "p1"), "b": folder(tmp_path / "two", "p1")}
    for name in ("one", "two"):
        (tmp_path / name / f"{name}.mgz").touch()
    roots, cases = sources.roots_of("joined", None, {"parts": parts}), joined(**parts)
    assert [path.name for root in roots for path, _ in sources.unused(root, cases)] == ["one.mgz", "two.mgz"]


def test_every_part_of_a_split_has_its_share_of_each_data_set(tmp_path):
    few, many = ({**CHEST, "options": {"cases": count, "seed": count, "shape": [8, 8, 8]}} for count in (8, 40))
    cases = joined(few=few, many=many)
    parts = split(cases, SplitConfig(validation=0.25, test=0.25, by_data_set=True), 3)
    for part, share in (("train", 0.5), ("validation", 0.25), ("test", 0.25)):
        sets = [case.meta["data_set"] for case in parts[part]]
        assert (sets.count("few"), sets.count("many")) == (8 * share, 40 * share)
    assert sorted(ids(case for part in parts.values() for case in part)) == ids(cases)
    with pytest.raises(DataError, match=r"^data\.split\.by_data_set: this source has one data set; set it to false"):
        split(sources.open("phantom_chest_ct", cases=4), SplitConfig(by_data_set=True), 0)
    with pytest.raises(DataError, match=r"^few: 1 patient group"):
        split([case for case in cases if case.id == "few-chest-0800000" or "many" in case.id],
              SplitConfig(by_data_set=True), 0)  # fmt: skip


@pytest.mark.parametrize("parts, line", [
    ({}, r"needs data\.options\.parts, sources by name"),
    ({"a-b": CHEST}, r"^data\.options\.parts\.a-b: name a part by 1 to 40 letters"),
    ({"a": "nlst"}, r"^data\.options\.parts\.a: must be a section that names its source"),
    ({"a": CHEST | {"rot": "x"}}, r"^data\.options\.parts\.a has no setting 'rot'; did you mean 'root'"),
    ({"a": CHEST | {"root": 3}}, r"^data\.options\.parts\.a\.root: must be a path; got 3"),
    ({"a": CHEST | {"options": [1]}}, r"^data\.options\.parts\.a\.options: must be a section; got \[1\]"),
    ({"a": {"source": "nlts"}}, r"^part a: no data source 'nlts'; did you mean 'nlst'"),
    ({"a": {"source": "nlst"}}, r"^part a: source nlst needs data\.options\.parts\.a\.root: a folder with"),
    ({"a": {"source": "joined", "options": {"parts": {"b": {"source": "nlst"}}}}},
     r"^part a: part b: source nlst needs data\.options\.parts\.a\.options\.parts\.b\.root: "),
    ({"a": CHEST, "b": CHEST},
     r"phantom chest_ct 0 is in a and in b; set another data\.options\.parts\.b\.options\.seed"),
    ({"a": CHEST, "b": {"source": "phantom_left_atrium", "options": {"cases": 2}}},
     r"^data\.options\.parts: the images of a are called ct, those of b mr; name them alike"),
    ({"a": CHEST, "b": {"source": "phantom_chest_ct", "options": {"cases": 2, "seed": 1, "unlabelled": 2}}},
     r"^data\.options\.parts: a has label maps, and b has none; add them, or set data\.options\.labels=some"),
])  # fmt: skip
def test_what_does_not_fit_together_is_named(parts, line):
    with pytest.raises(DataError, match=line) as told:
        joined(**parts)
    assert "\n" not in str(told.value)


def test_one_folder_in_two_parts_is_refused(tmp_path):
    one = folder(tmp_path, "p1")
    with pytest.raises(DataError, match=r"is the same file as .* of another patient"):
        joined(a=one, b=one)
    with pytest.raises(DataError, match=r"^source joined: labels must be alike or some; got 'all'"):
        joined(labels="all", a=one)
