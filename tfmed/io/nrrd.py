"""NRRD headers, as far as needed to know that the data are complete."""

import re

import numpy as np

from tfmed.files import PathLike
from tfmed.io.errors import damage
from tfmed.io.payload import beside, check_payload, check_sizes, check_words, read_header
from tfmed.io.units import in_millimetres

SIZES = {
    1: "signed char, int8, int8_t, uchar, unsigned char, uint8, uint8_t",
    2: "short, short int, signed short, signed short int, int16, int16_t, ushort, unsigned short, unsigned short int, "
       "uint16, uint16_t",
    4: "int, signed int, int32, int32_t, uint, unsigned int, uint32, uint32_t, float",
    8: "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t, ulonglong, "
       "unsigned long long, unsigned long long int, uint64, uint64_t, double",
}  # fmt: skip
ITEMSIZE = {name: size for size, names in SIZES.items() for name in names.split(", ")}
GEOMETRY = ("spacings", "spacedirections", "spaceorigin", "thicknesses", "axismins", "axismaxs", "measurementframe")
REPAIR = "write the file again"


def check(path: PathLike, voxels: bool = True) -> int:
    """Bytes of voxels of an intact file; without `voxels` only the header is looked at.

    Raises:
        ImageIntegrityError: header and data contradict each other, the data are damaged, or are kept in a form
            (text, bzip2, lists of files, skipped lines) that is not read.
    """
    fields, end = _fields(path)
    check_words(fields, GEOMETRY, path, unknown=("none", "nan", "+nan", "-nan"))
    itemsize = ITEMSIZE.get(fields.get("type", "").lower())
    if itemsize is None:
        raise damage(path, f"its type is {fields.get('type', 'missing')}", "convert it to a volume of real numbers")
    sizes = fields.get("sizes", "")
    if not re.fullmatch(r"\d{1,18}(\s+\d{1,18})*", sizes) or fields.get("dimension") != str(len(sizes.split())):
        raise damage(path, "its sizes and dimension contradict each other", REPAIR)
    count = check_sizes([int(word) for word in sizes.split()], itemsize, path)
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise damage(path, f"its encoding {encoding or '(missing)'} is not read", "write it again as raw or gzip")
    if any(fields.get(skip, "0") != "0" for skip in ("lineskip", "byteskip")):
        raise damage(path, "its voxels stand behind skipped lines or bytes", REPAIR)
    data, start = (beside(path, fields["datafile"]), 0) if "datafile" in fields else (path, end)
    if voxels:
        check_payload(path, data, start, count, encoding != "raw")
    return count


def millimetres(path: PathLike) -> np.ndarray:
    """How many mm a unit of each world axis is, `(3,)`.

    Raises:
        ImageIntegrityError: the header tells no spacing for three axes, or lengths in an unknown unit.
    """
    fields, _ = _fields(path)
    directions, spacings = fields.get("spacedirections"), fields.get("spacings", "")
    known = [k for k, word in enumerate(spacings.split()) if word.lower().lstrip("+-") != "nan"]
    if (directions.count("(") if directions is not None else len(known)) < 3:
        raise damage(path, "its header tells no spacing for its three axes", "write it with spacings in mm")
    units = [in_millimetres(unit, path) for unit in _quoted(fields.get("spaceunits", ""))]
    axes = _quoted(fields.get("units", ""))
    if directions is None and axes:  # a header with both is refused by ITK
        units = [in_millimetres(axes[k], path) for k in known if k < len(axes)]
    return np.array(units[-3:] if len(units) >= 3 else [*units, 1.0, 1.0, 1.0][:3])


def _quoted(text: str) -> list[str]:
    """The quoted words of a value; they are UTF-8 in a header that is otherwise ASCII."""
    return [word.encode("latin-1").decode("utf-8", "replace") for word in re.findall(r'"([^"]*)"', text)]


def _fields(path: PathLike) -> tuple[dict[str, str], int]:
    """({field without spaces: value}, where the data begin); an empty line, or the file's end, ends the header."""
    block, fields = read_header(path), dict[str, str]()
    if not re.match(rb"NRRD000[1-5]\r?\n", block):
        raise damage(path, "it does not begin with a NRRD header", "give a NRRD file, or copy it again")
    at = block.index(b"\n") + 1
    while True:
        end = block.find(b"\n", at)
        line = block[at : end if end >= 0 else len(block)].rstrip(b"\r")
        at = end + 1 if end >= 0 else len(block)
        if not line:
            return fields, at
        match = re.match(rb"^([^:#]+): (.*)$", line)
        if match is None and not line.startswith(b"#") and b":=" not in line:
            raise damage(path, "its NRRD header is damaged or incomplete")
        if match is not None:
            key, value = (text.decode("latin-1").strip() for text in match.groups())
            key = key.replace(" ", "").lower()
            if key in fields:
                raise damage(path, f"its header has {key} twice", REPAIR)
            fields[key] = value
