"""HVSMR 2016: whole-heart MR of patients with congenital heart disease, in three packs."""

import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, nothing, only_once

_LAYOUT = (
    "training_axial_full_pat<number>.nii.gz and, in Ground truth/, training_axial_full_pat<number>-label.nii.gz "
    "(other packs: axial_crop, sa_crop)"
)
_PACKS = ("axial_full", "axial_crop", "sa_crop")
_NAME = re.compile(
    r"(?P<part>training|testing|test)_(?P<pack>axial_full|axial_crop|sa_crop)_pat(?P<number>[0-9]+)"
    r"(?P<label>[-_]label)?\.nii(\.gz)?",
    re.IGNORECASE,
)


def hvsmr2016(root: PathLike | None = None, pack: str = "axial_full") -> list[Case]:
    """The scans "mr" of one pack, with labels 1 (ventricular myocardium) and 2 (blood pool).

    A scan is a patient's only one; `meta["part"]` is "train" or "test" as its name says. Test scans have no label.

    Args:
        root: a folder at any depth of which the files lie.
        pack: "axial_full" (whole volumes), "axial_crop" or "sa_crop" (around the heart, the latter in short axis).

    Raises:
        DataError: the folder is missing or holds no scan of the pack, a label has no scan, or a scan stands twice.
    """
    if pack not in _PACKS:
        raise DataError(f"source hvsmr2016: pack must be {', '.join(_PACKS[:-1])} or {_PACKS[-1]}; got {pack!r}")
    base = folder(root, "hvsmr2016", _LAYOUT)
    found = [(match, path) for path in files_below(base) if (match := _NAME.fullmatch(path.name))]
    found = [(match, path) for match, path in found if match["pack"].lower() == pack]
    scans, labels = (
        only_once([(_key(match), path) for match, path in found if bool(match["label"]) == wanted], "hvsmr2016")
        for wanted in (False, True)
    )
    if not scans:
        raise nothing(base, f"hvsmr2016 (pack {pack})", _LAYOUT)
    if lost := sorted(set(labels) - set(scans)):
        raise DataError(f"{labels[lost[0]]}: a label without its scan; copy the scan again, or remove the label")
    return [
        Case(f"{part}-pat{number}", f"{part}-pat{number}", {"mr": str(path)},
             str(labels[part, number]) if (part, number) in labels else None, {"part": part})
        for (part, number), path in sorted(scans.items())
    ]  # fmt: skip


def _key(match):
    """(part, number of the patient)."""
    return "train" if match["part"].lower() == "training" else "test", int(match["number"])
