"""The stored values of DICOM pixels, their lengths compared first, and what they mean.

How a picture is to be shown (MONOCHROME1, windows, palettes) never changes a value here.
"""

import dataclasses
import math
import os
import pathlib
import tempfile

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders import RLELosslessDecoder
from pydicom.uid import UID, RLELossless

from tfmed.files import open_file
from tfmed.io.dicom_header import AGAIN
from tfmed.io.dicom_tags import DEFLATED, described
from tfmed.io.errors import damage
from tfmed.io.itk import quiet

NATIVE = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", DEFLATED, "1.2.840.10008.1.2.2")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SMALLEST_FRAGMENT = 8  # bytes: the tag and the length of an empty one
BEGINS = {b"\xff\xd8": "JPEG", b"\xff\x4f": "JPEG 2000"}


@dataclasses.dataclass(frozen=True)
class Pixels:
    """How the pixels of one file are kept.

    Args:
        path: the file.
        start, length: where PixelData lies, see `Header`.
        syntax: the transfer syntax UID.
        little: whether numbers are little-endian.
        size: (rows, columns) of a frame.
        frames: their number.
        allocated, stored: bits of a pixel, and how many of them (the lowest) are its value.
        signed: whether the value is two's complement.
    """

    path: pathlib.Path
    start: int
    length: int | None
    syntax: str
    little: bool
    size: tuple
    frames: int
    allocated: int
    stored: int
    signed: bool

    @property
    def limits(self):
        """The least and the greatest value that can be stored."""
        half = 1 << self.stored - 1
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)

    @property
    def dtype(self):
        """Of the pixels in the file; one-bit pixels are unpacked to bytes."""
        kind = np.dtype(f"{'i' if self.signed else 'u'}{max(self.allocated // 8, 1)}")
        return kind.newbyteorder("<" if self.little else ">")


def pixels_of(header):
    """The Pixels that a Header describes.

    Raises:
        ImageIntegrityError: the description contradicts itself, or PixelData has another length than it tells.
    """
    path = header.path
    names = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    rows, columns, allocated, stored, high, signed = (header.integer(name) for name in names)
    if min(rows, columns) < 1:
        raise damage(path, f"its header tells {rows} rows and {columns} columns", AGAIN)
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1 or signed not in (0, 1):
        raise damage(path, f"its header tells {stored} bits stored of {allocated}, high bit {high}, pixel "
                           f"representation {signed}, which contradict each other", AGAIN)  # fmt: skip
    frames = header.integer("NumberOfFrames", 1)
    if frames < 1:
        raise damage(path, f"its {described('NumberOfFrames')} is {frames}", AGAIN)
    pixels = Pixels(path, header.start, header.length, header.syntax, header.little, (rows, columns), frames,
                    allocated, stored, signed == 1)  # fmt: skip
    _check_coding(pixels)
    return pixels


def _check_coding(pixels):
    """Whether transfer syntax, length and file fit together."""
    uid = UID(pixels.syntax)
    if pixels.syntax == DEFLATED:
        return  # checked once inflated
    if pixels.syntax not in NATIVE and not (uid.is_transfer_syntax and not uid.is_private and uid.is_encapsulated):
        raise damage(pixels.path, f"its transfer syntax is {pixels.syntax}, which is not known", AGAIN)
    if pixels.start == 0:
        raise damage(pixels.path, "it has no PixelData (7FE0,0010), or a header that ends too early", AGAIN)
    if (pixels.syntax in NATIVE) != (pixels.length is not None):
        kept = "as they are" if pixels.length is not None else "in compressed fragments"
        raise damage(pixels.path, f"its transfer syntax is {uid.name or 'missing'}, its pixels are kept {kept}", AGAIN)
    held = os.stat(pixels.path).st_size - pixels.start
    if pixels.length is not None:
        _check_length(pixels, pixels.length, held)
    elif pixels.frames * SMALLEST_FRAGMENT > held:
        raise damage(
            pixels.path, f"{held} compressed bytes cannot hold the {pixels.frames} frames that its header tells"
        )


def _check_length(pixels, length, held):
    """Whether `length` bytes are the frames that the header tells, and the file holds them."""
    needed = _bytes(pixels)
    if not needed <= length <= needed + 1:  # one byte pads to an even length
        rows, columns = pixels.size
        raise damage(pixels.path, f"it has {length} bytes of pixels, its header tells {needed}: {pixels.frames} "
                                  f"frame(s) of {rows} x {columns} pixels of {pixels.allocated} bits")  # fmt: skip
    if held < length:
        raise damage(pixels.path, f"it ends early: it has {max(held, 0)} of {length} bytes of pixels")


def _bytes(pixels):
    return (math.prod(pixels.size) * pixels.frames * pixels.allocated + 7) // 8


def stored_values(pixels):
    """Function `index of a frame -> stored integers (y, x)`; native files are read frame by frame.

    Raises:
        ImageIntegrityError: compressed pixels are damaged or incomplete (also by the function).
    """
    if pixels.syntax == DEFLATED:
        data = _inflated(pixels)
        return lambda frame: _clean(_native(pixels, frame, data), pixels)
    if pixels.length is not None:
        return lambda frame: _clean(_native(pixels, frame), pixels)
    fragments = _fragments(pixels)
    return lambda frame: _clean(_decoded(pixels, fragments[frame]), pixels)


def _native(pixels, frame, data=None):
    """One frame as it stands in the file or in `data`."""
    count = math.prod(pixels.size)
    first = frame * count
    if pixels.allocated == 1:  # frames follow each other without padding
        offset, skipped = divmod(first, 8)
        raw = _from(pixels, data, np.uint8, offset, (skipped + count + 7) // 8)
        return np.unpackbits(raw, bitorder="little")[skipped : skipped + count].reshape(pixels.size)
    return _from(pixels, data, pixels.dtype, first * pixels.dtype.itemsize, count).reshape(pixels.size)


def _from(pixels, data, dtype, offset, count):
    if data is not None:
        return np.frombuffer(data, dtype, count, offset)
    try:
        found = np.fromfile(pixels.path, dtype, count, offset=pixels.start + offset)
    except OSError as error:
        raise damage(pixels.path, f"it cannot be read ({error.strerror})", "check the permissions") from None
    if len(found) != count:
        raise damage(pixels.path, "it became shorter while it was read")
    return found


def _inflated(pixels):
    try:
        data = pydicom.dcmread(pixels.path, specific_tags=["PixelData"]).PixelData
    except Exception:
        raise damage(pixels.path, "its deflated pixels are damaged") from None
    _check_length(pixels, len(data), len(data))
    return data


def _fragments(pixels):
    """The compressed bytes of each frame."""
    try:
        with open_file(pixels.path) as file:
            file.seek(pixels.start)
            found = list(generate_frames(file.read(), number_of_frames=pixels.frames))
    except Exception as error:
        raise damage(pixels.path, f"its compressed pixels are damaged ({error})") from None
    if len(found) != pixels.frames:
        raise damage(pixels.path, f"it has {len(found)} compressed frames, its header tells {pixels.frames}")
    return found


def _decoded(pixels, fragment):
    """One compressed frame."""
    if pixels.syntax == RLELossless:
        return _run_lengths(pixels, fragment)
    _check_stream(pixels, fragment)
    plain = _alone(pixels, fragment)
    with tempfile.TemporaryDirectory(prefix="tfmed-") as folder:
        file = os.path.join(folder, "frame.dcm")
        plain.save_as(file, enforce_file_format=True)
        with quiet(pixels.path):
            array = sitk.GetArrayFromImage(sitk.ReadImage(file, imageIO="GDCMImageIO"))
    if array.size != math.prod(pixels.size) or array.dtype.kind not in "iu":
        raise damage(pixels.path, f"its compressed pixels are {array.shape}, its header says {pixels.size}")
    return array.reshape(pixels.size)


def _check_stream(pixels, fragment):
    """Decoders make up what a stream that ends early lacks."""
    name, last = UID(pixels.syntax).name, fragment.rstrip(b"\0")[-2:]
    family = BEGINS.get(fragment[:2], "an unknown stream")
    if "JPEG" in name and (("2000" in name) != (family == "JPEG 2000") or family not in BEGINS.values()):
        raise damage(pixels.path, f"its transfer syntax is {name}, its pixels begin as {family}", AGAIN)
    if "JPEG" in name and last != b"\xff\xd9":
        raise damage(pixels.path, "its compressed pixels end too early")


def _run_lengths(pixels, fragment):
    rows, columns = pixels.size
    try:
        array, _ = RLELosslessDecoder.as_array(
            encapsulate([fragment]), index=0, raw=True, rows=rows, columns=columns, samples_per_pixel=1,
            number_of_frames=1, bits_allocated=pixels.allocated, bits_stored=pixels.stored,
            photometric_interpretation="MONOCHROME2", pixel_representation=int(pixels.signed),
            pixel_keyword="PixelData")  # fmt: skip
    except Exception as error:
        raise damage(pixels.path, f"its compressed pixels are damaged ({error})") from None
    return array.reshape(pixels.size)


def _alone(pixels, fragment):
    """A data set of one frame and nothing else: GDCM inverts and rescales only what it is told to."""
    plain = pydicom.Dataset()
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = UID(pixels.syntax)
    plain.SOPClassUID, plain.SOPInstanceUID = SECONDARY_CAPTURE, "2.25.1"
    plain.Rows, plain.Columns = pixels.size
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    plain.BitsAllocated, plain.BitsStored, plain.HighBit = pixels.allocated, pixels.stored, pixels.stored - 1
    plain.PixelRepresentation = int(pixels.signed)
    plain.PixelData = encapsulate([fragment])
    plain["PixelData"].VR = "OB"
    plain["PixelData"].is_undefined_length = True
    return plain


def _clean(raw, pixels):
    """Without what older scanners keep in the bits above the value, such as overlays."""
    spare = 8 * pixels.dtype.itemsize - pixels.stored
    if spare == 0 or pixels.allocated == 1:
        return raw
    width = raw.dtype.itemsize
    native = raw.astype(f"{'i' if pixels.signed else 'u'}{width}")
    spare = 8 * width - pixels.stored
    return native << spare >> spare
