"""NLST: <PID>/<StudyUID>/<SeriesUID>/ with DICOM slices; several reconstructions and localisers per exam."""

import pathlib

from tfmed.data.case import Case
from tfmed.files import PathLike
from tfmed.io.dicom_files import dicom_files

from .listing import dicom_folders, first_slice, folder, header, identity, nothing, unique

_LAYOUT = "<PID>/<StudyUID>/<SeriesUID>/*.dcm (also below a folder NLST/)"
_MODALITY, _KIND, _DATE, _SERIES = "Modality", "ImageType", "StudyDate", "SeriesInstanceUID"


def nlst(root: PathLike | None = None, smallest: int = 20) -> list[Case]:
    """One CT series per exam: the one with most slices that is not a localiser (ties: the first by folder name).

    The group is the participant's folder. `meta` has `round` (0, 1 or 2 for T0, T1, T2, told by the study date's year
    1999 to 2001; None where it is another), `series_uid` and `slices`. Only one header per series is read.

    Args:
        root: the folder with the participants.
        smallest: series of fewer slices are left out.

    Raises:
        DataError: the folder is missing or holds no such series.
        ImageIntegrityError: the first file of a series is not readable DICOM.
    """
    base = folder(root, "nlst", _LAYOUT)
    exams: dict[pathlib.Path, list[pathlib.Path]] = {}
    for place in dicom_folders(base):
        if len(place.relative_to(base).parts) >= 3:
            exams.setdefault(place.parent, []).append(place)
    best = [chosen for exam in sorted(exams) if (chosen := _best(exams[exam], smallest))]
    if not best:
        raise nothing(base, "nlst", f"{_LAYOUT} with CT series of at least {smallest} slices")
    people = [place.parent.parent.name for place, _ in best]
    rounds = [f"{who}_T{meta['round']}" if meta["round"] is not None else who
              for who, (_, meta) in zip(people, best, strict=True)]  # fmt: skip
    ids = unique(rounds, [f"{name}-{place.parent.name}" for name, (place, _) in zip(rounds, best, strict=True)])
    return [
        Case(name, identity(who), {"ct": str(place)}, None, meta)
        for name, who, (place, meta) in zip(ids, people, best, strict=True)
    ]


def _best(places, smallest):
    """The folder and meta of the exam's longest CT series, or None."""
    for place in sorted(places, key=lambda p: (-len(dicom_files(p)), p.name)):
        files = dicom_files(place)
        if len(files) < smallest:
            return None
        modality, kind, date, uid = header(first_slice(files), (_MODALITY, _KIND, _DATE, _SERIES))
        if modality == "CT" and "LOCALIZER" not in kind.upper():
            number = {"1999": 0, "2000": 1, "2001": 2}.get(date[:4])
            return place, {"round": number, "series_uid": uid, "slices": len(files)}
    return None
