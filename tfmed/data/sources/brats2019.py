"""BraTS: one folder per case with four modalities and, in the training release, the segmentation."""

import pathlib
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, nothing, only_once, unique

_LAYOUT = "<case>/<case>_{flair,t1,t1ce,t2,seg}.nii.gz in any sub-folders (such as HGG/ and LGG/)"
_IMAGES = ("flair", "t1", "t1ce", "t2")
_FILE = re.compile(r"(?P<case>.+)_(?P<kind>flair|t1|t1ce|t2|seg)\.nii(\.gz)?", re.IGNORECASE)
_MISNAMED = re.compile(r".+_segm\.nii(\.gz)?", re.IGNORECASE)  # one training case of the 2020 release
_PATIENT = re.compile(r"(brats1\d_[^_]+_[^_]+)_\d+", re.IGNORECASE)
_PART = re.compile(r".*brats.*(training|validation|testing)(data)?(_\d+)?", re.IGNORECASE)
_PARTS = {"training": "train", "validation": "validation", "testing": "test"}


def brats2019(root: PathLike | None = None) -> list[Case]:
    """The cases of BraTS 2017 to 2021 (BraTS 2019: 335 with segmentation), which share one naming.

    Images are "flair", "t1", "t1ce" and "t2". A case without segmentation has no label. `meta["grade"]` is "HGG" or
    "LGG" where the folders tell it; `meta["part"]` where a folder of the release does. Stored labels are 1 (necrotic
    and non-enhancing core), 2 (oedema) and 4 (enhancing): there is no 3. The group is the patient: up to BraTS 2019 a
    case's name ends in the number of the examination, which is left out.

    Args:
        root: the folder of a release, one of HGG and LGG, or one that holds case folders.

    Raises:
        DataError: the folder is missing or holds no case, or a case has no image, is there twice or in two encodings.
    """
    base = folder(root, "brats2019", _LAYOUT)
    cases: dict[pathlib.Path, list[tuple[str, pathlib.Path]]] = {}
    for path in files_below(base):
        kind = _kind(path)
        if kind:
            cases.setdefault(path.parent, []).append((kind, path))
    if not cases:
        raise nothing(base, "brats2019", _LAYOUT)
    only_once([(place.name, place) for place in cases], "brats2019")
    names = unique([place.name for place in cases], [place.name for place in cases])
    return [_case(name, place, files, base) for name, (place, files) in zip(names, cases.items(), strict=True)]


def _kind(path):
    """Which of the five files of a case this is, or None."""
    found = _FILE.fullmatch(path.name)
    if found and found["case"].lower() == path.parent.name.lower():
        return found["kind"].lower()
    return "seg" if _MISNAMED.fullmatch(path.name) and path.parent.name.lower().startswith("brats") else None


def _case(name, place, files, base):
    paths = only_once(files, "brats2019")
    images = {kind: str(paths[kind]) for kind in _IMAGES if kind in paths}
    if not images:
        raise DataError(f"{paths['seg']}: a segmentation without images; copy the case's images again, or remove it")
    label = str(paths["seg"]) if "seg" in paths else None
    patient = _PATIENT.fullmatch(name)
    return Case(name, patient[1] if patient else name, images, label, _meta(place, base))


def _meta(place, base):
    places, meta = [base.name, *place.relative_to(base).parts], {}
    grades = [name.upper() for name in places if name.upper() in ("HGG", "LGG")]
    if grades:
        meta["grade"] = grades[-1]
    parts = [_PARTS[found[1].lower()] for name in places if (found := _PART.fullmatch(name))]
    if parts:
        meta["part"] = parts[-1]
    return meta
