"""Pictures with boxes in COCO's JSON."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.objects import read_coco

from .adaptor import size_of
from .boxes_folder import by_name
from .listing import folder
from .pictured_objects import listed, object_cases, pictures

_LAYOUT = "images (.png, .jpg, .tif) and annotations.json, as of COCO"


def coco(
    root: PathLike | None = None,
    annotations: str = "annotations.json",
    group_pattern: str | None = None,
    labelled_list: str | None = None,
) -> list[Case]:
    """Pictures below a folder (as "red", "green", "blue") with the boxes of COCO's JSON; see `boxes_folder`.

    A picture that the file does not list is not annotated.

    Args:
        root: the folder.
        annotations: path of the JSON, below `root`.
        group_pattern, labelled_list: as of `boxes_folder`.

    Raises:
        DataError: the folder or the file is missing, it lists an image that is not there, or of another size; boxes
            cannot be right.
    """
    base = folder(root, "coco", _LAYOUT)
    if not (base / annotations).is_file():
        raise DataError(f"{base / annotations}: does not exist; source coco expects {_LAYOUT}")
    try:
        known = read_coco(base / annotations)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    files = pictures(base, "coco", _LAYOUT)
    places = by_name(files, known, base / annotations)

    def objects(key, path):
        if key not in places:
            return None
        size, found = known[places[key]]
        if size != size_of(path):
            raise DataError(
                f"{path}: has {' x '.join(map(str, size_of(path)))} pixels, and {annotations} says "
                f"{' x '.join(map(str, size))}; give the image that was annotated"
            )
        return found

    return object_cases(files, objects, "coco", group_pattern, listed(base, labelled_list))
