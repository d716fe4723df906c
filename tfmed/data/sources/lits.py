"""LiTS: volume-<n>.nii and segmentation-<n>.nii, and test-volume-<n>.nii."""

import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, nothing, only_once

_LAYOUT = "volume-<n>.nii and segmentation-<n>.nii (also .nii.gz), flat or in Training Batch 1/ and Training Batch 2/"
_FILE = re.compile(r"(test-volume|test-segmentation|volume|segmentation)-([0-9]{1,6})\.nii(\.gz)?", re.IGNORECASE)


def lits(root: PathLike | None = None) -> list[Case]:
    """The CTs of LiTS; label values are 1 (liver) and 2 (tumour).

    `meta["part"]` is "test" for `test-volume-<n>`, else "train". A volume without segmentation has no label. A scan is
    its own group: the data set does not tell patients.

    Args:
        root: the folder; volumes are searched below it.

    Raises:
        DataError: the folder is missing or holds no volume; a segmentation without its volume; a file is there twice.
    """
    base = folder(root, "lits", _LAYOUT)
    found = [(_FILE.fullmatch(path.name), path) for path in files_below(base)]
    files = only_once([((match[1].lower(), int(match[2])), path) for match, path in found if match], "lits")
    if not files:
        raise nothing(base, "lits", _LAYOUT)
    for (kind, number), path in files.items():
        image = kind.replace("segmentation", "volume")
        if (image, number) not in files:
            raise DataError(f"{path}: a label without {image}-{number}; copy the volume again, or remove the label")
    return [_case(kind, number, files) for kind, number in files if kind.endswith("volume")]


def _case(kind, number, files):
    label = files.get((kind.replace("volume", "segmentation"), number))
    name, part = f"{kind}-{number:03d}", "test" if kind.startswith("test") else "train"
    return Case(name, name, {"ct": str(files[kind, number])}, None if label is None else str(label), {"part": part})
