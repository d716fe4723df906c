"""LIDC-IDRI: <patient>/<study>/<series>/ with DICOM slices, and the readers' XML beside the CT's slices."""

import re

import numpy as np

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.dicom_files import dicom_files
from tfmed.io.dicom_header import read_header
from tfmed.io.errors import ImageIntegrityError

from .lidc_xml import readings
from .listing import dicom_folders, first_slice, folder, nothing, unique

_LAYOUT = "LIDC-IDRI-0001/<study>/<series>/*.dcm with the readers' *.xml beside the slices (also below LIDC-IDRI/)"
_MODALITY, _SERIES = "Modality", "SeriesInstanceUID"
_SPACING, _POSITION, _AXES = "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"
_ROWS = "Rows"


def lidc_idri(root: PathLike | None = None) -> list[Case]:
    """The CT series of LIDC-IDRI with what each reader marked; chest X-rays are left out.

    `meta["nodules"]` lists one dict per mark of a reader: `reader` (0, 1, ...; a session, not a person), `id` (the
    reader's own), `centre_mm` (RAS x, y, z), `radius_mm`, `contours` (their number), `ratings` ({characteristic:
    rating}, empty where the reader gave none). For nodules of at least 3 mm the centre is the mean of the contours'
    centroids weighted by their areas, and the radius that of the circle whose area is the largest contour's; smaller
    nodules are points, with radius None. `meta["series_uid"]` names the series, and `meta["height_mm"]` is the side of
    its slices along y, None where the header does not tell it. Only the first slice's header of a series is read.

    Args:
        root: the folder with the patients.

    Raises:
        DataError: the folder is missing or holds no CT series, or a reader's XML is damaged or has a DTD.
        ImageIntegrityError: the first file of a series is not readable DICOM.
    """
    base = folder(root, "lidc_idri", _LAYOUT)
    found = [(place, _patient(place, base), *_series(place)) for place in dicom_folders(base)]
    found = [(place, patient, meta) for place, patient, modality, meta in found if patient and modality == "CT"]
    if not found:
        raise nothing(base, "lidc_idri", _LAYOUT)
    ids = unique([patient for _, patient, _ in found], [f"{patient}-{place.name}" for place, patient, _ in found])
    return [
        Case(name, patient, {"ct": str(place)}, None, meta)
        for name, (place, patient, meta) in zip(ids, found, strict=True)
    ]


def _patient(place, base):
    named = [name for name in place.relative_to(base.parent).parts if re.fullmatch(r"LIDC-IDRI-\d+", name)]
    return named[-1] if named else None


def _series(place):
    """Modality and meta of the series in one folder."""
    files = dicom_files(place)
    names = (_MODALITY, _SERIES, _SPACING, _POSITION, _AXES)
    tags = read_header(first := first_slice(files), (*names, _ROWS))
    modality, uid, *frame = (tags.text(name) for name in names)
    if modality != "CT":
        return modality, None
    tables = sorted(path for path in place.glob("*.xml") if not path.name.startswith("."))
    marks = [mark for path in tables for mark in readings(path)]
    to_ras = _to_ras(frame, first) if marks else None
    meta = {"series_uid": uid, "slices": len(files), "height_mm": _height(tags, frame[0]),
            "nodules": [_nodule(mark, to_ras) for mark in marks]}  # fmt: skip
    return modality, meta


def _height(tags, spacing):
    try:
        return tags.integer(_ROWS) * float(spacing.split("\\")[0])
    except (ValueError, ImageIntegrityError):
        return None


def _to_ras(frame, path):
    """The function `(n, 2) pixels, z in mm -> (n, 3)` RAS points in mm of an axial series."""
    try:
        spacing, position, axes = (np.array([float(word) for word in text.split("\\")]) for text in frame)
        rows, columns = axes.reshape(2, 3)
        step = np.stack([rows[:2] * spacing[1], columns[:2] * spacing[0]])
        start = position[:2]
    except (ValueError, IndexError):
        raise DataError(f"{path}: lacks the position or spacing that contours need; copy it again") from None

    def points(pixels, z):
        lps = start + pixels @ step
        return np.column_stack([-lps, np.full(len(pixels), z)])

    return points


def _nodule(mark, to_ras):
    contours = [to_ras(np.array(outline, np.float64), z) for z, outline in mark["contours"]]
    areas, centres = zip(*(_area_and_centre(points) for points in contours), strict=True)
    weights = np.maximum(areas, 1e-9)
    centre = (np.array(centres) * weights[:, None]).sum(axis=0) / weights.sum()
    point = len(contours) == 1 and len(contours[0]) == 1
    return {
        "reader": mark["reader"],
        "id": mark["id"],
        "centre_mm": tuple(float(v) for v in centre),
        "radius_mm": None if point else float(np.sqrt(max(areas) / np.pi)),
        "contours": len(contours),
        "ratings": mark["ratings"],
    }


def _area_and_centre(points):
    """Area in mm2 and centroid of a closed outline `(n, 3)` in one slice; of fewer than 3 points, 0 and their mean."""
    x, y = points[:, 0] - points[0, 0], points[:, 1] - points[0, 1]
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    doubled = cross.sum()
    if abs(doubled) < 1e-9:
        return 0.0, points.mean(axis=0)
    shift = [((v + np.roll(v, -1)) * cross).sum() / (3 * doubled) for v in (x, y)]
    return abs(doubled) / 2, np.array([points[0, 0] + shift[0], points[0, 1] + shift[1], points[0, 2]])
