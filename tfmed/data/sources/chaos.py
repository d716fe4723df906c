"""CHAOS: abdominal CT and MR as DICOM slices, with one PNG of the reference per slice."""

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import ONE_SERIES, ORDERS
from tfmed.io.dicom_files import dicom_files
from tfmed.io.stack import images_in

from .listing import folder, hidden, identity, nothing, only_once

_LAYOUT = "CT/<id>/{DICOM_anon,Ground} or MR/<id>/{T1DUAL,T2SPIR}/{DICOM_anon,Ground} (below Train_Sets/, Test_Sets/)"
_SLICES, _GROUND = "DICOM_anon", "Ground"
_IMAGES = {  # modality -> (folder of the sequence, {image: folder below DICOM_anon})
    "ct": (None, {"ct": "."}),
    "t1dual": ("T1DUAL", {"t1_in": "InPhase", "t1_out": "OutPhase"}),
    "t2spir": ("T2SPIR", {"t2": "."}),
}
# The challenge gives ranges of grey: liver, right kidney, left kidney, spleen (nominally 63, 126, 189, 252).
_RANGES = ((56, 70), (111, 135), (176, 200), (241, 255))
_MR_LABELS = {grey: label for label, (low, high) in enumerate(_RANGES, 1) for grey in range(low, high + 1)}
_CT_LABELS = {1: 1, 255: 1}
_PARTS = {"train_sets": "train", "test_sets": "test"}


def chaos(root: PathLike | None = None, modality: str = "ct", ground_order: str = "names") -> list[Case]:
    """The CT or MR scans of CHAOS.

    CT scans have the image "ct" and the label 1 (liver); MR scans "t1_in" and "t1_out", or "t2", and the labels 1 to 4
    (liver, right kidney, left kidney, spleen): `meta["label_values"]` tells which greys these are. All slices in a
    folder are one series, because the release gives slices of one scan different SeriesInstanceUIDs. A scan without
    folder Ground has no label. `meta["part"]` is "train" or "test" below Train_Sets or Test_Sets.

    Args:
        root: the folder of the release, or one of those below it.
        modality: "ct", "t1dual" or "t2spir".
        ground_order: which PNG belongs to which slice, see `tfmed.io.addresses`: "names" (by equal names, else the
            first PNG to the first DICOM file by name, wherever that lies), "ascending" or "descending" (the first PNG
            to the lowest or the highest slice).

    Raises:
        DataError: the folder is missing or holds no such scan; PNGs without slices or a phase is missing; an option has
            another value.
    """
    for name, value, known in (("modality", modality, tuple(_IMAGES)), ("ground_order", ground_order, ORDERS)):
        if value not in known:
            raise DataError(f"source chaos: {name} must be one of {', '.join(known)}; got {value!r}")
    base = folder(root, "chaos", _LAYOUT)
    sequence, images = _IMAGES[modality]
    scans = [place for place in _scans(base) if _sequence(place) == sequence]
    if not scans:
        raise nothing(base, "chaos", f"{_LAYOUT}; modality {modality}")
    kind = "CT" if sequence is None else "MR"
    patients = [identity(f"{kind}-{(place.parent if sequence else place).name}") for place in scans]
    only_once(zip(patients, scans, strict=True), "chaos")
    labels = _CT_LABELS if sequence is None else _MR_LABELS
    return [_case(name, place, images, ground_order, labels) for name, place in zip(patients, scans, strict=True)]


def _scans(base):
    """The folders that hold DICOM_anon or Ground."""
    found = (path for name in (_SLICES, _GROUND) for path in base.rglob(name))
    return sorted({path.parent for path in found if path.is_dir() and not hidden(path, base)})


def _sequence(place):
    return place.name if place.name in [sequence for sequence, _ in _IMAGES.values()] else None


def _case(name, place, images, ground_order, labels):
    paths = {image: place / _SLICES / below for image, below in images.items()}
    for path in paths.values():
        if not path.is_dir() or not dicom_files(path):
            raise DataError(f"{path}: holds no DICOM slices; copy the scan again, or remove {place}")
    label, meta = None, {}
    if (place / _GROUND).is_dir():
        if not images_in(place / _GROUND):
            raise DataError(f"{place / _GROUND}: holds no PNG; copy the scan again, or remove this folder")
        first = next(iter(images.values()))
        series = f"../{_SLICES}" if first == "." else f"../{_SLICES}/{first}"
        label, meta = f"{place / _GROUND}::{ground_order}:{series}", {"label_values": dict(labels)}
    parts = [_PARTS[name.lower()] for name in place.parts if name.lower() in _PARTS]
    if parts:
        meta["part"] = parts[-1]
    return Case(name, name, {image: f"{path}::{ONE_SERIES}" for image, path in paths.items()}, label, meta)
