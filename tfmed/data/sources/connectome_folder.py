"""A folder of connectome matrices, whose sub-folders are classes."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.connectome import SUFFIXES

from .listing import files_below, folder, group_of, nothing, only_once, unique

_LAYOUT = f"matrices ({', '.join(SUFFIXES)}) in one sub-folder per class"


def connectome_folder(root: PathLike | None = None, group_pattern: str | None = None) -> list[Case]:
    """Connectomes below a folder, found recursively; `meta["class"]` is the first sub-folder on the way to a file.

    Args:
        root: the folder.
        group_pattern: regular expression with one group, searched in the file's path below `root`: the subject that a
            matrix belongs to. Without it every file is a subject of its own.

    Raises:
        DataError: the folder is missing or holds no such file; a file lies in no class or is there in two formats; a
            malformed pattern.
    """
    base = folder(root, "connectome_folder", _LAYOUT)
    files = [path for path in files_below(base) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise nothing(base, "connectome_folder", _LAYOUT)
    only_once([(path.with_suffix(""), path) for path in files], "connectome_folder")
    cases = []
    places = [path.relative_to(base) for path in files]
    names = unique([path.stem for path in files], ["-".join(place.with_suffix("").parts) for place in places])
    for name, path, place in zip(names, files, places, strict=True):
        if len(place.parts) < 2:
            raise DataError(f"{path}: lies in no folder of a class; source connectome_folder expects {_LAYOUT}")
        group = group_of(place.as_posix(), group_pattern, path, "connectome_folder") or name
        cases.append(Case(name, group, {"connectome": str(path)}, None, {"class": place.parts[0]}))
    return cases
