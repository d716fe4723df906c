"""Phantom slices of lung tumours in two classes, made when they are read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import phantom_cases

_SLICES = (0, 1, -1, 2, -2, 3, -3)


def phantom_lung_lesion(
    root: PathLike | None = None,
    cases: int = 256,
    seed: int = 0,
    shape: tuple[int, ...] = (1, 80, 80),
    slices: int = 4,
    noise_hu: float = 25.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom CT slices (image "ct") around lung tumours, with the tumour labelled; listing them makes none of them.

    `meta["class"]` is "adaptive" for patients whose tumour shrank, every other one, else "non-adaptive".

    Args:
        root: ignored.
        cases: how many slices, 1 to 100,000.
        seed: another seed gives other people.
        shape, noise_hu: as in `phantoms.lung_lesion`.
        slices: of each patient, 1 to 7.
        unlabelled: how many of the last slices have no label.

    Raises:
        DataError: a number is out of range.
        UserError: another option has the wrong type.
    """
    if not 1 <= slices <= len(_SLICES):
        raise DataError(f"source phantom_lung_lesion: slices must be an integer from 1 to {len(_SLICES)}; got {slices}")
    options = {"shape": shape, "noise_hu": noise_hu}
    patients = phantom_cases("lung_lesion", "lesion", {"ct": "image"}, -(-cases // slices), seed, 0, **options)
    found = [_slice(patient, k % 2, place) for k, patient in enumerate(patients) for place in _SLICES[:slices]][:cases]
    return [dataclasses.replace(case, label=None) if k >= cases - unlabelled else case for k, case in enumerate(found)]


def _slice(patient, shrunk, place):
    more = f"&slice={place}&shrunk={shrunk}"
    return dataclasses.replace(
        patient,
        id=f"{patient.id}-{_SLICES.index(place)}",
        images={name: address + more for name, address in patient.images.items()},
        label=patient.label + more,
        meta={**patient.meta, "class": "adaptive" if shrunk else "non-adaptive"},
    )
