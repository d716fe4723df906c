"""Points in files: AdaptOR's and labelme's JSON, tables (CSV), fiducials of 3D Slicer (.mrk.json).

Points are float64 `(n, axes)` of (x, y) or (x, y, z). Readers tell in one line what is wrong with a file: something
that is no number, a point outside of the image, two at one place, x and y in the wrong order.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.errors import DataError
from tfmed.files import PathLike, write_text
from tfmed.io.errors import damage
from tfmed.io.tables import read_rows, read_text

_EDGE = 0.5  # px beyond the border that rounding may bring a point to
_FLIP = {"RAS": np.array([1.0, 1.0, 1.0]), "LPS": np.array([-1.0, -1.0, 1.0])}
_DESCRIBED = {"LPS", "RAS", "0", "1"}  # of files of Slicer: names, or numbers in old ones


def check_points(points: np.ndarray, where: object, size: Sequence[int] | None = None) -> None:
    """Refuse points that cannot be right.

    Args:
        points: `(n, axes)`.
        where: how an error begins.
        size: of the image in pixels, along (x, y[, z]), where it is known.

    Raises:
        DataError: one is not finite or outside of the image, or two lie at one place.
    """
    points = np.asarray(points, np.float64)
    for number, point in enumerate(points, 1):
        if not np.isfinite(point).all():
            raise DataError(f"{where}: point {number} is ({_text(point)}), no place; correct or remove it")
    if size is not None:
        out = _outside(points, size)
        if out.any():
            if len(size) == 2 and not _outside(points[:, ::-1], size).any():
                raise DataError(
                    f"{where}: points lie outside of the image of {size[0]} x {size[1]} pixels, and none would if "
                    "x and y changed places; write x, the column, first"
                )
            number = int(np.flatnonzero(out)[0])
            raise DataError(
                f"{where}: point {number + 1} is ({_text(points[number])}), outside of the image of "
                f"{' x '.join(map(str, size))} pixels; correct or remove it"
            )
    _, first, counts = np.unique(points, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        number = int(first[counts > 1].min())
        raise DataError(f"{where}: ({_text(points[number])}) stands there twice; remove one of the two points")


def _outside(points: np.ndarray, size: Sequence[int]) -> np.ndarray:
    return ((points < -_EDGE) | (points > np.asarray(size) + _EDGE)).any(-1)


def _text(point: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in point)


# --- JSON of frames ---------------------------------------------------------------------------------------------------


def read_points_json(path: PathLike, size: Sequence[int] | None = None) -> np.ndarray:
    """The points of a frame, float64 `(n, 2)`, of AdaptOR's JSON or labelme's.

    AdaptOR: `{"imageWidth": 512, "imageHeight": 288, "points": [{"x": 10.5, "y": 20}]}`, also as its submissions have
    it, without the size. labelme: `{"shapes": [{"points": [[x, y], ...]}], "imageWidth": ..., "imageHeight": ...}`.

    Args:
        path: of the file.
        size: (width, height) of the image; None: as the file says, if it does.

    Raises:
        ImageIntegrityError: it is no such file.
        DataError: as `check_points`, or it tells another size.
    """
    table = _json(path)
    told: Any = (table.get("imageWidth"), table.get("imageHeight"))
    told = (int(told[0]), int(told[1])) if all(map(_is_number, told)) else None
    if size is not None and told is not None and tuple(size) != told:
        raise DataError(
            f"{path}: is for an image of {told[0]} x {told[1]} pixels, and the image has {size[0]} x {size[1]}; give "
            "the image that was annotated"
        )
    if "points" in table:
        rows = [_pair(path, [one.get("x"), one.get("y")] if isinstance(one, dict) else one)
                for one in _list(path, table["points"])]  # fmt: skip
    elif "shapes" in table:
        shapes = [one.get("points") if isinstance(one, dict) else None for one in _list(path, table["shapes"])]
        rows = [_pair(path, one) for shape in shapes for one in _list(path, shape)]
    else:
        raise damage(path, 'it has neither "points" nor "shapes"', "give the JSON of a frame's points")
    points = np.array(rows, np.float64).reshape(-1, 2)
    check_points(points, path, told if size is None else size)
    return points


def write_points_json(
    path: PathLike, points: np.ndarray, size: Sequence[int], folder: str = "", subfolder: str = "", image: str = ""
) -> None:
    """Write the points `(n, 2)` of a frame as AdaptOR takes submissions, with the size that its labels have too.

    Args:
        size: (width, height) in pixels.
        folder, subfolder, image: names of the surgery, of its video and of the frame's file.

    Raises:
        RunError: the file cannot be written.
    """
    places = [{"x": float(x), "y": float(y)} for x, y in points]
    names = {"folderName": folder, "subfolderName": subfolder, "imageFileName": image}
    sides = {"imageWidth": int(size[0]), "imageHeight": int(size[1])}
    write_text(path, json.dumps(names | sides | {"points": places}, indent=1))


def _json(path: PathLike) -> dict[str, Any]:
    try:
        table = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise damage(path, "it is no JSON", "copy it again") from None
    if not isinstance(table, dict):
        raise damage(path, "it is no JSON object", "is this the right file?")
    return table


def _list(path: PathLike, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise damage(path, "its points are no list", "is this the right file?")
    return value


def _pair(path: PathLike, value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise damage(path, f"a point is {str(value)[:40]!r}, not two numbers x and y", "correct or remove it")
    return [float(number) for number in value]


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is one, and no larger than a float holds; NaN is told by `check_points`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) < 2**53


# --- tables -----------------------------------------------------------------------------------------------------------


def read_points_csv(path: PathLike) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """{image: (names of its points, points float64 `(n, axes)`)} of a table with columns image, x, y[, z][, name].

    A line with empty coordinates names an image, or with a name a landmark, that has none: of a landmark the row is
    NaN. Without the column `name` names are "". What is checked is all that can be without the images, see
    `check_points`.

    Raises:
        DataError: a column is missing, a coordinate is no number, a name or a place stands twice in an image.
        ImageIntegrityError: the file cannot be read.
    """
    columns, rows = read_rows(path)
    axes = ("x", "y", "z") if "z" in columns else ("x", "y")
    missing = [name for name in ("image", *axes) if name not in columns]
    if missing:
        raise DataError(
            f"{path}: has no column {missing[0]}; points are lines of image, x, y and, where there are, z, name"
        )
    found: dict[str, list[tuple[str, list[float]]]] = {}
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        where, image, name = f"{path}, line {line}", row.get("image", ""), row.get("name", "")
        if not image:
            raise DataError(f"{where}: names no image; give its file in the column image")
        points = found.setdefault(image, [])
        words = [row.get(axis, "") for axis in axes]
        if not any(words):
            if name:
                points.append((name, [math.nan] * len(axes)))
            continue
        try:
            place = [float(word) for word in words]
        except ValueError:
            raise DataError(
                f"{where}: {', '.join(words)[:40]!r} is no place; give {', '.join(axes)} as numbers"
            ) from None
        if name and name in (other for other, _ in points):
            raise DataError(f"{where}: {name} stands there twice for {image}; give each landmark one place")
        check_points(np.array([place]), where)
        points.append((name, place))
    result = {}
    for image, points in found.items():
        array = np.array([place for _, place in points], np.float64).reshape(-1, len(axes))
        check_points(array[~np.isnan(array).any(-1)], f"{path}, image {image}")
        result[image] = (tuple(name for name, _ in points), array)
    return result


def write_points_csv(path: PathLike, points: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> None:
    """Write such a table; images without points keep a line, and missing landmarks theirs.

    Raises:
        RunError: the file cannot be written.
    """
    axes = next((array.shape[1] for _, array in points.values()), 2)
    named = any(any(names) for names, _ in points.values())
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", *(["name"] if named else []), *"xyz"[:axes]])
    for image, (names, array) in points.items():
        for name, place in zip(names, array, strict=True):
            cells = [""] * axes if np.isnan(place).any() else [repr(float(value)) for value in place]
            writer.writerow([image, *([name] if named else []), *cells])
        if not len(array):
            writer.writerow([image, *([""] if named else []), *[""] * axes])
    write_text(path, stream.getvalue())


# --- 3D Slicer --------------------------------------------------------------------------------------------------------


def read_markups(path: PathLike) -> tuple[tuple[str, ...], np.ndarray]:
    """(labels, points) of a fiducial list of 3D Slicer (.mrk.json): float64 `(n, 3)`, mm towards right, anterior,
    superior, whichever system the file uses; NaN where a point is not defined yet.

    Raises:
        ImageIntegrityError: it is no such file, names another coordinate system, or a position is none.
        DataError: two points lie at one place.
    """
    lists = _json(path).get("markups")
    if not isinstance(lists, list) or len(lists) != 1 or not isinstance(lists[0], dict):
        raise damage(path, 'it has not one list in "markups"', "save one point list of Slicer as .mrk.json")
    system = str(lists[0].get("coordinateSystem", "LPS")).upper()
    if system not in _DESCRIBED:
        raise damage(path, f"its coordinate system is {system[:20]!r}", "save it in LPS or RAS")
    flip = _FLIP["RAS" if system in ("RAS", "0") else "LPS"]
    names, rows = [], []
    for number, one in enumerate(_list(path, lists[0].get("controlPoints")), 1):
        one = one if isinstance(one, dict) else {}
        names.append(str(one.get("label", "")))
        place = one.get("position")
        if one.get("positionStatus", "defined") != "defined":
            rows.append(np.full(3, np.nan))
        elif not isinstance(place, list) or len(place) != 3 or not all(map(_is_number, place)):
            raise damage(
                path, f"point {number} has the position {str(place)[:40]!r}, not three numbers", "place it again"
            )
        else:
            rows.append(flip * np.array(place, np.float64))
            check_points(rows[-1][None], f"{path}, {names[-1] or number}")
    points = np.array(rows, np.float64).reshape(-1, 3)
    check_points(points[~np.isnan(points).any(-1)], path)
    return tuple(names), points


def write_markups(path: PathLike, names: Sequence[str], points: np.ndarray, system: str = "LPS") -> None:
    """Write points `(n, 3)`, mm towards right, anterior, superior, as a fiducial list that 3D Slicer opens.

    Args:
        names: labels, one for each.
        points: NaN where one is not defined.
        system: "LPS" (Slicer's own default) or "RAS": that of the numbers in the file.

    Raises:
        RunError: the file cannot be written.
    """
    listed = []
    for number, (name, point) in enumerate(zip(names, np.asarray(points, np.float64), strict=True), 1):
        there = not np.isnan(point).any()
        place = (_FLIP[system] * point).tolist() if there else [0.0, 0.0, 0.0]
        status = "defined" if there else "undefined"
        listed.append({"id": str(number), "label": str(name), "position": place, "positionStatus": status})
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    table = {
        "@schema": f"{schema}markups-schema-v1.0.3.json#",
        "markups": [{"type": "Fiducial", "coordinateSystem": system, "coordinateUnits": "mm", "controlPoints": listed}],
    }
    write_text(path, json.dumps(table, indent=1))
