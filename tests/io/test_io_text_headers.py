"""Damaged .mha, .mhd and .nrrd: an ImageIntegrityError, or the voxels as they were."""

import numpy as np
import pytest
import SimpleITK as sitk

from tests.support.volumes import outcome, smooth
from tfmed.io import ImageIntegrityError, read_volume, write_volume

pytestmark = pytest.mark.current


@pytest.mark.parametrize(("name", "compress"), [("v.mha", False), ("v.mha", True), ("v.nrrd", False), ("v.nrrd", True),
                                                ("v.mhd", False), ("v.mhd", True)])  # fmt: skip
def test_text_headed_files_truncated_or_flipped(tmp_path, name, compress, capfd):
    original = smooth((6, 10, 12))
    write_volume(original, tmp_path / "v.nii")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "v.nii"), sitk.sitkInt16), str(tmp_path / name), compress)
    capfd.readouterr()
    original = read_volume(tmp_path / name)
    holder = next(iter(tmp_path.glob("v.*raw")), tmp_path / name)
    intact = holder.read_bytes()
    for length in np.linspace(0, len(intact) - 1, 40).astype(int):
        holder.write_bytes(intact[:length])
        assert outcome(tmp_path / name, original) == "refused"
    rng = np.random.default_rng(3)
    for _ in range(100 if compress else 0):  # raw voxels have no checksum
        raw = bytearray(intact)
        raw[rng.integers(len(raw) - len(raw) // 2, len(raw))] ^= 1 << rng.integers(8)
        holder.write_bytes(raw)
        outcome(tmp_path / name, original)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["v.mha", "v.nrrd", "v.mhd"])
def test_text_headers_with_random_bytes_never_surprise(tmp_path, volume, name):
    write_volume(volume, tmp_path / name)
    intact = (tmp_path / name).read_bytes()
    length = len(intact) if name == "v.mhd" else len(intact) - volume.array.nbytes
    rng = np.random.default_rng(4)
    for _ in range(300):
        raw = bytearray(intact)
        for _ in range(rng.integers(1, 4)):
            raw[rng.integers(length)] = rng.integers(256)
        (tmp_path / name).write_bytes(raw)
        try:
            back = read_volume(tmp_path / name)
        except ImageIntegrityError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(np.linalg.inv(back.affine)).all() and back.array.nbytes == volume.array.nbytes


def test_a_missing_or_foreign_data_file_is_named(tmp_path, volume):
    write_volume(volume, tmp_path / "v.mhd")
    header = (tmp_path / "v.mhd").read_text(encoding="utf-8")
    (tmp_path / "v.raw").rename(tmp_path / "w.raw")
    with pytest.raises(ImageIntegrityError, match=r"v\.mhd: its data file v\.raw is missing"):
        read_volume(tmp_path / "v.mhd")
    for name in ("../v.raw", "/etc/hostname", "LIST", "v%03d.raw 1 9 1"):
        (tmp_path / "v.mhd").write_text(header.replace("v.raw", name), encoding="utf-8")
        with pytest.raises(ImageIntegrityError, match=r"data file|many files"):
            read_volume(tmp_path / "v.mhd")
