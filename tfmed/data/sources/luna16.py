"""LUNA16: subset0 .. subset9 of MetaImage scans, and a table of nodules."""

import math

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_rows

from .listing import folder, hidden, identity, nothing

_LAYOUT = "subset0/ ... subset9/ with <SeriesUID>.mhd and .raw, and annotations.csv"
_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")


def luna16(root: PathLike | None = None, lung_masks: bool = False) -> list[Case]:
    """The scans of LUNA16 with their nodules.

    `meta["nodules"]` lists dict(centre_mm, radius_mm): RAS x, y, z in mm (the table's world coordinates are LPS) and
    half the annotated diameter. `meta["subset"]` is the number of the official fold. A scan is its own group: the data
    set does not tell patients.

    Args:
        root: the folder with `subset*` and `annotations.csv` (also found in `CSVFILES/`).
        lung_masks: give the masks in `seg-lungs-LUNA16` as labels.

    Raises:
        DataError: the folder, the scans, the table or a wanted mask is missing, or a row of the table is malformed.
    """
    base = folder(root, "luna16", _LAYOUT)
    scans = [
        path for path in sorted(base.glob("subset*/**/*")) if path.suffix.lower() == ".mhd" and not hidden(path, base)
    ]
    if not scans:
        raise nothing(base, "luna16", _LAYOUT)
    nodules = _nodules(base)
    return [_case(path, base, nodules.get(path.stem, []), lung_masks) for path in scans]


def _case(path, base, nodules, lung_masks):
    label = base / "seg-lungs-LUNA16" / path.name if lung_masks else None
    if label is not None and not label.is_file():
        raise DataError(f"{label}: missing; download seg-lungs-LUNA16, or set data.options.lung_masks=false")
    name, subset = identity(path.stem), path.relative_to(base).parts[0].removeprefix("subset")
    meta = {"nodules": nodules, "subset": int(subset) if subset.isdigit() else subset}
    return Case(name, name, {"ct": str(path)}, None if label is None else str(label), meta)


def _nodules(base):
    """SeriesUID -> list of nodules."""
    tables = [path for path in (base / "annotations.csv", base / "CSVFILES" / "annotations.csv") if path.is_file()]
    if not tables:
        raise DataError(f"{base}: has no annotations.csv; source luna16 expects {_LAYOUT}")
    try:
        columns, rows = read_rows(tables[0])
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if not set(_COLUMNS) <= set(columns):
        raise DataError(f"{tables[0]}: its first line must name the columns {', '.join(_COLUMNS)}")
    found = {}
    for number, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        found.setdefault(row.get("seriesuid"), []).append(_nodule(row, f"{tables[0]}: line {number}"))
    return found


def _nodule(row, where):
    try:
        x, y, z, diameter = (float(row[name].replace(",", ".")) for name in _COLUMNS[1:])
    except (KeyError, ValueError):
        raise DataError(f"{where} is not a uid and four numbers; copy the table again") from None
    if not all(math.isfinite(v) for v in (x, y, z)) or not 0 < diameter < 1000:
        raise DataError(f"{where} has coordinates or a diameter out of range; copy the table again")
    return {"centre_mm": (-x, -y, z), "radius_mm": 0.5 * diameter}
