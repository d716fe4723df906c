"""A mixed archive, and UK Biobank's layout: miniature trees."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.support.dicom import REPORT, base, save, series_in, slice_of
from tfmed.data import sources
from tfmed.data.readers import read_address
from tfmed.data.sources.ukbb_cardiac import CLASSES, class_of
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.one_stack


def read(case):
    return read_address(case.images["image"], case.meta.get("series_uid")).array


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "mr" / "p1").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name, shape in (("t1.nii.gz", (6, 5, 4)), ("dwi.nii", (6, 5, 4, 3)), ("t1_seg.nii.gz", (6, 5, 4))):
        array = draw.integers(0, 9, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "mr" / "p1" / name)
    (tmp_path / "us").mkdir()
    Image.fromarray(draw.integers(0, 255, (12, 16, 3)).astype(np.uint8)).save(tmp_path / "us" / "scan.png")
    (tmp_path / "us" / "notes.txt").write_text("nothing")
    series_in(tmp_path / "ct" / "one", 4)
    series_in(tmp_path / "ct" / "one", 3, name="B{:04d}.dcm", series="1.2.10", z=None)
    for k in range(6):  # two times at three places
        save(slice_of(k, z=2.5 * (k % 3), series="1.2.11", modality="MR", TriggerTime=40 * (k // 3)),
             tmp_path / "ct" / "two" / f"{k}.dcm")  # fmt: skip
    save(base(REPORT), tmp_path / "ct" / "report" / "r.dcm")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_all_of_a_mixed_archive_is_listed_and_masks_are_left_out(archive):
    cases = sources.open("series_archive", archive, class_pattern="^([^/]+)/", group_pattern="^([^/]+/[^/]+)")
    assert {case.id: case.meta["class"] for case in cases} == {
        "ct/one-series1": "ct", "ct/one-series2": "ct", "ct/two": "ct", "mr/p1/dwi.nii": "mr", "mr/p1/t1.nii.gz": "mr",
        "us/scan.png": "us"}  # fmt: skip
    shapes = {case.id: read(case).shape for case in cases}
    assert shapes == {"ct/one-series1": (3, 4, 6), "ct/one-series2": (4, 4, 6), "ct/two": (3, 4, 6),
                      "mr/p1/dwi.nii": (4, 5, 6), "mr/p1/t1.nii.gz": (4, 5, 6), "us/scan.png": (1, 12, 16)}  # fmt: skip
    two = next(case for case in cases if case.id == "ct/two")
    assert read(two)[0].ravel()[0] == 0  # the first time
    assert {case.group for case in cases} == {"ct/one-series1", "ct/one-series2", "ct/two", "mr/p1", "us/scan.png"}
    plain = sources.open("series_archive", archive, ignore="")
    assert len(plain) == 7 and all("class" not in case.meta for case in plain)


@pytest.mark.filterwarnings("ignore")
def test_a_series_that_cannot_be_listed_is_a_case_that_tells_why(archive):
    torn = archive / "ct" / "two" / "3.dcm"
    torn.write_bytes(torn.read_bytes()[:200])
    case = next(case for case in sources.open("series_archive", archive) if case.id == "ct/two")
    with pytest.raises(UserError, match=r"3\.dcm"):
        read(case)


def test_an_archive_without_images_and_wrong_patterns_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match="holds no case; source series_archive expects"):
        sources.open("series_archive", tmp_path)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"class_pattern .* must have exactly one"):
        sources.open("series_archive", tmp_path, class_pattern="a")


# --- UK Biobank -------------------------------------------------------------------------------------------------------

SERIES = {  # name: (UID, slices, times)
    "CINE_segmented_SAX_b1": ("1.2.3", 1, 2),
    "CINE_segmented_LAX_2Ch": ("1.2.9", 1, 2),
    "CINE_segmented_LAX_4Ch": ("1.2.5", 1, 2),
    "LAX_scout": ("1.2.6", 1, 1),
}


def participant(root, eid="1000012", field="20208", manifest="manifest.csv", extra=()):
    place = root / f"{eid}_{field}_2_0"
    lines = ["filename,patientid,date,series discription,series uid"]
    for name, (uid, slices, times) in {**SERIES, **dict(extra)}.items():
        for k in range(slices * times):
            file = f"{uid}-{k}.dcm"
            pixels = np.full((8, 9), 100 * int(uid.rpartition(".")[2]) + k)
            one = slice_of(k, pixels, uid, 2.5 * (k % slices), modality="MR", TriggerTime=25.0 * (k // slices))
            save(one, place / file)
            lines.append(f"{file},{eid},Jan 7, 2016,{name.removesuffix('*')},{uid}")
    (place / manifest).write_text("\n".join(lines))
    return place


def test_series_of_participants_by_their_manifest(tmp_path):
    participant(tmp_path, extra=[("CINE_segmented_LAX_2Ch*", ("1.2.10", 1, 2))])  # taken again: 10 comes behind 9
    participant(tmp_path / "more", "1000027", "20214", "manifest.cvs")
    cases = sources.open("ukbb_cardiac", tmp_path)
    assert [case.meta["class"] for case in cases] == ["la_2ch", "la_4ch", "sa"] * 2
    assert {case.group for case in cases} == {"1000012", "1000027"}
    first = cases[0]
    assert first.meta["series_uid"] == "1.2.10" and read(first).shape == (1, 8, 9) and (read(first) == 1000).all()
    only = sources.open("ukbb_cardiac", tmp_path, classes=("sa",))
    assert len(only) == 2 and (read(only[0]) == 300).all()  # the first time


def test_thirteen_classes_by_the_names_of_series():
    names = {
        "CINE_segmented_SAX_b11": "sa", "CINE_segmented_LAX_3Ch": "la_3ch", "CINE_segmented_Ao_dist": "ao",
        "CINE_segmented_LVOT": "lvot", "flow_250_tp_AoV_bh_ePAT@c": "flow", "flow_250_tp_AoV_bh_ePAT@c_MAG": "flow_mag",
        "flow_250_tp_AoV_bh_ePAT@c_P": "flow_pha", "ShMOLLI_192i_SAX_b2s": "shmolli",
        "ShMOLLI_192i_SAX_b2s_SAX_b2s_SAX_b2s_FITPARAMS": "shmolli_fitpar",
        "ShMOLLI_192i_SAX_b2s_SAX_b2s_SAX_b2s_T1MAP": "shmolli_t1map", "cine_tagging_3sl_SAX_b2s": "tag",
        "AAHScout": None,
    }  # fmt: skip
    assert {name: class_of(name) for name in names} == names and len(CLASSES) == 13


def test_packed_archives_and_wrong_manifests_are_named(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "1000012_20208_2_0.zip", "w") as packed:
        packed.writestr("manifest.csv", "")
    with pytest.raises(DataError, match=r"is packed.*unpack each"):
        sources.open("ukbb_cardiac", tmp_path)
    place = participant(tmp_path)
    with pytest.raises(DataError, match="classes are some of"):
        sources.open("ukbb_cardiac", tmp_path, classes=("heart",))
    with pytest.raises(DataError, match="series of tag"):
        sources.open("ukbb_cardiac", tmp_path, classes=("tag",))
    (place / "manifest.csv").write_text("name,series\n")
    with pytest.raises(DataError, match="no column filename"):
        sources.open("ukbb_cardiac", tmp_path)
