"""Each source against a miniature of the true layout, written with SimpleITK."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from tests.support.lidc import NODULE, UID, square, write_series
from tfmed.data import phantoms, sources
from tfmed.errors import DataError, UserError
from tfmed.io import read_volume

pytestmark = pytest.mark.current


def write_volume(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 4, 5), value, np.int16)), str(path))
    return path


def ids(cases):
    return [case.id for case in cases]


def test_names():
    known = sources.names()
    assert known == sorted(known)
    assert {"dicom_folder", "lidc_idri", "luna16", "nifti_folder", "nlst", "phantom_chest_ct"} <= set(known)


def test_phantoms_are_listed_without_being_made():
    cases = sources.open("phantom_chest_ct", cases=900, shape=[48, 56, 56], nodules=2)
    assert len(cases) == len({case.group for case in cases}) == 900
    assert phantoms.parse(cases[3].images["ct"])[1]["part"] == "image"
    name, options = phantoms.parse(cases[3].label)
    assert (name, options["seed"], options["part"], options["shape"]) == ("chest_ct", 3, "label", (48, 56, 56))
    assert cases[:5] == sources.open("phantom_chest_ct", cases=5, shape=(48, 56, 56), nodules=2)
    other = sources.open("phantom_chest_ct", cases=900, seed=1)
    assert not {case.meta["seed"] for case in cases} & {case.meta["seed"] for case in other}


def test_nifti_folder_is_searched_recursively(tmp_path):
    for name in ("b/ct.nii.gz", "a/ct.nii.gz", "scan 1.nii", "c/deep/x.nrrd", "y.mha", "z.mhd"):
        write_volume(tmp_path / name)
    (tmp_path / "._scan.nii").write_bytes(b"shadow")
    (tmp_path / "notes.txt").write_text("no", encoding="utf-8")
    cases = sources.open("nifti_folder", tmp_path)
    assert ids(cases) == ["a-ct", "b-ct", "scan 1", "x", "y", "z"]
    assert all(case.label is None and case.group == case.id for case in cases)
    assert read_volume(cases[0].images["ct"]).shape == (3, 4, 5)
    assert ids(sources.open("nifti_folder", tmp_path, pattern="**/ct*.nii.gz")) == ["a-ct", "b-ct"]
    assert ids(sources.open("nifti_folder", tmp_path, pattern="*.nii*", modality="mr"))[-1] == "scan 1"
    grouped = sources.open("nifti_folder", tmp_path, pattern="**/ct*.nii.gz", group_pattern=r"^(\w)/")
    assert [case.group for case in grouped] == ["a", "b"]


def test_links_to_folders_are_followed_and_circles_entered_once(tmp_path):
    write_volume(tmp_path / "archive" / "a" / "ct.nii.gz")
    write_series(tmp_path / "archive" / "dicom", UID + "5")
    root = tmp_path / "chosen"
    root.mkdir()
    (root / "patient").symlink_to(tmp_path / "archive" / "a", target_is_directory=True)
    (root / "series").symlink_to(tmp_path / "archive" / "dicom", target_is_directory=True)
    (root / "whole").symlink_to(root, target_is_directory=True)
    assert [case.images["ct"] for case in sources.open("nifti_folder", root)] == [str(root / "patient" / "ct.nii.gz")]
    (series,) = sources.open("dicom_folder", root)
    assert series.images["ct"].startswith(str(root / "series"))


def test_nifti_folder_pairs_images_with_labels(tmp_path):
    for name in ("images/p1_0000.nii.gz", "images/p2.nii.gz", "images/p3.nii", "labels/p1.nii.gz", "labels/p3.nii.gz"):
        write_volume(tmp_path / name)
    cases = sources.open("nifti_folder", str(tmp_path))
    assert ids(cases) == ["p1", "p2", "p3"]
    assert [case.label and os.path.basename(case.label) for case in cases] == ["p1.nii.gz", None, "p3.nii.gz"]
    (tmp_path / "images").rename(tmp_path / "imagesTr")
    (tmp_path / "labels").rename(tmp_path / "labelsTr")
    assert sources.open("nifti_folder", tmp_path, images="imagesTr", labels="labelsTr")[0].label.endswith("p1.nii.gz")


def test_dicom_folder_gives_one_case_per_series(tmp_path):
    write_series(tmp_path / "patient 1" / "before", UID + "11")
    write_series(tmp_path / "patient 1" / "after", UID + "12")
    write_series(tmp_path / "patient 2", UID + "21", value=100)
    write_series(tmp_path / "patient 2", UID + "22", slices=3, modality="PT")
    cases = sources.open("dicom_folder", tmp_path)
    assert ids(cases) == ["after", "before", "patient 2-series1", "patient 2-series2"]
    assert [case.group for case in cases] == ["patient 1", "patient 1", "patient 2", "patient 2"]
    assert "SECRET" not in repr(cases) and "Doe" not in repr(cases)
    volume = read_volume(cases[2].images["ct"], series_uid=cases[2].meta["series_uid"])
    assert volume.shape == (cases[2].meta["slices"], 16, 16) == (4, 16, 16) and volume.array[0, 0, 0] == 100
    assert len(sources.open("dicom_folder", tmp_path, modality="CT")) == 3
    only = sources.open("dicom_folder", tmp_path / "patient 1" / "after")
    assert ids(only) == ["after"]


def test_lidc_idri(tmp_path):
    base = tmp_path / "LIDC-IDRI"
    series = base / "LIDC-IDRI-0002" / "study" / "series"
    write_series(series, UID + "31")
    rois = square(-98.0, 4, 8) + square(-96.0, 2, 10) + square(-96.0, 5, 6, "FALSE")
    (series / "071.xml").write_text(NODULE.format(rois=rois), encoding="utf-8")
    write_series(base / "LIDC-IDRI-0002" / "xray" / "s", UID + "32", slices=1, modality="DX")
    write_series(base / "LIDC-IDRI-0001" / "study" / "one", UID + "33")
    write_series(base / "LIDC-IDRI-0001" / "study" / "two", UID + "34")
    cases = sources.open("lidc_idri", tmp_path)
    assert ids(cases) == ["LIDC-IDRI-0001-one", "LIDC-IDRI-0001-two", "LIDC-IDRI-0002"]
    assert cases == sources.open("lidc_idri", base)
    assert [case.group for case in cases] == ["LIDC-IDRI-0001", "LIDC-IDRI-0001", "LIDC-IDRI-0002"]
    assert cases[0].meta["nodules"] == [] and cases[2].meta["series_uid"] == UID + "31"
    large, small, other = cases[2].meta["nodules"]
    assert (large["reader"], large["id"], large["contours"]) == (0, "Nodule 001", 2)
    assert (other["reader"], other["id"]) == (1, "IL_7")
    assert [mark["ratings"] for mark in (large, small, other)] == [{"malignancy": 3}, {}, {}]
    assert cases[2].meta["height_mm"] == pytest.approx(16 * 0.7)
    areas = np.array([4, 8]) ** 2 * 0.49
    np.testing.assert_allclose(large["radius_mm"], np.sqrt(areas[1] / np.pi))
    z = (areas * [-98, -96]).sum() / areas.sum()
    np.testing.assert_allclose(large["centre_mm"], (10 - 6 * 0.7, 20 - 6 * 0.7, z))
    assert small["radius_mm"] is None and small["contours"] == 1
    np.testing.assert_allclose(small["centre_mm"], (10 - 5 * 0.7, 20 - 9 * 0.7, -96))
    affine = read_volume(cases[2].images["ct"]).affine
    np.testing.assert_allclose(np.linalg.solve(affine, [*small["centre_mm"], 1])[:3], (5, 9, 2), atol=1e-4)


@pytest.mark.parametrize(
    "text, said",
    [
        ('<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>', "DTD"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "DTD"),
        ("<LidcReadMessage><readingSession>", "well-formed"),
        ("", "well-formed"),
        (NODULE.format(rois=square("here", 1, 5)), "imageZposition"),
        (NODULE.format(rois=square("nan", 1, 5)), "imageZposition"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "well-formed"),
    ],
)
def test_lidc_idri_refuses_bad_xml(tmp_path, text, said):
    series = tmp_path / "LIDC-IDRI-0003" / "study" / "series"
    write_series(series, UID + "35", slices=1)
    (series / "readers.xml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        sources.open("lidc_idri", tmp_path)
    assert said in str(caught.value) and "readers.xml" in str(caught.value) and "\n" not in str(caught.value)


def luna(tmp_path, rows):
    for subset, uid in ((0, UID + "51"), (9, UID + "52")):
        image = sitk.GetImageFromArray(np.zeros((6, 8, 8), np.int16))
        image.SetOrigin((-30.0, -40.0, -200.0))
        image.SetSpacing((0.5, 0.5, 2.5))
        for folder in (f"subset{subset}", "seg-lungs-LUNA16"):
            (tmp_path / folder).mkdir(exist_ok=True)
            sitk.WriteImage(image, str(tmp_path / folder / f"{uid}.mhd"))
    (tmp_path / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + rows, encoding="utf-8")


def test_luna16(tmp_path):
    luna(tmp_path, f"{UID}52,-29.0,-38.5,-195.0,6.5\n{UID}52,-28,-38,-190,4\nunknown,1,2,3,4\n")
    first, second = sources.open("luna16", tmp_path)
    assert first.id == UID + "51" and first.meta == {"nodules": [], "subset": 0} and first.label is None
    assert second.meta["subset"] == 9 and len(second.meta["nodules"]) == 2
    nodule = second.meta["nodules"][0]
    assert nodule == {"centre_mm": (29.0, 38.5, -195.0), "radius_mm": 3.25}
    affine = read_volume(second.images["ct"]).affine
    np.testing.assert_allclose(np.linalg.solve(affine, [*nodule["centre_mm"], 1])[:3], (2, 3, 2), atol=1e-9)
    assert "seg-lungs" in sources.open("luna16", tmp_path, lung_masks=True)[0].label


@pytest.mark.parametrize("rows", ["u,-29.0,x,-195.0,6.5\n", "u,1,2\n", "u,1,2,nan,4\n", "u,1,2,3,-4\n"])
def test_luna16_names_the_bad_line(tmp_path, rows):
    luna(tmp_path, rows)
    with pytest.raises(DataError, match=r"annotations\.csv: line 2"):
        sources.open("luna16", tmp_path)


def test_luna16_needs_its_table(tmp_path):
    luna(tmp_path, "")
    (tmp_path / "annotations.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="columns seriesuid"):
        sources.open("luna16", tmp_path)
    (tmp_path / "annotations.csv").unlink()
    with pytest.raises(DataError, match=r"annotations\.csv"):
        sources.open("luna16", tmp_path)


def test_nlst_takes_the_longest_series_of_each_exam(tmp_path):
    write_series(tmp_path / "NLST" / "100012" / "st0" / "short", UID + "61", slices=5, date="19990102")
    write_series(tmp_path / "NLST" / "100012" / "st0" / "long", UID + "62", slices=7, date="19990102")
    scout = dict(kind="ORIGINAL\\PRIMARY\\LOCALIZER", date="19990102")
    write_series(tmp_path / "NLST" / "100012" / "st0" / "scout", UID + "63", slices=9, **scout)
    write_series(tmp_path / "NLST" / "100012" / "st1" / "only", UID + "64", slices=6, date="20000102")
    write_series(tmp_path / "NLST" / "100777" / "st2" / "only", UID + "65", slices=6, date="20050102")
    write_series(tmp_path / "NLST" / "100888" / "st3" / "tiny", UID + "66", slices=2)
    for root in (tmp_path, tmp_path / "NLST"):
        cases = sources.open("nlst", root, smallest=5)
        assert ids(cases) == ["100012_T0", "100012_T1", "100777"]
        assert [case.group for case in cases] == ["100012", "100012", "100777"]
        assert [case.meta["round"] for case in cases] == [0, 1, None]
        assert cases[0].images["ct"].endswith("long") and cases[0].meta["slices"] == 7
    assert read_volume(cases[0].images["ct"], series_uid=cases[0].meta["series_uid"]).shape == (7, 16, 16)


@pytest.mark.parametrize("name", ["dicom_folder", "lidc_idri", "luna16", "nifti_folder", "nlst"])
def test_folders_that_cannot_be_used(tmp_path, name):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for root in (None, tmp_path / "absent", tmp_path / "file", tmp_path / "empty"):
        with pytest.raises(DataError) as caught:
            sources.open(name, root)
        text = str(caught.value)
        assert "\n" not in text and name in text and (root is None or str(root) in text)


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("luna61", {}, "did you mean 'luna16'"),
        ("x", {}, "image_folder, image_pairs"),
        ("phantom_chest_ct", {"nodule": 2}, "did you mean 'nodules'"),
        ("phantom_chest_ct", {"cases": 0}, "cases must be"),
        ("phantom_chest_ct", {"cases": "9"}, "cases must be an integer"),
        ("phantom_chest_ct", {"seed": -1}, "seed must be"),
        ("phantom_chest_ct", {"shape": "big"}, "shape must be"),
        ("phantom_chest_ct", {"nodules": 1.5}, "nodules must be an integer"),
        ("nifti_folder", {"patern": "*"}, "did you mean 'pattern'"),
        ("nifti_folder", {"pattern": "../*.nii"}, "without .."),
        ("nifti_folder", {"pattern": "/etc/*.nii"}, "relative"),
        ("nifti_folder", {"pattern": 7}, "pattern must be text"),
        ("nifti_folder", {"group_pattern": 7}, "group_pattern must be text"),
        ("luna16", {"lung_masks": "yes"}, "true or false"),
        ("nlst", {"smallest": True}, "an integer"),
        ("nifti_folder", {"group_pattern": "("}, "malformed"),
        ("nifti_folder", {"group_pattern": "a"}, "exactly one"),
        ("nifti_folder", {"group_pattern": "(zzz)"}, "does not match"),
    ],
)
def test_bad_options_get_one_line(tmp_path, name, options, said):
    write_volume(tmp_path / "a.nii.gz")
    with pytest.raises(UserError) as caught:
        sources.open(name, tmp_path, **options)
    assert said in str(caught.value) and "\n" not in str(caught.value)
