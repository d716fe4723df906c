"""The layout of MosMedData COVID19_1110."""

import numpy as np
import pytest

from tfmed.data import sources
from tfmed.errors import DataError
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current


def write(path, values=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(np.full((2, 3, 3), values, np.int16), np.eye(4)), path)


@pytest.fixture
def root(tmp_path):
    for name in ("CT-0/study_0001.nii.gz", "CT-1/study_0255.nii.gz", "CT-1/study_0256.nii"):
        write(tmp_path / "studies" / name)
    write(tmp_path / "masks" / "study_0255_mask.nii.gz")
    write(tmp_path / "masks" / "study_0256_mask.nii.gz")
    return tmp_path


def test_masked_studies_or_all(root):
    cases = sources.open("mosmed", root)
    assert [case.id for case in cases] == ["study_0255", "study_0256"]
    assert all(case.label.endswith("_mask.nii.gz") and case.meta == {"category": "CT-1"} for case in cases)
    everything = sources.open("mosmed", root, all_studies=True)
    assert next((case.id, case.label is None) for case in everything) == ("study_0001", True) and len(everything) == 3


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(DataError, match="mosmed"):
        sources.open("mosmed", tmp_path / "masks")
    write(root / "masks" / "study_0300_mask.nii.gz")
    with pytest.raises(DataError, match=r"study_0300_mask.*not in"):
        sources.open("mosmed", root)
    (root / "masks" / "study_0300_mask.nii.gz").unlink()
    write(root / "studies" / "CT-2" / "study_0255.nii.gz")
    with pytest.raises(DataError, match="stands twice"):
        sources.open("mosmed", root)


def test_no_masks(tmp_path):
    write(tmp_path / "studies" / "CT-0" / "study_0001.nii.gz")
    with pytest.raises(DataError, match="all_studies=true"):
        sources.open("mosmed", tmp_path)
