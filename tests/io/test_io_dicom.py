"""DICOM series written by SimpleITK: ordered by geometry, or refused in one line that names the reason."""

import locale

import numpy as np
import pytest
import SimpleITK as sitk

from tests.support.volumes import AFFINE, assert_same, ct_like
from tfmed.errors import UserError
from tfmed.io import ImageIntegrityError, Volume, list_dicom_series, read_geometry, read_volume, write_volume

pytestmark = pytest.mark.current
UID = "1.2.826.0.1.3680043.2.1125.7"


def write_slice(path, pixels, z=0.0, **tags):
    """One slice as a scanner writes it; `tags` are named t00280030=... and replace the defaults."""
    defaults = {"0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0060": "CT", "0020|000d": UID, "0020|000e": UID + ".1",
                "0020|0032": f"-10\\20\\{z}", "0020|0037": "1\\0\\0\\0\\1\\0", "0018|0050": "2.5",
                "0010|0010": "Doe^Jane", "0010|0020": "Patient-4711"}  # fmt: skip
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing((0.7, 0.8))
    for tag, value in {**defaults, **{f"{name[1:5]}|{name[5:]}": text for name, text in tags.items()}}.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def write_shuffled(folder, count=6, step=2.5, **tags):
    """A series whose names tell nothing about the order; returns the voxels in the order of z."""
    folder.mkdir(exist_ok=True)
    voxels = np.random.default_rng(0).integers(-1000, 1000, (count, 7, 9)).astype("int16")
    names = np.random.default_rng(1).permutation(count)
    for index, pixels in enumerate(voxels):
        write_slice(folder / f"{names[index]}.dcm", pixels, z=-50 + step * index, **tags)
    return voxels


def refusal(folder, words, **options):
    with pytest.raises(ImageIntegrityError, match=words) as error:
        read_volume(folder, **options)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_order_comes_from_geometry(tmp_path):
    voxels = write_shuffled(tmp_path / "s")
    volume = read_volume(tmp_path / "s")
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine, [[-0.7, 0, 0, 10], [0, -0.8, 0, -20], [0, 0, 2.5, -50], [0, 0, 0, 1]])
    told = read_geometry(tmp_path / "s")
    assert told.shape == voxels.shape and told.dtype == np.int16 and told.spacing == volume.spacing


def test_itk_sees_the_series_that_we_write_as_we_do(tmp_path, volume):
    write_volume(volume, tmp_path / "series")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    image = reader.Execute()
    ours = read_volume(tmp_path / "series")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ours.array)
    sitk.WriteImage(image, str(tmp_path / "itk.nrrd"))
    assert_same(read_volume(tmp_path / "itk.nrrd"), ours, atol=1e-5)


def test_a_series_that_we_wrote_is_anonymous_and_new(tmp_path):
    write_shuffled(tmp_path / "s")
    volume = read_volume(tmp_path / "s")
    for name in ("series", "v.nii.gz", "v.nrrd", "v.mha"):
        write_volume(volume, tmp_path / name)
    for file in [*(tmp_path / "series").iterdir(), *tmp_path.glob("v.*")]:
        content = file.read_bytes()
        assert b"Doe" not in content and b"Patient-4711" not in content and UID.encode() not in content
    uids = [list_dicom_series(tmp_path / name)[0].uid for name in ("s", "series")]
    assert uids[0] == UID + ".1" and uids[1].startswith("2.25.")
    write_volume(volume, tmp_path / "again")
    assert list_dicom_series(tmp_path / "again")[0].uid not in uids


@pytest.mark.parametrize("missing", [1, 2, 4])
def test_a_missing_slice_is_placed(tmp_path, missing):
    write_shuffled(tmp_path / "s")
    gone = np.random.default_rng(1).permutation(6)[missing]
    (tmp_path / "s" / f"{gone}.dcm").unlink()
    message = refusal(tmp_path / "s", "missing or uneven: 5.00 mm instead of 2.50 mm")
    assert f"(at {-50 + 2.5 * (missing - 1):.2f} mm)" in message


def test_of_three_slices_one_missing(tmp_path):
    for name, z in (("a", 0), ("b", 2), ("c", 6)):
        write_slice(tmp_path / f"{name}.dcm", np.zeros((4, 4), "int16"), z=z)
    refusal(tmp_path, "4.00 mm instead of 2.00 mm")


def test_a_copy_is_left_out_and_another_image_in_its_place_refused(tmp_path):
    voxels = write_shuffled(tmp_path / "s")
    (tmp_path / "s" / "copy.dcm").write_bytes((tmp_path / "s" / "0.dcm").read_bytes())
    with pytest.warns(UserWarning, match="left out"):
        np.testing.assert_array_equal(read_volume(tmp_path / "s").array, voxels)
    write_slice(tmp_path / "s" / "copy.dcm", voxels[0] + 1, z=-50)
    refusal(tmp_path / "s", "shows something else")


def test_mixed_series_are_listed_and_can_be_chosen(tmp_path):
    voxels = write_shuffled(tmp_path)
    write_slice(tmp_path / "other.dcm", np.ones((5, 5), "int16"), t0020000e=UID + ".2", t00080060="MR")
    message = refusal(tmp_path, "it holds 2 series")
    assert f"{UID}.1 (CT, 6 files), {UID}.2 (MR, 1 files)" in message and "series_uid=" in message
    np.testing.assert_array_equal(read_volume(tmp_path, series_uid=UID + ".1").array, voxels)
    assert read_volume(tmp_path, series_uid=UID + ".2").shape == (1, 5, 5)
    assert read_geometry(tmp_path, series_uid=UID + ".2").spacing[1:] == (0.8, 0.7)
    refusal(tmp_path, "holds no series x", series_uid="x")


@pytest.mark.parametrize("degrees", [2, 15])
def test_gantry_tilt_is_refused(tmp_path, degrees):
    angle = np.deg2rad(degrees)
    for index in range(12):
        axes = f"1\\0\\0\\0\\{np.cos(angle):.8f}\\{-np.sin(angle):.8f}"
        write_slice(tmp_path / f"{index}.dcm", np.full((8, 8), index, "int16"), z=5 * index, t00200037=axes)
    refusal(tmp_path, "sheared by a tilted gantry")


def test_gantry_tilt_is_where_the_slices_lie_and_not_what_the_scanner_tells(tmp_path):
    voxels = write_shuffled(tmp_path / "s", t00181120="12.5")
    with pytest.warns(UserWarning, match="12.5 degrees, but the slices are not sheared"):
        np.testing.assert_array_equal(read_volume(tmp_path / "s").array, voxels)


@pytest.mark.parametrize(("stored", "slope", "intercept", "dtype"), [
    ("int16", "1", "-1024", "int16"), ("uint16", "1", "-1024", "int16"), ("uint16", "2", "-1000", "int16"),
    ("uint16", "40", "0", "int32"), ("int16", "0.5", "0", "float32"), ("uint8", "1", "-0.25", "float32"),
])  # fmt: skip
def test_rescale_slope_and_intercept(tmp_path, stored, slope, intercept, dtype):
    raw = np.random.default_rng(3).integers(0, 250 if stored == "uint8" else 3000, (3, 6, 5)).astype(stored)
    for index, pixels in enumerate(raw):
        values = pixels.astype("float64") * float(slope) + float(intercept)  # ITK stores (value - intercept) / slope
        bits = {"uint8": ("8", "7", "0"), "uint16": ("16", "15", "0"), "int16": ("16", "15", "1")}[stored]
        write_slice(tmp_path / f"{index}.dcm", values, z=index, t00281053=slope, t00281052=intercept,
                    t00280100=bits[0], t00280101=bits[0], t00280102=bits[1], t00280103=bits[2])  # fmt: skip
    volume = read_volume(tmp_path)
    assert volume.array.dtype == dtype
    np.testing.assert_allclose(volume.array, raw * float(slope) + float(intercept), rtol=1e-6)


def test_float_volumes_are_kept_to_the_step_that_they_were_given(tmp_path):
    array = np.random.default_rng(4).normal(0, 300, (3, 6, 5)).astype("float32")
    write_volume(Volume(array, AFFINE), tmp_path / "s")
    back = read_volume(tmp_path / "s").array
    assert back.dtype == np.float32
    assert (
        np.abs(back - array[:, ::1]).max() <= np.ptp(array) / 65534
        or np.abs(back[::-1] - array).max() <= np.ptp(array) / 65534
    )
    write_volume(Volume(np.full((2, 3, 4), 0.25), AFFINE), tmp_path / "flat")
    np.testing.assert_allclose(read_volume(tmp_path / "flat").array, 0.25)


@pytest.mark.parametrize(("tags", "shape", "words"), [
    ({}, (8, 8), "its size differs"),
    ({"t00200037": "0\\1\\0\\0\\0\\-1"}, (7, 9), "its direction differs"),
])  # fmt: skip
def test_a_slice_unlike_the_others(tmp_path, tags, shape, words):
    write_shuffled(tmp_path / "s")
    write_slice(tmp_path / "s" / "x.dcm", np.zeros(shape, "int16"), z=40, **tags)
    refusal(tmp_path / "s", words)


@pytest.mark.parametrize(("old", "new", "words"), [
    (b"\x20\0\x32\0", b"\x20\0\x31\0", "is missing"), (b"-10\\20", b"-1x\\20", "is -1x"),
    (b"1\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0", "direction"), (b".8\\.7", b"-0\\.7", "spacing"),
])  # fmt: skip
def test_broken_tags_are_named(tmp_path, old, new, words):
    write_shuffled(tmp_path / "s", count=3)
    raw = (tmp_path / "s" / "0.dcm").read_bytes()
    assert raw.count(old) == 1
    (tmp_path / "s" / "0.dcm").write_bytes(raw.replace(old, new))
    refusal(tmp_path / "s", words)


EMPTY_DICOM = b"\0" * 128 + b"DICM"


@pytest.mark.parametrize("content", [b"", b"no picture at all", EMPTY_DICOM, EMPTY_DICOM + b"\2" * 99])
def test_files_that_are_no_slices_are_named(tmp_path, content):
    write_shuffled(tmp_path / "s")
    for name in ("a.dcm", "IM0001"):
        (tmp_path / "s" / name).write_bytes(content)
        refusal(tmp_path / "s", rf"{name}: (the file is empty|it is not a readable DICOM image)")
        (tmp_path / "s" / name).unlink()


def test_what_archives_put_beside_is_passed_over(tmp_path):
    voxels = write_shuffled(tmp_path / "s")
    for name in ("DICOMDIR", "069.xml", ".DS_Store", "notes.txt", "preview.png"):
        (tmp_path / "s" / name).write_bytes(b"x")
    (tmp_path / "s" / "below").mkdir()
    np.testing.assert_array_equal(read_volume(tmp_path / "s").array, voxels)


@pytest.mark.parametrize("position", ["middle", "end"])
def test_truncated_slices_are_refused(tmp_path, position):
    write_shuffled(tmp_path / "s")
    raw = (tmp_path / "s" / "3.dcm").read_bytes()
    (tmp_path / "s" / "3.dcm").write_bytes(raw[: len(raw) // 2 if position == "middle" else -1])
    refusal(tmp_path / "s", r"3\.dcm: ")


def test_identifiers_never_become_paths(tmp_path):
    evil = "../../escaped"
    voxels = write_shuffled(tmp_path / "in", t0020000e=evil)
    volume = read_volume(tmp_path / "in", series_uid=evil)
    np.testing.assert_array_equal(volume.array, voxels)
    write_volume(volume, tmp_path / "out" / "series")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert all(path.name.startswith("slice_") for path in (tmp_path / "out" / "series").iterdir())
    assert not list(tmp_path.parent.glob("escaped*"))


def test_folders_without_a_series(tmp_path):
    refusal(tmp_path, "holds no DICOM file")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), "uint8")), str(tmp_path / "a.png"))
    refusal(tmp_path, "read_stack")


def test_what_dicom_cannot_hold_is_refused_and_leaves_nothing(tmp_path, volume):
    sheared = AFFINE.copy()
    sheared[0, 2] = 1.0
    for bad in (
        Volume(volume.array, sheared),
        volume.replace(array=volume.array.astype("int32") * 100),
        volume.replace(array=np.full((2, 2, 2), np.nan)),
        volume.replace(array=np.zeros((2, 2, 2, 3))),
    ):
        with pytest.raises(UserError) as error:
            write_volume(bad, tmp_path / "s")
        assert str(error.value).startswith(f"{tmp_path / 's'}: ")
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_files_is_not_mixed_up(tmp_path, volume):
    write_volume(volume, tmp_path / "s")
    before = sorted((tmp_path / "s").iterdir())
    with pytest.raises(UserError, match="already holds files"):
        write_volume(ct_like(seed=1), tmp_path / "s")
    assert sorted((tmp_path / "s").iterdir()) == before and len(list(tmp_path.iterdir())) == 1


def test_writing_leaves_the_locale_alone(tmp_path):
    """ITK sets the process to the "C" locale, in which Python reads and writes text as ASCII."""
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    before = locale.setlocale(locale.LC_ALL)
    write_volume(ct_like(), tmp_path / "series")
    assert locale.setlocale(locale.LC_ALL) == before
