"""COVID-19 Radiography Database: chest radiographs in a folder for each class, with lung masks beside them."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import files_below, folder, group_of, nothing, only_once

CLASSES = ("Normal", "COVID", "Viral Pneumonia", "Lung_Opacity")
_LAYOUT = f"{', '.join(CLASSES)} with images/<class>-<n>.png, or these files without images/"
_TOP = "COVID-19_Radiography_Dataset"


def covid19_radiography(
    root: PathLike | None = None, classes: tuple[str, ...] = CLASSES[:3], group_pattern: str | None = None
) -> list[Case]:
    """Radiographs (image "image", grey) whose `meta["class"]` is the folder that they lie in.

    Nothing says which radiographs are of one patient: each is a patient of its own, unless `group_pattern` tells.

    Args:
        root: the folder of the classes, or the one above it as it is unpacked.
        classes: those that are kept; by default all but Lung_Opacity, which J. Chong et al. (DALI 2021) leave out.
        group_pattern: regular expression with one group, searched in a file's path below `root`.

    Raises:
        DataError: the folder is missing, a class has no radiograph, or there is no such class.
    """
    if not classes or not set(classes) <= set(CLASSES):
        raise DataError(f"source covid19_radiography: classes are some of {', '.join(CLASSES)}; got {classes}")
    base = folder(root, "covid19_radiography", _LAYOUT)
    base = base / _TOP if (base / _TOP).is_dir() else base
    found = []
    for name in classes:
        below = base / name / "images" if (base / name / "images").is_dir() else base / name
        files = [path for path in files_below(below) if path.suffix.lower() == ".png"] if below.is_dir() else []
        files = [path for path in files if path.parent == below]  # masks lie in a folder beside them
        if not files:
            raise nothing(base / name, "covid19_radiography", _LAYOUT)
        only_once([(path.stem.casefold(), path) for path in files], "covid19_radiography")
        for path in files:
            text = path.relative_to(base).as_posix()
            group = group_of(text, group_pattern, path, "covid19_radiography") or path.stem
            found.append(Case(path.stem, group, {"image": f"{path}::grey"}, None, {"class": name}))
    return found
