"""What the sources share: checked roots, who is a patient, ids, files of volumes, folders with DICOM slices."""

import collections
import contextlib
import os
import pathlib
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.dicom_files import DICOM_SUFFIXES, dicom_files
from tfmed.io.dicom_header import looks_like_dicom, read_header

_BIDS = re.compile(r"(?:^|/)(sub-[^\W_]+)(?=[_/])")


def folder(root: PathLike | None, source: str, layout: str) -> pathlib.Path:
    """`root` as an existing folder.

    Raises:
        DataError: it is not given, missing, or no folder; the line tells the layout that is expected.
    """
    if root is None:
        raise DataError(f"source {source} needs data.root: a folder with {layout}")
    path = pathlib.Path(os.path.expanduser(str(root)))
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path}: {what}; source {source} expects a folder with {layout}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise DataError(f"{path}: may not be read; change its permissions, or choose another data.root")
    return path


def nothing(root: object, source: str, layout: str) -> DataError:
    """The error for a folder in which nothing was found."""
    return DataError(f"{root}: holds no case; source {source} expects {layout}")


@contextlib.contextmanager
def speaking_of(root: str, options: str) -> Iterator[None]:
    """What a source says of `data.root` and `data.options`, it says of these settings: for sources of sources."""
    try:
        yield
    except DataError as error:
        settings = {"root": root, "options": options}
        text = re.sub(r"\bdata\.(root|options)\b", lambda found: settings[found[1]], str(error))
        raise DataError(text) from None


VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def identity(text: object) -> str:
    """What a case or a patient is called: the text itself, its letters composed (macOS keeps them apart in names).

    Raises:
        DataError: a name that is not UTF-8, or that holds line breaks or other control characters.
    """
    text = str(text)
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise DataError(f"{text!r}: is a name that is not UTF-8 or holds control characters; rename it")
    return unicodedata.normalize("NFC", text)


def volume_suffix(path: PathLike) -> str:
    """The suffix of a volume as it stands in the file's name, or "" where it has none that is read."""
    name = os.path.basename(path)
    return next((name[-len(suffix) :] for suffix in VOLUMES if name.lower().endswith(suffix)), "")


def unique(short: Iterable[str], long: Iterable[str]) -> list[str]:
    """One id per case: the short name where it is alone, else the long one, else numbered."""
    short, long = [identity(name) for name in short], [identity(name).replace("/", "-") for name in long]
    count = collections.Counter(short)
    chosen = [a if count[a] == 1 else b for a, b in zip(short, long, strict=True)]
    seen, result = set(), []
    for name in chosen:
        candidate, number = name, 2
        while candidate in seen:
            candidate, number = f"{name}-{number}", number + 1
        seen.add(candidate)
        result.append(candidate)
    return result


LABEL_ENDING = re.compile(r"[._-](seg|segmentation|label|labels|mask|gt|roi)$", re.IGNORECASE)
_IMAGE_ENDING = re.compile(r"[._-](image|img|ct|mr)$")


def match_labels(images: Collection[str], labels: Mapping[str, Any], some: bool = False) -> dict[str, Any]:
    """{key of an image: its label}: under the same key, or under one that differs in case or in an ending as `_seg`.

    Args:
        images: keys (paths without suffix) of the images.
        labels: {key: label}.
        some: the images are a choice, so that labels without an image are no fault.

    Raises:
        DataError: a label that belongs to no image, or may belong to several.
    """
    found: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for key, label in labels.items():
        (found if key in images else others)[key] = label
    loosely: dict[str, list[str]] = {}
    for key in images:
        loosely.setdefault(_IMAGE_ENDING.sub("", key.casefold()), []).append(key)
    for key, label in others.items():
        plain = key.removesuffix("_0000")
        names = [plain] if plain in images else loosely.get(LABEL_ENDING.sub("", key.casefold()), [])
        if some and not names:
            continue
        if len(names) != 1 or names[0] in found:
            why = f"two labels fit {names[0]}" if names else "no image has this name"
            why = f"{len(names)} images fit it, {names[0]} and {names[1]}" if len(names) > 1 else why
            raise DataError(f"{label}: is a label, but {why}; give it the name of its image, or move it away")
        found[names[0]] = label
    return found


def hidden(path: pathlib.Path, root: pathlib.Path) -> bool:
    """Whether a name in the path below `root` begins with a dot (as the shadow files of some archives do)."""
    return any(name.startswith(".") for name in path.relative_to(root).parts)


def _walk(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """(folder, names of its files) at and below `root`, without hidden ones; links to folders are followed.

    A folder that is reached twice, as in a circle of links, is entered once.
    """

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions, or move it away")

    seen = set()
    for where, below, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield pathlib.Path(where), [name for name in names if not name.startswith(".")]


def dicom_folders(root: pathlib.Path) -> list[pathlib.Path]:
    """The folders at or below `root` that directly hold DICOM files, sorted; see `files_below` for links.

    A folder whose files may be slices by their names and are none is left out with a warning.
    """
    return sorted(where for where, names in _walk(root) if names and _has_dicom(where))


def _has_dicom(path: pathlib.Path) -> bool:
    files = dicom_files(path)
    if any(file.suffix.lower() in DICOM_SUFFIXES or looks_like_dicom(file) for file in files):
        return True
    if files:
        warnings.warn(f"{path}: left out, as {files[0].name} and {len(files) - 1} more are no DICOM", stacklevel=5)
    return False


def first_slice(files: Sequence[pathlib.Path]) -> pathlib.Path:
    """The first of some DICOM files that is a slice (reports may come before it), else the first.

    Raises:
        ImageIntegrityError: a file is not readable DICOM.
    """
    return next((file for file in files if header(file, ["PixelSpacing"])[0]), files[0])


def header(path: pathlib.Path, names: Sequence[str]) -> list[str]:
    """The text of some tags, named by their keywords, of one DICOM file, "" where absent.

    Raises:
        ImageIntegrityError: the file is not readable DICOM.
    """
    found = read_header(path, names)
    return [found.text(name) for name in names]


def files_below(root: pathlib.Path) -> list[pathlib.Path]:
    """All files at or below `root` whose path has no hidden name, in the order of their paths.

    Links to folders are followed; a folder that is reached twice is entered once.
    """
    return sorted(where / name for where, names in _walk(root) for name in names)


def group_of(name: str, group_pattern: str | None, path: object, source: str) -> str | None:
    """The patient that a file's relative path names: the one group of a regular expression.

    Without an expression the subject of a BIDS name (`sub-01/ses-2/...`, `sub-01_ses-2_T1w.nii.gz`), else None.

    Raises:
        DataError: the expression is malformed, has not exactly one group, or does not match.
    """
    if group_pattern is None:
        subject = _BIDS.search(name)
        return subject and identity(subject[1])
    try:
        expression = re.compile(group_pattern)
    except (re.error, TypeError) as error:
        raise DataError(f"source {source}: group_pattern {group_pattern!r} is malformed: {error}") from None
    if expression.groups != 1:
        raise DataError(f"source {source}: group_pattern {group_pattern!r} must have exactly one (group)")
    found = expression.search(name)
    if not found or not found.group(1):
        raise DataError(f"{path}: group_pattern {group_pattern!r} does not match it; widen it or move the file")
    return identity(found.group(1))


def only_once(pairs: Iterable[tuple[Any, Any]], source: str) -> dict[Any, Any]:
    """dict of (key, path) pairs.

    Raises:
        DataError: two paths have the same key.
    """
    found: dict[Any, Any] = {}
    for key, path in pairs:
        if key in found:
            raise DataError(f"{path}: the same {source} case as {found[key]}; remove one of the two")
        found[key] = path
    return found
