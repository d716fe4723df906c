"""What one DICOM file tells before its pixels. Only tags named here are loaded: none of them is about the patient."""

import collections
import dataclasses
import os
import pathlib
import struct
import threading
import warnings

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword

from tfmed.files import open_file
from tfmed.io.dicom_tags import (
    DEFLATED,
    GROUPS,
    NAMES,
    PIXEL_DATA,
    PRIVATE_TAGS,
    SHORTS,
    TAGS,
    described,
    kind_of,
)
from tfmed.io.errors import ImageIntegrityError, damage

AGAIN = "export the series again"
_READING = threading.Lock()  # the filters of warnings are the whole process's


@dataclasses.dataclass(frozen=True)
class Header:
    """The wanted tags of a file, or of one of its frames.

    Args:
        path: the file.
        elements: keyword -> raw element; where a frame has its own, that one.
        little: whether numbers are little-endian.
        syntax: the transfer syntax UID, "" where the file does not tell.
        start: byte at which the value of PixelData begins; 0 where there is none, or where the file is deflated.
        length: bytes of PixelData; None where it is in compressed fragments.
    """

    path: pathlib.Path
    elements: collections.ChainMap
    little: bool
    syntax: str
    start: int
    length: int | None

    def text(self, name):
        """The text of a tag, "" where it is absent or empty."""
        element = self.elements.get(name)
        if element is None or element.value is None:
            return ""
        value = element.value
        if isinstance(value, bytes):
            return value.decode("latin-1").strip(" \0\r\n\t")
        return "\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    def numbers(self, name, default=None, count=1):
        """The finite numbers of a tag, float64 `(count,)`; `default` where it is absent and may be.

        Raises:
            ImageIntegrityError: it is missing, or not `count` finite numbers.
        """
        value = self.value(name)
        if value == "" and default is not None:
            return np.asarray(default, np.float64)
        values = np.array(value if isinstance(value, tuple) else [], np.float64)
        if len(values) != count or not np.isfinite(values).all():
            shown = value if isinstance(value, str) else "\\".join(f"{number:g}" for number in value)
            raise damage(self.path, f"its {described(name)} is {shown or 'missing'}", AGAIN)
        return values

    def integer(self, name, default=None):
        """One whole number.

        Raises:
            ImageIntegrityError: as `numbers`, or it is no whole number.
        """
        value = float(self.numbers(name, None if default is None else [default])[0])
        if not value.is_integer():
            raise damage(self.path, f"its {described(name)} is {value:g}, which is no whole number", AGAIN)
        return int(value)

    def value(self, name):
        """What a tag holds as something that can be compared: a tuple of numbers, else its text."""
        element = self.elements.get(name)
        kind = SHORTS.get(getattr(element, "VR", None) or kind_of(name))
        if element is not None and kind and isinstance(element.value, bytes):
            order = "<" if self.little else ">"
            count = len(element.value) // struct.calcsize(kind)
            return struct.unpack_from(f"{order}{count}{kind}", element.value) or ""
        text = self.text(name)
        return tuple(_decimals(text)) or text

    def items(self, name):
        """The items of a sequence, each as a Header.

        Raises:
            ImageIntegrityError: the sequence is damaged.
        """
        return [self._of(one) for one in self._read_items(name, _named)]

    def frames(self):
        """One Header per frame, its functional groups spread out; [self] where there are none.

        Raises:
            ImageIntegrityError: the groups are damaged, or are those of another number of frames.
        """
        count = self.integer("NumberOfFrames", 1)
        shared, own = (self._read_items(name, _groups) for name in GROUPS)
        if own and len(own) != count:
            raise damage(self.path, f"it announces {count} frames and describes {len(own)}")
        if not shared and not own:
            return [self] * count
        return [self._of(one, *shared, self.elements) for one in own or [{}] * count]

    def _read_items(self, name, read):
        element = self.elements.get(name)
        if element is None or not element.value or isinstance(element.value, bytes):
            return []
        try:
            return [read(item) for item in element.value]
        except Exception:  # whatever a library makes of a damaged header
            raise damage(self.path, f"its {described(name)} is damaged") from None

    def _of(self, *maps):
        return dataclasses.replace(self, elements=collections.ChainMap(*maps))


def read_header(path, more=()):
    """The Header of a DICOM file.

    Args:
        path: the file.
        more: further keywords to load.

    Raises:
        ImageIntegrityError: the file is empty, cannot be read, or is not DICOM.
    """
    names = {**TAGS, **{name: tag_for_keyword(name) for name in more}}
    tags = [*names.values(), *PRIVATE_TAGS.values()]
    try:
        with _READING, open_file(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a value is told where the value is used
            if os.fstat(file.fileno()).st_size == 0:
                raise damage(path, "the file is empty")
            headless = not has_preamble(file)
            if headless and not any(file.peek(132)[:132]):  # zeros read as empty elements, to the end of the file
                raise damage(path, "it is not a readable DICOM image, as it begins with zeros")
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags, force=headless)
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            little = bool(dataset.original_encoding[1])
            place = (0, 0) if syntax == DEFLATED else _pixel_data(file, dataset.original_encoding[0], little)
            elements = _named(dataset, more)
            if "SOPClassUID" not in elements and "MediaStorageSOPClassUID" in dataset.file_meta:  # as in a DICOMDIR
                elements["SOPClassUID"] = dataset.file_meta["MediaStorageSOPClassUID"]
    except ImageIntegrityError:
        raise
    except Exception as error:  # whatever a library makes of a damaged header
        if isinstance(error, OSError) and error.strerror:
            raise damage(path, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
        elements = {}
    if "SOPClassUID" not in elements and "Rows" not in elements:
        raise damage(path, "it is not a readable DICOM image", "copy it again, or move it out of the folder")
    return Header(pathlib.Path(path), collections.ChainMap(elements), little, syntax, *place)


def has_preamble(file):
    """Whether an open file begins as DICOM files do; it is left at its begin."""
    start = file.read(132)
    file.seek(0)
    return start[128:] == b"DICM"


def looks_like_dicom(path):
    """Whether a file begins as DICOM does: with "DICM" behind its preamble, or with a tag of group 8 or 2."""
    try:
        with open_file(path) as file:
            start = file.read(132)
    except OSError:
        return False
    tagged = start[:1] in (b"\x08", b"\x02") and start[1:2] == start[3:4] == b"\0" and start[2] < 0x20
    return start[128:] == b"DICM" or (len(start) == 132 and tagged)


def _pixel_data(file, implicit, little):
    """(byte where the value of PixelData begins, its length, None if undefined); (0, 0) where there is none.

    Raises:
        ImageIntegrityError: the element is not written as the transfer syntax tells (implicit or explicit).
    """
    head = file.read(12)
    order = "<" if little else ">"
    size = 8 if implicit else 12
    if len(head) < size or struct.unpack(order + "HH", head[:4]) != PIXEL_DATA:
        return 0, 0
    explicit = head[4:8] in (b"OB\0\0", b"OW\0\0", b"UN\0\0")
    if explicit is bool(implicit):
        told, found = ("implicit", "explicit") if implicit else ("explicit", "implicit")
        raise damage(file.name, f"its transfer syntax tells {told} value representations, its data are {found}", AGAIN)
    length = struct.unpack(order + "I", head[size - 4 : size])[0]
    return file.tell() - len(head) + size, None if length == 0xFFFFFFFF else length


def _named(dataset, more=()):
    """{keyword: element} of the wanted tags of one dataset; sequences parsed, other values as they stand."""
    wanted = {**NAMES, **{tag_for_keyword(name): name for name in more}, **{v: k for k, v in PRIVATE_TAGS.items()}}
    found = {}
    for tag in dataset.keys() & wanted.keys():
        raw = dataset.get_item(tag)
        name = wanted[tag]
        found[name] = dataset[tag] if name.endswith("Sequence") else raw
    return found


def _groups(item):
    """The wanted elements anywhere below one item of functional groups."""
    found = {}
    for tag in list(item.keys()):  # not the items themselves, of which every value would be turned into Python's
        if _is_sequence(item.get_item(tag)):
            for below in item[tag].value:
                for name, value in {**_groups(below), **_named(below)}.items():
                    found.setdefault(name, value)
    return found


def _is_sequence(element):
    kind = element.VR
    if kind in (None, "UN") and pydicom.datadict.dictionary_has_tag(element.tag):
        kind = pydicom.datadict.dictionary_VR(element.tag)
    return kind == "SQ"


def _decimals(text):
    """The numbers in a decimal string; [] where it is none ("1_0" is one to Python alone)."""
    try:
        if "_" in text:
            return []
        return [float(word) for word in text.split("\\")]
    except ValueError:
        return []
