"""MetaImage headers (.mha, .mhd), as far as needed to know that the data file is complete."""

import re

import numpy as np

from tfmed.files import PathLike
from tfmed.io.errors import damage
from tfmed.io.payload import beside, check_payload, check_sizes, check_words, read_header
from tfmed.io.units import in_millimetres

SIZES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "LONG_LONG": 8,
         "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}  # fmt: skip
GEOMETRY = ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "TransformMatrix", "Rotation",
            "Orientation", "CenterOfRotation")  # fmt: skip
REPAIR = "write the file again"


def check(path: PathLike, voxels: bool = True) -> int:
    """Bytes of voxels of an intact file; without `voxels` only the header is looked at.

    Raises:
        ImageIntegrityError: header and data contradict each other, the data are damaged, or are kept in a form
            (text, lists of slices) that is not read.
    """
    fields, end = _fields(path)
    check_words(fields, GEOMETRY, path)
    itemsize = SIZES.get(fields.get("ElementType", "").removeprefix("MET_"))
    if itemsize is None:
        raise damage(path, f"its ElementType is {fields.get('ElementType', 'missing')}", REPAIR)
    sizes = _numbers(fields, "DimSize", path)
    if [len(sizes)] != _numbers(fields, "NDims", path):
        raise damage(path, "NDims and DimSize contradict each other", REPAIR)
    for key in (key for key in GEOMETRY if key in fields):
        if len(fields[key].split()) not in (len(sizes), len(sizes) ** 2):
            raise damage(path, f"its {key} is {fields[key][:40]}, which is too short or too long", REPAIR)
    channels = _numbers(fields, "ElementNumberOfChannels", path, "1")
    count = check_sizes(sizes + channels, itemsize, path)
    if _flag(fields, "BinaryData", "True") is False or _numbers(fields, "HeaderSize", path, "0") != [0]:
        raise damage(path, "its voxels are text or stand behind a foreign header", "write it again as binary data")
    name = fields["ElementDataFile"]
    if name.split()[:1] == ["LIST"] or "%" in name:
        raise damage(path, "its slices are in many files", "write it again as one .mha")
    local = name.upper() == "LOCAL"
    data, start = (path, end) if local else (beside(path, name), 0)
    if voxels:
        check_payload(path, data, start, count, _flag(fields, "CompressedData", "False"))
    return count


def millimetres(path: PathLike) -> np.ndarray:
    """How many mm a unit of each world axis is, `(3,)`.

    Raises:
        ImageIntegrityError: the header tells no spacing, or lengths in an unknown unit.
    """
    fields, _ = _fields(path)
    if not (fields.get("ElementSpacing") or fields.get("ElementSize")):
        raise damage(path, "its header tells no ElementSpacing", "write it with a spacing in mm")
    return np.full(3, in_millimetres(fields.get("DistanceUnits", ""), path))


def _fields(path: PathLike) -> tuple[dict[str, str], int]:
    """({key: value}, where the header ends); ElementDataFile is its last line by definition."""
    block, fields, at = read_header(path), {}, 0
    while "ElementDataFile" not in fields:
        end = block.find(b"\n", at)
        match = re.match(rb"^\s*([^=]+?)\s*=\s*(.*?)\s*$", block[at:end]) if end >= 0 else None
        if match is None:
            raise damage(path, "its MetaImage header is damaged or incomplete")
        key, value = (text.decode("latin-1") for text in match.groups())
        if key in fields:
            raise damage(path, f"its header has {key} twice", REPAIR)
        fields[key], at = value, end + 1
    return fields, at


def _numbers(fields: dict[str, str], key: str, path: PathLike, default: str = "") -> list[int]:
    text = fields.get(key, default)
    if not re.fullmatch(r"-?\d{1,18}(\s+-?\d{1,18})*", text):
        raise damage(path, f"its {key} is {text or 'missing'}", REPAIR)
    return [int(word) for word in text.split()]


def _flag(fields: dict[str, str], key: str, default: str) -> bool:
    return fields.get(key, default)[:1] in "Tt1"
