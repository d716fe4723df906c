"""Several sources as one: data sets that train together."""

import dataclasses
import os
import pathlib
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.errors import DataError, nearest
from tfmed.files import PathLike

from .listing import speaking_of

_PART = re.compile(r"[A-Za-z0-9_]{1,40}")  # no hyphen: it ends the part's name in an id
_KEYS = ("source", "root", "options")
_LABELS = ("alike", "some")
_LAYOUT = "data.options.parts={a: {source: nlst, root: NLST}, b: {source: lidc_idri, root: LIDC-IDRI}}"


def joined(
    open_source: Callable[..., list[Case]],
    root: PathLike | None = None,
    parts: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
    labels: str = "alike",
) -> list[Case]:
    """The cases of several sources, whose patients are all different people.

    Ids and groups begin with the part's name and a hyphen: people who are called alike in two data sets stay apart.
    `meta["data_set"]` is the part's name; `data.split.by_data_set` draws each part of the split from each of them.

    Args:
        open_source: `sources.open`.
        root: the folder in which relative roots of the parts lie; None: the current one.
        parts: name (letters, digits, _) -> {source, root, options}, as `data.source`, `root` and `options` have them.
        labels: "alike": either all parts have label maps, or none has; "some": parts without train without.

    Raises:
        DataError: no part, a malformed or unknown setting of one, images or label maps that do not agree, one phantom
            in two parts, or what a part's source raises; the line names the part.
    """
    if labels not in _LABELS:
        raise DataError(f"source joined: labels must be alike or some; got {labels!r}{nearest(labels, _LABELS)}")
    if not isinstance(parts, Mapping) or not parts:
        raise DataError(f"source joined needs data.options.parts, sources by name; such as {_LAYOUT}")
    found = {name: _part(open_source, root, name, settings) for name, settings in parts.items()}
    _refuse_other_images(found)
    _refuse_phantoms_twice(found)
    if labels == "alike":
        _refuse_missing_labels(found)
    return [_renamed(case, name) for name, cases in found.items() for case in cases]


def roots_of(source: str, root: PathLike | None, options: Mapping[str, Any]) -> list[PathLike]:
    """The folders in which the files of a source lie: its root, or those of its parts."""
    if source == "nodules_erased":
        return roots_of(options.get("source", ""), root, options.get("options", {}))
    if source != "joined":
        return [] if root is None else [root]
    return [
        each
        for part in options["parts"].values()
        for each in roots_of(part["source"], _below(root, part.get("root")), part.get("options", {}))
    ]


def _part(open_source, root, name, settings):
    where = f"data.options.parts.{name}"
    if not isinstance(name, str) or not _PART.fullmatch(name):
        raise DataError(f"{where}: name a part by 1 to 40 letters, digits and _")
    if not isinstance(settings, Mapping) or not isinstance(settings.get("source"), str):
        raise DataError(f"{where}: must be a section that names its source; such as {_LAYOUT}")
    for key in settings:
        if key not in _KEYS:
            raise DataError(f"{where} has no setting {key!r}{nearest(key, _KEYS)}")
    options, place = settings.get("options", {}), settings.get("root")
    if not isinstance(options, Mapping):
        raise DataError(f"{where}.options: must be a section; got {options!r}")
    if not isinstance(place, str | os.PathLike | None):
        raise DataError(f"{where}.root: must be a path; got {place!r}")
    with speaking_of(f"{where}.root", f"{where}.options"):
        try:
            return open_source(settings["source"], _below(root, place), **options)
        except DataError as error:
            raise DataError(f"part {name}: {error}") from None


def _below(root: PathLike | None, place: PathLike | None) -> PathLike | None:
    if root is None or place is None:
        return place
    return pathlib.Path(os.path.expanduser(str(root))) / os.path.expanduser(str(place))


def _renamed(case: Case, name: str) -> Case:
    meta = {**case.meta, "data_set": name}
    return dataclasses.replace(case, id=f"{name}-{case.id}", group=f"{name}-{case.group}", meta=meta)


def _refuse_other_images(found: Mapping[str, Sequence[Case]]) -> None:
    images = {name: sorted({image for case in cases for image in case.images}) for name, cases in found.items()}
    first = next(iter(images))
    for name, names in images.items():
        if names != images[first]:
            raise DataError(
                f"data.options.parts: the images of {first} are called {', '.join(images[first])}, those of {name} "
                f"{', '.join(names)}; name them alike (options.modality of many sources), or leave one part out"
            )


def _refuse_missing_labels(found: Mapping[str, Sequence[Case]]) -> None:
    having = {name for name, cases in found.items() if any(case.label for case in cases)}
    if having and (without := [name for name in found if name not in having]):
        raise DataError(
            f"data.options.parts: {min(having)} has label maps, and {without[0]} has none; add them, or set "
            "data.options.labels=some where cases without may train without"
        )


def _refuse_phantoms_twice(found: Mapping[str, Sequence[Case]]) -> None:
    """The same made person in two parts would stand on both sides of a split."""
    owners: dict[tuple[str, int], str] = {}
    for name, cases in found.items():
        for address in sorted({address for case in cases for address in case.images.values()}):
            if not phantoms.is_address(address):
                continue
            kind, options = phantoms.parse(address)
            owner = owners.setdefault((kind, options["seed"]), name)
            if owner != name:
                raise DataError(
                    f"data.options.parts: phantom {kind} {options['seed']} is in {owner} and in {name}; set another "
                    f"data.options.parts.{name}.options.seed"
                )
