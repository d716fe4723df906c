"""Volumes whose names tell images from labels: <id>_image.nii.gz and <id>_label.nii.gz side by side."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, group_of, nothing, only_once, unique, volume_suffix

_LAYOUT = "<id>{image} and <id>{label} volumes (.nii, .nii.gz, .nrrd, .mha, .mhd) in any sub-folders"


def paired_folder(
    root: PathLike | None = None,
    image_suffix: str = "_image",
    label_suffix: str = "_label",
    modality: str = "image",
    validation_folder: str | None = None,
    test_folder: str | None = None,
    group_pattern: str | None = None,
) -> list[Case]:
    """Images and labels in the same folder under one name with two endings; an image without label has none.

    Where `validation_folder` or `test_folder` is given, `meta["part"]` tells the part of each case: these, or "train"
    for all others.

    Args:
        root: the folder.
        image_suffix, label_suffix: what follows the id, in front of the format's suffix.
        modality: name under which a case gives its image.
        validation_folder, test_folder: names of sub-folders (on any level) whose cases are not for training.
        group_pattern: as of nifti_folder; searched in the path without endings.

    Raises:
        DataError: the folder is missing, or holds no such image or no such sub-folder; a label has no image; a file is
            there in two formats.
    """
    layout = _LAYOUT.format(image=image_suffix, label=label_suffix)
    if image_suffix == label_suffix or not label_suffix:
        raise DataError("source paired_folder: label_suffix must be some text other than image_suffix; correct it")
    base = folder(root, "paired_folder", layout)
    images, labels = _files(base, image_suffix, label_suffix)
    if not images:
        raise nothing(base, "paired_folder", layout)
    lonely = sorted(labels.keys() - images.keys())
    if lonely:
        raise DataError(f"{labels[lonely[0]]}: a label without image; copy {lonely[0]}{image_suffix} or remove it")
    parts = _parts(images, {"validation": validation_folder, "test": test_folder}, base)
    names = unique([key.rpartition("/")[2] for key in images], list(images))
    return [
        Case(
            name,
            group_of(key, group_pattern, path, "paired_folder") or name,
            {modality: str(path)},
            str(labels[key]) if key in labels else None,
            part,
        )
        for name, part, (key, path) in zip(names, parts, images.items(), strict=True)
    ]


def _files(base, image_suffix, label_suffix):
    """({relative path without endings: image}, the same of the labels)."""
    images, labels = [], []
    for path in files_below(base):
        suffix = volume_suffix(path)
        name = path.relative_to(base).as_posix().removesuffix(suffix)
        # the longer ending first: one of the two may end in the other, and the image's may be empty
        for ending, found in sorted(((label_suffix, labels), (image_suffix, images)), key=lambda pair: -len(pair[0])):
            if suffix and name.endswith(ending):
                found.append((name[: len(name) - len(ending)], path))
                break
    return only_once(images, "paired_folder"), only_once(labels, "paired_folder")


def _parts(images, folders, base):
    """The meta of each case."""
    folders = {name: part for part, name in folders.items() if name is not None}
    places = [key.split("/")[:-1] for key in images]
    for name in folders:
        if not any(name in place for place in places):
            raise DataError(f"{base}: no image lies in a folder {name!r}; correct data.options.{folders[name]}_folder")
    if not folders:
        return [{} for _ in places]
    return [{"part": next((folders[name] for name in place if name in folders), "train")} for place in places]
