"""DICOM series: slices ordered by where they lie, never by name, and refused where they do not make one volume.

No field about the patient leaves this module.
"""

import collections
import dataclasses
import os
import pathlib
import warnings

import numpy as np

from tfmed.io.dicom_files import dicom_files, folders_below, sorted_out
from tfmed.io.dicom_header import looks_like_dicom, read_header
from tfmed.io.dicom_order import ordered
from tfmed.io.dicom_slices import SECONDARY_CAPTURES, VOLUMES, Beside, limits_of, slices_in, voxels
from tfmed.io.dicom_volumes import one_volume, pixels_in
from tfmed.io.errors import ImageIntegrityError, damage
from tfmed.io.geometry import Geometry, check_memory, volume_of
from tfmed.io.itk import LPS_RAS


class NoSlices(ImageIntegrityError):
    """A folder holds DICOM objects, but no slice of a volume."""


@dataclasses.dataclass(frozen=True)
class DicomSeries:
    """One series in a folder.

    Args:
        uid: SeriesInstanceUID, as it stands in the files; never use it to build a path.
        modality: such as "CT".
        slices: its Slices, in the order of their files' names.
    """

    uid: str
    modality: str
    slices: tuple

    @property
    def files(self):
        """The files in which its slices lie."""
        return sorted({one.path for one in self.slices})


def list_dicom_series(folder, below=False):
    """The DicomSeries whose files lie in `folder` itself (`below`: also in its sub-folders), ordered by UID.

    DICOMDIR, pictures and tables are passed over; other files that are no slices, such as reports and screen captures,
    are left out with a warning.

    Raises:
        NoSlices: the folder holds DICOM, but no slice of a volume.
        ImageIntegrityError: no such folder, no DICOM in it, or a file that is empty, damaged or not DICOM.
    """
    found, notes = _listed(folder, below)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return found


def _listed(folder, below):
    """(list of DicomSeries, lines about what was left out)."""
    groups, others, notes = collections.defaultdict(list), [], []
    for place in folders_below(folder) if below else [pathlib.Path(folder)]:
        files, junk = sorted_out(place)
        for path in files:
            found = slices_in(path)
            if isinstance(found, Beside):
                others.append(found)
            else:
                groups[found[0].series].extend(found)
        if junk:
            notes.append(f"{place}: left out {_names(junk)}: no DICOM")
    others += _captures(groups)
    _check_others(folder, groups, others)
    notes += [f"{one.path}: left out: {one.kind}, no slice of a volume" for one in others]
    series = [DicomSeries(uid, groups[uid][0].modality, tuple(groups[uid])) for uid in sorted(groups)]
    return series, [" ".join(note.split()) for note in notes]


def read_dicom(path, series_uid=None, volume=None, below=False):
    """A Volume from a DICOM series: rescaled values (HU for CT), z along the normal of the slices.

    The array is int16 (int32 where the values need it) if every slope and intercept is a whole number, else float32.

    Args:
        path: the folder with the slices, or one file that holds a volume.
        series_uid: which series, where there are several.
        volume: which volume, where a series holds several at the same places (times, echoes, b-values, segments).
        below: search the folders below `path` too.

    Raises:
        ImageIntegrityError: several series or volumes and none chosen; missing or contradictory slices; gantry tilt;
            slices of unlike size, spacing or direction; damaged files.
    """
    chosen = one_volume(_chosen(path, series_uid, below), path, volume)
    return volume_from(chosen, path)


def ordered_slices(path, series_uid=None, volume=None, below=False):
    """The Slices that `read_dicom` reads, in the order of its array's z."""
    return ordered(one_volume(_chosen(path, series_uid, below), path, volume), path)[0]


def read_dicom_geometry(path, series_uid=None, volume=None, below=False):
    """The Geometry from the headers alone; where pixels need int32, its dtype still says int16."""
    return geometry_from(one_volume(_chosen(path, series_uid, below), path, volume), path)


def volume_from(slices, path):
    """The Volume of Slices that lie at different places."""
    slices, affine = ordered(slices, path)
    check_memory(len(slices) * voxels(slices[0]) * 4, path)
    return volume_of(_stacked(slices), LPS_RAS @ affine, path)


def geometry_from(slices, path):
    """The Geometry of Slices that lie at different places."""
    slices, affine = ordered(slices, path)
    dtype = np.dtype("i2" if all(one.whole for one in slices) else "f4")
    return Geometry((len(slices), *slices[0].size), LPS_RAS @ affine, dtype)


def _captures(groups):
    """Series of one secondary capture beside slices are taken out of `groups`."""
    if not any(slices[0].sop_class in VOLUMES for slices in groups.values()):
        return []
    lone = [uid for uid, slices in groups.items() if len(slices) == 1 and slices[0].sop_class in SECONDARY_CAPTURES]
    taken = [groups.pop(uid)[0] for uid in lone]
    return [Beside(one.path, one.series, "Secondary Capture Image", one.sop_class) for one in taken]


def _check_others(folder, groups, others):
    """What ought to be a slice and is none is an error, unless it is a whole series of other pictures."""
    for one in others:
        among = {other.sop_class for other in groups.get(one.series, ())}
        lost = not groups and one.sop_class in VOLUMES and not one.page
        if one.error is not None and (one.sop_class in among or lost):
            raise one.error
    if not groups and others:
        kinds = ", ".join(sorted({one.kind for one in others}))
        raise NoSlices(str(damage(folder, f"it holds no slice of a volume, only: {kinds}", "give one with slices")))
    if not groups:
        raise damage(folder, "the folder holds no DICOM file", "give the folder that holds the slices of one series")


def _names(paths):
    return ", ".join(path.name for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _chosen(path, series_uid, below):
    if os.path.isfile(path):
        return _in_file(pathlib.Path(path), series_uid)
    found, notes = _listed(path, below)
    if series_uid is None:
        for note in notes:
            warnings.warn(note, stacklevel=4)
    else:
        found = [series for series in found if series.uid == series_uid]
        if not found:
            raise damage(path, f"it holds no series {series_uid}", "list them with tfmed.io.list_dicom_series")
    if len(found) > 1:
        names = ", ".join(f"{series.uid} ({series.modality}, {len(series.files)} files)" for series in found)
        raise damage(path, f"it holds {len(found)} series: {names}", "choose one with series_uid=")
    return found[0].slices


def _in_file(path, series_uid):
    """The slices of one file that is a volume by itself."""
    if path.stat().st_size == 0:
        raise damage(path, "the file is empty", "copy it again, or give the folder that holds the series")
    found = slices_in(path)
    if isinstance(found, Beside):
        raise found.error or damage(path, f"it is no volume but: {found.kind}", "give the folder with the slices")
    if series_uid not in (None, found[0].series):
        raise damage(path, f"it is not of the series {series_uid}", "give the folder with that series")
    if len(found) == 1 and any(_is_of(other, found[0].series) for other in dicom_files(path.parent) if other != path):
        raise damage(path, "it is one slice of a series", "give the folder that holds the series")
    return found


def _is_of(path, series):
    try:
        return looks_like_dicom(path) and read_header(path).text("SeriesInstanceUID") == series
    except ImageIntegrityError:
        return False


def _stacked(slices):
    """All values (z, y, x): int16 where these suffice, int32 where they do not, float32 where they are not whole."""
    shape, opened = (len(slices), *slices[0].size), {}
    if not all(one.whole for one in slices):
        stack = np.empty(shape, np.float32)
    else:
        limits = [end for one in slices for end in limits_of(one)]
        stack = np.empty(shape, np.int16 if _fit(min(limits), max(limits), np.int16) else np.int64)
    for index, one in enumerate(slices):
        stack[index] = pixels_in(one, opened)
    return _narrowed(stack, slices[0].path) if stack.dtype == np.int64 else stack


def _fit(low, high, dtype):
    return low >= np.iinfo(dtype).min and high <= np.iinfo(dtype).max


def _narrowed(array, path):
    for dtype in (np.int16, np.int32):
        if _fit(array.min(), array.max(), dtype):
            return array.astype(dtype)
    raise damage(path, "its series has values beyond 32 bits", "export it again as CT numbers")
