"""Classes of cases, which `meta["class"]` names."""

from collections.abc import Sequence

import numpy as np

from tfmed.data.case import Case
from tfmed.errors import DataError


def by_class(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """{"class <name>": its cases}, to be split alike.

    Raises:
        DataError: a subject is of two classes.
    """
    groups: dict[str, str | None] = {}
    for case in cases:
        if groups.setdefault(case.group, case.meta.get("class")) != case.meta.get("class"):
            raise DataError(f"{case.id}: subject {case.group} is of two classes; set data.options.group_pattern")
    found: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: str(case.meta.get("class"))):
        found.setdefault(f"class {case.meta.get('class')}", []).append(case)
    return found


def numbers_of(cases: Sequence[Case], classes: Sequence[str]) -> np.ndarray:
    """Class numbers int32 `(n,)`: places in the list of names.

    Raises:
        DataError: a case is of another class.
    """
    for case in cases:
        if case.meta.get("class") not in classes:
            have = ", ".join(sorted({str(case.meta.get("class")) for case in cases}))
            raise DataError(f"{case.id}: is of class {case.meta.get('class')!r}; the source has {have}: set "
                            "model.classes")  # fmt: skip
    return np.array([classes.index(case.meta["class"]) for case in cases], np.int32)


def of_class(parts: dict[str, list[Case]], part: str, name: str) -> list[Case]:
    """The cases of a part of a split that are of one class.

    Raises:
        DataError: there are none.
    """
    found = [case for case in parts[part] if case.meta.get("class") == name]
    if not found:
        known = ", ".join(sorted({str(case.meta.get("class")) for cases in parts.values() for case in cases}))
        raise DataError(f"no {part} image of class {name!r}; the source has {known}: set model.classes")
    return found
