"""From the paths and addresses of a case to its images and its label map: every reader of a case goes through here."""

from typing import TYPE_CHECKING, Any

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.labels import grouped, relabel
from tfmed.io import read_volume
from tfmed.io.volume import Volume

if TYPE_CHECKING:
    from tfmed.data.checks import CaseSpec


def read_address(address: str, series_uid: str | None = None) -> Volume:
    """The Volume behind a path or a `phantom:` address."""
    if phantoms.is_address(address):
        return phantoms.read(address)
    return read_volume(address, series_uid=series_uid) if series_uid else read_volume(address)


def read_case(case: Case, case_spec: "CaseSpec") -> tuple[list[Volume], Volume | None]:
    """The images of a case, as they lie on disk, and its label map with the values that the method knows, or None."""
    series_uid = case.meta.get("series_uid")
    images = [read_address(case.images[name], series_uid) for name in case_spec.images]
    if case_spec.label == "none" or case.label is None:
        return images, None
    return images, read_label(case)


def read_label(case: Case) -> Volume:
    """A case's label map; where its source knows other numbers in the files, with those replaced; joined
    where the settings ask for it."""
    address: Any = case.label  # asked for where there is one
    label = read_address(address)
    mapping, groups = case.meta.get("label_values"), case.meta.get("label_groups")
    label = label if mapping is None else relabel(label, mapping, address)
    return label if groups is None else grouped(label, groups)
