"""Pictures with Pascal VOC's XML, one file each."""

import pathlib

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.objects import read_voc

from .adaptor import size_of
from .listing import files_below, folder, only_once
from .pictured_objects import listed, object_cases, pictures

_LAYOUT = "JPEGImages/*.jpg and Annotations/*.xml (or both beside each other), one XML per annotated image"
_SETS = {"train": "train", "val": "validation", "test": "test"}


def voc_folder(
    root: PathLike | None = None, group_pattern: str | None = None, labelled_list: str | None = None
) -> list[Case]:
    """Pictures below a folder (as "red", "green", "blue") with the objects of the XML of the same name.

    `meta["objects"]` is [class, x0, y0, x1, y1] of each; a picture without XML is not annotated, as frames of further
    videos are. `ImageSets/Main/train.txt`, `val.txt` and `test.txt` tell `meta["part"]` where they are there.

    Args:
        root: the folder.
        group_pattern: as of `image_folder`: the patient or video that an image belongs to, else each is one of its own.
        labelled_list: text file below `root` with the images whose boxes are used; all others are then unlabelled.

    Raises:
        DataError: the folder is missing or holds no picture; an XML of no picture, with entities, or with boxes that
            cannot be right; two pictures of one name where there is an XML for it.
    """
    base = folder(root, "voc_folder", _LAYOUT)
    return voc_cases(base, "voc_folder", _LAYOUT, group_pattern, labelled_list, _parts(base))


def voc_cases(base, source, layout, group_pattern, labelled_list, part, renamed=lambda objects, path: objects):
    """Cases of pictures and XML files below a folder; `renamed`: (objects, XML) -> objects with other names."""
    files = pictures(base, source, layout)
    texts = only_once([(path.stem, path) for path in files_below(base) if path.suffix.lower() == ".xml"], source)
    stems: dict[str, list[pathlib.Path]] = {}
    for path in files.values():
        stems.setdefault(path.stem, []).append(path)
    for stem, path in texts.items():
        if len(stems.get(stem, ())) != 1:
            what = "is of no image" if stem not in stems else f"fits two images, {stems[stem][0]} and {stems[stem][1]}"
            raise DataError(f"{path}: {what}; give it the name of its image, or remove it")

    def objects(key, path):
        text = texts.get(path.stem)
        return None if text is None else renamed(read_voc(text, size_of(path)), text)

    return object_cases(files, objects, source, group_pattern, listed(base, labelled_list), part)


def _parts(base):
    sets = {part: listed(base, f"ImageSets/Main/{name}.txt") for name, part in _SETS.items()
            if (base / f"ImageSets/Main/{name}.txt").is_file()}  # fmt: skip
    return lambda path: next((part for part, stems in sets.items() if path.stem in stems), None)
