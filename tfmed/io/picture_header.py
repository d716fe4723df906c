"""Headers of PNG, JPEG, TIFF and BMP: how large an image is, before a library takes its word for it."""

import dataclasses
import math
import os
import struct

from tfmed.files import open_file
from tfmed.io.compression import GREATEST_RATIO
from tfmed.io.errors import damage
from tfmed.io.geometry import check_memory

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's colour types
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits of each, likewise
_LONGEST_JPEG = 65500  # what libjpeg reads
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # JPEG markers between those of frames, which are none
_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF's types of whole numbers
_WIDTH, _HEIGHT, _BITS, _PACKING, _TURN, _SAMPLES = 256, 257, 258, 259, 274, 277
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_TAGS = (_WIDTH, _HEIGHT, _BITS, _PACKING, _TURN, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT)
_LONGEST_TILE = 1 << 15
_BEST_PACKING = 1 << 16  # of a TIFF: blank pages of a fax


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a header tells.

    Args:
        count: bytes of all pixels.
        ratio: how many bytes of pixels one of the file can be at most.
        opacity: whether there is a second channel beside grey.
        size: (width, height) in pixels, of the first page.
    """

    count: int
    ratio: int
    opacity: bool
    size: tuple[int, int] = (0, 0)


class _Broken(Exception):
    """Why a header cannot be read, in words that fit into a sentence."""


def check_picture(path):
    """The Kind of a picture whose header can be true.

    Raises:
        ImageIntegrityError: it is no PNG, JPEG, TIFF or BMP, its pages form a circle, or it announces more pixels than
            the file can hold or the machine's memory.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            kind = _kind(file, size)
    except OSError as error:
        raise damage(path, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    except (_Broken, struct.error) as error:
        raise damage(path, str(error) if isinstance(error, _Broken) else "its header ends too early") from None
    if kind.count == 0:
        raise damage(path, "its header announces no pixels")
    if kind.count > size * kind.ratio:
        raise damage(path, f"its {size} bytes cannot hold the {kind.count} bytes of pixels that its header announces")
    check_memory(kind.count, path)
    return kind


def _kind(file, size):
    start = file.read(32)
    if not start:
        raise _Broken("the file is empty")
    if start[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(start)
    if start[:2] == b"\xff\xd8":
        return _jpeg(file, size)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(file, "<" if start[:1] == b"I" else ">", big=start[2:3] == b"+" or start[3:4] == b"+")
    if start[:2] == b"BM":
        return _bmp(start)
    raise _Broken("it is neither PNG nor JPEG nor TIFF nor BMP")


def _bmp(start):
    length, width, height, _, bits = struct.unpack_from("<IiiHH", start, 14)
    if length < 40 or width <= 0 or bits not in (8, 24):
        raise _Broken("it is no BMP of 8 or 24 bits per pixel")
    return Kind(abs(height) * math.ceil(width * bits / 8), 1, False, (width, abs(height)))


def _png(start):
    width, height, depth, colour = struct.unpack_from(">IIBB", start, 16)
    if start[12:16] != b"IHDR" or depth not in _DEPTHS.get(colour, ()):
        raise _Broken("its PNG header is damaged")
    count = height * math.ceil(width * _CHANNELS[colour] * depth / 8)
    return Kind(count, GREATEST_RATIO, colour == 4, (width, height))


def _jpeg(file, size):
    file.seek(max(size - 64, 0))
    if b"\xff\xd9" not in file.read():  # libjpeg fills what is missing with grey and only mutters about it
        raise _Broken("the JPEG ends too early")
    at = 2
    while True:
        file.seek(at)
        mark, code, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF or code == 0xDA:
            raise _Broken("its JPEG header is damaged")
        if code == 0xFF:  # padding
            at += 1
        elif 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            _, height, width, channels = struct.unpack(">BHHB", file.read(6))
            if max(height, width) > _LONGEST_JPEG:
                raise _Broken(f"it has more than {_LONGEST_JPEG} pixels in a row or column")
            return Kind(height * width * channels, GREATEST_RATIO, False, (width, height))
        else:
            at += 2 + length


def _tiff(file, order, big):
    file.seek(8 if big else 4)
    offset, seen, count, ratio, opacity = _next_page(file, order, big), set(), 0, 1, False
    size = None
    while offset:
        if offset in seen:
            raise _Broken("its pages form a circle")
        seen.add(offset)
        page = _page(file, order, big, offset)
        if page.get(_TURN, 1) not in (1, 4):  # ITK turns upside down, and gives four channels for the others
            raise _Broken("it is stored turned or mirrored")
        if max(page.get(_TILE_WIDTH, 0), page.get(_TILE_HEIGHT, 0)) > _LONGEST_TILE:
            raise _Broken("its tiles are too large")
        bits, samples = page.get(_BITS, 1), page.get(_SAMPLES, 1)
        count += page.get(_HEIGHT, 0) * math.ceil(page.get(_WIDTH, 0) * samples * bits / 8)
        ratio = ratio if page.get(_PACKING, 1) == 1 else _BEST_PACKING
        opacity |= samples == 2
        size = size or (page.get(_WIDTH, 0), page.get(_HEIGHT, 0))
        offset = _next_page(file, order, big)
    if not seen:
        raise _Broken("it has no page")
    return Kind(count, ratio, opacity, size)


def _next_page(file, order, big):
    return struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))[0]


def _page(file, order, big, offset):
    """{tag: its first number} of a page; the file then stands behind its tags."""
    form, length, inline = ("Q", 20, 12) if big else ("H", 12, 8)
    if offset >= 1 << 62:
        raise _Broken("a page is said to begin behind its end")
    file.seek(offset)
    (entries,) = struct.unpack(order + form, file.read(struct.calcsize(order + form)))
    if entries > 1 << 16:
        raise _Broken("its TIFF header is damaged")
    block = file.read(entries * length)
    found = {}
    for at in range(0, entries * length, length):
        tag, kind = struct.unpack_from(order + "HH", block, at)
        (many,) = struct.unpack_from(order + ("Q" if big else "I"), block, at + 4)
        if tag in _TAGS and kind in _SIZES and many:
            found[tag] = _number(file, order, block[at + inline : at + length], _SIZES[kind], many)
    file.seek(offset + struct.calcsize(order + form) + entries * length)
    return found


def _number(file, order, value, form, many):
    """The first of a tag's numbers, which stand elsewhere where there are too many (the bits of three channels)."""
    size = struct.calcsize(order + form)
    if many * size > len(value):
        here = file.tell()
        file.seek(min(int.from_bytes(value, "little" if order == "<" else "big"), 1 << 62))
        value = file.read(size)
        file.seek(here)
    return struct.unpack(order + form, value[:size])[0]
