"""What the sources of boxed pictures share: which files there are, and cases of those with their objects."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tfmed.data.case import Case
from tfmed.data.objects import plain
from tfmed.errors import DataError
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.objects import Objects
from tfmed.io.stack import SUFFIXES
from tfmed.io.tables import read_text

from .adaptor import channels
from .listing import files_below, group_of, nothing, unique


def pictures(base: pathlib.Path, source: str, layout: str) -> dict[str, pathlib.Path]:
    """{path below `base`: file} of its pictures.

    Raises:
        DataError: there are none.
    """
    files = {path.relative_to(base).as_posix(): path for path in files_below(base) if path.suffix.lower() in SUFFIXES}
    if not files:
        raise nothing(base, source, layout)
    return files


def listed(base: pathlib.Path, name: str | None) -> set[str] | None:
    """The images that a text file below `base` lists, one a line, with or without folder and suffix; None without one.

    Raises:
        DataError: it is not there or cannot be read.
    """
    if name is None:
        return None
    try:
        words = read_text(base / name).split("\n")
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    return {pathlib.PurePath(word.strip()).stem for word in words if word.strip()}


def object_cases(
    files: Mapping[str, pathlib.Path],
    objects: Callable[[str, pathlib.Path], Objects | None],
    source: str,
    group_pattern: str | None = None,
    labelled: set[str] | None = None,
    part: Callable[[pathlib.Path], str | None] = lambda path: None,
) -> list[Case]:
    """Cases of pictures (as "red", "green", "blue"), with `meta["objects"]` where they are annotated.

    Args:
        files: as of `pictures`.
        objects: (path below the root, file) -> its objects, or None where it is not annotated.
        source: name, for errors.
        group_pattern: as of `image_folder`.
        labelled: stems of the images whose objects are used; None: all that are annotated.
        part: file -> the part of the split that the data set names.

    Raises:
        DataError: objects cannot be right, or an image that is listed as labelled is not there.
    """
    stems = {path.stem for path in files.values()}
    if labelled is not None and (lost := sorted(labelled - stems)):
        raise DataError(f"source {source}: {lost[0]} is listed and not there; add the image, or remove the line")
    names = unique([path.stem for path in files.values()], [key.rpartition(".")[0] for key in files])
    found = []
    for name, (key, path) in zip(names, files.items(), strict=True):
        meta: dict[str, Any] = {}
        if (labelled is None or path.stem in labelled) and (there := objects(key, path)) is not None:
            meta["objects"] = plain(there)
        if named := part(path):
            meta["part"] = named
        found.append(Case(name, group_of(key, group_pattern, path, source) or name, channels(path), None, meta))
    return found
