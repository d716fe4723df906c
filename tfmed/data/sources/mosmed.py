"""MosMedData COVID19_1110: chest CTs of Moscow clinics, 50 of them with masks of ground-glass and consolidation."""

import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import folder, hidden, nothing

_LAYOUT = "studies/CT-0/ ... CT-4/ with study_<number>.nii(.gz), and masks/study_<number>_mask.nii(.gz)"
_NAME = re.compile(r"(study_[0-9]+)(_mask)?\.nii(\.gz)?")


def mosmed(root: PathLike | None = None, all_studies: bool = False) -> list[Case]:
    """The studies with a mask (image "ct"); `meta["category"]` is "CT-0" (healthy lungs) to "CT-4" (most affected).

    Every study is a patient of its own.

    Args:
        root: the folder COVID19_1110.
        all_studies: also those without a mask.

    Raises:
        DataError: the folder or the masks are missing, a mask has no study, or a study stands twice.
    """
    base = folder(root, "mosmed", _LAYOUT)
    scans, masks = (_named(base, name) for name in ("studies", "masks"))
    if not scans:
        raise nothing(base, "mosmed", _LAYOUT)
    if lost := sorted(set(masks) - set(scans)):
        raise DataError(
            f"{masks[lost[0]]}: mask of a study that is not in {base / 'studies'}; add it, or remove the mask"
        )
    if not masks and not all_studies:
        raise DataError(f"{base / 'masks'}: no masks; add them, or set data.options.all_studies=true")
    chosen = scans if all_studies else masks
    return [
        Case(name, name, {"ct": str(scans[name])}, str(masks[name]) if name in masks else None,
             {"category": scans[name].parent.name})
        for name in sorted(chosen)
    ]  # fmt: skip


def _named(base, kind):
    """{study: file} below a folder."""
    found = {}
    for path in sorted((base / kind).rglob("*")):
        match = _NAME.fullmatch(path.name)
        if match is None or hidden(path, base) or bool(match[2]) != (kind == "masks"):
            continue
        if match[1] in found:
            raise DataError(f"{path}: {match[1]} stands twice, also as {found[match[1]]}; remove one")
        found[match[1]] = path
    return found
