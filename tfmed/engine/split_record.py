"""The split of a run: which cases train, validate and test; written with the run, and used from then on."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.splits import PARTS, Parts
from tfmed.engine.terminal import log
from tfmed.errors import DataError, RunError
from tfmed.files import PathLike, own_json, write_text

FILE = "split.json"
_VERSION = 1
_WAY_BACK = "it alone tells which cases the run was trained on: put a copy back, or train a new run"


class SplitRecord:
    """Which cases are in which part of a run's split, and digests of their files.

    Args:
        kinds: {kind of case: {part: list of entries}}, plain values, as `entries` makes them.
        path: the file that they come from, for messages.
    """

    def __init__(self, kinds: Mapping[str, Any], path: PathLike = FILE) -> None:
        self.kinds, self.path = kinds, path

    @classmethod
    def read(cls, folder: PathLike) -> "SplitRecord | None":
        """The record in a run's directory; None where there is none.

        Raises:
            RunError: it is damaged.
        """
        path = pathlib.Path(folder) / FILE
        if not os.path.lexists(path):
            return None
        found = own_json(path, _WAY_BACK, _is_record)
        return cls(found["kinds"], path)

    def write(self, folder: PathLike) -> None:
        """Write the record into a run's directory, in one piece."""
        found = {"version": _VERSION, "sha256": _digest(self.kinds), "kinds": self.kinds}
        write_text(pathlib.Path(folder) / FILE, json.dumps(found, indent=1))

    def parts(self, kind: str, cases: Sequence[Case], root: str | None, content: Callable[[str], str]) -> Parts:
        """The `Parts` of the cases that are there now: those of the record, with its ids, patients and order.

        A case is known by the place of its images below `root`, else by its id. Cases that the record does not know are
        left out with a word; one that is missing or has changed is an error when its part is asked for.

        Args:
            kind: of the cases.
            cases: list of Case.
            root: the data set's folder (it may have moved), or None.
            content: function of an address -> digest of what it holds.
        """
        base = _base(root)
        by_place = {_place(case.images, base): case for case in cases}
        by_id = {case.id: case for case in cases}
        used, parts, known = {}, {}, set()
        for part in PARTS:
            used[part] = self.kinds.get(kind, {}).get(part, [])
            now = [by_place.get(_written(entry)) or by_id.get(entry["id"]) for entry in used[part]]
            known |= {case.id for case in now if case is not None}
            parts[part] = [_of_then(entry, case, base) for entry, case in zip(used[part], now, strict=True)]
        if new := [case.id for case in cases if case.id not in known]:
            more = f" and {len(new) - 3} more" if len(new) > 3 else ""
            log.warning("left out, because they came after the split of this run: %s%s", ", ".join(new[:3]), more)

        def check(part):
            pairs = zip(used[part], parts[part], strict=True)
            lines = [line for entry, case in pairs for line in _changes(entry, case, content)]
            if lines:
                more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
                raise RunError(
                    f"{lines[0]}{more}; put back the {part} cases that {self.path} lists, or train a new run"
                )

        return Parts(parts, check)


LEARNT = ("train", "validation")  # what a run has seen while it learnt


def learnt(kinds: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """{part of `LEARNT`: digests of the images in it} of the kinds of a `SplitRecord`."""
    entries_of = {part: [entry for parts in kinds.values() for entry in parts.get(part, [])] for part in LEARNT}
    return {part: frozenset(digest for entry in found for digest in digests_of_images(entry))
            for part, found in entries_of.items()}  # fmt: skip


def digests_of_images(entry: Mapping[str, Any]) -> list[str]:
    """Of an entry of a `SplitRecord`; its label is left out, for empty ones are all alike."""
    return entry["sha256"][: len(entry["images"])]


def unseen(cases: Sequence[Case], seen: frozenset[str], content: Callable[[str], str]) -> Parts:
    """`Parts` of other data, all of whose cases test, but for those that the run has learnt from.

    Args:
        cases: list of Case.
        seen: digests of what the run has learnt from, as `learnt` gives them.
        content: function of an address -> digest of what it holds.

    Raises:
        DataError: the run has learnt from all of them, or a file is missing.
    """
    known = [case for case in cases if any(_content(address, content) in seen for address in case.images.values())]
    if known and len(known) == len(cases):
        raise DataError(f"the model has learnt from all {len(cases)} cases, such as {known[0].id}; score it on others")
    if known:
        more = f" and {len(known) - 3} more" if len(known) > 3 else ""
        log.warning(
            "left out, because the model has learnt from them: %s%s (%d of %d cases)",
            ", ".join(case.id for case in known[:3]), more, len(known), len(cases),
        )  # fmt: skip
    left = [case for case in cases if case not in known]

    def check(part: str) -> None:
        if part == "train":
            raise RunError("this asks for training cases, and other data only tests; score it on the data of its run")

    return Parts({part: left if part == "test" else [] for part in PARTS}, check)


def entries(parts: Mapping[str, Sequence[Case]], root: str | None, content: Callable[[str], str]) -> dict[str, Any]:
    """{part: list of plain values} of {part: list of Case}: what a record keeps of them.

    Raises:
        DataError: a file is missing.
    """
    base = _base(root)
    return {part: [_entry(case, base, content) for case in parts[part]] for part in PARTS}


def _entry(case, base, content):
    return {
        "id": case.id,
        "patient": case.group,
        "images": {name: _below(address, base) for name, address in case.images.items()},
        "label": None if case.label is None else _below(case.label, base),
        "sha256": [_content(address, content) for address in _addresses(case)],
    }


def _content(address, content):
    try:
        return _sha256(content(address))
    except OSError as error:
        raise DataError(
            f"{address}: cannot be read ({error.strerror}); put the file back, or remove the case"
        ) from None


def _of_then(entry, case, base):
    """The case that lies there now with its identity of then; one that is missing keeps the place where it lay."""
    identity = {"id": entry["id"], "group": entry["patient"]}
    if case is None:
        return Case(images={name: _at(place, base) for name, place in entry["images"].items()}, **identity,
                    label=entry["label"] and _at(entry["label"], base))  # fmt: skip
    return dataclasses.replace(case, **identity, label=case.label if entry["label"] else None)


def _changes(entry, case, content):
    """What is wrong with a case's files, a list of lines."""
    if len(_addresses(case)) != len(entry["sha256"]):
        return [f"{case.id}: has no longer the images and the label that the run was made with"]
    lines = []
    for address, before in zip(_addresses(case), entry["sha256"], strict=True):
        try:
            now = _sha256(content(address))
        except OSError:
            lines.append(f"{address}: is missing, and the run was made with it")
            continue
        if now != before:
            lines.append(f"{address}: has changed since the run was made")
    return lines


def _addresses(case):
    return [*(case.images[name] for name in sorted(case.images)), *([] if case.label is None else [case.label])]


def _base(root):
    """The folder that paths are told from, "" where there is none: the root, or the folder of a table."""
    if root is None:
        return ""
    path = os.path.abspath(os.path.expanduser(str(root)))
    return path if os.path.isdir(path) else os.path.dirname(path)


def _below(address, base):
    """An address without the folder of the data set, which may move."""
    if not base or phantoms.is_address(address):
        return str(address)
    path = os.path.abspath(address)
    return path.removeprefix(base + os.sep) if path.startswith(base + os.sep) else str(address)


def _at(place, base):
    return place if not base or phantoms.is_address(place) else os.path.join(base, place)


def _place(images, base):
    return json.dumps({name: _below(address, base) for name, address in images.items()}, sort_keys=True)


def _written(entry):
    return json.dumps(entry["images"], sort_keys=True)


def _is_record(found):
    known = isinstance(found, dict) and found.get("version") == _VERSION and isinstance(found.get("kinds"), dict)
    return known and found.get("sha256") == _digest(found["kinds"])


def _sha256(text):
    return hashlib.sha256(str(text).encode("utf-8", "surrogateescape")).hexdigest()


def _digest(kinds):
    return _sha256(json.dumps(kinds, sort_keys=True))
