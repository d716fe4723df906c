"""One folder per modality, with the images of a case under one name in each of them."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, group_of, only_once, unique, volume_suffix

_LAYOUT = "a folder per modality, such as mr/ and ct/, that hold one name each per case: mr/p1.nii.gz and ct/p1.nii.gz"


def modality_folders(
    root: PathLike | None = None, modalities: str = "mr,ct", group_pattern: str | None = None
) -> list[Case]:
    """Cases that have an image of one name in each of several folders; nothing is guessed where a name is missing.

    Args:
        root: the folder that holds these folders; each is searched recursively. A name may end in its modality
            (`mr/p1_mr.nii.gz`), which is left out.
        modalities: names of the folders, with commas: the images of a case.
        group_pattern: regular expression with one group, searched in the path below the first modality's folder: the
            patient that a case belongs to. Without it every case is a patient of its own.

    Raises:
        DataError: a folder is missing or empty, an image has no partner, or two have one name; a malformed pattern.
    """
    base = folder(root, "modality_folders", _LAYOUT)
    names = [name.strip() for name in modalities.split(",")]
    if not all(names) or len(set(names)) < len(names) or any("/" in name or name[0] == "." for name in names):
        raise DataError(f"source modality_folders: modalities is {modalities!r}; give names of folders, with commas")
    found = {name: _images(base, name) for name in names}
    _check_partners(base, found)
    first = found[names[0]]
    ids = unique([key.rsplit("/", 1)[-1] for key in first], list(first))
    return [Case(case, _group(path, base / names[0], group_pattern) or case,
                 {name: str(found[name][key]) for name in names})
            for case, (key, path) in zip(ids, first.items(), strict=True)]  # fmt: skip


def _images(base, modality):
    """{name within the folder, without endings: path}, sorted."""
    top = folder(base / modality, "modality_folders", _LAYOUT)
    pairs = [(_key(path.relative_to(top).as_posix(), modality), path) for path in files_below(top)
             if volume_suffix(path)]  # fmt: skip
    if not pairs:
        raise DataError(f"{top}: holds no volume; source modality_folders expects {_LAYOUT}")
    return dict(sorted(only_once(pairs, "modality_folders").items()))


def _key(name, modality):
    return name.removesuffix(volume_suffix(name)).removesuffix(f"_{modality}")


def _check_partners(base, found):
    """Every image needs one of the same name in all other folders."""
    common = set.intersection(*(set(images) for images in found.values()))
    if not common:
        shown = "; ".join(f"{name}/ holds {', '.join(list(images)[:3])}" for name, images in found.items())
        raise DataError(f"{base}: no name stands in all of its folders ({shown}); are these images of other patients? "
                        "Give the images of one examination one name")  # fmt: skip
    others = len(set().union(*found.values()) - common) - 1
    for images in found.values():
        for key, path in images.items():
            lacking = [other for other in found if key not in found[other]]
            if lacking:
                more = f" ({others} more names are incomplete)" if others else ""
                raise DataError(f"{path}: has no partner in {lacking[0]}/{more}; add it, or remove this file")


def _group(path, top, pattern):
    return group_of(path.relative_to(top).as_posix(), pattern, path, "modality_folders")
