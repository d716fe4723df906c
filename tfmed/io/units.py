"""Lengths in the headers of files: everything becomes millimetres, or is refused."""

from tfmed.files import PathLike
from tfmed.io.errors import damage

_NAMES = {
    1.0: "mm, millimeter, millimeters, millimetre, millimetres",
    1e-3: "um, \u00b5m, \u03bcm, micron, microns, micrometer, micrometers, micrometre, micrometres",
    1e-6: "nm, nanometer, nanometers, nanometre, nanometres",
    10.0: "cm, centimeter, centimeters, centimetre, centimetres",
    1e3: "m, meter, meters, metre, metres",
}
_FACTORS = {name: factor for factor, names in _NAMES.items() for name in names.split(", ")}


def in_millimetres(unit: str, path: PathLike) -> float:
    """How many mm one `unit` is; an empty one is taken as mm.

    Raises:
        ImageIntegrityError: the unit is none of length that is known.
    """
    name = unit.strip().lower()
    if name and name not in _FACTORS:
        raise damage(path, f"its lengths are in {unit!r}", "write it with a spacing in mm")
    return _FACTORS.get(name, 1.0)
