"""Chest CTs whose nodules have been taken out: a generator that learns from them makes scans without."""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any

from tfmed.data import nodule_erasing
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.nodules import nodules_of
from tfmed.data.readers import read_address
from tfmed.data.settings import DataConfig
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io import write_volume

from .listing import speaking_of

log = logging.getLogger("tfmed")


def nodules_erased(
    open_source: Callable[..., list[Case]],
    root: PathLike | None = None,
    source: str = "lidc_idri",
    options: Mapping[str, Any] = types.MappingProxyType({}),
    seed: int = 0,
    folder: str | None = None,
) -> list[Case]:
    """The scans of another source, those with nodules as copies in which lung tissue lies in the nodules' place.

    Copies (`.nii.gz`, in the scans' own grid and dtype) are written when the source is first opened, which reads those
    scans; later they are found by the scan's content, its nodules and the seed. Scans without nodules stay as they
    are. Marks below 3 mm, which LIDC-IDRI gives no radius, are no nodules. `meta["nodules"]` is then empty, the label
    is left out (it could show a nodule), and `meta["made_from"]` has the address of the scan. The paper's eraser is a
    network; see the method `ctsgan_nodules`, whose classifier has its scans erased by it.

    Args:
        open_source: `sources.open`.
        root, source, options: of the scans; a source that tells nodules (`data.nodules.nodules_of`).
        seed: of the choice of tissue, 0 or more.
        folder: where the copies lie; null: `erased` in $TFMED_CACHE or in ~/.cache/tfmed.

    Raises:
        DataError: a source that tells no nodules, no scan with one, a negative seed, or a scan (it is named) without
            lungs or without enough tissue.
        ImageIntegrityError: a scan is damaged.
        RunError: a copy cannot be written.
    """
    if seed < 0:
        raise DataError(f"source nodules_erased: seed must be 0 or more; got {seed}")
    if not isinstance(options, Mapping):
        raise DataError(f"source nodules_erased: options must be a section; got {options!r}")
    with speaking_of("data.root", "data.options.options"):
        cases = open_source(source, root, **options)
    place = pathlib.Path(os.path.expanduser(folder)) if folder else DataConfig().cache_folder() / "erased"
    cache = Cache(place, ())
    found = [_freed(case, place, cache, seed) for case in cases]
    if not any("made_from" in case.meta for case in found):
        raise DataError(f"source nodules_erased: no scan of {source} has a nodule; use data.source={source} itself")
    return found


def _freed(case: Case, folder: pathlib.Path, cache: Cache, seed: int) -> Case:
    """The Case with its nodules erased, in a file that is made where it is missing; itself where it has none."""
    if "nodules" in case.meta and not nodules_of(case):
        return case
    if "ct" not in case.images:
        raise DataError(
            f"{case.id}: has no 'ct' image (has: {', '.join(case.images) or 'none'}); choose another source"
        )
    address = case.images["ct"]
    try:
        inputs = [cache.content(address), case.meta.get("series_uid"), case.meta.get("nodules"), seed]
    except OSError as error:
        raise DataError(f"{address}: cannot be read ({error.strerror}); check the file") from None
    key = hashlib.sha256(json.dumps([nodule_erasing.VERSION, *inputs]).encode()).hexdigest()[:40]
    file = folder / f"{key}.nii.gz"
    if not file.exists():
        nodules = nodules_of(case)
        if not nodules:
            return case
        log.info("%s: %d nodule(s) are erased, in a copy: %s", case.id, len(nodules), file)
        _write(case, nodules, seed, file)
    kept = {name: value for name, value in case.meta.items() if name != "series_uid"}
    meta = {**kept, "nodules": [], "made_from": [address]}
    return dataclasses.replace(case, images={**case.images, "ct": str(file)}, label=None, meta=meta)


def _write(case, nodules, seed, file):
    volume = read_address(case.images["ct"], case.meta.get("series_uid"))
    try:
        write_volume(nodule_erasing.without_nodules(volume, nodules, seed), file)
    except DataError as error:
        raise DataError(f"{case.id}: {error}") from None
