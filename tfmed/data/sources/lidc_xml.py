"""The readers' XML of LIDC-IDRI."""

import math

from tfmed.errors import DataError
from tfmed.io.xml import read_xml

_LARGEST = 64 << 20
_FARTHEST = 1e6  # pixels, or mm
RATED = ("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation",
         "texture", "malignancy")  # fmt: skip
_HIGHEST = 6  # of calcification and internal structure: 1 to 6; of the others 1 to 5


def readings(path):
    """The nodules that the readers marked, in pixels.

    Returns:
        list of dict(reader: number of the session, id, contours: list of `(z in mm, [(x, y), ...])`, ratings: {one of
        `RATED`: integer from 1}); outlines of holes are left out, and so are characteristics without a rating. Files of
        chest X-rays and marks of non-nodules give none.

    Raises:
        DataError: the file is too large, not well formed, has a DTD, or lacks a number, or a rating is none.
    """
    marks = []
    for reader, session in enumerate(_named(read_xml(path, _LARGEST, "reader's XML"), "readingSession")):
        for nodule in _named(session, "unblindedReadNodule"):
            contours = [_contour(roi, path) for roi in _named(nodule, "roi") if _included(roi)]
            if contours:
                mark = {"reader": reader, "id": _text(nodule, "noduleID"), "contours": contours}
                marks.append(mark | {"ratings": _ratings(nodule, path)})
    return marks


def _named(element, name):
    """Children of that name, whatever their namespace."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _text(element, name):
    found = _named(element, name)
    return (found[0].text or "").strip() if found else ""


def _included(roi):
    return _text(roi, "inclusion").upper() != "FALSE" and bool(_named(roi, "edgeMap"))


def _ratings(nodule, path):
    """{characteristic: rating}; small nodules have none, or zeros."""
    found = {}
    for element in (one for group in _named(nodule, "characteristics") for one in group):
        name, text = element.tag.rpartition("}")[2], (element.text or "").strip()
        if name not in RATED or not text:
            continue
        if not (text.isascii() and text.isdecimal() and len(text) == 1 and int(text) <= _HIGHEST):
            raise DataError(f"{path}: {name} is rated {text[:20]!r}, and not 1 to {_HIGHEST}; copy the file again")
        if text != "0":
            found[name] = int(text)
    return found


def _contour(roi, path):
    edges = [(_number(edge, "xCoord", path), _number(edge, "yCoord", path)) for edge in _named(roi, "edgeMap")]
    return _number(roi, "imageZposition", path), edges


def _number(element, name, path):
    text = _text(element, name)
    try:
        value = math.nan if "_" in text else float(text)  # Python reads 1_000 as well
    except ValueError:
        value = math.nan
    if not abs(value) <= _FARTHEST:
        raise DataError(f"{path}: a contour lacks a number in {name}; copy the file again")
    return value
