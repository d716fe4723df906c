"""Stored values of DICOM pixels: their lengths, their meaning, headers that cannot be true. pydicom is the oracle."""

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from tests.support.dicom import item, rescaled, save, series_in, slice_of
from tfmed.io import ImageIntegrityError, read_geometry, read_volume

pytestmark = pytest.mark.current
RNG = np.random.default_rng(0)


def refusal(path, words):
    with pytest.raises(ImageIntegrityError, match=words) as error:
        read_volume(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))


@pytest.mark.parametrize("change", [-2, -10, -24, 2, 24])
def test_pixels_of_another_length_are_refused(tmp_path, change):
    """What was missing used to be what lay in memory: voxels of the scan that was read before."""
    series_in(tmp_path)
    one = slice_of(1)
    one.PixelData = one.PixelData[:change] if change < 0 else one.PixelData + bytes(change)
    save(one, tmp_path / "IM0001.dcm")
    refusal(tmp_path, rf"IM0001\.dcm: it has {48 + change} bytes of pixels, its header tells 48")


def test_what_an_uncompressed_file_lacks_at_its_end_is_noticed(tmp_path):
    series_in(tmp_path)
    raw = (tmp_path / "IM0003.dcm").read_bytes()
    (tmp_path / "IM0003.dcm").write_bytes(raw[:-7])
    refusal(tmp_path, r"IM0003\.dcm: it ends early: it has 41 of 48 bytes")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_monochrome1_is_a_rule_for_screens(tmp_path, bits, signed):
    half = 1 << bits - 1
    low, high = (-half, half) if signed else (0, 2 * half)
    pixels = RNG.integers(low, high, (4, 6))
    pixels[0, :2] = low, high - 1
    expected = series_in(tmp_path, 3, pixels=pixels, bits=bits, signed=signed, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_volume(tmp_path).array, expected)


def test_bits_above_the_value_do_not_count(tmp_path):
    pixels = RNG.integers(0, 4096, (4, 6))
    series_in(tmp_path, 3, pixels=pixels | 0xA000, bits=12)
    np.testing.assert_array_equal(read_volume(tmp_path).array[1], pixels - 1024)
    series_in(tmp_path, 3, pixels=pixels | 0xA000, bits=12, PixelRepresentation=1)
    np.testing.assert_array_equal(read_volume(tmp_path).array[1], np.where(pixels > 2047, pixels - 4096, pixels) - 1024)


@pytest.mark.parametrize(("slope", "dtype"), [("2", "int16"), ("40", "int32"), ("0.5", "float32")])
def test_each_slice_has_its_own_rescaling(tmp_path, slope, dtype):
    files = [tmp_path / f"{k}.dcm" for k in range(3)]
    for k, file in enumerate(files):
        save(slice_of(k, RNG.integers(0, 3000, (4, 6)), RescaleSlope=slope, RescaleIntercept=k), file)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == dtype
    np.testing.assert_allclose(volume.array, [rescaled(file) for file in files])


def with_table(k, table, first=0, bits=16):
    one = slice_of(k, np.arange(24).reshape(4, 6), RescaleSlope=None, RescaleIntercept=None)
    entry = item(ModalityLUTType="HU")
    entry.add_new("LUTDescriptor", "US", [len(table), first, bits])
    entry.add_new("LUTData", "OW", np.asarray(table, "<u2").tobytes())
    one.ModalityLUTSequence = Sequence([entry])
    return one


def test_a_modality_table_is_applied(tmp_path):
    table = RNG.integers(0, 1000, 10)
    for k in range(3):
        file = save(with_table(k, table, first=4), tmp_path / f"{k}.dcm")
    one = pydicom.dcmread(file)
    expected = pydicom.pixels.apply_modality_lut(one.pixel_array, one)
    np.testing.assert_array_equal(read_volume(tmp_path).array, [expected] * 3)
    assert expected[0, 0] == table[0] and expected[-1, -1] == table[-1]


def test_a_modality_table_that_cannot_be_true(tmp_path):
    one = with_table(0, RNG.integers(0, 9, 10))
    one.ModalityLUTSequence[0].LUTDescriptor = [30, 0, 16]
    refusal(save(one, tmp_path / "a" / "x.dcm"), "tells 30 entries of 16 bits and has 20 bytes")
    one = with_table(0, RNG.integers(0, 9, 10))
    one.RescaleSlope = 2
    refusal(save(one, tmp_path / "b" / "x.dcm"), "both a ModalityLUTSequence")


NONSENSE = {
    "more bits than there are": ({"BitsStored": 17}, "17 bits stored of 16"),
    "a high bit within the value": ({"HighBit": 3}, "high bit 3"),
    "no bits": ({"BitsStored": 0}, "0 bits stored"),
    "bits of another size": ({"BitsAllocated": 12}, "of 12, high bit"),
    "bytes where there are words": ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "48 bytes of pixels"),
    "a sign of 2": ({"PixelRepresentation": 2}, "pixel representation 2"),
    "rows": ({"Rows": 65535}, "its header tells 786420"),
    "fewer rows": ({"Rows": 3}, "its header tells 36"),
    "no columns": ({"Columns": 0}, "0 columns"),
    "slope": ({"RescaleSlope": 0}, r"RescaleSlope \(0028,1053\) is 0"),
    "spacing": ({"PixelSpacing": [0, 0.7]}, "pixel spacing"),
    "frames": ({"NumberOfFrames": 0}, r"NumberOfFrames \(0028,0008\) is 0"),
    "many frames": ({"NumberOfFrames": 2}, "its header tells 96"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_headers_that_are_nonsense_in_all_slices_alike(tmp_path, name):
    tags, words = NONSENSE[name]
    for k in range(3):
        save(slice_of(k, **tags), tmp_path / f"{k}.dcm")
    refusal(tmp_path, words)


def relabel(file, syntax):
    """Another transfer syntax in the file's header, and nothing else."""
    raw = file.read_bytes()
    at = raw.index(b"\x02\0\x10\0UI") + 6
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    end = at + 2 + int.from_bytes(raw[at : at + 2], "little")
    file.write_bytes(raw[:at] + len(new).to_bytes(2, "little") + new + raw[end:])


@pytest.mark.parametrize(("true", "told", "words"), [
    (ExplicitVRLittleEndian, JPEG2000Lossless, "its pixels are kept as they are"),
    (ExplicitVRLittleEndian, "1.2.840.10008.1.2.99.7", "which is not known"),
    (ExplicitVRLittleEndian, "1.2.840.113619.5.2", "not known|value representations"),
    (ExplicitVRLittleEndian, ImplicitVRLittleEndian, "tells implicit value representations, its data are explicit"),
    (ImplicitVRLittleEndian, ExplicitVRLittleEndian, "tells explicit value representations, its data are implicit"),
    (ExplicitVRLittleEndian, ExplicitVRBigEndian, "is missing"),
    (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, "not a readable DICOM image"),
    (RLELossless, ExplicitVRLittleEndian, "kept in compressed fragments"),
    (RLELossless, JPEG2000Lossless, "its pixels begin as an unknown stream"),
])  # fmt: skip
def test_a_transfer_syntax_that_does_not_fit(tmp_path, true, told, words):
    for k in range(3):
        one = slice_of(k)
        if true == RLELossless:
            one.compress(RLELossless)
        one.file_meta.TransferSyntaxUID = true
        relabel(save(one, tmp_path / f"{k}.dcm"), told)
    refusal(tmp_path, words)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_encodings(tmp_path, syntax):
    pixels = RNG.integers(0, 4000, (3, 4, 6))
    for k in range(3):
        one = slice_of(k, pixels[k])
        one.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            one.PixelData = pixels[k].astype(">u2").tobytes()
        save(one, tmp_path / f"{k}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, pixels - 1024)
    assert read_geometry(tmp_path).shape == (3, 4, 6)


def test_run_lengths(tmp_path):
    """Compressed and MONOCHROME1; a stream that ends early is refused."""
    for k in range(3):
        one = slice_of(k, PhotometricInterpretation="MONOCHROME1")
        one.compress(RLELossless)
        save(one, tmp_path / f"{k}.dcm")
    expected = [rescaled(tmp_path / f"{k}.dcm") for k in range(3)]
    np.testing.assert_array_equal(read_volume(tmp_path).array, expected)
    one = slice_of(1)
    one.compress(RLELossless)
    one.PixelData = pydicom.encaps.encapsulate(
        [next(pydicom.encaps.generate_frames(one.PixelData, number_of_frames=1))[:-8]]
    )
    save(one, tmp_path / "1.dcm")
    refusal(tmp_path, r"1\.dcm: its compressed pixels are damaged")


def compressed(folder, syntax, **tags):
    """A series compressed by ITK: signed 16 bits."""
    import SimpleITK as sitk

    pixels = RNG.integers(-500, 500, (3, 24, 32)).astype("int16")
    folder.mkdir()
    for k in range(3):
        image = sitk.GetImageFromArray(pixels[k])
        for tag, text in {"0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0060": "CT", "0020|000e": "1.2.9",
                          "0020|0032": f"0\\0\\{k}", "0020|0037": "1\\0\\0\\0\\1\\0"}.items():  # fmt: skip
            image.SetMetaData(tag, text)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(syntax)
        writer.Execute(image)
        one = pydicom.dcmread(folder / f"{k}.dcm")
        for name, value in tags.items():
            setattr(one, name, value)
        one.save_as(folder / f"{k}.dcm")
    return pixels


@pytest.mark.parametrize(("compressor", "syntax"), [("JPEG", JPEGLosslessSV1), ("JPEG2000", JPEG2000Lossless)])
def test_compressed_series(tmp_path, compressor, syntax):
    pixels = compressed(tmp_path / "s", compressor, PhotometricInterpretation="MONOCHROME1", RescaleIntercept=3)
    assert pydicom.dcmread(tmp_path / "s" / "0.dcm").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_volume(tmp_path / "s").array, pixels + 3)
    one = pydicom.dcmread(tmp_path / "s" / "1.dcm")
    stream = next(pydicom.encaps.generate_frames(one.PixelData, number_of_frames=1))
    one.PixelData = pydicom.encaps.encapsulate([stream[: len(stream) // 2]])
    one.save_as(tmp_path / "s" / "1.dcm")
    refusal(tmp_path / "s", r"1\.dcm: its compressed pixels end too early")
