"""Boxes of objects in files: Pascal VOC's XML, COCO's JSON, tables (CSV).

A box is (x0, y0, x1, y1) in pixels from the left and upper edge of the image, which reaches from 0 to its width and
height; float64 `(n, 4)`. Numbers of files are taken as they stand: tools that count pixels from 1 are half a pixel off.
Readers tell in one line what is wrong with a file: XML with entities, a box without an area, one outside of the image.
"""

import collections
import csv
import dataclasses
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from tfmed.errors import DataError
from tfmed.files import PathLike, write_text
from tfmed.io.errors import damage
from tfmed.io.tables import read_rows, read_text
from tfmed.io.xml import read_xml

_EDGE = 1.0  # px beyond the border that rounding, or counting from 1, may bring a box to
_LARGEST = 1 << 24  # bytes of an XML
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_CLASS, _SCORE = ("class_name", "class", "name"), "score"


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one image.

    Args:
        boxes: float64 `(n, 4)`.
        names: class of each.
        scores: float64 `(n,)` in [0, 1], of detections; None: these are annotations.
    """

    boxes: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray | None = None


def check_boxes(boxes: np.ndarray, where: object, size: Sequence[int] | None = None) -> np.ndarray:
    """Boxes `(n, 4)` that can be right, clipped to the image where its size (width, height) is known.

    Raises:
        DataError: one is not finite, has no area, or lies outside of the image by more than a pixel; `where` begins it.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    for number, box in enumerate(boxes, 1):
        text = ", ".join(f"{value:g}" for value in box)
        if not np.isfinite(box).all():
            raise DataError(f"{where}: box {number} is ({text}), no place; correct or remove it")
        if box[2] <= box[0] or box[3] <= box[1]:
            raise DataError(
                f"{where}: box {number} is ({text}), of {box[2] - box[0]:g} x {box[3] - box[1]:g} pixels; give x0, y0, "
                "x1, y1 with x0 < x1 and y0 < y1, or remove it"
            )
    if size is None:
        return boxes
    far = np.array([*size, *size]) + _EDGE
    for number, box in enumerate(boxes, 1):
        inside = np.clip(box, 0, far - _EDGE)
        if (box < -_EDGE).any() or (box > far).any() or (inside[2:] <= inside[:2]).any():
            text = ", ".join(f"{value:g}" for value in box)
            raise DataError(
                f"{where}: box {number} is ({text}), outside of the image of {size[0]} x {size[1]} pixels; correct or "
                "remove it"
            )
    return np.clip(boxes, 0, far - _EDGE)


# --- Pascal VOC -------------------------------------------------------------------------------------------------------


def read_voc(path: PathLike, size: Sequence[int] | None = None) -> Objects:
    """The objects of an image, of Pascal VOC's XML.

    Args:
        path: of the file.
        size: (width, height) of the image in pixels. Boxes follow where the file was made for the same picture of
            another size; None: boxes are given as they stand.

    Raises:
        DataError: no such XML, entities, a box that cannot be right, or the image has other proportions.
    """
    root = read_xml(path, _LARGEST, "annotation")
    if _local(root) != "annotation":
        raise DataError(f"{path}: is no annotation of Pascal VOC (its root is {_local(root)[:40]!r}); remove it")
    rows, names = [], []
    for number, one in enumerate(_children(root, "object"), 1):
        where = f"{path}: object {number}"
        name = _words(one, "name")
        if not name:
            raise DataError(f"{where} has no name; give its class")
        box = next(iter(_children(one, "bndbox")), None)
        if box is None:
            raise DataError(f"{where} has no bndbox; give its box, or remove it")
        rows.append([_float(_words(box, corner), f"{where}: {corner}") for corner in _CORNERS])
        names.append(name)
    told, boxes = _size_of(root, path), np.array(rows, np.float64).reshape(-1, 4)
    boxes = check_boxes(boxes, path, told)
    if size is not None and told is not None and told != tuple(size):
        scale = np.array(size) / told
        if abs(scale[0] / scale[1] - 1) > 0.01:
            raise DataError(
                f"{path}: is for an image of {told[0]} x {told[1]} pixels, and the image has {size[0]} x {size[1]}; "
                "give the image that was annotated"
            )
        boxes = boxes * np.tile(scale, 2)
    return Objects(check_boxes(boxes, path, size), tuple(names))


def write_voc(path: PathLike, objects: Objects, size: Sequence[int], image: str = "") -> None:
    """Write such a file for an image of (width, height) pixels; scores, which VOC has no place for, are left out.

    Raises:
        RunError: the file cannot be written.
    """
    lines = ["<annotation>", f"  <filename>{escape(image)}</filename>",
             f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"]  # fmt: skip
    for box, name in zip(objects.boxes, objects.names, strict=True):
        corners = "".join(f"<{key}>{float(value)!r}</{key}>" for key, value in zip(_CORNERS, box, strict=True))
        lines.append(f"  <object><name>{escape(name)}</name><bndbox>{corners}</bndbox></object>")
    write_text(path, "\n".join([*lines, "</annotation>", ""]))


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if _local(child) == name]


def _words(element: ElementTree.Element, name: str) -> str:
    found = _children(element, name)
    return (found[0].text or "").strip() if found else ""


def _float(text: Any, where: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where} is {str(text)[:40]!r}, no number; correct or remove it") from None


def _size_of(root: ElementTree.Element, path: PathLike) -> tuple[int, int] | None:
    """(width, height) that a file tells, or None where it tells none, or 0 as some programs do."""
    found = _children(root, "size")
    sides = [_words(found[0], name) for name in ("width", "height")] if found else []
    if not any(sides):
        return None
    numbers = [_float(side, f"{path}: size") for side in sides]
    if not all(0 <= number <= 2**20 for number in numbers):
        raise DataError(f"{path}: size is {' x '.join(sides)[:40]}, no size; correct it")
    return (int(numbers[0]), int(numbers[1])) if all(numbers) else None


# --- COCO -------------------------------------------------------------------------------------------------------------


def read_coco(path: PathLike) -> dict[str, tuple[tuple[int, int], Objects]]:
    """{file of an image: ((width, height), its objects)} of COCO's JSON; crowds are left out.

    Files that lack "annotations" (lists of images to be annotated) give images without objects.

    Raises:
        ImageIntegrityError: it is no such file.
        DataError: a box that cannot be right, an annotation of an image or a class that is not there.
    """
    try:
        table = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise damage(path, "it is no JSON", "copy it again") from None
    lists: dict[str, list[Any]] = {}
    for name in ("images", "annotations", "categories"):
        rows = table.get(name, []) if isinstance(table, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise damage(path, 'it has no lists "images", "annotations" and "categories"', "give COCO's JSON of boxes")
        lists[name] = rows
    if not lists["images"]:
        raise damage(path, "it lists no image", "give COCO's JSON of boxes")
    images: dict[Any, tuple[str, tuple[int, int]]] = {}
    for row in lists["images"]:
        wide, high = (
            int(_float(row.get(side), f"{path}: {side} of {row.get('file_name')}")) for side in ("width", "height")
        )
        typed = isinstance(row.get("file_name"), str) and isinstance(row.get("id"), (int, str))
        if not typed or min(wide, high) <= 0:
            raise damage(path, f"the image {str(row)[:60]!r} lacks id, file_name or size", "correct or remove it")
        if row["id"] in images:
            raise damage(path, f"two images have the id {row['id']}", "give each its own")
        images[row["id"]] = row["file_name"], (wide, high)
    names = {
        row.get("id"): str(row.get("name")) for row in lists["categories"] if isinstance(row.get("id"), (int, str))
    }
    found: dict[Any, list] = {key: [] for key in images}
    for number, row in enumerate(lists["annotations"], 1):
        where = f"{path}: annotation {number}"
        for key, known, what in (("image_id", images, "image"), ("category_id", names, "class")):
            if not isinstance(row.get(key), (int, str)) or row[key] not in known:
                raise DataError(
                    f"{where} is of {what} {str(row.get(key))[:40]!r}, which is not listed; add or remove it"
                )
        if row.get("iscrowd"):
            continue
        box = row.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise DataError(f"{where} has no bbox of four numbers; give x, y, width and height")
        x, y, across, down = (_float(value, f"{where}: bbox") for value in box)
        score = row.get(_SCORE)
        found[row["image_id"]].append(([x, y, x + across, y + down], names[row["category_id"]], score))
    result: dict[str, tuple[tuple[int, int], Objects]] = {}
    for key, (file, size) in images.items():
        rows = found[key]
        boxes = check_boxes(np.array([row[0] for row in rows]), f"{path}, image {file}", size)
        scored = bool(rows) and all(row[2] is not None for row in rows)
        scores = np.array([_float(row[2], f"{path}: score") for row in rows]) if scored else None
        if file in result:
            raise DataError(f"{path}: lists the image {file} twice; remove one")
        result[file] = size, Objects(boxes, tuple(row[1] for row in rows), scores)
    return result


def write_coco(path: PathLike, images: Mapping[str, tuple[Sequence[int], Objects]], classes: Sequence[str]) -> None:
    """Write {file of an image: ((width, height), its objects)} so; classes are numbered from 1 in their order.

    Raises:
        RunError: the file cannot be written.
    """
    numbers = {name: number for number, name in enumerate(classes, 1)}
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for key, (file, (size, objects)) in enumerate(images.items(), 1):
        listed.append({"id": key, "file_name": file, "width": int(size[0]), "height": int(size[1])})
        for k, (box, name) in enumerate(zip(objects.boxes.tolist(), objects.names, strict=True)):
            x0, y0, x1, y1 = box
            one = {"id": len(annotations) + 1, "image_id": key, "category_id": numbers[name], "iscrowd": 0,
                   "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}  # fmt: skip
            annotations.append(one | ({} if objects.scores is None else {_SCORE: float(objects.scores[k])}))
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    write_text(path, json.dumps({"images": listed, "annotations": annotations, "categories": categories}, indent=1))


# --- tables -----------------------------------------------------------------------------------------------------------


def read_boxes_csv(path: PathLike) -> dict[str, Objects]:
    """{image: its objects} of a table with the columns image, class_name (or class), xmin, ymin, xmax, ymax[, score].

    A line with nothing behind the image names one without objects.

    Raises:
        DataError: a column is missing, a number is none, a box has no area.
        ImageIntegrityError: the file cannot be read.
    """
    columns, rows = read_rows(path)
    named = next((name for name in _CLASS if name in columns), None)
    missing = [name for name in ("image", *_CORNERS) if name not in columns] + ([] if named else ["class_name"])
    if missing:
        raise DataError(
            f"{path}: has no column {missing[0]}; boxes are lines of image, class_name, xmin, ymin, xmax, ymax"
        )
    found: dict[str, list] = collections.defaultdict(list)
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        where, image, name = f"{path}, line {line}", row.get("image", ""), row.get(str(named), "")
        if not image:
            raise DataError(f"{where}: names no image; give its file in the column image")
        words = [row.get(corner, "") for corner in _CORNERS]
        if not name and not any(words):
            found[image] += []
            continue
        if not name:
            raise DataError(f"{where}: names no class; give it in the column {named}")
        box = [_float(word, f"{where}: {corner}") for corner, word in zip(_CORNERS, words, strict=True)]
        check_boxes(np.array([box]), where)
        score = _float(row[_SCORE], f"{where}: score") if row.get(_SCORE) else None
        found[image].append((box, name, score))
    result = {}
    for image, listed in found.items():
        scored = bool(listed) and all(one[2] is not None for one in listed)
        boxes = np.array([one[0] for one in listed], np.float64).reshape(-1, 4)
        names = tuple(one[1] for one in listed)
        result[image] = Objects(boxes, names, np.array([one[2] for one in listed]) if scored else None)
    return result


def write_boxes_csv(path: PathLike, images: Mapping[str, Objects]) -> None:
    """Write such a table; images without objects keep a line.

    Raises:
        RunError: the file cannot be written.
    """
    scored = any(one.scores is not None for one in images.values())
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "class_name", *_CORNERS, *([_SCORE] if scored else [])])
    for image, one in images.items():
        for k, (box, name) in enumerate(zip(one.boxes.tolist(), one.names, strict=True)):
            score = [] if one.scores is None else [repr(float(one.scores[k]))]
            writer.writerow([image, name, *map(repr, box), *score])
        if not one.names:
            writer.writerow([image, *[""] * (5 + scored)])
    write_text(path, stream.getvalue())
