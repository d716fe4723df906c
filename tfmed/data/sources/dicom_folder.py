"""A folder of DICOM series."""

from tfmed.data.case import Case
from tfmed.io import list_dicom_series

from .listing import dicom_folders, folder, identity, nothing, unique

_LAYOUT = "DICOM series, each in a sub-folder (the first level is taken as the patient)"


def dicom_folder(root=None, modality=None, image="ct"):
    """One case per DICOM series at or below a folder; only headers are read.

    Ids come from the folders' names, never from the patient fields in the files. A case's image is the folder of its
    slices and `meta["series_uid"]` tells which series; `meta["slices"]` counts its files.

    Args:
        root: the folder; each folder just below it is a patient.
        modality: only series of this DICOM modality, such as "CT"; all by default.
        image: name under which a case gives its image.

    Raises:
        DataError: the folder is missing or holds no (such) series.
        ImageIntegrityError: a file among the slices is not readable DICOM.
    """
    base = folder(root, "dicom_folder", _LAYOUT)
    found = []
    for place in dicom_folders(base):
        series = [one for one in list_dicom_series(place) if modality in (None, one.modality)]
        found += [(place, number if len(series) > 1 else 0, one) for number, one in enumerate(series, 1)]
    if not found:
        wanted = f" of modality {modality}" if modality else ""
        raise nothing(base, "dicom_folder", _LAYOUT + wanted)
    relative = [place.relative_to(base).parts or (place.name,) for place, _, _ in found]
    ends = [f"-series{number}" if number else "" for _, number, _ in found]
    ids = unique(
        [parts[-1] + end for parts, end in zip(relative, ends, strict=True)],
        ["-".join(parts) + end for parts, end in zip(relative, ends, strict=True)],
    )
    return [
        Case(name, identity(parts[0]), {image: str(place)}, None, {"series_uid": one.uid, "slices": len(one.slices)})
        for name, parts, (place, _, one) in zip(ids, relative, found, strict=True)
    ]
