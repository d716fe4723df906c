"""ImageCLEF 2016: compound figures of biomedical articles with a box for each panel (task of figure separation)."""

import pathlib
import xml.etree.ElementTree as ElementTree

import numpy as np

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.objects import Objects, check_boxes
from tfmed.io.xml import read_xml

from .adaptor import size_of
from .listing import files_below, folder, only_once
from .pictured_objects import object_cases, pictures

_LAYOUT = (
    "FigureSeparationTraining2016/*.jpg and FigureSeparationTraining2016-GT.xml, FigureSeparationTest2016/*.jpg and "
    "FigureSeparationTest2016GT.xml, or one of the two parts"
)
_LARGEST = 1 << 27  # bytes of an XML, which holds all figures of a part
_CLASS = "panel"


def imageclef2016(root: PathLike | None = None) -> list[Case]:
    """Figures (as "red", "green", "blue") with `meta["objects"]`, all of class "panel".

    `meta["part"]` is "test" for figures of an XML with "test" in its name, "train" for those of others; figures that no
    XML names are not annotated.

    Args:
        root: the folder, with one XML for each part.

    Raises:
        DataError: the folder is missing or holds no figure or no XML; an XML names a figure that is not there, or that
            another one names; a panel has no corners, or lies outside of its figure.
    """
    base = folder(root, "imageclef2016", _LAYOUT)
    files = pictures(base, "imageclef2016", _LAYOUT)
    stems = only_once([(path.stem, path) for path in files.values()], "imageclef2016")
    tables = [path for path in files_below(base) if path.suffix.lower() == ".xml"]
    if not tables:
        raise DataError(f"{base}: holds no XML with panels; source imageclef2016 expects {_LAYOUT}")
    found: dict[str, tuple[pathlib.Path, np.ndarray]] = {}
    for table in tables:
        for stem, corners in _figures(table).items():
            if stem not in stems:
                raise DataError(f"{table}: names figure {stem[:80]!r}, which is not there; copy its part again")
            if stem in found:
                raise DataError(f"{stems[stem]}: is named by {found[stem][0]} and {table}; remove one of them")
            found[stem] = table, corners

    def objects(key, path):
        if path.stem not in found:
            return None
        table, boxes = found[path.stem]
        boxes = check_boxes(boxes, f"{table}: figure {path.stem}", size_of(path))
        return Objects(boxes, (_CLASS,) * len(boxes))

    def part(path):
        if path.stem not in found:
            return None
        return "test" if "test" in found[path.stem][0].stem.lower() else "train"

    return object_cases(files, objects, "imageclef2016", part=part)


def _figures(table: pathlib.Path) -> dict[str, np.ndarray]:
    """{figure: boxes `(n, 4)` around the corners of its panels} of a part's XML."""
    found: dict[str, np.ndarray] = {}
    root = read_xml(table, _LARGEST, "list of panels")
    for number, figure in enumerate(root.iter("annotation"), 1):
        name = (figure.findtext("filename") or "").strip()
        if not name:
            raise DataError(f"{table}: annotation {number} has no filename; copy the file again")
        stem = name[:-4] if name.lower().endswith((".jpg", ".png")) else name
        if stem in found:
            raise DataError(f"{table}: names figure {stem[:80]!r} twice; remove one of them")
        boxes = [_box(one, f"{table}: figure {stem}, panel {k}") for k, one in enumerate(figure.iter("object"), 1)]
        found[stem] = np.array(boxes, np.float64).reshape(-1, 4)
    if not found:
        raise DataError(f"{table}: has no annotation of a figure; source imageclef2016 expects {_LAYOUT}")
    return found


def _box(panel: ElementTree.Element, where: str) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around the points of a panel."""
    points = list(panel.iter("point"))
    if len(points) < 2:
        raise DataError(f"{where}: has {len(points)} points, and two or more corners are wanted; correct or remove it")
    x, y = ([_number(point, axis, where) for point in points] for axis in "xy")
    return min(x), min(y), max(x), max(y)


def _number(point: ElementTree.Element, axis: str, where: str) -> float:
    text = point.get(axis) or point.findtext(axis) or ""
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: has a corner with {axis} {text[:40]!r}, no number; correct it") from None
