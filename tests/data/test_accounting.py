"""Every file that looks like an image is used by a case or named with the reason."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from tests.data.test_folder_names import volumes
from tests.data.test_sources import UID, write_series, write_volume
from tests.support import toy
from tfmed import cli, prepare
from tfmed.data import sources

pytestmark = pytest.mark.current


def unused(root, source, **options):
    found = sources.unused(root, sources.open(source, root, **options))
    return {str(path.relative_to(root)): reason.split(";")[0] for path, reason in found}


def test_reasons(tmp_path):
    volumes(tmp_path, "images/p1.nii.gz", "labels/p1_seg.nii.gz", "images/p2.NII.GZ", "extra/x.nii.gz", "odd.nrrd",
            ".git/annex/key.nii.gz")  # fmt: skip
    for name in ("images/p3.mgz", "images/p4.hdr", "images/p4.img", "images/shot.png", "notes.txt", "table.csv"):
        (tmp_path / name).touch()
    (tmp_path / "images" / "p5.dcm").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "images" / "p6.png")
    layout, form = "not of the layout or the options of this source", "a format that is not read"
    assert unused(tmp_path, "nifti_folder") == {
        "extra/x.nii.gz": layout, "odd.nrrd": layout, "images/shot.png": layout, "images/p3.mgz": form,
        "images/p4.hdr": layout, "images/p4.img": layout, "images/p5.dcm": "a link without content",
        "images/p6.png": "no regular file",
    }  # fmt: skip


def test_pattern_leaves_out(tmp_path):
    volumes(tmp_path, "a_ct.nii.gz", "a_pet.nii.gz")
    assert list(unused(tmp_path, "nifti_folder", pattern="*_ct.nii.gz")) == ["a_pet.nii.gz"]


def test_files_beside_headers_and_slices_are_used(tmp_path):
    write_volume(tmp_path / "subset0" / "1.mhd")
    (tmp_path / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n", encoding="utf-8")
    assert (tmp_path / "subset0" / "1.raw").is_file()
    assert unused(tmp_path, "luna16") == {}
    write_series(tmp_path / "dicom" / "p1", UID + "1")
    write_series(tmp_path / "dicom" / "p2", UID + "2", modality="PT")
    assert unused(tmp_path / "dicom", "dicom_folder") == {}
    assert len(unused(tmp_path / "dicom", "dicom_folder", modality="CT")) == 4


def test_tables_and_parts_of_files(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), np.uint8)), str(tmp_path / name))
    (tmp_path / "cases.csv").write_text("id,image\none,a.png::grey\ntwo,b.png::grey\n", encoding="utf-8")
    found = sources.unused(tmp_path / "cases.csv", sources.open("csv_list", tmp_path / "cases.csv"))
    assert [path.name for path, _ in found] == ["c.png"]
    assert sources.unused(None, sources.open("phantom_chest_ct", cases=2)) == []


def test_prepare_lists_all_in_one_run(tmp_path, capsys):
    volumes(tmp_path, *(f"images/p{number}.nii.gz" for number in range(5)), "images/torn.nii.gz", "other.nii.gz")
    torn = tmp_path / "images" / "torn.nii.gz"
    torn.write_bytes(torn.read_bytes()[:-9])
    (tmp_path / "images" / "lost.nii.gz").symlink_to(tmp_path / "gone")
    (tmp_path / "images" / "p9.mgz").touch()
    words = [toy.CONFIG, "data.source=nifti_folder", f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}"]
    assert cli.run(prepare.main, words) == 2
    said = capsys.readouterr()
    assert "7 cases" in said.out and "7 patients" in said.out
    for name in ("other.nii.gz", "p9.mgz", "torn.nii.gz", "lost.nii.gz"):
        assert name in said.out
    assert "convert it to .nii.gz" in said.out and "Traceback" not in said.out + said.err
