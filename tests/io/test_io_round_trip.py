"""What was written is read back the same, and as nibabel and SimpleITK see it."""

import gzip
import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.volumes import AFFINE, assert_same
from tfmed.errors import UserError
from tfmed.io import Volume, orientation, read_geometry, read_volume, reorient, write_volume

pytestmark = pytest.mark.current
FILES = ["v.nii", "v.nii.gz", "v.nrrd", "v.mha", "v.mhd"]
ORIENTATIONS = ["RAS", "LPS", "LAS", "RPI", "SAR", "ASL", "PIR", "ILA"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "int64", "float32", "float64"])
def test_every_format_keeps_voxels_dtype_and_geometry(tmp_path, volume, name, dtype):
    written = volume.replace(array=volume.array.astype(dtype))
    write_volume(written, tmp_path / name)
    assert_same(read_volume(tmp_path / name), written)
    told = read_geometry(tmp_path / name)
    assert (told.shape, told.dtype) == (written.array.shape, written.array.dtype)
    np.testing.assert_allclose(told.affine, written.affine, rtol=1e-6)


@pytest.mark.parametrize("name", [*FILES, "series"])
@pytest.mark.parametrize(("codes", "dtype"), [*itertools.product(ORIENTATIONS, ["uint8", "int16", "float32"])])
def test_eight_orientations(tmp_path, volume, name, codes, dtype):
    turned = reorient(volume.replace(array=volume.array.astype(dtype)), codes)
    assert orientation(turned) == codes
    write_volume(turned, tmp_path / name)
    back = read_volume(tmp_path / name)
    if name == "series":  # the order of slices and the dtype are DICOM's, place and value of each voxel stay
        back = back.replace(array=back.array.astype(dtype))
        assert_same(reorient(back, "RAS"), reorient(turned, "RAS"))
    else:
        assert_same(back, turned)


@pytest.mark.parametrize("name", FILES)
def test_channels_stand_last(tmp_path, volume, name):
    array = np.stack([volume.array, volume.array // 2], axis=-1).astype("float32")
    write_volume(Volume(array, AFFINE), tmp_path / name)
    back = read_volume(tmp_path / name)
    assert_same(back, Volume(array, AFFINE))
    assert back.array.flags.c_contiguous and back.array.flags.writeable
    assert read_geometry(tmp_path / name).shape == array.shape


def test_oblique_axes_survive(tmp_path, volume):
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.8, 0.7, 2.5]
    affine[:3, 3] = 12.25, -40.5, 7.0
    oblique = Volume(volume.array, affine)
    for name in [*FILES, "series/"]:
        write_volume(oblique, f"{tmp_path}/{name}")
        assert_same(read_volume(tmp_path / name), oblique, atol=1e-5)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_nibabel_and_itk_agree_on_our_nifti(tmp_path, volume, codes):
    turned = reorient(volume, codes)
    write_volume(turned, tmp_path / "v.nii.gz")
    theirs = nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(np.asarray(theirs.dataobj).T, turned.array)
    for affine in (theirs.affine, theirs.get_qform(), theirs.get_sform()):
        np.testing.assert_allclose(affine, turned.affine, atol=1e-4)
    assert theirs.header.get_xyzt_units()[0] == "mm"
    image = sitk.ReadImage(str(tmp_path / "v.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "itk.mha"))
    through_itk = read_volume(tmp_path / "itk.mha")
    np.testing.assert_array_equal(through_itk.array, turned.array)
    np.testing.assert_allclose(through_itk.affine, turned.affine, atol=1e-4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_we_agree_with_nibabel_on_its_nifti(tmp_path, volume, order, kind):
    header = kind.header_class(endianness=order)
    image = kind(volume.array.T, AFFINE, header)
    image.header.set_data_dtype(np.dtype(order + "i2"))
    image.to_filename(tmp_path / "v.nii.gz")
    back = read_volume(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.array.dtype == np.int16 and back.array.dtype.isnative
    np.testing.assert_allclose(back.affine, AFFINE, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_scaling_gives_float32(tmp_path, volume, dtype):
    image = nibabel.Nifti1Image((volume.array.T + 1024).astype(dtype), AFFINE)
    image.header.set_slope_inter(0.5, -1024)
    image.to_filename(tmp_path / "v.nii")
    raw = bytearray((tmp_path / "v.nii").read_bytes())
    raw[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # nibabel unscales what it writes
    (tmp_path / "v.nii").write_bytes(raw)
    back = read_volume(tmp_path / "v.nii")
    assert back.array.dtype == np.float32 == read_geometry(tmp_path / "v.nii").dtype
    np.testing.assert_allclose(back.array, nibabel.load(tmp_path / "v.nii").get_fdata().T, rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, np.nan, 1.0])
def test_no_scaling_keeps_the_dtype(tmp_path, volume, slope):
    write_volume(volume, tmp_path / "v.nii")
    raw = bytearray((tmp_path / "v.nii").read_bytes())
    raw[112:120] = np.array([slope, 0 if slope == 1 else np.nan], "<f4").tobytes()
    (tmp_path / "v.nii").write_bytes(raw)
    assert_same(read_volume(tmp_path / "v.nii"), volume)


def test_qform_and_pixdim_serve_where_the_better_is_absent(tmp_path, volume):
    for sform, qform in ((0, 1), (0, 0)):
        image = nibabel.Nifti1Image(volume.array.T, AFFINE)
        image.header.set_sform(AFFINE, sform)
        image.header.set_qform(AFFINE, qform)
        nibabel.Nifti1Image(volume.array.T, None, image.header).to_filename(tmp_path / "v.nii")
        expected = nibabel.load(tmp_path / "v.nii").affine
        np.testing.assert_allclose(read_volume(tmp_path / "v.nii").affine, expected, rtol=1e-6)


def test_trailing_axes_of_length_one_are_dropped(tmp_path, volume):
    nibabel.Nifti1Image(volume.array.T[..., None, None], AFFINE).to_filename(tmp_path / "v.nii.gz")
    assert_same(read_volume(tmp_path / "v.nii.gz"), volume)


def test_gzip_of_several_members_with_padding(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nii")
    raw = (tmp_path / "v.nii").read_bytes()
    parts = [gzip.compress(raw[a:b]) for a, b in ((0, 100), (100, 1000), (1000, None))]
    (tmp_path / "v.nii.gz").write_bytes(b"".join(parts) + b"\0" * 300)
    assert_same(read_volume(tmp_path / "v.nii.gz"), volume)


@pytest.mark.parametrize(("name", "compress"), [("v.nrrd", True), ("v.mha", True), ("v.mhd", True), ("v.nrrd", False)])
def test_files_that_itk_wrote(tmp_path, volume, name, compress):
    write_volume(volume, tmp_path / "v.nii")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "v.nii")), str(tmp_path / name), compress)
    assert_same(read_volume(tmp_path / name), volume, atol=1e-4)


def test_bool_and_half_precision_find_a_dtype(tmp_path, volume):
    for name in FILES:
        write_volume(volume.replace(array=volume.array > 0), tmp_path / name)
        assert read_volume(tmp_path / name).array.dtype == np.uint8
        write_volume(volume.replace(array=volume.array.astype("float16")), tmp_path / name)
        assert read_volume(tmp_path / name).array.dtype == np.float32


def test_axes_beyond_nifti1(tmp_path):
    long = Volume(np.arange(40000, dtype="uint16").reshape(1, 1, 40000), np.eye(4))
    write_volume(long, tmp_path / "v.nii.gz")
    assert_same(read_volume(tmp_path / "v.nii.gz"), long)


def test_writing_twice_gives_the_same_bytes(tmp_path, volume):
    write_volume(volume, tmp_path / "a.nii.gz")
    write_volume(volume, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.mhd"])
def test_overwriting_replaces_and_leaves_nothing_beside(tmp_path, volume, name):
    write_volume(volume, tmp_path / name)
    other = volume.replace(array=volume.array[:3] + 1)
    write_volume(other, tmp_path / name)
    assert_same(read_volume(tmp_path / name), other)
    assert {file.name for file in tmp_path.iterdir()} == {name} | ({"v.raw"} if name == "v.mhd" else set())


@pytest.mark.parametrize("name", ["v.png", "v.gz", "v.hdr", ".nii", "v.dcm"])
def test_an_unknown_suffix_lists_the_known(tmp_path, volume, name):
    with pytest.raises(UserError, match=r"\.nii\.gz, \.nrrd, \.mha, \.mhd"):
        write_volume(volume, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_changes_nothing(tmp_path, volume, monkeypatch):
    write_volume(volume, tmp_path / "v.nii.gz")
    before = (tmp_path / "v.nii.gz").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfmed.io.write._put_nifti", full)
    with pytest.raises(UserError, match="No space left on device") as error:
        write_volume(volume, tmp_path / "v.nii.gz")
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["v.nii.gz"]
    assert (tmp_path / "v.nii.gz").read_bytes() == before


def test_complex_and_empty_volumes_are_refused(tmp_path):
    for array in (np.zeros((2, 2, 2), "complex64"), np.zeros((0, 2, 2), "int16")):
        with pytest.raises(UserError):
            write_volume(Volume(array, np.eye(4)), tmp_path / "v.nii")


affines = st.builds(
    lambda quaternion, sizes, origin, flip: _affine(np.array(quaternion), np.array(sizes) * [flip, 1, 1], origin),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.tuples(*[st.floats(0.05, 20)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.sampled_from([-1, 1]),
).filter(lambda affine: _nearest_axis(affine) > 0.72)  # beyond 0.708 no two axes compete for one letter


def _nearest_axis(affine):
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.abs(columns).max(axis=0).min()


def _affine(quaternion, sizes, origin):
    affine = np.eye(4)
    affine[:3, :3] = nibabel.quaternions.quat2mat(quaternion / np.linalg.norm(quaternion)) * sizes
    affine[:3, 3] = origin
    return affine


@settings(max_examples=60, deadline=None)
@given(affine=affines, codes=st.sampled_from(ORIENTATIONS), channels=st.sampled_from([(), (2,)]),
       name=st.sampled_from(["v.nii", "v.nii.gz", "v.mha", "v.nrrd"]))  # fmt: skip
def test_any_affine_round_trips_and_turning_moves_no_voxel(tmp_path_factory, affine, codes, channels, name):
    path = tmp_path_factory.mktemp("any") / name
    shape = (2, 3, 4)
    array = np.arange(24 * np.prod(channels, dtype=int), dtype="int16").reshape(shape + channels)
    volume = Volume(array, affine)
    write_volume(volume, path)
    assert_same(read_volume(path), volume, atol=1e-4)
    turned = reorient(volume, codes)
    assert orientation(turned) == codes
    for z, y, x in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        world = affine @ [x, y, z, 1]
        column = np.rint(np.linalg.solve(turned.affine, world)).astype(int)
        np.testing.assert_array_equal(turned.array[column[2], column[1], column[0]], array[z, y, x])
    assert_same(reorient(turned, orientation(volume)), volume, atol=1e-6)


@pytest.mark.parametrize("codes", ["RA", "RAX", "RRS", "ras", "RLS", ""])
def test_wrong_orientation_codes(volume, codes):
    with pytest.raises(UserError, match="such as RAS"):
        reorient(volume, codes)
