"""The WMH challenge: T1 and FLAIR of the brain with white matter hyperintensities, from three sites."""

import pathlib

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, nothing, only_once, unique

_LAYOUT = "<site>/<patient>/pre/T1.nii.gz and FLAIR.nii.gz, and <site>/<patient>/wmh.nii.gz"
_FILES = {"t1.nii.gz": "t1", "t1.nii": "t1", "flair.nii.gz": "flair", "flair.nii": "flair"}
_LABELS = ("wmh.nii.gz", "wmh.nii")
_STAGES = ("pre", "orig")
_PARTS = {"training": "train", "test": "test"}


def wmh2017(root: PathLike | None = None, stage: str = "pre", other: str = "background") -> list[Case]:
    """The patients' images "t1" and "flair", which share a grid, with the lesions as label 1.

    Stored labels are 1 (hyperintensities) and 2 (other pathology, which the challenge leaves out of its scores).
    `meta["site"]` is the folder above the patient's ("Utrecht", "Singapore", "GE3T", ...), `meta["part"]` "train" or
    "test" where a folder says so.

    Args:
        root: the folder of the release, or one below.
        stage: "pre" (bias corrected) or "orig" images.
        other: what other pathology counts as, "background" or "lesion".

    Raises:
        DataError: the folder is missing or holds no patient; a label without images; an option is unknown.
    """
    if stage not in _STAGES or other not in ("background", "lesion"):
        raise DataError("source wmh2017: stage must be pre or orig, and other background or lesion; "
                        f"got {stage!r}, {other!r}")  # fmt: skip
    base = folder(root, "wmh2017", _LAYOUT)
    images: dict[pathlib.Path, list] = {}
    labels = []
    for path in files_below(base):
        if path.parent.name == stage and path.parent != base and path.name.lower() in _FILES:
            images.setdefault(path.parent.parent, []).append((_FILES[path.name.lower()], path))
        elif path.name.lower() in _LABELS:
            labels.append((path.parent, path))
    if not images:
        raise nothing(base, "wmh2017", _LAYOUT)
    found = only_once(labels, "wmh2017")
    if lost := sorted(set(found) - set(images)):
        raise DataError(f"{found[lost[0]]}: labels without {stage}/T1 and FLAIR; copy them again, or remove the labels")
    places = sorted(images)
    names = unique([place.name for place in places], ["-".join(place.relative_to(base).parts) for place in places])
    return [
        Case(name, name, {kind: str(path) for kind, path in sorted(only_once(images[place], "wmh2017").items())},
             str(found[place]) if place in found else None, _meta(place, base, other))
        for name, place in zip(names, places, strict=True)
    ]  # fmt: skip


def _meta(place, base, other):
    above = [(base.parent if place == base else base).name, *place.relative_to(base).parts[:-1]]
    meta = {"site": above[-1], "label_values": {0: 0, 1: 1, 2: int(other == "lesion")}}
    parts = [_PARTS[name.lower()] for name in above if name.lower() in _PARTS]
    return meta | ({"part": parts[-1]} if parts else {})
