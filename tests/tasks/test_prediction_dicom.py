"""`tfmed predict --format dicom-seg`: label maps of DICOM series as DICOM Segmentation objects."""

import numpy as np
import pydicom
import pytest

from tests.support.dicom import series_in
from tfmed import predict
from tfmed.errors import UserError
from tfmed.io import read_volume, write_volume
from tfmed.tasks.prediction import DICOM_SEG, OUTPUTS, Segmenter

pytestmark = pytest.mark.current


def probabilities(stack):
    """Of three classes, by the value: the third nowhere."""
    high = stack[..., 0] > np.median(stack)
    return np.stack([~high, high, 0 * high], -1).astype(np.float32)


def segmenter():
    return Segmenter(("ct",), (0, 3, 7), (), probabilities)


def test_a_series_gets_a_segmentation_with_all_classes(tmp_path):
    expected = series_in(tmp_path / "scan")
    (path,) = segmenter().predict([str(tmp_path / "scan")], tmp_path / "out", [DICOM_SEG])
    assert path.name == "scan_labels.dcm"
    one = pydicom.dcmread(path)
    assert [segment.SegmentLabel for segment in one.SegmentSequence] == ["label 3", "label 7"]
    np.testing.assert_array_equal(read_volume(path, volume=0).array, expected > np.median(expected))
    assert not read_volume(path, volume=1).array.any()


def test_only_a_series_can_have_one(tmp_path):
    series_in(tmp_path / "scan")
    write_volume(read_volume(tmp_path / "scan"), tmp_path / "scan.nii")
    with pytest.raises(UserError, match="is no DICOM series"):
        segmenter().predict([str(tmp_path / "scan.nii")], tmp_path / "out", [DICOM_SEG])
    assert predict._chosen(None, OUTPUTS, "dicom-seg") == [DICOM_SEG]
    for text, known in ((None, ("ct",)), ("entropy", OUTPUTS)):
        with pytest.raises(UserError, match="--format dicom-seg"):
            predict._chosen(text, known, "dicom-seg")
