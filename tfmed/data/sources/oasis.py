"""OASIS-1: T1 volumes in the atlas space of Talairach, and a table of who has dementia."""

import pathlib
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_rows

from .listing import files_below, folder, nothing

CONTROL, DEMENTIA = "CN", "AD"
_LAYOUT = "disc*/OAS1_NNNN_MR1/PROCESSED/MPRAGE/T88_111/*_t88_masked_gfc.hdr (.img) and oasis_cross-sectional.csv"
_SESSION = re.compile(r"(OAS1_\d{4})_MR1$")
_IMAGE = "_t88_masked_gfc.hdr"


def oasis(root: PathLike | None = None, table: str = "oasis_cross-sectional.csv") -> list[Case]:
    """A case per subject: image "t1" (skull-stripped, gain-corrected, 1 mm), `meta["class"]` "CN" or "AD".

    AD is a clinical dementia rating above 0; young subjects were not rated and are controls. Second visits (`_MR2`) are
    left out. Left and right cannot be told from these files, see `tfmed.io.analyze`.

    Args:
        root: the folder with the discs and the table.
        table: name of the table, anywhere below.

    Raises:
        DataError: the folder or the table is missing, a subject has no line or no rating that is a number, or a session
            has several such images.
    """
    base = folder(root, "oasis", _LAYOUT)
    files = files_below(base)
    images: dict[str, pathlib.Path] = {}
    for path in files:
        found = next((m for part in path.parts if (m := _SESSION.match(part))), None)
        if found is None or not path.name.endswith(_IMAGE):
            continue
        if found[1] in images:
            raise DataError(f"{path}: is a second image of {found[1]} beside {images[found[1]]}; keep one of them")
        images[found[1]] = path
    if not images:
        raise nothing(base, "oasis", _LAYOUT)
    tables = [path for path in files if path.name == table]
    if not tables:
        raise DataError(f"{base}: has no {table}; source oasis takes the diagnoses from it")
    ratings = _ratings(tables[0])
    if missing := sorted(images.keys() - ratings.keys()):
        raise DataError(f"{tables[0]}: has no line of {missing[0]}_MR1; add it, or remove the subject's folder")
    return [Case(name, name, {"t1": str(path)}, None, {"class": DEMENTIA if ratings[name] > 0 else CONTROL})
            for name, path in sorted(images.items())]  # fmt: skip


def _ratings(path):
    """{subject: clinical dementia rating} of the first visits in a table; 0 where there is none."""
    try:
        columns, rows = read_rows(path)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if missing := [name for name in ("ID", "CDR") if name not in columns]:
        raise DataError(f"{path}: has no column {missing[0]}; it names {', '.join(columns)}")
    found = {}
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        subject, rating = _SESSION.match(row["ID"]), row.get("CDR", "")
        if subject is None:
            continue
        try:
            found[subject[1]] = float(rating) if rating.strip() not in ("", "N/A") else 0.0
        except ValueError:
            raise DataError(f"{path}:{line}: CDR is {rating!r}, which is no number; correct or empty it") from None
    return found
