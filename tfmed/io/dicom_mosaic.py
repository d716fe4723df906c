"""Siemens mosaics: all slices of a volume tiled in one picture, their geometry in a private header."""

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfmed.io.dicom_header import Header
from tfmed.io.dicom_order import Slice
from tfmed.io.errors import damage

GREATEST_COUNT = 1024
GREATEST_FIELDS = 1000
FIX = "export it as enhanced MR or as single slices, or convert it with dcm2niix"


def is_mosaic(header: Header) -> bool:
    """Whether a Header is that of a mosaic."""
    return "MOSAIC" in header.text("ImageType").upper().split("\\")


def tiles(whole: Slice, header: Header) -> Iterator[tuple[Any, tuple[int, int], np.ndarray]]:
    """The slices in a mosaic, as (index into the picture, size (y, x), position of the first voxel in LPS mm).

    The header's position is that of a picture of the mosaic's size around the slice's centre; the private CSA header
    tells the number of slices and the direction in which they follow each other.

    Raises:
        ImageIntegrityError: number, direction or distance of the slices are not told, or do not fit the picture.
    """
    count, normal = _private(header)
    across = math.ceil(math.sqrt(count))
    (rows, columns), between = whole.size, float(header.numbers("SpacingBetweenSlices", [0.0])[0])
    if rows % across or columns % across:
        raise damage(header.path, f"it is a Siemens mosaic of {count} slices, whose {rows} x {columns} pixels cannot "
                                  f"be cut into {across} x {across} tiles", FIX)  # fmt: skip
    if between <= 0:
        raise damage(header.path, "it is a Siemens mosaic without a SpacingBetweenSlices (0018,0088)", FIX)
    if abs(normal @ whole.normal) < 0.999:
        raise damage(
            header.path, "it is a Siemens mosaic whose slices do not follow each other along their normal", FIX
        )
    size = rows // across, columns // across
    first = whole.position + sum(
        axis * step * (all_ - tile) / 2
        for axis, step, all_, tile in zip(whole.axes, whole.spacing[::-1], (columns, rows), size[::-1], strict=True)
    )
    for number in range(count):
        row, column = divmod(number, across)
        tile = np.s_[row * size[0] : (row + 1) * size[0], column * size[1] : (column + 1) * size[1]]
        yield tile, size, first + normal * between * number


def _private(header: Header) -> tuple[int, np.ndarray]:
    """(number of slices, their unit normal) from the CSA header."""
    element: Any = header.elements.get("CSAImageHeaderInfo")
    try:
        told = _fields(bytes(element.value))
        count = int(told["NumberOfImagesInMosaic"][0])
        normal = np.array([float(number) for number in told["SliceNormalVector"]])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error):  # it may hold anything
        count, normal = 0, np.zeros(3)
    length = np.linalg.norm(normal) if normal.shape == (3,) else 0.0
    if not 1 <= count <= GREATEST_COUNT or not 0.9 < length < 1.1:
        raise damage(header.path, "it is a Siemens mosaic (all slices tiled in one picture) whose private header does "
                                  "not tell their number and direction", FIX)  # fmt: skip
    return count, normal / length


def _fields(data: bytes) -> dict[str, list[str]]:
    """{name: texts} of a CSA header, version 1 or 2, as far as it is whole."""
    second = data[:4] == b"SV10"
    at = 8 if second else 0
    count, _ = struct.unpack_from("<2I", data, at)
    at, base = at + 8, None
    found: dict[str, list[str]] = {}
    for _ in range(min(count, GREATEST_FIELDS)):
        name, values, _, _, items, _ = struct.unpack_from("<64si4s3i", data, at)
        at, base, texts = at + 84, items if base is None else base, []
        for _ in range(min(items, GREATEST_FIELDS)):
            first, length, _, _ = struct.unpack_from("<4i", data, at)
            length = length if second else first - base
            at += 16
            texts.append(data[at : at + length].split(b"\0")[0].decode("latin-1").strip())
            at += -(-length // 4) * 4
            if length < 0:
                return found
        found[name.split(b"\0")[0].decode("latin-1")] = texts[: values or None]
    return found
