"""Addresses of pieces: channels, HDF5 datasets, folders as one series, image stacks that lie on a DICOM series."""

import os

import h5py
import hypothesis
import hypothesis.strategies as st
import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from tests.support.volumes import AFFINE, assert_same
from tfmed.io import (
    ImageIntegrityError,
    Volume,
    companions_of,
    file_of,
    piece_of,
    read_geometry,
    read_volume,
    write_volume,
)

pytestmark = pytest.mark.current


def refused(address, said):
    """The address is refused in one line that names its path."""
    with pytest.raises(ImageIntegrityError) as caught:
        read_volume(address)
    text = str(caught.value)
    assert said in text and "\n" not in text and ";" in text and text.startswith(file_of(address))


def assert_geometry(address):
    volume, geometry = read_volume(address), read_geometry(address)
    assert (geometry.shape, geometry.dtype) == (volume.array.shape, volume.array.dtype)
    np.testing.assert_allclose(geometry.affine, volume.affine)
    return volume


@pytest.mark.parametrize(
    ("address", "path", "piece"),
    [
        ("a/x.nii.gz::0", "a/x.nii.gz", "0"),
        ("a/x.H5::image", "a/x.H5", "image"),
        ("x.h5::scan/0", "x.h5", "scan/0"),
        ("a/x (1).png::grey", "a/x (1).png", "grey"),
        ("a/x.tif::pages", "a/x.tif", "pages"),
        ("x.tiff::pages@0,1,2,33,444,5", "x.tiff", "pages@0,1,2,33,444,5"),
        ("x.tif::pages@0,1,2", "x.tif::pages@0,1,2", ""),
        ("a/DICOM::one-series", "a/DICOM", "one-series"),
        ("a/CT::around@-3,0.25,-110.5,66", "a/CT", "around@-3,0.25,-110.5,66"),
        ("a/CT::around@3,4,66", "a/CT::around@3,4,66", ""),
        ("a/Ground::names:../b:c", "a/Ground", "names:../b:c"),
        ("a/x.nii", "a/x.nii", ""),
        ("a::b/x.nii", "a::b/x.nii", ""),
        ("a::3/x.nii", "a::3/x.nii", ""),
        ("x.nii::image", "x.nii::image", ""),
        ("phantom:chest_ct?seed=1", "phantom:chest_ct?seed=1", ""),
    ],
)
def test_addresses(address, path, piece):
    assert (file_of(address), piece_of(address)) == (path, piece)


@hypothesis.given(path=st.text("ab:/.", min_size=1), channel=st.integers(0, 999))
def test_a_piece_is_told_from_any_path(path, channel):
    hypothesis.assume(not path.endswith(":"))  # `a:` and `:` of the separator cannot be told apart
    assert (file_of(f"{path}::{channel}"), piece_of(f"{path}::{channel}")) == (path, str(channel))
    assert file_of(f"{path}/x.nii") == f"{path}/x.nii"


def test_companions():
    assert companions_of("a/Ground::names:../DICOM_anon") == (os.path.join("a", "DICOM_anon"),)
    assert companions_of("a/x.nii::0") == companions_of("a/x.nii") == companions_of("x.h5::image") == ()


# --- channels ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def channels(tmp_path):
    """A 4-D NIfTI as nibabel writes it, and its array (x, y, z, channel)."""
    array = np.random.default_rng(3).normal(size=(5, 4, 3, 2)).astype("f4")
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), str(tmp_path / "scan.nii.gz"))
    return tmp_path / "scan.nii.gz", array


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0, 1, 1, 0)])
def test_channels_in_any_order(channels, order):
    path, array = channels
    for index in order:
        volume = assert_geometry(f"{path}::{index}")
        np.testing.assert_array_equal(volume.array, array[..., index].T)
        np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
        assert volume.array.flags.c_contiguous
        volume.array[:] = 0  # whoever got it may change it


def test_a_replaced_file_is_read_again(channels):
    path, array = channels
    np.testing.assert_array_equal(read_volume(f"{path}::0").array, array[..., 0].T)
    nibabel.save(nibabel.Nifti1Image(-array, AFFINE), str(path))
    np.testing.assert_array_equal(read_volume(f"{path}::1").array, -array[..., 1].T)


def test_channels_of_other_formats_and_of_plain_volumes(tmp_path, volume):
    both = Volume(np.stack([volume.array, -volume.array], axis=-1), AFFINE)
    write_volume(both, tmp_path / "both.nrrd")
    np.testing.assert_array_equal(assert_geometry(f"{tmp_path / 'both.nrrd'}::1").array, -volume.array)
    write_volume(volume, tmp_path / "one.nii")
    assert_same(assert_geometry(f"{tmp_path / 'one.nii'}::0"), volume, atol=1e-4)
    refused(f"{tmp_path / 'one.nii'}::1", "it has 1 channel(s), not the number 1")
    refused(f"{tmp_path / 'both.nrrd'}::2", "it has 2 channel(s)")
    refused(f"{tmp_path / 'gone.nii'}::0", "no such file")


def test_a_damaged_file_gives_no_channel(channels):
    path, _ = channels
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # the checksum behind the last voxel
    path.write_bytes(data)
    refused(f"{path}::0", "checksum")


# --- HDF5 -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path):
    """A file as the UA-MT experiments write it, and its arrays (x, y, z)."""
    random = np.random.default_rng(5)
    image = random.normal(size=(13, 11, 7)).astype("f4")
    label = random.integers(0, 2, (13, 11, 7)).astype("u1")
    with h5py.File(tmp_path / "mri_norm2.h5", "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        file.create_dataset("label", data=label, compression="gzip")
        file.create_dataset("plain/0", data=image > 0)
        file.create_dataset("big", data=label.astype(">i2"))
    return tmp_path / "mri_norm2.h5", image, label


def test_hdf5(scan):
    path, image, label = scan
    volume = assert_geometry(f"{path}::image")
    assert volume.shape == (7, 11, 13) and volume.spacing == (0.625, 0.625, 0.625)
    np.testing.assert_array_equal(volume.affine, np.diag([0.625, 0.625, 0.625, 1]))
    for x, y, z in np.ndindex(image.shape):
        assert volume.array[z, y, x] == image[x, y, z]
    assert_same(assert_geometry(f"{path}::label"), Volume(label.T, volume.affine))
    assert_same(assert_geometry(f"{path}::plain/0"), Volume((image > 0).T.astype("u1"), volume.affine))
    assert_same(assert_geometry(f"{path}::big"), Volume(label.T.astype("i2"), volume.affine))


def test_hdf5_that_cannot_be_trusted(scan, tmp_path):
    path, image, _ = scan
    with h5py.File(path, "a") as file:
        file["text"] = "words"
        file["flat"] = image[0]
        file["complex"] = image.astype("c8")
        file["away"] = h5py.ExternalLink(str(path), "image")
        file.create_dataset("holes", (8, 8, 8), "f4", chunks=(4, 4, 4))[:4] = 1
        file.create_dataset("unwritten", (8, 8, 8), "f4")
        file.create_dataset("outside", (2, 2, 2), "u1", external=[(str(tmp_path / "raw"), 0, 8)])
        layout = h5py.VirtualLayout((13, 11, 7), "f4")
        layout[:] = h5py.VirtualSource(file["image"])
        file.create_virtual_dataset("virtual", layout)
    for name, said in {
        "images": "has: away, big", "plain": "not an array", "text": "not an array", "flat": "three axes",
        "complex": "real numbers", "away": "is a link", "holes": "never written", "unwritten": "never written",
        "outside": "other files", "virtual": "other files", "image/x": "no dataset",
    }.items():  # fmt: skip
        refused(f"{path}::{name}", said)
    refused(path, "name a dataset in it behind ::")
    refused(f"{tmp_path / 'gone.h5'}::image", "no such file")
    (tmp_path / "text.h5").write_text("not hdf5", encoding="utf-8")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "folder.h5").mkdir()
    for name in ("text", "empty", "folder"):
        refused(f"{tmp_path / name}.h5::image", "HDF5 cannot read")


def test_hdf5_with_a_changed_header_is_never_read_as_zeros(scan):
    """Each bit of a chunk's place in the index (3 numbers of 8 bytes) and of its filter mask; layouts of numbers."""
    path, image, _ = scan
    intact = path.read_bytes()
    index = intact.index(b"TREE\x01") + 24  # the index of the first dataset's chunks: size, mask, place
    for at in (*range(index + 4, index + 6), *range(index + 8, index + 32)):
        damaged = bytearray(intact)
        damaged[at] ^= 0x08
        path.write_bytes(damaged)
        refused(f"{path}::image", "image")
    path.write_bytes(intact)
    np.testing.assert_array_equal(read_volume(f"{path}::image").array, image.T)


def test_chunks_that_do_not_shrink(tmp_path):
    """Noise is stored as it is, and marked so."""
    noise = np.random.default_rng(2).integers(0, 256, (16, 16, 16)).astype("u1")
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file.create_dataset("image", data=noise, chunks=(8, 8, 8), compression="gzip", shuffle=True)
    np.testing.assert_array_equal(read_volume(f"{tmp_path / 'n.h5'}::image").array, noise.T)


def test_damaged_hdf5(scan):
    """Cut anywhere, or with a byte of its compressed voxels changed, it is refused; never other voxels."""
    path, _, _ = scan
    intact = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["image"].id.get_chunk_info(0)
    for length in (1, 100, len(intact) // 2, len(intact) - 1):
        path.write_bytes(intact[:length])
        refused(f"{path}::image", "HDF5 cannot read")
    for at in np.random.default_rng(0).integers(chunk.byte_offset + 2, chunk.byte_offset + chunk.size, 20):
        damaged = bytearray(intact)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        refused(f"{path}::image", "HDF5 cannot read")


# --- a folder as one series, and images on it -------------------------------------------------------------------------

UID = "1.2.826.0.1.3680043.8.498."


def write_slices(folder, positions, names, one_uid=False, modality="CT", size=(5, 6)):
    """One DICOM file per position (mm); pixel (0, 0) holds it and pixel (0, 1) the slice's number."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, (z, name) in enumerate(zip(positions, names, strict=True)):
        pixels = np.zeros((1, *size), np.int16)
        pixels[0, 0, :2] = z, k
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing((0.7, 0.8, 2.0))
        tags = {
            "0008|0060": modality, "0020|000d": UID + "1", "0020|000e": f"{UID}{2 if one_uid else 20 + k}",
            "0020|0013": str(k + 1), "0008|0018": f"{UID}3.{k + 1}", "0020|0032": f"-10\\-20\\{z}",
            "0020|0037": "1\\0\\0\\0\\1\\0", "0018|0050": "2", "0028|1052": "0", "0028|1053": "1",
        }  # fmt: skip
        for tag, text in tags.items():
            image.SetMetaData(tag, text)
        writer.SetFileName(str(folder / name))
        writer.Execute(image)


def write_pictures(folder, values, names, size=(5, 6)):
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in zip(values, names, strict=True):
        pixels = np.zeros(size, np.uint8)
        pixels[1, 2] = value
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(folder / name))


DOWN = (8, 6, 4, 2, 0)  # the first file by name is the highest slice


def test_slices_of_several_uids_are_one_series(tmp_path):
    write_slices(tmp_path / "s", DOWN, [f"i{k:04d},0000b.dcm" for k in range(5)])
    refused(tmp_path / "s", "it holds 5 series")
    volume = assert_geometry(f"{tmp_path / 's'}::one-series")
    np.testing.assert_array_equal(volume.array[:, 0, 0], DOWN[::-1])
    write_slices(tmp_path / "t", DOWN, [f"i{k:04d},0000b.dcm" for k in range(5)], one_uid=True)
    assert_same(volume, read_volume(tmp_path / "t"))
    write_slices(tmp_path / "s", [10], ["x.dcm"], modality="MR")
    refused(f"{tmp_path / 's'}::one-series", "several modalities (CT, MR)")
    refused(f"{tmp_path / 'gone'}::one-series", "cannot be read")


@pytest.mark.parametrize("positions", [DOWN, DOWN[::-1]])
@pytest.mark.parametrize("one_uid", [False, True])
def test_images_follow_their_slices_by_name(tmp_path, positions, one_uid):
    """Numbers without leading zeros: sorted as text, 10 would come before 8; and slices may run up or down."""
    write_slices(tmp_path / "d", positions, [f"i{k + 8},0000b.dcm" for k in range(5)], one_uid)
    write_pictures(tmp_path / "g", [10 + z for z in positions], [f"liver_GT_{k + 8}.png" for k in range(5)])
    label = assert_geometry(f"{tmp_path / 'g'}::names:../d")
    image = read_volume(f"{tmp_path / 'd'}::one-series")
    assert label.array.dtype == np.uint8
    np.testing.assert_array_equal(label.array[:, 1, 2], 10 + image.array[:, 0, 0])
    np.testing.assert_array_equal(label.affine, image.affine)


def test_images_of_equal_names_or_told_order(tmp_path):
    write_slices(tmp_path / "d", DOWN, [f"IMG-0004-{k:05d}.dcm" for k in (2, 4, 6, 8, 10)])
    write_pictures(tmp_path / "g", [10 + z for z in DOWN], [f"IMG-0004-{k:05d}.png" for k in (2, 4, 6, 8, 10)])
    up = [10, 12, 14, 16, 18]
    for order, expected in (("names", up), ("ascending", up[::-1]), ("descending", up)):
        address = f"{tmp_path / 'g'}::{order}:{tmp_path / 'd'}"
        assert read_volume(address).array[:, 1, 2].tolist() == expected


def test_images_that_do_not_fit(tmp_path):
    address = f"{tmp_path / 'g'}::names:../d"
    refused(address, "cannot be read")
    write_slices(tmp_path / "d", DOWN, [f"{k}.dcm" for k in range(5)])
    write_pictures(tmp_path / "g", DOWN[:4], [f"{k}.png" for k in range(4)])
    refused(address, "4 images for the 5 slices")
    write_pictures(tmp_path / "g", DOWN, [f"{k}.png" for k in range(5)], size=(5, 7))
    refused(address, "have 7 x 5 pixels, the slices have 6 x 5")
    (tmp_path / "g" / "._0.png").write_bytes(b"shadow")
    write_pictures(tmp_path / "g", DOWN, [f"{k}.png" for k in range(5)])
    assert read_volume(address).shape == (5, 5, 6)
    (tmp_path / "g" / "2.png").write_bytes((tmp_path / "g" / "2.png").read_bytes()[:-9])
    with pytest.raises(ImageIntegrityError, match=r"2\.png"):
        read_volume(address)


# --- one image as a slice ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_an_image_is_one_grey_slice(tmp_path, suffix, mode):
    """Colour becomes grey as Pillow makes it (ITU-R BT.601), opacity is left out, 16 bits stay."""
    rng = np.random.default_rng(0)
    bands = {"L": 1, "I;16": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = rng.integers(0, 60000 if mode == "I;16" else 256, (9, 7, bands))
    pixels = np.squeeze(pixels.astype(np.uint16 if mode == "I;16" else np.uint8))
    PIL.Image.fromarray(pixels).save(tmp_path / f"x{suffix}")
    volume = assert_geometry(f"{tmp_path / f'x{suffix}'}::grey")
    expected = pixels if bands == 1 else np.asarray(PIL.Image.fromarray(pixels[..., :3]).convert("L"))
    assert volume.array.shape == (1, 9, 7) and volume.array.dtype == pixels.dtype and volume.spacing == (1, 1, 1)
    assert np.abs(volume.array[0].astype(int) - expected).max() <= (bands > 1)


def test_images_that_are_no_single_slice(tmp_path):
    pages = [PIL.Image.fromarray(np.full((4, 5), k, np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "many.tif", save_all=True, append_images=pages[1:])
    refused(f"{tmp_path / 'many.tif'}::grey", "holds 3 pages")
    for name in ("opaque.png", "opaque.tif"):
        PIL.Image.fromarray(np.zeros((4, 5, 2), np.uint8)).save(tmp_path / name)
        refused(f"{tmp_path / name}::grey", "opacity channel beside grey")
    (tmp_path / "scan.nii").write_bytes(b"")
    refused(f"{tmp_path / 'scan.nii'}::grey", "not an image by its name")
    pages[0].save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-20])
    with pytest.raises(ImageIntegrityError, match=r"cut\.png"):
        read_volume(f"{tmp_path / 'cut.png'}::grey")


# --- squares ----------------------------------------------------------------------------------------------------------


def test_a_square_of_a_slice(tmp_path):
    """Of a grid that is turned and has oblong voxels: the slice and the pixels nearest to the point."""
    array = np.random.default_rng(0).normal(size=(5, 20, 30)).astype("f4")
    affine = np.array([[0, 0.5, 0, -30], [-2.0, 0, 0, 50], [0, 0, 3, -7], [0, 0, 0, 1.0]])
    write_volume(Volume(array, affine), tmp_path / "ct.nii")
    point = (affine @ [12.2, 9.1, 2.8, 1])[:3]
    address = f"{tmp_path / 'ct.nii'}::around@{','.join(f'{one:.3f}' for one in point)},8"
    square = assert_geometry(address)
    assert square.shape == (1, 16, 4) and square.spacing == pytest.approx((3, 0.5, 2))
    np.testing.assert_array_equal(square.array[0], array[3, 2:18, 11:15])
    np.testing.assert_allclose(square.affine @ [1, 2, 0, 1], affine @ [12, 4, 3, 1], atol=1e-3)
    corner = (affine @ [0, 19, 0, 1])[:3]
    bent = assert_geometry(f"{tmp_path / 'ct.nii'}::around@{','.join(f'{one:.3f}' for one in corner)},8").array[0]
    np.testing.assert_array_equal(bent[8:, 2:], np.broadcast_to(array[0, 19, :2], (8, 2)))
    np.testing.assert_array_equal(bent[:8, 0], array[0, 12:20, 0])
    refused(f"{tmp_path / 'ct.nii'}::around@0,0,90,8", "the point (0, 0, 90) in mm lies outside of it")
    refused(f"{tmp_path / 'gone.nii'}::around@0,0,90,8", "no such file")
    write_volume(Volume(np.stack([array, array], -1), affine), tmp_path / "two.nii")
    refused(f"{tmp_path / 'two.nii'}::around@0,0,0,8", "several channels")
