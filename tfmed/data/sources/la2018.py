"""The 2018 Left Atrium challenge: late gadolinium enhanced MR, as NRRD, or as the h5 files of the UA-MT experiments."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, nothing, only_once, unique

_LAYOUT = "<case>/lgemri.nrrd and laendo.nrrd (in Training Set/ and Testing Set/), or <case>/mri_norm2.h5"
_IMAGE, _LABEL, _DERIVED = "lgemri.nrrd", "laendo.nrrd", "mri_norm2.h5"
_PARTS = {"training set": "train", "testing set": "test"}
_LISTS = {"train.list": "train", "test.list": "test"}


def la2018(root: PathLike | None = None) -> list[Case]:
    """The scans "mr" of the challenge with the left atrium's cavity as label 1.

    The challenge's own masks hold 255, which `meta["label_values"]` makes 1; a scan without mask has no label. In the
    h5 derivative (Yu et al., MICCAI 2019) every file has both arrays, normalised and cropped around the label.
    `meta["part"]` comes from the challenge's folders, or from `train.list` and `test.list` beside or above the cases. A
    scan is its own group: the data set does not tell patients.

    Args:
        root: the folder that holds the cases, or one above.

    Raises:
        DataError: the folder is missing, or holds no case or both forms; a label without image; a list that names a
            case twice or one that is not there.
    """
    base = folder(root, "la2018", _LAYOUT)
    files = [path for path in files_below(base) if path.name.lower() in (_IMAGE, _LABEL, _DERIVED, *_LISTS)]
    scans, masks, derived = (
        [path for path in files if path.name.lower() == name] for name in (_IMAGE, _LABEL, _DERIVED)
    )
    if not scans and not masks and not derived:
        raise nothing(base, "la2018", _LAYOUT)
    if derived and (scans or masks):
        raise DataError(f"{base}: holds {_IMAGE} and {_DERIVED} files; give the folder of one of the two releases")
    if derived:
        return _derived(derived, base)
    lonely = sorted({path.parent for path in masks} - {path.parent for path in scans})
    if lonely:
        raise DataError(f"{lonely[0] / _LABEL}: a label without {_IMAGE}; copy the case again, or remove it")
    labels = {path.parent: path for path in masks}
    return [
        Case(name, name, {"mr": str(path)}, *_label(path, labels.get(path.parent), base))
        for name, path in zip(_names(scans), scans, strict=True)
    ]


def _names(paths):
    only_once([(path.parent.name, path) for path in paths], "la2018")
    return unique([path.parent.name for path in paths], [path.parent.name for path in paths])


def _label(path, label, base):
    """(label, meta) of a scan of the challenge."""
    meta = {} if label is None else {"label_values": {1: 1, 255: 1}}
    folders = [name.lower() for name in (base.name, *path.relative_to(base).parts)]
    parts = [_PARTS[name] for name in folders if name in _PARTS]
    if parts:
        meta["part"] = parts[0]
    return (None if label is None else str(label)), meta


def _derived(paths, base):
    part_of = _listed(paths, base)
    return [
        Case(name, name, {"mr": f"{path}::image"}, f"{path}::label",
             {"part": part_of[path.parent.name]} if path.parent.name in part_of else {})
        for name, path in zip(_names(paths), paths, strict=True)
    ]  # fmt: skip


def _listed(paths, base):
    """Name of a case -> part, from the lists in `base`, above it, and between it and the cases."""
    places = sorted({base.parent, base, *(above for path in paths for above in path.parents if base in above.parents)})
    known, found = {path.parent.name for path in paths}, {}
    for file in (place / name for place in places for name in _LISTS):
        if not file.is_file():
            continue
        for number, name in enumerate(_lines(file), 1):
            if name not in known:
                raise DataError(f"{file}: line {number} names {name!r}, which is not there; copy the case again")
            if found.setdefault(name, _LISTS[file.name]) != _LISTS[file.name]:
                raise DataError(f"{file}: line {number} names {name!r}, which another list has as well; choose one")
    return found


def _lines(file):
    try:
        return file.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as a list of cases ({error}); copy it again") from None
