"""DICOM folders as archives, scanners and CDs give them: every series a case, whatever lies beside its slices."""

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from tests.support.dicom import (
    CAPTURE,
    CT,
    DOSE,
    MR,
    PDF,
    REPORT,
    STATE,
    base,
    item,
    save,
    series_in,
    slice_of,
    with_pixels,
)
from tfmed.data import sources
from tfmed.data.cache import Cache
from tfmed.errors import UserError
from tfmed.io import ImageIntegrityError, list_dicom_series, read_geometry, read_volume

pytestmark = [pytest.mark.current, pytest.mark.filterwarnings("ignore:.*left out")]


def voxels(case):
    return read_volume(case.images["ct"], series_uid=case.meta["series_uid"]).array


def cases(root, **options):
    return sources.open("dicom_folder", root, **options)


def report():
    one = base(REPORT, "1.2.7", modality="SR")
    one.ValueType, one.ContentSequence = "CONTAINER", Sequence([item(ValueType="TEXT", TextValue="nothing")])
    return one


def pdf():
    one = base(PDF, "1.2.7", modality="DOC")
    one.EncapsulatedDocument = b"%PDF-1.4"
    return one


def colour():
    one = with_pixels(base(CAPTURE, "1.2.7", modality="OT"), np.zeros((6, 4), "u1"), bits=8)
    one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = (
        2,
        4,
        3,
        "RGB",
        0,
    )
    return one


BESIDE = {
    "report": (report, "Basic Text SR"),
    "dose report": (lambda: base(DOSE, "1.2.7", modality="SR"), "X-Ray Radiation Dose SR"),
    "presentation state": (lambda: base(STATE, "1.2.7", modality="PR"), "Presentation State"),
    "document": (pdf, "Encapsulated PDF"),
    "colour capture": (colour, "Secondary Capture Image in colour"),
    "grey capture": (lambda: with_pixels(base(CAPTURE, "1.2.7"), np.zeros((4, 6))), "Capture Image without a place"),
    "capture with a place": (lambda: slice_of(9, series="1.2.7", sop_class=CAPTURE), "Secondary Capture Image"),
    "page of the scanner": (lambda: with_pixels(base(CT, "1.2.7"), np.zeros((4, 6))),
                            "CT Image without a place in space"),
    "capture in the same series": (lambda: with_pixels(base(CAPTURE), np.zeros((4, 6))), "without a place"),
}  # fmt: skip


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_no_slice_is_left_out_with_a_line_that_says_so(tmp_path, name):
    make, words = BESIDE[name]
    expected = series_in(tmp_path / "p0")
    series_in(tmp_path / "p1")
    save(make(), tmp_path / "p0" / "A.dcm")
    with pytest.warns(UserWarning, match=rf"A\.dcm: left out: .*{words}"):
        found = cases(tmp_path)
    assert [(case.id, case.meta["slices"]) for case in found] == [("p0", 4), ("p1", 4)]
    np.testing.assert_array_equal(voxels(found[0]), expected)


def test_a_slice_that_lost_its_place_is_no_screen_capture(tmp_path):
    series_in(tmp_path / "p0")
    save(slice_of(4, ImagePositionPatient=None), tmp_path / "p0" / "x.dcm")
    with pytest.raises(ImageIntegrityError, match=r"x\.dcm: its ImagePositionPatient \(0020,0032\) is missing"):
        cases(tmp_path)


def test_a_folder_of_reports_alone_ends_nothing(tmp_path):
    series_in(tmp_path / "p0" / "ct")
    save(report(), tmp_path / "p0" / "sr" / "x.dcm")
    with pytest.warns(UserWarning, match=r"sr: left out: it holds no slice of a volume, only: Basic Text SR"):
        assert [case.id for case in cases(tmp_path)] == ["ct"]
    with pytest.raises(ImageIntegrityError, match="only: Basic Text SR"):
        cases(tmp_path / "p0" / "sr")


def test_a_page_of_the_scanner_in_its_own_folder_ends_nothing(tmp_path):
    series_in(tmp_path / "p0" / "ct")
    page = with_pixels(base(CT, "1.2.7"), np.zeros((4, 6)))
    page.ImageType = ["DERIVED", "SECONDARY", "OTHER", "PROTOCOL"]
    save(page, tmp_path / "p0" / "page" / "x.dcm")
    with pytest.warns(UserWarning, match="only: CT Image without a place"):
        assert len(cases(tmp_path)) == 1
    page.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    save(page, tmp_path / "p0" / "page" / "x.dcm")
    with pytest.raises(ImageIntegrityError, match=r"x\.dcm: its ImagePositionPatient \(0020,0032\) is missing"):
        cases(tmp_path)


@pytest.mark.parametrize("junk", ["AUTORUN.INF", "Thumbs.db", "A.EXE", "0.lnk", "desktop.ini"])
def test_programs_and_leftovers_hide_no_patient(tmp_path, junk):
    for patient in ("p0", "p1"):
        expected = series_in(tmp_path / patient, name="IM{:04d}")
    (tmp_path / "p0" / junk).write_bytes(b"[autorun]\r\nopen=viewer.exe\r\n" + bytes(200))
    with pytest.warns(UserWarning, match=f"p0: left out {junk}: no DICOM"):
        found = cases(tmp_path)
    assert [case.id for case in found] == ["p0", "p1"]
    np.testing.assert_array_equal(voxels(found[0]), expected)


def test_a_file_without_suffix_that_is_no_slice_is_named(tmp_path):
    series_in(tmp_path / "p0", name="IM{:04d}")
    (tmp_path / "p0" / "A").write_bytes(bytes(300))
    with pytest.raises(ImageIntegrityError, match="A: it is not a readable DICOM image"):
        cases(tmp_path)
    (tmp_path / "p0" / "A").unlink()
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "IM0000").write_bytes(bytes(300))
    with pytest.warns(UserWarning, match="p1: left out, as IM0000"):
        assert len(cases(tmp_path)) == 1


def test_a_link_to_nothing_is_no_end_of_a_series(tmp_path):
    series_in(tmp_path / "p0")
    (tmp_path / "p0" / "IM0004.dcm").symlink_to(tmp_path / "gone.dcm")
    with pytest.raises(ImageIntegrityError, match=r"IM0004\.dcm: it is a link to nothing"):
        cases(tmp_path)


# --- one series in several folders ------------------------------------------------------------------------------------


def halves(root, first="DIR0", second="DIR1", count=6):
    for k in range(count):
        save(slice_of(k), root / (first if k < count // 2 else second) / f"IM{k}")
    return np.stack([np.arange(24).reshape(4, 6) + 100 * k - 1024 for k in range(count)])


def test_a_series_in_two_folders_is_one_case(tmp_path):
    expected = halves(tmp_path / "p0")
    series_in(tmp_path / "p1", series="1.2.10")
    found = cases(tmp_path)
    assert [(case.id, case.group, case.meta["slices"]) for case in found] == [("p0", "p0", 6), ("p1", "p1", 4)]
    np.testing.assert_array_equal(voxels(found[0]), expected)
    assert read_geometry(found[0].images["ct"], series_uid="1.2.9").shape == (6, 4, 6)


def test_the_cache_sees_all_folders_of_a_series(tmp_path):
    expected = halves(tmp_path / "in" / "p0")
    (case,) = cases(tmp_path / "in")
    address, uid = case.images["ct"], case.meta["series_uid"]
    np.testing.assert_array_equal(Cache(tmp_path / "c", []).get(address, series_uid=uid).array, expected)
    file = tmp_path / "in" / "p0" / "DIR1" / "IM4"
    one = pydicom.dcmread(file)
    one.RescaleIntercept = 0
    one.save_as(file)
    assert Cache(tmp_path / "c", []).get(address, series_uid=uid).array[4, 0, 0] == 400


def test_a_gap_between_two_folders_is_noticed(tmp_path):
    halves(tmp_path / "p0")
    (tmp_path / "p0" / "DIR0" / "IM2").unlink()
    (case,) = cases(tmp_path)
    with pytest.raises(ImageIntegrityError, match="missing or uneven"):
        voxels(case)


def test_a_series_across_the_first_level_keeps_its_patient_together(tmp_path):
    """The folders of a CD: what lies below the second one is of the same patient."""
    expected = halves(tmp_path)
    series_in(tmp_path / "DIR1" / "more", series="1.2.10")
    found = cases(tmp_path)
    assert len(found) == 2 and {case.group for case in found} == {"DIR0"}
    np.testing.assert_array_equal(voxels(next(case for case in found if case.meta["slices"] == 6)), expected)


def test_equal_uids_of_two_patients_stay_two_cases(tmp_path):
    """An anonymiser may give all series one UID."""
    expected = [series_in(tmp_path / patient, bits=bits) for patient, bits in (("p0", 12), ("p1", 16))]
    for k in range(4):
        save(slice_of(k, z=0.7 + 2.5 * k), tmp_path / "p2" / f"{k}.dcm")
    found = cases(tmp_path)
    assert [case.group for case in found] == ["p0", "p1", "p2"]
    np.testing.assert_array_equal(voxels(found[0]), expected[0])
    assert voxels(found[2]).shape == (4, 4, 6)


# --- several volumes --------------------------------------------------------------------------------------------------


def test_one_volume_of_each_series_is_chosen_by_an_option(tmp_path):
    for time in (1, 2):
        for k in range(4):
            one = slice_of(k, np.full((4, 6), 10 * time + k), sop_class=MR, modality="MR", EchoTime=time)
            save(one, tmp_path / "p0" / f"{time}-{k}.dcm")
    (case,) = cases(tmp_path)
    with pytest.raises(ImageIntegrityError, match="option volume="):
        voxels(case)
    (case,) = cases(tmp_path, volume=1)
    assert voxels(case)[:, 0, 0].tolist() == [20, 21, 22, 23]
    with pytest.raises(UserError, match="volume must be 0 or more"):
        cases(tmp_path, volume=-2)


def test_reading_a_chosen_series_does_not_repeat_what_was_told(tmp_path, recwarn):
    series_in(tmp_path)
    save(report(), tmp_path / "sr.dcm")
    uid = list_dicom_series(tmp_path)[0].uid
    assert len(recwarn) == 1
    read_volume(tmp_path, series_uid=uid)
    assert len(recwarn) == 1


def test_nothing_about_the_patient_is_told(tmp_path):
    series_in(tmp_path / "p0")
    save(report(), tmp_path / "p0" / "sr.dcm")
    with pytest.warns(UserWarning) as told:
        found = cases(tmp_path)
    text = repr(found) + "".join(str(line.message) for line in told)
    assert "Doe" not in text and "4711" not in text
