"""Cardiac MR as UK Biobank gives it: one folder per participant and data field, with a manifest of its series."""

import pathlib
import re
import zipfile
from collections.abc import Iterator

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io import list_dicom_series
from tfmed.io.dicom import DicomSeries
from tfmed.io.tables import read_text

from .listing import files_below, folder, header, identity, nothing

# In this order: names of series, as they begin.
_NAMES = (
    ("sa", r"CINE_segmented_SAX_b\d+"), ("la_2ch", "CINE_segmented_LAX_2Ch"), ("la_3ch", "CINE_segmented_LAX_3Ch"),
    ("la_4ch", "CINE_segmented_LAX_4Ch"), ("ao", "CINE_segmented_Ao_dist"), ("lvot", "CINE_segmented_LVOT"),
    ("flow_mag", "flow_250_tp_AoV_bh_ePAT@c_MAG"), ("flow_pha", "flow_250_tp_AoV_bh_ePAT@c_P"),
    ("flow", "flow_250_tp_AoV_bh_ePAT@c"), ("shmolli_fitpar", "ShMOLLI_192i_SAX_b2s.*_FITPARAMS"),
    ("shmolli_t1map", "ShMOLLI_192i_SAX_b2s.*_T1MAP"), ("shmolli", "ShMOLLI_192i_SAX_b2s"),
    ("tag", r"cine_tagging_3sl_SAX_b\d+s"),
)  # fmt: skip
CLASSES = tuple(name for name, _ in _NAMES)
_FOLDER = re.compile(r"(\d+)_(2\d{4})_(\d+)_(\d+)")  # participant, field, visit, number
_MANIFESTS = ("manifest.csv", "manifest.cvs")
_LAYOUT = "folders <eid>_<field>_2_0, as unpacked from the zip files of these names, with *.dcm and manifest.csv each"


def ukbb_cardiac(root: PathLike | None = None, classes: tuple[str, ...] = CLASSES) -> list[Case]:
    """One case (image "image") per series whose name is known; `meta["class"]` is its sequence and view.

    An image is the first time frame of a series. Of a series that was taken again the last one counts. Names of the
    series are those of the manifest; where it does not name a file, those in the file.

    Args:
        root: the folder with the participants' folders, at any depth.
        classes: those that are kept, of sa, la_2ch, la_3ch, la_4ch, ao, lvot, flow, flow_mag, flow_pha, shmolli,
            shmolli_fitpar, shmolli_t1map and tag.

    Raises:
        DataError: the folder is missing, holds none of these or only zip files, or there is no such class.
        ImageIntegrityError: a file is no readable DICOM.
    """
    if not classes or not set(classes) <= set(CLASSES):
        raise DataError(f"source ukbb_cardiac: classes are some of {', '.join(CLASSES)}; got {classes}")
    base = folder(root, "ukbb_cardiac", _LAYOUT)
    files = files_below(base)
    places = sorted({path.parent for path in files if path.name in _MANIFESTS and _FOLDER.fullmatch(path.parent.name)})
    if not places:
        packed = [path for path in files if _FOLDER.fullmatch(path.stem) and zipfile.is_zipfile(path)]
        if packed:
            raise DataError(f"{packed[0]}: is packed, as are {len(packed) - 1} more; unpack each into a folder of its "
                            "name")  # fmt: skip
        raise nothing(base, "ukbb_cardiac", _LAYOUT)
    found = [case for place in places for case in _cases(place) if case.meta["class"] in classes]
    if not found:
        raise nothing(base, "ukbb_cardiac", f"{_LAYOUT}, and series of {', '.join(classes)}")
    return found


def class_of(name: str) -> str | None:
    """The class of a series by its name; None of another, such as a scout."""
    return next((kind for kind, pattern in _NAMES if re.match(pattern, name)), None)


def _cases(place: pathlib.Path) -> Iterator[Case]:
    """The cases of a participant's folder."""
    told, latest = _manifest(place), dict[str, DicomSeries]()
    for one in sorted(list_dicom_series(place), key=_of_uid):  # UIDs grow with time
        names = {told.get(path.name) for path in one.files} - {None}
        name = names.pop() if len(names) == 1 else header(one.files[0], ["SeriesDescription"])[0]
        latest[str(name)] = one
    person = place.name.partition("_")[0]
    for name, one in sorted(latest.items()):
        kind = class_of(name)
        if kind is not None:
            case = identity(f"{place.name}-{name}".replace("/", "-"))
            yield Case(case, person, {"image": f"{place}::0"}, None, {"series_uid": one.uid, "class": kind})


def _of_uid(one: DicomSeries) -> list[int]:
    return [int(number) for number in one.uid.split(".") if number.isdecimal()]


def _manifest(place: pathlib.Path) -> dict[str, str]:
    """{name of a file: its series} of a manifest.

    Dates in it may hold a comma without quotes: names of files are in the first columns, and series in those counted
    from the end.
    """
    path = next(place / name for name in _MANIFESTS if (place / name).is_file())
    lines = [line.split(",") for line in read_text(path).splitlines() if line.strip()]
    head = [cell.strip().strip('"').lower() for cell in lines[0]] if lines else []
    series = next((name for name in ("series discription", "series description", "seriesdescription") if name in head),
                  None)  # fmt: skip
    if "filename" not in head or series is None:
        raise DataError(f"{path}: has no column filename or series discription; get the archive again")
    first, dates = head.index("filename"), [k for k, name in enumerate(head) if "date" in name]
    column, found = head.index(series), {}
    for cells in lines[1:]:
        more = len(cells) - len(head)  # commas in the date, which lies before or behind the name of the series
        shift = more if dates and dates[0] < column else 0
        place_of_name = first + (more if dates and dates[0] < first else 0)
        if more >= 0 and column + shift < len(cells):
            found[cells[place_of_name].strip().strip('"')] = cells[column + shift].strip().strip('"')
    return found
