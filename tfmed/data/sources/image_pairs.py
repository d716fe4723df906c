"""Pictures (PNG, JPEG, TIFF) and the pictures of their label maps, under one name in two folders."""

from tfmed.data.case import Case
from tfmed.io.addresses import COLOURS, GREY, NUMBERS
from tfmed.io.stack import SUFFIXES

from .listing import files_below, folder, group_of, match_labels, nothing, only_once, unique

_LAYOUT = "pictures (.png, .jpg, .tif) in images/ and their label maps in labels/, under the same names"


def image_pairs(root=None, images="images", labels="labels", group_pattern=None, modality="image", colour=False):
    """2-D images with label maps, whose grey values are numbers of classes; a pixel counts as 1 mm.

    Colour of an image is turned to grey when it is read, or gives the three images "red", "green" and "blue" of a case;
    of a label map it is refused.

    Args:
        root: the folder.
        images, labels: names of the two folders; a picture without a label map has none.
        group_pattern: regular expression with one group, searched in the file's path below `images`: the patient that a
            picture belongs to. Without it every picture is a patient of its own.
        modality: name under which a case gives its image.
        colour: whether a case's images are its three colours.

    Raises:
        DataError: a folder is missing or empty; a label map of no image; two files of one name; a malformed pattern.
    """
    base = folder(root, "image_pairs", _LAYOUT)
    top = folder(base / images, "image_pairs", _LAYOUT)
    found, masks = _pictures(top), _pictures(base / labels) if (base / labels).is_dir() else {}
    if not found:
        raise nothing(top, "image_pairs", _LAYOUT)
    masks = match_labels(found, masks)
    names = unique([key.rsplit("/", 1)[-1] for key in found], list(found))
    return [
        Case(
            name,
            group_of(key, group_pattern, path, "image_pairs") or name,
            {name: f"{path}::{name}" for name in COLOURS} if colour else {modality: f"{path}::{GREY}"},
            f"{masks[key]}::{NUMBERS}" if key in masks else None,
        )
        for name, (key, path) in zip(names, found.items(), strict=True)
    ]


def _pictures(top):
    """{path below the folder without the suffix: path}."""
    files = [path for path in files_below(top) if path.suffix.lower() in SUFFIXES]
    return only_once([(path.relative_to(top).with_suffix("").as_posix(), path) for path in files], "image_pairs")
