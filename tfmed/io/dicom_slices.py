"""From one DICOM file to the slices in it, or to what it is instead."""

import dataclasses
import math
import pathlib

import numpy as np
from pydicom.uid import UID

from tfmed.io.dicom_header import AGAIN, read_header
from tfmed.io.dicom_mosaic import is_mosaic, tiles
from tfmed.io.dicom_order import Slice
from tfmed.io.dicom_pixels import pixels_of
from tfmed.io.dicom_tags import DEFLATED, DIMENSIONS, GROUPS, described
from tfmed.io.errors import ImageIntegrityError, damage

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# CT, MR, PET as they are, enhanced and converted, and segmentations: objects that are nothing if not slices
VOLUMES = {_STORAGE + end for end in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130", "66.4")} | {""}
SECONDARY_CAPTURES = {_STORAGE + end for end in ("7", "7.1", "7.2", "7.3", "7.4")}
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


@dataclasses.dataclass(frozen=True)
class Beside:
    """A DICOM object that is no slice.

    Args:
        path: its file.
        series: its SeriesInstanceUID.
        kind: what it is, in words.
        sop_class: its SOPClassUID.
        error: what is wrong if it ought to be a slice, else None.
        page: whether it is told to be derived, as the pages are on which a scanner writes its protocol.
    """

    path: pathlib.Path
    series: str
    kind: str
    sop_class: str
    error: ImageIntegrityError | None = None
    page: bool = False


def slices_in(path):
    """The Slices in one DICOM file, in their stored order; or a Beside.

    Raises:
        ImageIntegrityError: the file is damaged, is not DICOM, or its header contradicts itself.
    """
    header = read_header(path)
    sop_class = header.text("SOPClassUID")
    name = UID(sop_class).name if UID(sop_class).is_valid else "object of an unknown class"
    kind = name.removesuffix(" Storage")

    def beside(what, error=None):
        page = header.text("ImageType").upper().startswith("DERIVED")
        return Beside(header.path, header.text("SeriesInstanceUID"), f"{kind}{what}", sop_class, error, page)

    if sop_class not in VOLUMES and "Image" not in name and (header.start == 0 and header.syntax != DEFLATED):
        return beside("")
    if header.text("PhotometricInterpretation") not in ("", "MONOCHROME1", "MONOCHROME2"):
        return beside(" in colour")
    if header.integer("SamplesPerPixel", 1) != 1:
        return beside(" in colour")
    grouped = any(header.elements.get(name) is not None for name in GROUPS)
    if sop_class not in VOLUMES and not grouped and not header.text("ImagePositionPatient"):
        return beside(" without a place in space", _missing(header))
    pixels = pixels_of(header)
    frames = header.frames()
    if len(frames) > 1 and not grouped:
        error = damage(path, f"it has {len(frames)} frames and does not tell where each lies", AGAIN)
        return beside(" of several frames without places", error if sop_class in VOLUMES else None)
    if error := _missing(frames[0]):
        return beside(" without a place in space", error)
    if is_mosaic(header):
        return _mosaic(header, pixels)
    return [_slice(frame, number, header, pixels) for number, frame in enumerate(frames)]


def _missing(frame):
    """The error about what a frame does not tell of its place, or None."""
    for name in PLACE:
        if not frame.text(name):
            return damage(frame.path, f"its {described(name)} is missing", AGAIN)
    return None


def _slice(frame, number, header, pixels):
    slope, intercept, table = _rescaling(frame)
    between = float(frame.numbers("SpacingBetweenSlices", [0.0])[0])
    return Slice(
        path=header.path,
        frame=number,
        series=header.text("SeriesInstanceUID"),
        instance=header.text("SOPInstanceUID"),
        sop_class=header.text("SOPClassUID"),
        modality=header.text("Modality"),
        size=pixels.size,
        spacing=frame.numbers("PixelSpacing", count=2),
        position=frame.numbers("ImagePositionPatient", count=3),
        axes=frame.numbers("ImageOrientationPatient", count=6).reshape(2, 3),
        thickness=between if between > 0 else float(frame.numbers("SliceThickness", [0.0])[0]),
        tilt=float(frame.numbers("GantryDetectorTilt", [0.0])[0]),
        slope=slope,
        intercept=intercept,
        table=table,
        pixels=pixels,
        number=float((*_floats(frame.value("InstanceNumber")), 0.0)[0]),
        labels=tuple(frame.value(name) for name in DIMENSIONS),
    )


def _floats(value):
    return value if isinstance(value, tuple) else ()


def _mosaic(header, pixels):
    """Slices cut from the picture in which a Siemens scanner tiles them."""
    whole = _slice(header, 0, header, pixels)
    return [
        dataclasses.replace(whole, size=size, position=position, tile=tile)
        for tile, size, position in tiles(whole, header)
    ]


def _rescaling(frame):
    """(slope, intercept, look-up table or None).

    Raises:
        ImageIntegrityError: a slope of 0, or both a table and a slope.
    """
    table = _table(frame)
    told = frame.text("RescaleSlope") or frame.text("RescaleIntercept")
    if table is not None and told:
        raise damage(frame.path, "it has both a ModalityLUTSequence (0028,3000) and a RescaleSlope", AGAIN)
    slope, intercept = (
        float(frame.numbers(*pair)[0]) for pair in (("RescaleSlope", [1.0]), ("RescaleIntercept", [0.0]))
    )
    if slope == 0:
        raise damage(frame.path, f"its {described('RescaleSlope')} is 0, which leaves no values", AGAIN)
    return slope, intercept, table


def _table(frame):
    """(first stored value, values `(n,)`) of the Modality LUT, or None.

    Raises:
        ImageIntegrityError: its descriptor and its data contradict each other.
    """
    items = frame.items("ModalityLUTSequence")
    if not items:
        return None
    count, first, bits = (int(number) for number in items[0].numbers("LUTDescriptor", count=3))
    count = count or 1 << 16
    data = items[0].elements.get("LUTData")
    held = data.value if data is not None and isinstance(data.value, bytes) else b""
    size = 1 if len(held) in (count, count + 1) and bits <= 8 and count > 1 else 2
    if len(items) > 1 or not 1 <= bits <= 16 or not 0 <= len(held) - count * size <= 1:
        raise damage(frame.path, f"its ModalityLUTSequence (0028,3000) tells {count} entries of {bits} bits and has "
                                 f"{len(held)} bytes", AGAIN)  # fmt: skip
    kind = np.dtype(f"u{size}").newbyteorder("<" if frame.little else ">")
    return first, np.frombuffer(held, kind, count).astype(np.int32)


def values_of(stored, one):
    """Stored integers (y, x) as the values that they stand for; int64 where they are whole, else float64."""
    if one.table is not None:
        first, table = one.table
        start = first - (1 << 16) if one.pixels.signed and first >= 1 << 15 else first
        return table[np.clip(stored.astype(np.int64) - start, 0, len(table) - 1)]
    if one.whole:
        return stored.astype(np.int64) * int(one.slope) + int(one.intercept)
    return stored * np.float64(one.slope) + one.intercept


def limits_of(one):
    """The least and the greatest value that a slice can have."""
    if one.table is not None:
        return int(one.table[1].min()), int(one.table[1].max())
    ends = [end * one.slope + one.intercept for end in one.pixels.limits]
    return min(ends), max(ends)


def voxels(one):
    """Values in a slice: rows times columns."""
    return math.prod(one.size)
