"""A folder of DICOM series."""

import collections
import dataclasses
import os
import pathlib
import warnings

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io import DicomSeries, ImageIntegrityError, list_dicom_series
from tfmed.io.addresses import BELOW
from tfmed.io.dicom import NoSlices
from tfmed.io.dicom_order import ordered

from .listing import dicom_folders, folder, identity, nothing, unique

_LAYOUT = "DICOM series, each in a sub-folder (the first level is taken as the patient)"
_NO_IMAGES = ("SEG",)  # label maps, listed only where they are asked for


def dicom_folder(
    root: PathLike | None = None, modality: str | None = None, image: str = "ct", volume: int = -1
) -> list[Case]:
    """One case per DICOM series at or below a folder; only headers are read.

    Ids come from the folders' names, never from the patient fields in the files. A case's image is the folder of its
    slices (`<folder>::below` where they lie in several folders), and `meta["series_uid"]` tells which series;
    `meta["slices"]` counts them. Reports, presentation states, screen captures and programs beside the slices are left
    out with a warning, and so are segmentations unless `modality` is "SEG".

    Args:
        root: the folder; each folder just below it is a patient.
        modality: only series of this DICOM modality, such as "CT"; all by default.
        image: name under which a case gives its image.
        volume: which volume of a series that holds several at the same places (time points, echoes, b-values), counted
            from 0; by default (-1) such a series is refused when it is read.

    Raises:
        DataError: the folder is missing or holds no (such) series.
        ImageIntegrityError: a file among the slices is not readable DICOM.
    """
    base = folder(root, "dicom_folder", _LAYOUT)
    if volume < -1:
        raise DataError(f"source dicom_folder: volume must be 0 or more, or -1 for series of one volume; got {volume}")
    series = _whole(_listed(base, modality), base)
    patients = _patients(series, base)
    found = _by_place(series)
    relative = [place.relative_to(base).parts or pieces[0].folder.relative_to(base).parts or (place.name,)
                for place, _, pieces in found]  # fmt: skip
    ends = [f"-series{number}" if number else "" for _, number, _ in found]
    ids = unique(
        [names[-1] + end for names, end in zip(relative, ends, strict=True)],
        ["-".join(names) + end for names, end in zip(relative, ends, strict=True)],
    )
    groups = [identity(patients.get(names[0], names[0])) for names in relative]
    return [
        Case(name, group, {image: _address(place, pieces, volume)}, None, _meta(pieces))
        for name, group, (place, _, pieces) in zip(ids, groups, found, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """What one folder holds of a series."""

    folder: pathlib.Path
    series: DicomSeries

    def places(self):
        return {one.place for one in self.series.slices}


def _listed(base, modality):
    """{SeriesInstanceUID: its _Pieces}."""
    found, without = collections.defaultdict(list), None
    for place in dicom_folders(base):
        try:
            series = list_dicom_series(place)
        except NoSlices as error:  # a folder with reports alone
            without = error
            warnings.warn(f"{place}: left out: {str(error).removeprefix(f'{place}: ')}", stacklevel=4)
            continue
        for one in series:
            if modality is None and one.modality in _NO_IMAGES:
                warnings.warn(f"{place}: left out the series {one.uid}: a segmentation, no image", stacklevel=4)
            elif modality in (None, one.modality):
                found[one.uid].append(_Piece(place, one))
    if not found:
        wanted = f" of modality {modality}" if modality else ""
        raise without or nothing(base, "dicom_folder", _LAYOUT + wanted)
    return found


def _whole(listed, base):
    """Lists of the _Pieces of one series each.

    Pieces of one UID are one series if no slice of one lies where a slice of another does, and, if they lie below
    different patients' folders (an anonymiser may give all the same UID), if they make one regular grid.
    """
    series = []
    for pieces in listed.values():
        patients = collections.defaultdict(list)
        for piece in pieces:
            patients[_patient(piece, base)].append(piece)
        if len(patients) > 1 and _disjoint(pieces) and _regular(pieces):
            series.append(pieces)
            continue
        for own in patients.values():
            series += [own] if _disjoint(own) else [[piece] for piece in own]
    return series


def _patient(piece, base):
    return (piece.folder.relative_to(base).parts or ("",))[0]


def _disjoint(pieces):
    places = [piece.places() for piece in pieces]
    return len(set().union(*places)) == sum(map(len, places))


def _regular(pieces):
    try:
        ordered([one for piece in pieces for one in piece.series.slices], pieces[0].folder)
    except ImageIntegrityError:
        return False
    return True


def _patients(series, base):
    """{name of a folder: the one that stands for it}, for patients whose series lie in several folders below `base`."""
    one = {}
    for pieces in series:
        names = [one.get(name, name) for name in sorted({_patient(piece, base) for piece in pieces})]
        one.update({name: names[0] for name in names})
        one = {name: names[0] if of in names else of for name, of in one.items()}
    return one


def _by_place(series):
    """(folder that holds all of it, its number among the series there or 0, _Pieces) of each series."""
    places = collections.defaultdict(list)
    for pieces in sorted(series, key=lambda pieces: pieces[0].series.uid):
        places[pathlib.Path(os.path.commonpath([piece.folder for piece in pieces]))].append(pieces)
    return [(place, number if len(found) > 1 else 0, pieces)
            for place, found in sorted(places.items()) for number, pieces in enumerate(found, 1)]  # fmt: skip


def _address(place, pieces, volume):
    end = [BELOW] if len(pieces) > 1 else []
    end += [str(volume)] if volume >= 0 else []
    return f"{place}::{':'.join(end)}" if end else str(place)


def _meta(pieces):
    return {"series_uid": pieces[0].series.uid, "slices": sum(len(piece.series.slices) for piece in pieces)}
