"""KiTS19: one folder per case with the CT and, for 210 of the 300, the segmentation."""

import pathlib

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, nothing, only_once, unique

_LAYOUT = "data/case_00000/{imaging,segmentation}.nii.gz, data/case_00001/..."
_FILES = {f"{stem}.nii{end}": stem for stem in ("imaging", "segmentation") for end in ("", ".gz")}


def kits19(root: PathLike | None = None) -> list[Case]:
    """The cases of KiTS19; label values are 1 (kidney) and 2 (tumour). A case without segmentation has no label.

    Args:
        root: the challenge's repository, or its folder `data`.

    Raises:
        DataError: the folder is missing or holds no case; a case lacks its image, is there twice or in two encodings.
    """
    base = folder(root, "kits19", _LAYOUT)
    cases: dict[pathlib.Path, list[tuple[str, pathlib.Path]]] = {}
    for path in files_below(base):
        if path.name.lower() in _FILES:
            cases.setdefault(path.parent, []).append((_FILES[path.name.lower()], path))
    if not cases:
        raise nothing(base, "kits19", _LAYOUT)
    only_once([(place.name, place) for place in cases], "kits19")
    found = {place: only_once(files, "kits19") for place, files in cases.items()}
    bare = [place for place, paths in found.items() if "imaging" not in paths]
    if bare:
        more = f" ({len(bare)} cases are like this)" if len(bare) > 1 else ""
        raise DataError(f"{bare[0]}: has no imaging.nii.gz{more}; the repository holds the segmentations alone, fetch "
                        "the images with its script")  # fmt: skip
    names = unique([place.name for place in found], [place.name for place in found])
    return [
        Case(name, name, {"ct": str(paths["imaging"])}, _text(paths.get("segmentation")))
        for name, paths in zip(names, found.values(), strict=True)
    ]


def _text(path):
    return None if path is None else str(path)
