"""CT-SGAN on real CT: prepared, trained, sampled; and one real volume through a DICOM series."""

import numpy as np
import pytest

import tfmed
from tests.methods.test_ctsgan import TINY
from tfmed import cli, fit, prepare, sample
from tfmed.data import sources
from tfmed.io import read_volume, reorient, write_volume

pytestmark = [pytest.mark.realdata]
NO_OPTIONS = tuple(word for word in TINY if not word.startswith("data.options"))


@pytest.fixture
def ct(real_data):
    folder = real_data / "ct_organs"
    if not folder.is_dir():
        pytest.skip("ct_organs is not among the real data sets beside this checkout")
    return folder


def test_train_and_sample_on_real_ct(ct, tmp_path):
    """The documented command: prepare, fit, sample; generated volumes have the field of view of the scans."""
    source = ("data.source=nifti_folder", f"data.root={ct}", "data.options={pattern: '**/ct.nii.gz'}",
              "data.split={validation: 0, test: 0}", "train.steps=3", "train.tensorboard=false")  # fmt: skip
    arguments = ["configs/ctsgan.yaml", *NO_OPTIONS, *source]
    assert cli.run(prepare.main, arguments) == 0
    assert cli.run(fit.main, [*arguments, "--run-dir", str(tmp_path / "run")]) == 0
    assert cli.run(sample.main, [str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    made = read_volume(tmp_path / "out" / "sample-0000.nii.gz")
    assert made.array.dtype == np.int16 and made.array.min() >= -1000 and made.array.max() <= 400
    scan = reorient(read_volume(sorted(ct.glob("**/ct.nii.gz"))[0]), "RAS")
    extents = [np.array(volume.shape) * volume.spacing for volume in (made, scan)]
    np.testing.assert_allclose(*extents, rtol=0.25)  # the first training case may be either of the two scans
    assert tfmed.load_run(tmp_path / "run").metrics()["step"].max() == 3


def test_a_real_volume_survives_a_dicom_series(ct, tmp_path):
    """Written as DICOM, found by the DICOM source, read back: the same voxels at the same places."""
    volume = read_volume(ct / "totalseg_thorax_abdomen" / "ct_full.nii.gz")
    write_volume(volume.replace(array=volume.array.astype(np.int16)), tmp_path / "patient" / "series")
    (case,) = sources.open("dicom_folder", tmp_path)
    back = read_volume(case.images["ct"], series_uid=case.meta["series_uid"])
    ours, theirs = reorient(back, "RAS"), reorient(volume, "RAS")
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    np.testing.assert_array_equal(ours.array, theirs.array)
