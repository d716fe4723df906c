"""HAM10000: dermatoscopic pictures in two folders, and one table of what they show."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_rows

from .adaptor import channels
from .listing import files_below, folder, nothing

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
_LAYOUT = "HAM10000_metadata(.csv) and, anywhere below, ISIC_*.jpg"
_NEEDED = ("lesion_id", "image_id", "dx")


def ham10000(root: PathLike | None = None, classes: tuple[str, ...] = CLASSES) -> list[Case]:
    """A case per picture (images "red", "green", "blue"); `meta["class"]` is the diagnosis, and the lesion the group.

    Several pictures show one lesion: they stay in one part of any split.

    Args:
        root: the folder with the table and the pictures' folders.
        classes: diagnoses that are kept, of akiec, bcc, bkl, df, mel, nv and vasc.

    Raises:
        DataError: the folder or the table is missing, columns or pictures that it names are, or there is no such
            class.
    """
    if not classes or not set(classes) <= set(CLASSES):
        raise DataError(f"source ham10000: classes are some of {', '.join(CLASSES)}; got {classes}")
    base = folder(root, "ham10000", _LAYOUT)
    files = files_below(base)
    tables = [path for path in files if path.stem == "HAM10000_metadata" and path.suffix in ("", ".csv", ".tab")]
    if not tables:
        raise nothing(base, "ham10000", _LAYOUT)
    pictures = {path.stem: path for path in files if path.suffix.lower() in (".jpg", ".jpeg")}
    try:
        columns, rows = read_rows(tables[0])
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if missing := [name for name in _NEEDED if name not in columns]:
        raise DataError(f"{tables[0]}: has no column {missing[0]}; it names {', '.join(columns)}")
    found = {}
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        where, name = f"{tables[0]}:{line}", row.get("image_id", "")
        if row.get("dx") not in CLASSES:
            raise DataError(f"{where}: dx is {row.get('dx')!r}; it may be {', '.join(CLASSES)}")
        if row["dx"] not in classes:
            continue
        if name not in pictures:
            raise DataError(f"{where}: no picture {name}.jpg below {base}; unpack both parts of the pictures there")
        if name in found:
            raise DataError(f"{where}: picture {name} was named already; keep one of the lines")
        found[name] = Case(name, row["lesion_id"], channels(pictures[name]), None, {"class": row["dx"]})
    if not found:
        raise nothing(base, "ham10000", f"{_LAYOUT} of the classes {', '.join(classes)}")
    return [found[name] for name in sorted(found)]
