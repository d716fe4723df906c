"""DigestPath (2019), the task of tissue: lesions of the colon in large pictures, with masks as JPEG."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import BRIGHT

from .adaptor import channels
from .listing import files_below, folder, nothing, only_once

_LAYOUT = "tissue-train-pos-v1/<id>.jpg and <id>_mask.jpg"
_MASK, _NEGATIVE = "_mask", "tissue-train-neg"


def digestpath(root: PathLike | None = None, negative: bool = False) -> list[Case]:
    """Pictures (images "red", "green", "blue") whose label is 1 where their mask is brighter than 127.

    Args:
        root: the folder `Colonoscopy_tissue_segment_dataset`, or one of positive pictures in it.
        negative: whether pictures without lesions are listed too, without label maps.

    Raises:
        DataError: the folder is missing or holds no picture with a mask, or a mask is of none.
    """
    base = folder(root, "digestpath", _LAYOUT)
    files = [path for path in files_below(base) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    plain = [path for path in files if not path.stem.endswith(_MASK)]
    masks = only_once([(path.stem.removesuffix(_MASK), path) for path in files if path.stem.endswith(_MASK)],
                      "digestpath")  # fmt: skip
    pictures = only_once(
        [(path.stem, path) for path in plain if negative or path.parent.name != _NEGATIVE], "digestpath"
    )
    if not masks:
        raise nothing(base, "digestpath", _LAYOUT)
    if lost := sorted(masks.keys() - pictures.keys()):
        raise DataError(f"{masks[lost[0]]}: is a mask without {lost[0]}.jpg; copy that too, or remove the mask")
    return [Case(name, name, channels(path), f"{masks[name]}::{BRIGHT}" if name in masks else None)
            for name, path in pictures.items()]  # fmt: skip
