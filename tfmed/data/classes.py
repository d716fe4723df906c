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


def conditions_of(cases: Sequence[Case], classes: Sequence[str], binary: Sequence[str] = ()) -> np.ndarray:
    """What generators are told of cases, float32 `(n, classes + 2 * binary)`: the class, one-hot, and pairs.

    Args:
        cases: list of Case.
        classes: names; a case's stands in `meta["class"]`.
        binary: names of what is 0 or 1 in `meta["condition"]`; a pair (1, 0) stands for 0, and (0, 1) for 1.

    Raises:
        DataError: a case is of another class, or lacks one of these.
    """
    found = [np.eye(len(classes), dtype=np.float32)[numbers_of(cases, classes)]]
    for name in binary:
        values = [case.meta.get("condition", {}).get(name) for case in cases]
        for case, value in zip(cases, values, strict=True):
            if value not in (0, 1):
                have = ", ".join(case.meta.get("condition", {})) or "nothing"
                raise DataError(f"{case.id}: its source does not say whether {name!r} is 0 or 1; it tells {have}: set "
                                "model.binary")  # fmt: skip
        found.append(np.eye(2, dtype=np.float32)[np.array(values, np.int32)])
    return np.concatenate(found, 1)


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
