"""Label maps of pictures that are drawn from what people marked, or fused from what several of them drew."""

import math
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from tfmed.files import PathLike
from tfmed.io.errors import damage
from tfmed.io.geometry import volume_of
from tfmed.io.itk import LPS_RAS
from tfmed.io.picture_header import check_picture
from tfmed.io.stack import read_stack
from tfmed.io.volume import Volume
from tfmed.io.xml import read_xml

DISC_RADIUS = 12.0  # pixels
# BreastPathQ's labels of nuclei, in capitals and without spaces: 1 malignant and 2 normal epithelium, 3 lymphocyte.
NUCLEI = {
    **dict.fromkeys(("IDC", "ILC", "MUCC", "DCIS1", "DCIS2", "DCIS3", "MC-E", "MC-C", "MC-M"), 1),
    **dict.fromkeys(("NORMAL", "UDH", "ADH"), 2),
    **dict.fromkeys(("TIL-E", "TIL-S"), 3),
}
_LARGEST = 256 << 20  # bytes of a file of annotations
_UNDECIDED, _STRAY, _RENAMED, _GRADES = 255, 7, (6, 2), 6


def outlines(path: PathLike, image: PathLike) -> Volume:
    """1 within the outlines of an annotation file of MoNuSeg's form, 0 elsewhere; uint8 `(1, y, x)`.

    Args:
        path: XML with `Region` elements, whose `Vertex` elements have X and Y, in pixels.
        image: the picture, of which only the size is read.

    Raises:
        ImageIntegrityError, DataError: a file cannot be read, or an outline has no finite places.
    """
    from skimage.draw import polygon

    mask = _blank(image)
    for region in _named(_root(path), "Region"):
        places = [(_number(one, "Y", path), _number(one, "X", path)) for one in _named(region, "Vertex")]
        if places:
            rows, columns = np.array(places).T
            mask[polygon(rows, columns, mask.shape)] = 1
    return _volume(mask, path)


def discs(path: PathLike, image: PathLike, radius: float = DISC_RADIUS) -> Volume:
    """Discs about marked nuclei, in an annotation file of BreastPathQ's form; uint8 `(1, y, x)`, see `NUCLEI`.

    Later discs cover earlier ones, nuclei of other kinds are left out, and discs are cut off at the picture's border.

    Args:
        path: XML with `graphic` elements, whose description is a nucleus' kind and whose `point` elements hold "x,y".
        image: the picture, of which only the size is read.
        radius: pixels.

    Raises:
        ImageIntegrityError, DataError: a file cannot be read, or a point is none.
    """
    mask = _blank(image)
    for graphic in _named(_root(path), "graphic"):
        kind = NUCLEI.get("".join(str(graphic.get("description", "")).split()).upper())
        for point in _named(graphic, "point"):
            if kind is None:
                break
            x, comma, y = (point.text or "").partition(",")
            _paint(mask, _finite(y if comma else "", path), _finite(x, path), radius, kind)
    return _volume(mask, path)


def fused(paths: Sequence[PathLike]) -> Volume:
    """One map of Gleason2019's grades from those of several pathologists, by multi-label STAPLE (Rohlfing et al. 2004).

    What STAPLE leaves undecided, and the stray value 7, is as in the first map; grade 6 becomes 2, so that classes
    are 0 to 5.

    Args:
        paths: grey pictures of one size, at least one.

    Raises:
        ImageIntegrityError: a picture cannot be read, or their sizes or values are none of such maps.
    """
    maps = [read_stack([path]) for path in paths]
    for path, one in zip(paths, maps, strict=True):
        if one.array.ndim != 3 or one.shape != maps[0].shape:
            raise damage(path, f"it is {one.array.shape}, where a grey map of {maps[0].shape} is needed",
                         "check which file it is")  # fmt: skip
    first = maps[0].array
    found = first
    if len(maps) > 1:
        images = [sitk.GetImageFromArray(one.array.astype(np.uint8)) for one in maps]
        found = sitk.GetArrayFromImage(sitk.MultiLabelSTAPLE(images, _UNDECIDED))
        found = np.where((found == _UNDECIDED) | (found == _STRAY), first, found)
    found = np.where(found == _RENAMED[0], _RENAMED[1], found).astype(np.uint8)
    if found.max() >= _GRADES:
        raise damage(paths[0], f"it holds the value {found.max()}, which is no grade", "check which file it is")
    return maps[0].replace(found)


def _root(path: PathLike) -> ElementTree.Element:
    return read_xml(path, _LARGEST, "file of annotations")


def _named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """The elements of a name below one, whatever their namespace."""
    return [one for one in element.iter() if one.tag.rpartition("}")[2] == name]


def _number(element: ElementTree.Element, name: str, path: PathLike) -> float:
    return _finite(element.get(name, ""), path)


def _finite(text: str, path: PathLike) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e6:
        raise damage(path, f"{text.strip()[:40]!r} is no place in a picture", "correct it")
    return value


def _paint(mask: np.ndarray, y: float, x: float, radius: float, value: int) -> None:
    reach = math.ceil(radius)
    rows, columns = (slice(max(math.floor(p) - reach, 0), max(math.floor(p) + reach + 2, 0)) for p in (y, x))
    near = mask[rows, columns]
    if near.size:
        down, right = np.ogrid[rows.start : rows.start + near.shape[0], columns.start : columns.start + near.shape[1]]
        near[(down - y) ** 2 + (right - x) ** 2 <= radius**2] = value


def _blank(image: PathLike) -> np.ndarray:
    width, height = check_picture(pathlib.Path(image)).size
    return np.zeros((height, width), np.uint8)


def _volume(mask: np.ndarray, path: PathLike) -> Volume:
    return volume_of(mask[None], LPS_RAS, path)
