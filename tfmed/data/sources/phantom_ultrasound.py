"""Phantom B-mode ultrasound of several probes: any number of pictures, made when read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.data.phantoms.ultrasound import PROBES
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_ultrasound(
    root: PathLike | None = None,
    cases: int = 200,
    seed: int = 0,
    shape: tuple[int, ...] = (256, 256),
    probes: tuple[str, ...] = ("linear", "handheld"),
    veins: int = 1,
    arteries: int = 1,
    reverberation: int = 0,
    needle: int = 0,
    faint: int = 0,
    unlabelled: int = 0,
) -> list[Case]:
    """Pictures (image "image") of the probes in turn, labels 1 vein, 2 artery, 3 needle; `meta["domain"]` is the probe.

    With reverberation or a faint needle there are images "clean", the same picture without them, and "artefact", a mask
    of where they change it; with a needle there is "needle", a mask of all of it.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; picture k is the same whatever their number.
        seed: another seed gives other anatomies.
        probes: of "linear", "handheld" and "high_frequency".
        shape, veins, arteries, reverberation, needle, faint: as in `phantoms.ultrasound`.
        unlabelled: how many of the last pictures have no label.

    Raises:
        DataError: a number is out of range, or there is no such probe.
        UserError: another option has the wrong type, or is out of range.
    """
    if not probes or len(set(probes)) < len(probes) or not set(probes) <= set(PROBES):
        raise DataError(f"source phantom_ultrasound: probes are some of {', '.join(PROBES)}, each once; got {probes}")
    names = ("image", *(("clean", "artefact") if reverberation or faint else ()), *(("needle",) if needle else ()))
    images = {name: name for name in names}
    options = dict(shape=shape, veins=veins, arteries=arteries, reverberation=reverberation, needle=needle)
    options |= {"faint": faint} if faint else {}  # others have the addresses that they always had
    found = []
    for one, probe in enumerate(probes):
        listed = phantom_cases("ultrasound", "ultrasound", images, cases, seed, unlabelled, probe=probe, **options)
        found += [dataclasses.replace(c, meta={**c.meta, "domain": probe}) for c in listed[one :: len(probes)]]
    return sorted(found, key=lambda case: case.id)
