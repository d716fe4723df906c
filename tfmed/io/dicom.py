"""DICOM series: slices ordered by where they lie, never by name, and refused where they do not make one volume.

No field about the patient leaves this module.
"""

import collections
import contextlib
import dataclasses
import math
import os
import pathlib
import warnings

import numpy as np
import SimpleITK as sitk

from tfmed.io.dicom_order import Slice, ordered
from tfmed.io.errors import ImageIntegrityError, damage
from tfmed.io.geometry import Geometry, check_memory, volume_of
from tfmed.io.itk import LPS_RAS, quiet
from tfmed.io.stack import SUFFIXES

# What archives put beside the slices: previews, tables, in LIDC-IDRI the radiologists' .xml
BESIDE = {*SUFFIXES, ".xml", ".json", ".txt", ".csv", ".md", ".html", ".pdf", ".yaml", ".yml"}
INDEX_NAMES = {"DICOMDIR", "LICENSE", "README", "VERSION"}


@dataclasses.dataclass(frozen=True)
class DicomSeries:
    """One series in a folder.

    Args:
        uid: SeriesInstanceUID, as it stands in the files; never use it to build a path.
        modality: such as "CT".
        slices: its Slices, in the order of their names.
    """

    uid: str
    modality: str
    slices: tuple


def list_dicom_series(folder):
    """The DicomSeries whose files lie in `folder` itself (not below it), ordered by UID; DICOMDIR is ignored.

    Raises:
        ImageIntegrityError: no such folder, no DICOM file in it, or a file that is empty or not a DICOM image.
    """
    groups = collections.defaultdict(list)
    for path in dicom_files(folder):
        found = _slice(path)
        groups[found.series].append(found)
    if not groups:
        raise damage(folder, "the folder holds no DICOM file", "give the folder that holds the slices of one series")
    return [DicomSeries(uid, groups[uid][0].modality, tuple(groups[uid])) for uid in sorted(groups)]


def read_dicom(folder, series_uid=None):
    """A Volume from the DICOM series in `folder`: rescaled values (HU for CT), z along the normal of the slices.

    The array is int16 (int32 where the values need it) if every slope and intercept is a whole number, else float32.

    Args:
        folder: the folder with the slices.
        series_uid: which series, where the folder holds several.

    Raises:
        ImageIntegrityError: several series and none chosen; missing or contradictory slices; gantry tilt; slices of
            unlike size, spacing or direction; damaged files.
    """
    slices = _chosen(folder, series_uid)
    slices, affine = ordered(_without_copies(slices), folder)
    check_memory(len(slices) * math.prod(slices[0].size) * 4, folder)
    whole = all(one.whole for one in slices)
    return volume_of(_stacked(slices, np.dtype("i2" if whole else "f4")), LPS_RAS @ affine, folder)


def read_dicom_geometry(folder, series_uid=None):
    """The Geometry from the headers alone; where pixels need int32, its dtype still says int16."""
    slices, affine = ordered(_without_copies(_chosen(folder, series_uid)), folder)
    dtype = np.dtype("i2" if all(one.whole for one in slices) else "f4")
    return Geometry((len(slices), *slices[0].size), LPS_RAS @ affine, dtype)


def dicom_files(folder):
    """The files in `folder` that ought to be slices: all but annotations, pictures, indexes and hidden files."""
    try:
        paths = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file())
    except OSError as error:
        raise damage(folder, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    return [path for path in paths
            if path.suffix.lower() not in BESIDE and path.name.upper() not in INDEX_NAMES
            and not path.name.startswith(".")]  # fmt: skip


def _chosen(folder, series_uid):
    found = list_dicom_series(folder)
    if series_uid is not None:
        found = [series for series in found if series.uid == series_uid]
        if not found:
            raise damage(folder, f"it holds no series {series_uid}", "list them with tfmed.io.list_dicom_series")
    if len(found) > 1:
        names = ", ".join(f"{series.uid} ({series.modality}, {len(series.slices)} files)" for series in found)
        raise damage(folder, f"it holds {len(found)} series: {names}", "choose one with series_uid=")
    return found[0].slices


def header_reader(path):
    """SimpleITK's reader of one DICOM file, its header read.

    Raises:
        ImageIntegrityError: the file is not a readable DICOM image.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet(path):
            reader.ReadImageInformation()
    except Exception:
        raise damage(path, "it is not a readable DICOM image", "copy it again, or move it out of the folder") from None
    return reader


def _slice(path):
    """The geometry in one file's header."""
    if os.stat(path).st_size == 0:
        raise damage(path, "the file is empty")
    reader = header_reader(path)
    if _text(reader, "0028|0008") not in ("", "1") or _text(reader, "0028|0002") not in ("", "1"):
        raise damage(path, "it is a multi-frame or colour image", "convert it to a series of single grey slices")
    slope, intercept = _numbers(reader, "0028|1053", path, [1.0]), _numbers(reader, "0028|1052", path, [0.0])
    return Slice(
        path=path,
        series=_text(reader, "0020|000e"),
        modality=_text(reader, "0008|0060"),
        size=reader.GetSize()[1::-1],
        spacing=_numbers(reader, "0028|0030", path, count=2),
        position=_numbers(reader, "0020|0032", path, count=3),
        axes=_numbers(reader, "0020|0037", path, count=6).reshape(2, 3),
        thickness=_numbers(reader, "0018|0088", path, _numbers(reader, "0018|0050", path, [0.0]))[0],
        tilt=_numbers(reader, "0018|1120", path, [0.0])[0],
        coding=(slope[0], intercept[0], _text(reader, "0028|0100"), _text(reader, "0028|0103")),
    )


def _text(reader, tag):
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _numbers(reader, tag, path, default=None, count=1):
    """The decimal strings of a tag; `default` where it is absent and may be."""
    text = _text(reader, tag)
    if not text and default is not None:
        return np.asarray(default, np.float64)
    try:
        values = np.array([float(word) for word in text.split("\\")])
    except ValueError:
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise damage(path, f"its tag ({tag.replace('|', ',')}) is {text or 'missing'}", "export the series again")
    return values


def _without_copies(slices):
    """Slices whose position is taken by an identical slice are dropped with a warning, others are refused."""
    kept = {}
    for one in slices:
        place = (*np.round(one.position, 3), *np.round(one.axes.ravel(), 4))
        if place not in kept:
            kept[place] = one
        elif np.array_equal(_pixels(one), _pixels(kept[place])):
            warnings.warn(f"{one.path}: the same slice as {kept[place].path.name}; left out", stacklevel=4)
        else:
            raise damage(one.path, f"it lies where {kept[place].path.name} lies but shows something else",
                         "move one of the two acquisitions out of the folder")  # fmt: skip
    return list(kept.values())


def _pixels(one):
    """The rescaled pixels (y, x) of a slice."""
    with quiet(one.path):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(one.path), imageIO="GDCMImageIO"))
    if array.size != math.prod(one.size):
        raise damage(one.path, f"its pixels have shape {array.shape}, its header says {one.size}")
    return array.reshape(one.size)


def _stacked(slices, dtype):
    """All pixels (z, y, x) in `dtype`; int32 where int16 is asked for but does not suffice."""
    if dtype.kind == "i" and len({one.coding for one in slices}) == 1 and len(slices) > 1:
        with contextlib.suppress(ImageIntegrityError):  # the loop below finds out which slice it was
            return _narrowed(_pixels_at_once(slices), slices[0].path)
    stack = np.empty((len(slices), *slices[0].size), "i8" if dtype.kind == "i" else dtype)
    for index, one in enumerate(slices):
        pixels = _pixels(one)
        stack[index] = np.rint(pixels) if dtype.kind == "i" and pixels.dtype.kind == "f" else pixels
    return _narrowed(stack, slices[0].path) if dtype.kind == "i" else stack


def _pixels_at_once(slices):
    """As `_pixels` slice by slice, in a third of the time."""
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(one.path) for one in slices])
    with quiet(slices[0].path):
        array = sitk.GetArrayFromImage(reader.Execute())
    if array.shape != (len(slices), *slices[0].size) or array.dtype.kind not in "iu":
        raise damage(slices[0].path, f"its series has pixels of shape {array.shape}")
    return array


def _narrowed(array, path):
    for dtype in (np.int16, np.int32):
        if array.min() >= np.iinfo(dtype).min and array.max() <= np.iinfo(dtype).max:
            return array.astype(dtype, copy=False)
    raise damage(path, "its series has values beyond 32 bits", "export it again as CT numbers")
