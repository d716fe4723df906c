"""Images of small objects, labelled ones and pairs of two visits: which belong together a name or a table tells."""

import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.io.addresses import GREY, NUMBERS
from tfmed.io.stack import SUFFIXES
from tfmed.io.tables import read_rows

from .listing import files_below, folder, group_of, match_labels, nothing, only_once, unique, volume_suffix

_LAYOUT = "images (.png, .jpg, .tif, .nii.gz, ...) in images/ and some of their label maps in labels/, same names"
_TABLE = "pairs.csv"


def image_visits(
    root=None,
    images="images",
    labels="labels",
    visit_pattern=r"(.+)[_-]visit([12])$",
    group_pattern=None,
    modality="cells",
):
    """2-D images, some with instance maps, some seen at two visits: `meta["pair"]` and `meta["visit"]`, 1 or 2.

    Which images are a pair the table `pairs.csv` beside both folders tells, where there is one (columns `first` and
    `second`: names of images without suffix), otherwise their names. An image that has a label map needs no partner;
    one that has neither could not be used and is refused.

    Args:
        root: the folder.
        images, labels: names of the two folders.
        visit_pattern: regular expression with two groups for an image's path below `images` without suffix: the
            specimen, and the visit, 1 or 2.
        group_pattern: regular expression with one group, searched in the path: the patient (subject) that an image
            belongs to. Without it both visits of a specimen are one patient.
        modality: name under which a case gives its image.

    Raises:
        DataError: a folder is missing or empty; a label map of no image; a pair with a missing visit; an image with
            neither label map nor partner; a line of the table that names no image, or one twice; a malformed pattern.
    """
    base = folder(root, "image_visits", _LAYOUT)
    top = folder(base / images, "image_visits", _LAYOUT)
    found, masks = _files(top), _files(base / labels) if (base / labels).is_dir() else {}
    if not found:
        raise nothing(top, "image_visits", _LAYOUT)
    masks = match_labels(found, masks)
    table = base / _TABLE
    visits = _of_table(table, found) if table.is_file() else _of_names(found, visit_pattern)
    _refuse_lonely(found, masks, visits, table)
    names = unique([key.rsplit("/", 1)[-1] for key in found], list(found))
    cases = []
    for name, (key, path) in zip(names, found.items(), strict=True):
        pair, visit = visits.get(key, (name, None))
        group = group_of(key, group_pattern, path, "image_visits") or pair
        meta = {} if visit is None else {"pair": pair, "visit": visit}
        label = _address(masks[key], NUMBERS) if key in masks else None
        cases.append(Case(name, group, {modality: _address(path, GREY)}, label, meta))
    return cases


def _files(top):
    """{path below the folder without the suffix: path}."""
    found = []
    for path in files_below(top):
        suffix = volume_suffix(path) or (path.suffix if path.suffix.lower() in SUFFIXES else "")
        if suffix:
            found.append((path.relative_to(top).as_posix()[: -len(suffix)], path))
    return only_once(found, "image_visits")


def _address(path, piece):
    return f"{path}::{piece}" if path.suffix.lower() in SUFFIXES else str(path)


def _of_names(found, pattern):
    """{key: (specimen, visit)} of the images whose names tell both."""
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise DataError(f"source image_visits: visit_pattern {pattern!r} is malformed: {error}") from None
    if expression.groups != 2:
        raise DataError(f"source image_visits: visit_pattern {pattern!r} must have two groups, (specimen) and (visit)")
    visits, seen = {}, {}
    for key, path in found.items():
        match = expression.search(key)
        if match is None:
            continue
        if not match[1] or match[2] not in ("1", "2"):
            raise DataError(f"{path}: visit_pattern {pattern!r} makes it visit {match[2]!r}; visits are 1 and 2")
        which = match[1], int(match[2])
        if which in seen:
            raise DataError(f"{path}: is visit {which[1]} of {which[0]}, as {seen[which]} is; remove one of the two")
        seen[which], visits[key] = path, which
    return visits


def _of_table(table, found):
    """{key: (specimen, visit)} of a table's lines."""
    columns, rows = read_rows(table)
    if not {"first", "second"} <= set(columns):
        raise DataError(f"{table}: has the columns {', '.join(columns)}; it needs first and second")
    visits = {}
    for number, row in rows:
        cells = dict(zip(columns, row, strict=False))
        pair = [cells.get("first", ""), cells.get("second", "")]
        for visit, key in enumerate(pair, 1):
            if key not in found:
                what = f"the image {key!r}, which is not there" if key else "no image"
                raise DataError(f"{table}:{number}: names {what}, as visit {visit}; add the image, or remove the line")
            if key in visits:
                raise DataError(f"{table}:{number}: {key!r} stands in another pair already; name each image once")
            visits[key] = ("+".join(pair), visit)
    return visits


def _refuse_lonely(found, masks, visits, table):
    """DataError for an image without label map whose other visit is missing."""
    there = set(visits.values())
    for key, path in found.items():
        if key in masks:
            continue
        if key not in visits:
            raise DataError(
                f"{path}: has neither a label map nor a second visit (by {table.name} or by its name); add one of them,"
                " or remove the image"
            )
        pair, visit = visits[key]
        if (pair, 3 - visit) not in there:
            raise DataError(f"{path}: visit {3 - visit} of {pair} is missing; add it, or remove this one")
