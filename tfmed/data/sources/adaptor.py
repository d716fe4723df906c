"""AdaptOR 2021: frames of mitral valve repair, real and of a simulator, with the points where sutures go in or out."""

import pathlib

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.picture_header import check_picture
from tfmed.io.points import read_points_json
from tfmed.io.stack import SUFFIXES

from .listing import files_below, folder, identity, nothing, only_once, unique

_LAYOUT = "<surgery>/<video>/images/*.png and <surgery>/<video>/point_labels/*.json"
COLOURS = ("red", "green", "blue")


def adaptor(root: PathLike | None = None, domain: str | None = None) -> list[Case]:
    """The frames (images "red", "green", "blue"), `meta["points"]` being [x, y] of each point in pixels.

    A surgery is a group. A frame without a JSON file, as in test data, has no entry "points"; one whose file lists none
    has an empty list. Files of AdaptOR's form and of labelme's are read.

    Args:
        root: the folder of one domain.
        domain: what `meta["domain"]` shall say, such as intraop or sim.

    Raises:
        DataError: the folder is missing or holds no frame; points without a frame, or that cannot be right.
    """
    base = folder(root, "adaptor", _LAYOUT)
    frames, labels = [], []
    for path in files_below(base):
        kind = path.parent.name
        if kind == "images" and path.suffix.lower() in SUFFIXES:
            frames.append((path.parent.parent / path.stem, path))
        elif kind == "point_labels" and path.suffix.lower() == ".json":
            labels.append((path.parent.parent / path.stem, path))
    found, points = only_once(frames, "adaptor"), only_once(labels, "adaptor")
    if not found:
        raise nothing(base, "adaptor", _LAYOUT)
    if lost := sorted(set(points) - set(found)):
        raise DataError(f"{points[lost[0]]}: is of no frame in images/; copy that again, or remove this file")
    places = sorted(found)
    parts = [place.relative_to(base).parts for place in places]
    if short := [place for place, names in zip(places, parts, strict=True) if len(names) < 2]:
        raise DataError(f"{found[short[0]]}: lies in no folder of a surgery; source adaptor expects {_LAYOUT}")
    names = unique(["-".join(one[-3:]) for one in parts], ["-".join(one) for one in parts])
    told = {} if domain is None else {"domain": domain}
    return [
        _case(name, identity(one[0]), found[place], points.get(place), told)
        for name, one, place in zip(names, parts, places, strict=True)
    ]


def _case(name: str, surgery: str, frame: pathlib.Path, label: pathlib.Path | None, told: dict[str, str]) -> Case:
    meta = dict(told)
    if label is not None:
        try:
            meta["points"] = read_points_json(label, size_of(frame)).tolist()
        except ImageIntegrityError as error:
            raise DataError(str(error)) from None
    return Case(name, surgery, channels(frame), None, meta)


def channels(path: pathlib.Path) -> dict[str, str]:
    """{colour: address} of a picture."""
    return {colour: f"{path}::{colour}" for colour in COLOURS}


def size_of(path: pathlib.Path) -> tuple[int, int]:
    """(width, height) of a picture, as its header tells.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return check_picture(path).size
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
