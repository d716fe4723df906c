"""From the paths and addresses of a case to its images and its label map: every reader of a case goes through here."""

from tfmed.data import phantoms
from tfmed.data.labels import grouped, relabel
from tfmed.io import read_volume


def read_address(address, series_uid=None):
    """The Volume behind a path or a `phantom:` address."""
    if phantoms.is_address(address):
        return phantoms.read(address)
    return read_volume(address, series_uid=series_uid) if series_uid else read_volume(address)


def read_case(case, case_spec):
    """The images of a case, as they lie on disk, and its label map with the values that the method knows, or None."""
    series_uid = case.meta.get("series_uid")
    images = [read_address(case.images[name], series_uid) for name in case_spec.images]
    if case_spec.label == "none" or case.label is None:
        return images, None
    return images, read_label(case)


def read_label(case):
    """A case's label map; where its source knows other numbers in the files, with those replaced; joined
    where the settings ask for it."""
    label = read_address(case.label)
    mapping, groups = case.meta.get("label_values"), case.meta.get("label_groups")
    label = label if mapping is None else relabel(label, mapping, case.label)
    return label if groups is None else grouped(label, groups)
