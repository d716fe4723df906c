"""Objects of many slices: enhanced CT and MR, segmentations, mosaics, single files; against pydicom and nibabel."""

import struct
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from tests.support.dicom import ENHANCED_CT, MR, SEG, enhanced, item, save, series_in, slice_of
from tfmed.io import ImageIntegrityError, read_geometry, read_volume

pytestmark = pytest.mark.current
RNG = np.random.default_rng(0)
UP = np.arange(-50, -40, 2.5)  # z in mm of four slices
AFFINE = [[-0.7, 0, 0, 10], [0, -0.8, 0, -20], [0, 0, 2.5, -50], [0, 0, 0, 1]]


def refusal(path, words, **options):
    for read in (read_volume, read_geometry):
        with pytest.raises(ImageIntegrityError, match=words) as error:
            read(path, **options)
        assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(("sop_class", "modality"), [(ENHANCED_CT, "CT"), ("1.2.840.10008.5.1.4.1.1.4.1", "MR")])
@pytest.mark.parametrize("run_lengths", [False, True])
def test_enhanced_objects_are_volumes(tmp_path, sop_class, modality, run_lengths):
    """Frames in any order, each with its own place and rescaling; as a file and as a folder."""
    pixels, order, slopes = RNG.integers(0, 4000, (4, 5, 6)), [2, 0, 3, 1], [2, 1, 3, 2]
    one = enhanced(pixels, UP[order], sop_class, modality, slope=slopes, bits=12)
    if run_lengths:
        one.compress(RLELossless)
    file = save(one, tmp_path / "s" / "x.dcm")
    expected = np.empty((4, 5, 6))
    expected[order] = pydicom.dcmread(file).pixel_array * np.reshape(slopes, (4, 1, 1)) - 5
    for path in (file, tmp_path / "s"):
        volume = read_volume(path)
        assert volume.array.dtype == np.int16
        np.testing.assert_array_equal(volume.array, expected)
        np.testing.assert_allclose(volume.affine, AFFINE)
        assert read_geometry(path).shape == (4, 5, 6)


def test_enhanced_objects_that_cannot_be_true(tmp_path):
    one = enhanced(RNG.integers(0, 9, (4, 5, 6)), UP)
    one.PixelData = one.PixelData[:-60]
    refusal(save(one, tmp_path / "short.dcm"), "180 bytes of pixels|has 180")
    one = enhanced(RNG.integers(0, 9, (4, 5, 6)), UP[:3])
    refusal(save(one, tmp_path / "frames.dcm"), "announces 4 frames and describes 3")
    one = enhanced(RNG.integers(0, 9, (3, 5, 6)), UP[[0, 1, 3]])
    refusal(save(one, tmp_path / "gap.dcm"), "missing or uneven")
    one = enhanced(RNG.integers(0, 9, (4, 5, 6)), UP)
    del one.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    refusal(save(one, tmp_path / "place.dcm"), r"ImagePositionPatient \(0020,0032\) is missing")
    one = slice_of(0, RNG.integers(0, 9, (4, 5, 6)))
    refusal(save(one, tmp_path / "classic.dcm"), "has 4 frames and does not tell where each lies")


# --- several volumes at the same places -------------------------------------------------------------------------------


def test_b_values_of_an_enhanced_object_are_chosen(tmp_path):
    pixels = RNG.integers(0, 4000, (8, 5, 6))
    frames = [{"MRDiffusionSequence": item(DiffusionBValue=b)} for b in (1000.0, 0.0) for _ in UP]
    file = save(enhanced(pixels, [*UP, *UP], frames=frames), tmp_path / "s" / "x.dcm")
    refusal(
        file, r"it holds 2 volumes at the same places \(DiffusionBValue 0, 1000\); choose one with the option volume="
    )
    for path in (file, tmp_path / "s"):
        for volume, first in ((0, 4), (1, 0)):
            np.testing.assert_array_equal(read_volume(path, volume=volume).array, pixels[first : first + 4])
            np.testing.assert_array_equal(read_volume(f"{path}::{volume}").array, pixels[first : first + 4])
            assert read_geometry(f"{path}::{volume}").shape == (4, 5, 6)
    refusal(file, r"it holds 2 volume\(s\), not the number 2", volume=2)


@pytest.mark.parametrize(("name", "values", "shown"), [
    ("TemporalPositionIdentifier", (2, 1, 3), "TemporalPositionIdentifier 1, 2, 3"),
    ("EchoTime", ("9.2", "4.6", "13.8"), "EchoTime 4.6, 9.2, 13.8"),
    ("AcquisitionNumber", (2, 1, 10), "AcquisitionNumber 1, 2, 10"),
    ("ImageType", (["DERIVED", "PRIMARY", "M"], ["DERIVED", "PRIMARY", "I"], ["DERIVED", "PRIMARY", "R"]), "ImageType"),
])  # fmt: skip
def test_time_points_and_echoes_in_single_slices_are_chosen(tmp_path, name, values, shown):
    expected = {}
    for value in values:
        pixels = RNG.integers(0, 4000, (4, 4, 6))
        expected[str(value)] = pixels
        for k in range(4):
            one = slice_of(k, pixels[k], sop_class=MR, modality="MR", **{name: value})
            save(one, tmp_path / f"{RNG.integers(1 << 40)}.dcm")
    refusal(tmp_path, rf"it holds 3 volumes at the same places \({shown}")
    order = sorted(values, key=lambda v: v if isinstance(v, list) else float(v))
    for volume, value in enumerate(order):
        np.testing.assert_array_equal(read_volume(tmp_path, volume=volume).array, expected[str(value)])


def test_equal_slices_of_two_time_points_are_no_copies(tmp_path):
    for time in (1, 2):
        for k in range(4):
            pixels = np.zeros((4, 6)) if k == 0 else np.full((4, 6), 10 * time + k)
            one = slice_of(k, pixels, sop_class=MR, modality="MR", TemporalPositionIdentifier=time)
            save(one, tmp_path / f"{time}-{k}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path, volume=1).array[:, 0, 0], [0, 21, 22, 23])


def test_time_points_that_only_the_order_of_making_tells_apart(tmp_path):
    for k in range(12):
        one = slice_of(k, np.full((4, 6), k), z=UP[k % 4], sop_class=MR, modality="MR")
        save(one, tmp_path / f"{k}.dcm")
    refusal(tmp_path, "it holds 3 volumes at the same places .told apart by their InstanceNumber")
    np.testing.assert_array_equal(read_volume(tmp_path, volume=1).array[:, 0, 0], [4, 5, 6, 7])


def test_a_copy_of_one_slice_is_no_volume(tmp_path):
    expected = series_in(tmp_path)
    save(slice_of(1), tmp_path / "again.dcm")
    with pytest.warns(UserWarning, match="left out"):
        np.testing.assert_array_equal(read_volume(tmp_path).array, expected)


# --- segmentations ----------------------------------------------------------------------------------------------------


def segmentation(masks, positions, segments):
    """A binary SEG object: one bit per pixel, frames packed without a gap."""
    frames = [{"SegmentIdentificationSequence": item(ReferencedSegmentNumber=number)} for number in segments]
    one = enhanced(masks, positions, SEG, "SEG", frames=frames)
    one.BitsAllocated = one.BitsStored = 1
    one.HighBit = 0
    one.PixelData = pack_bits(masks.astype(np.uint8))
    return one


def test_one_bit_is_0_and_1(tmp_path):
    masks = RNG.integers(0, 2, (4, 5, 7))  # frames of 35 bits
    file = save(segmentation(masks, UP, [1] * 4), tmp_path / "x.dcm")
    np.testing.assert_array_equal(pydicom.dcmread(file).pixel_array, masks)
    volume = read_volume(file)
    np.testing.assert_array_equal(volume.array, masks)
    np.testing.assert_allclose(volume.affine, AFFINE)


def test_segments_are_chosen(tmp_path):
    masks = RNG.integers(0, 2, (8, 5, 7))
    file = save(segmentation(masks, [*UP, *UP], [1] * 4 + [2] * 4), tmp_path / "x.dcm")
    refusal(file, r"ReferencedSegmentNumber 1, 2")
    np.testing.assert_array_equal(read_volume(f"{file}::1").array, masks[4:])


# --- mosaics ----------------------------------------------------------------------------------------------------------


def csa(**values):
    """A Siemens CSA2 header."""
    raw = b"SV10\4\3\2\1" + struct.pack("<2I", len(values), 77)
    for name, (kind, items) in values.items():
        raw += name.encode().ljust(64, b"\0") + struct.pack("<i4s3i", len(items), kind.encode(), 0, len(items), 77)
        for text in items:
            data = text.encode() + b"\0"
            raw += struct.pack("<4i", len(data), len(data), 77, len(data)) + data + bytes(-len(data) % 4)
    return raw


def mosaic(count=5, normal=(0, 0, 1), size=(4, 6), **tags):
    """`count` slices tiled in a square, and the picture's slices (z, y, x)."""
    across = int(np.ceil(np.sqrt(count)))
    picture = RNG.integers(0, 4000, (across * size[0], across * size[1]))
    tiles = picture.reshape(across, size[0], across, size[1]).swapaxes(1, 2).reshape(-1, *size)[:count]
    one = slice_of(0, picture, sop_class=MR, modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
                   SpacingBetweenSlices=3.3, Manufacturer="SIEMENS", **tags)  # fmt: skip
    told = csa(NumberOfImagesInMosaic=("US", [str(count)]), SliceNormalVector=("FD", [f"{n:.8f}" for n in normal]),
               AcquisitionMatrixText=("SH", ["4*6"]))  # fmt: skip
    one.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    one.add_new(0x00291010, "OB", told)
    return one, tiles


@pytest.mark.parametrize("normal", [(0, 0, 1), (0, 0, -1)])
def test_a_mosaic_is_cut_into_its_slices(tmp_path, normal):
    one, tiles = mosaic(normal=normal)
    file = save(one, tmp_path / "x.dcm")
    volume = read_volume(file)
    np.testing.assert_array_equal(volume.array, tiles[:: int(normal[2])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom import dicomwrappers  # which warns that it is experimental

        other = dicomwrappers.wrapper_from_file(file)
        data, affine = other.get_data(), np.diag([-1, -1, 1, 1]) @ other.affine
    for index in ((0, 0, 0), (3, 2, 4), (1, 3, 0)):  # column, row, slice as nibabel counts them: where each value lies
        column, row, k = index
        place = affine @ [row, column, k, 1]
        x, y, z, _ = np.rint(np.linalg.inv(volume.affine) @ place).astype(int)
        assert volume.array[z, y, x] == data[row, column, k]


def test_a_tilted_mosaic(tmp_path):
    c, s = np.cos(0.3), np.sin(0.3)
    one, tiles = mosaic(normal=(0, -s, c), ImageOrientationPatient=[1, 0, 0, 0, round(c, 8), round(s, 8)])
    volume = read_volume(save(one, tmp_path / "x.dcm"))
    np.testing.assert_array_equal(volume.array, tiles)
    assert volume.spacing == pytest.approx((3.3, 0.8, 0.7), rel=1e-6)


def test_mosaics_that_do_not_tell_enough_are_refused(tmp_path):
    one, _ = mosaic()
    del one[0x00291010]
    refusal(save(one, tmp_path / "a" / "x.dcm"), "Siemens mosaic .* does not tell their number and direction")
    one, _ = mosaic(normal=(1, 0, 0))
    refusal(save(one, tmp_path / "b" / "x.dcm"), "do not follow each other along their normal")
    one, _ = mosaic()
    del one.SpacingBetweenSlices
    refusal(save(one, tmp_path / "c" / "x.dcm"), "mosaic without a SpacingBetweenSlices")
    one, _ = mosaic()
    one[0x00291010].value = one[0x00291010].value[:90]
    refusal(save(one, tmp_path / "d" / "x.dcm"), "Siemens mosaic")


# --- single files -----------------------------------------------------------------------------------------------------


def test_a_single_file_is_a_volume_only_if_it_is_all_there_is(tmp_path):
    expected = series_in(tmp_path / "one", 1)
    np.testing.assert_array_equal(read_volume(tmp_path / "one" / "IM0000.dcm").array, expected)
    assert read_volume(tmp_path / "one" / "IM0000.dcm").spacing == (2.5, 0.8, 0.7)
    series_in(tmp_path / "two", 2, name="IM{}")
    refusal(tmp_path / "two" / "IM0", "it is one slice of a series; give the folder")
    refusal(save(slice_of(0, SliceThickness=None), tmp_path / "flat" / "x.dcm"), "one slice without a thickness")
    save(slice_of(1, series="1.2.8"), tmp_path / "one" / "other.dcm")
    assert read_volume(tmp_path / "one" / "IM0000.dcm").shape == (1, 4, 6)


def test_a_table_within_functional_groups_is_no_error_of_the_reader(tmp_path):
    one = enhanced(RNG.integers(0, 9, (4, 5, 6)), UP)
    one.SharedFunctionalGroupsSequence = Sequence([])
    refusal(save(one, tmp_path / "x.dcm"), "is missing")
