"""M&Ms: cine MR of six centres, labelled at the ends of diastole and systole."""

import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.tables import read_rows

from .listing import files_below, folder, nothing, only_once

_LAYOUT = "Training/Labeled/<code>/<code>_sa.nii.gz and <code>_sa_gt.nii.gz, and the table of the release (.csv)"
_NAME = re.compile(r"(?P<code>[A-Za-z0-9]+)_sa(?P<label>_gt)?\.nii(\.gz)?")
_PARTS = {"training": "train", "validation": "validation", "testing": "test"}
_COLUMNS = ("External code", "ED", "ES")


def mnms(root: PathLike | None = None, unlabelled: bool = False) -> list[Case]:
    """The labelled frames "mr" of the challenge, two of a patient: 1 left ventricle, 2 myocardium, 3 right ventricle.

    Files hold all phases of the heart's cycle; the table tells which two are labelled (counted from 0). An address
    such as `A0S9V9_sa.nii.gz::9` names one of them. `meta` has "phase" ("ED" or "ES"), "vendor" and "centre" where the
    table has them, and "part" where a folder of the release tells it. The group is the patient.

    Args:
        root: the folder that holds the table and the folders of the release, at any depth.
        unlabelled: also the ED frames of patients without labels.

    Raises:
        DataError: folder, table or a patient's line in it is missing; a frame is no number; a file stands twice.
    """
    base = folder(root, "mnms", _LAYOUT)
    files = files_below(base)
    found = [(match, path) for path in files if (match := _NAME.fullmatch(path.name))]
    scans, labels = (
        only_once([(match["code"], path) for match, path in found if bool(match["label"]) == wanted], "mnms")
        for wanted in (False, True)
    )
    if not scans:
        raise nothing(base, "mnms", _LAYOUT)
    if lost := sorted(set(labels) - set(scans)):
        raise DataError(f"{labels[lost[0]]}: labels without {lost[0]}_sa.nii.gz; copy the scan again, or remove them")
    if not labels and not unlabelled:
        raise DataError(f"{base}: no scan has labels; add them, or set the option unlabelled=true")
    table = _table([path for path in files if path.suffix.lower() == ".csv"], base)
    return [case for code, path in sorted(scans.items()) if unlabelled or code in labels
            for case in _cases(code, path, labels.get(code), table, base)]  # fmt: skip


def _table(files, base):
    """(file, {code: its line as {column: text}}) of the release's table."""
    for file in files:
        header, rows = read_rows(file)
        if set(_COLUMNS) <= set(header):
            lines = {number: dict(zip(header, row, strict=False)) for number, row in rows}
            places = [(line.get("External code"), f"{file} line {number}") for number, line in lines.items()]
            only_once(places, "mnms")
            return file, {line.get("External code"): line for line in lines.values()}
    raise DataError(f"{base}: no table (.csv) with the columns {', '.join(_COLUMNS)}, which tells the labelled frames; "
                    "copy that of the release here")  # fmt: skip


def _cases(code, path, label, table, base):
    file, lines = table
    if code not in lines:
        raise DataError(f"{path}: {file.name} has no line of {code}; add it, or remove the scan")
    line = lines[code]
    places = [name.lower() for name in (base.name, *path.relative_to(base).parts)]
    parts = [part for name, part in _PARTS.items() if name in places]
    meta = {"part": parts[0]} if parts else {}
    meta |= {key.lower(): line[key] for key in ("Vendor", "Centre") if line.get(key)}
    for phase in ("ED", "ES") if label else ("ED",):
        try:
            frame = int(line.get(phase, ""))
        except ValueError:
            told = f"{phase} of {code} is {line.get(phase, '')!r}"
            raise DataError(f"{file}: {told}; it must be the number of a frame") from None
        where = None if label is None else f"{label}::{frame}"
        yield Case(f"{code}-{phase}", code, {"mr": f"{path}::{frame}"}, where, {"phase": phase, **meta})
