"""MoNuSeg (2018): nuclei of several organs in pictures of tissue, outlined in XML files."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import OUTLINES

from .adaptor import channels
from .listing import files_below, folder, nothing, only_once

_LAYOUT = "Tissue Images/<id>.tif and Annotations/<id>.xml, or <id>.tif and <id>.xml side by side"


def monuseg(root: PathLike | None = None) -> list[Case]:
    """Pictures (images "red", "green", "blue") whose label is 1 within the outlines of nuclei.

    A patient is a group: the first twelve letters of a picture's name, as TCGA writes them.

    Args:
        root: the folder of one part of the release, such as `MoNuSeg 2018 Training Data`.

    Raises:
        DataError: the folder is missing or holds no such picture, or outlines are of none.
    """
    base = folder(root, "monuseg", _LAYOUT)
    files = files_below(base)
    pictures = only_once([(path.stem, path) for path in files if path.suffix.lower() in (".tif", ".tiff", ".png")],
                         "monuseg")  # fmt: skip
    drawn = only_once([(path.stem, path) for path in files if path.suffix.lower() == ".xml"], "monuseg")
    if not pictures:
        raise nothing(base, "monuseg", _LAYOUT)
    if lost := sorted(drawn.keys() - pictures.keys()):
        raise DataError(
            f"{drawn[lost[0]]}: outlines nuclei of no picture {lost[0]}.tif; copy that, or remove this file"
        )
    return [Case(name, name[:12] if name.startswith("TCGA-") else name, channels(path),
                 f"{drawn[name]}::{OUTLINES}:{path.resolve()}" if name in drawn else None)
            for name, path in pictures.items()]  # fmt: skip
