"""The ADAM challenge: time-of-flight MR angiography of heads, some with untreated or treated aneurysms."""

import math
import pathlib
import re
from typing import Any

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_text

from .listing import files_below, folder, nothing, only_once, unique

_LAYOUT = "<case>/orig/TOF.nii.gz or <case>/pre/TOF.nii.gz, <case>/aneurysms.nii.gz and <case>/location.txt"
_TOF, _LABEL = ("tof.nii.gz", "tof.nii"), ("aneurysms.nii.gz", "aneurysms.nii")
_STRUCTURAL = ("struct_aligned.nii.gz", "struct_aligned.nii")
_STAGES = ("pre", "orig")
_SCAN = re.compile(r"([0-9]+)[BF]")


def adam(
    root: PathLike | None = None, stage: str = "orig", treated: str = "background", structural: bool = False
) -> list[Case]:
    """The cases of ADAM (image "tof") with untreated aneurysms as label 1.

    `meta["aneurysms"]` lists dict(centre_zyx, radius_mm) of the untreated ones, from `location.txt`: the centre of mass
    in voxels of the image (the file's order is x, y, z), and the largest radius, which the challenge compares with
    distances in mm. `tfmed.data.aneurysms.aneurysms_of` makes spheres of them. An empty file is a case without any;
    where there is no file, as in test cases, the entry is missing. Stored labels are 1 (untreated) and 2 (treated, or
    artefacts of that; the challenge leaves it out of its scores). Cases whose numbers differ alone in a last B
    (baseline) or F (follow-up) are of one patient.

    Args:
        root: the folder of the release.
        stage: "orig" images, or "pre" (bias corrected), on the same grid.
        treated: what treated aneurysms count as, "background" or "aneurysm".
        structural: give the structural image on the grid of the TOF (`pre/struct_aligned`) as image "struct" as well.

    Raises:
        DataError: the folder is missing or holds no case; labels or locations without an image; a wanted structural
            image is missing; a location is malformed; an option is unknown.
    """
    if stage not in _STAGES or treated not in ("background", "aneurysm"):
        raise DataError("source adam: stage must be orig or pre, and treated background or aneurysm; "
                        f"got {stage!r}, {treated!r}")  # fmt: skip
    base = folder(root, "adam", _LAYOUT)
    kinds: dict[str, list[tuple[pathlib.Path, pathlib.Path]]] = {name: [] for name in ("tof", "struct", "label", "txt")}
    for path in files_below(base):
        name, above = path.name.lower(), path.parent
        if name in _TOF and above.name == stage and above != base:
            kinds["tof"].append((above.parent, path))
        elif name in _STRUCTURAL and above.name == "pre" and above != base:
            kinds["struct"].append((above.parent, path))
        elif name in _LABEL or name == "location.txt":
            kinds["label" if name in _LABEL else "txt"].append((above, path))
    found = {kind: only_once(pairs, "adam") for kind, pairs in kinds.items()}
    if not found["tof"]:
        raise nothing(base, "adam", _LAYOUT)
    for kind in ("label", "txt"):
        if lost := sorted(set(found[kind]) - set(found["tof"])):
            raise DataError(f"{found[kind][lost[0]]}: belongs to no {stage}/TOF; copy that again, or remove this file")
    if bare := sorted(set(found["tof"]) - set(found["struct"])) if structural else []:
        raise DataError(f"{bare[0]}: has no pre/struct_aligned; add it, or set data.options.structural=false")
    places = sorted(found["tof"])
    names = unique([place.name for place in places], ["-".join(place.relative_to(base).parts) for place in places])
    return [
        _case(name, {kind: found[kind].get(place) for kind in found}, treated, structural)
        for name, place in zip(names, places, strict=True)
    ]


def _case(name: str, files: dict[str, pathlib.Path | None], treated: str, structural: bool) -> Case:
    meta: dict[str, Any] = {"label_values": {0: 0, 1: 1, 2: int(treated == "aneurysm")}}
    if files["txt"] is not None:
        meta["aneurysms"] = _locations(files["txt"])
    images = {"tof": str(files["tof"])} | ({"struct": str(files["struct"])} if structural else {})
    scan = _SCAN.fullmatch(name)
    return Case(name, scan[1] if scan else name, images, None if files["label"] is None else str(files["label"]), meta)


def _locations(path: pathlib.Path) -> list[dict[str, Any]]:
    """The aneurysms of a `location.txt`: lines of x, y, z and radius."""
    try:
        lines = read_text(path).splitlines()
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            x, y, z, radius = (float(cell) for cell in line.split(","))
        except ValueError:
            raise DataError(f"{path}: line {number} is not x, y, z, radius; copy the file again") from None
        if not all(0 <= v < 1e5 for v in (x, y, z)) or not 0 < radius < 100 or math.isnan(x + y + z + radius):
            raise DataError(f"{path}: line {number} has a voxel or a radius out of range; copy the file again")
        found.append({"centre_zyx": (z, y, x), "radius_mm": radius})
    return found
