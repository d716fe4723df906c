"""Splits that never separate a patient group: shares, folds, a data set's own parts, and few labels."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from tfmed.data.case import Case
from tfmed.data.sampling import Stream
from tfmed.data.settings import SplitConfig
from tfmed.errors import DataError

_GROUPS = Stream("splits.groups", 0x59117)

PARTS = ("train", "validation", "test")


class Parts(dict[str, list[Case]]):
    """{part: list of Case} whose cases are looked at when their part is first asked for.

    Args:
        parts: {part: list of Case}.
        check: function of a part's name that raises where its cases must not be used.
    """

    def __init__(self, parts: Mapping[str, list[Case]], check: Callable[[str], object] = lambda part: None) -> None:
        super().__init__(parts)
        self._check, self._checked = check, set[str]()

    def __getitem__(self, part: str) -> list[Case]:
        if part not in self._checked:
            self._check(part)
            self._checked.add(part)
        return super().__getitem__(part)

    def patients(self, part: str) -> set[str]:
        """The groups of a part's cases, whose files may be gone."""
        return {case.group for case in super().__getitem__(part)}

    def with_cases(self, change: Callable[[list[Case]], list[Case]]) -> "Parts":
        """The same parts with `change(list of Case)` in place of each list."""
        return Parts({part: change(cases) for part, cases in self.items()}, self.__getitem__)


Labelled = bool | Literal["some"]
Sizes = Callable[[Sequence[Case]], Mapping[str, float]]


def split(
    cases: Sequence[Case], config: SplitConfig, seed: int, labelled: Labelled = False, sizes: Sizes | None = None
) -> dict[str, list[Case]]:
    """Split cases into {"train", "validation", "test"} as the settings say.

    Args:
        cases: list of Case.
        config: a SplitConfig.
        seed: integer, used where the config has none.
        labelled: only patients with a label map in every case are drawn for validation and test, all others train;
            "some": likewise, those with a label map in any case.
        sizes: cases -> {group: its size}, by which balanced folds are alike; None: there are no sizes.

    Raises:
        DataError: too few groups, none with labels, no sizes, or the data set does not name its parts.
    """
    if config.by_data_set:
        return _split_by_data_set(cases, config, seed, labelled, sizes)
    seed = seed if config.seed is None else config.seed
    unlabelled = _without_labels(cases, labelled == "some") if labelled else set()
    drawn = [case for case in cases if case.group not in unlabelled]
    if labelled and not drawn:
        every = "" if labelled == "some" else " in every case"
        raise DataError(f"no patient has a label map{every}; check data.root and data.options")
    if config.given:
        parts = _given(cases, drawn, config, seed)
    elif config.folds:
        if config.balanced and sizes is None:
            raise DataError("data.split.balanced: this method knows no sizes to balance folds by; set it to false")
        known = sizes(drawn) if config.balanced and sizes is not None else None
        parts = by_fold(drawn, config.folds, config.fold, config.validation, seed, known)
    else:
        parts = by_group(drawn, config.validation, config.test, seed)
    held = {case.group for name in ("validation", "test") for case in parts[name]}
    return parts | {"train": [case for case in cases if case.group not in held]}


def _split_by_data_set(
    cases: Sequence[Case], config: SplitConfig, seed: int, labelled: Labelled, sizes: Sizes | None
) -> dict[str, list[Case]]:
    """Each data set of a joined source split by itself, so that every part has its share of each."""
    by_set: dict[str, list[Case]] = {}
    for case in cases:
        if "data_set" not in case.meta:
            raise DataError("data.split.by_data_set: this source has one data set; set it to false, or join several")
        by_set.setdefault(case.meta["data_set"], []).append(case)
    found = split_each(by_set, config.model_copy(update={"by_data_set": False}), seed, labelled, sizes)
    return {part: [case for parts in found.values() for case in parts[part]] for part in PARTS}


def _without_labels(cases: Sequence[Case], some: bool) -> set[str]:
    """The groups of which a case has no label map; `some`: of which none has one."""
    without = {case.group for case in cases if case.label is None}
    return without - {case.group for case in cases if case.label is not None} if some else without


def split_each(
    kinds: Mapping[str, Sequence[Case]],
    config: SplitConfig,
    seed: int,
    labelled: Labelled = False,
    sizes: Sizes | None = None,
) -> dict[str, dict[str, list[Case]]]:
    """Split the cases of each kind alike: {kind: list of Case} -> {kind: {part: list of Case}}.

    Raises:
        DataError: as `split`, with the kind named where there are several.
    """
    found = {}
    for name, cases in kinds.items():
        try:
            found[name] = split(cases, config, seed, labelled, sizes)
        except DataError as error:
            raise DataError(f"{name}: {error}") if len(kinds) > 1 else error from None
    return found


def joined(kinds: Mapping[str, Parts]) -> Parts:
    """The `Parts` of all kinds together, of {kind: Parts}."""

    def check(part: str) -> None:
        for parts in kinds.values():
            parts[part]

    cases = {part: [case for parts in kinds.values() for case in dict.__getitem__(parts, part)] for part in PARTS}
    return Parts(cases, check)


def by_group(cases: Sequence[Case], validation: float, test: float, seed: int) -> dict[str, list[Case]]:
    """Split cases into {"train", "validation", "test"} by group.

    Args:
        cases: list of Case.
        validation, test: shares of the groups, in [0, 1); each non-zero share gets at least one group.
        seed: integer; the same seed and groups give the same split.

    Raises:
        DataError: too few groups for the shares asked for.

    Example:
        >>> cases = [Case(f"{person}{k}", person, {}) for person in "abcd" for k in range(2)]  # two scans of each
        >>> parts = by_group(cases, validation=0.25, test=0.25, seed=1)
        >>> {name: len(found) for name, found in parts.items()}
        {'train': 4, 'validation': 2, 'test': 2}
    """
    order = _shuffled_groups(cases, seed)
    counts = {
        name: max(1, round(share * len(order))) if share else 0
        for name, share in (("validation", validation), ("test", test))
    }
    if sum(counts.values()) >= len(order):
        raise DataError(
            f"{len(order)} patient group(s) cannot be split into train/validation/test with shares {validation:g} and "
            f"{test:g}; add cases or set data.split.validation and data.split.test to 0"
        )
    cut = counts["validation"]
    return _parts(cases, validation=order[:cut], test=order[cut : cut + counts["test"]])


def by_fold(
    cases: Sequence[Case],
    folds: int,
    fold: int,
    validation: float,
    seed: int,
    sizes: Mapping[str, float] | None = None,
) -> dict[str, list[Case]]:
    """Cross-validation: the groups of one of `folds` equal parts are the test cases, a share of the others validates.

    Args:
        fold: 0 .. folds - 1; over all folds every group is tested once.
        validation: share of the other groups, at least one group if it is not 0.
        sizes: {group: its size}: folds are those of `balanced_folds`; None: drawn.

    Raises:
        DataError: fewer groups than folds, or none left to train on.
    """
    order = _shuffled_groups(cases, seed)
    if folds > len(order):
        raise DataError(f"{len(order)} patient group(s) cannot make {folds} folds; set data.split.folds lower")
    test = order[fold::folds]
    if sizes is not None:
        test = sorted({case.group for case in balanced_folds(cases, sizes, folds)[fold]})
    rest = [group for group in order if group not in set(test)]
    cut = max(1, round(validation * len(rest))) if validation else 0
    if cut >= len(rest):
        raise DataError(f"fold {fold}: none of {len(rest)} groups is left to train on; lower data.split.validation")
    return _parts(cases, validation=rest[:cut], test=test)


def balanced_folds(cases: Sequence[Case], sizes: Mapping[str, float], folds: int) -> list[list[Case]]:
    """Folds whose groups have about the same mean size: sorted by size, groups are dealt out to and fro.

    Args:
        cases: list of Case; each keeps its place among those of its fold.
        sizes: {group: its size}, such as the mean diameter of a patient's lesions in mm.
        folds: how many, at least 2.

    Returns:
        list of `folds` lists of Case; numbers of groups differ by one at most, and no group is separated.

    Raises:
        DataError: fewer groups than folds, or a group has no finite size.

    Example:
        >>> cases = [Case(name, name, {}) for name in "abcd"]
        >>> [[case.id for case in fold] for fold in balanced_folds(cases, dict(a=1.0, b=2.0, c=9.0, d=8.0), 2)]
        [['a', 'c'], ['b', 'd']]
    """
    groups = sorted({case.group for case in cases})
    if not 2 <= folds <= len(groups):
        raise DataError(f"{len(groups)} patient group(s) cannot make {folds} folds; choose 2 to the number of groups")
    if bad := [group for group in groups if not math.isfinite(sizes.get(group, math.nan))]:
        raise DataError(f"patient {bad[0]}: has no size to balance folds by; give one, 0 for a healthy patient")
    order = sorted(groups, key=lambda group: -sizes[group])  # stable: of one size by name
    fold_of = {}
    for place, group in enumerate(order):
        turn, step = divmod(place, folds)
        fold_of[group] = folds - 1 - step if turn % 2 else step
    return [[case for case in cases if fold_of[case.group] == fold] for fold in range(folds)]


def few_labels(cases: Sequence[Case], share: float, seed: int, some: bool = False) -> list[Case]:
    """The cases whose labels may be used: those of ceil(share * patients) patients, the first of a seeded shuffle.

    Args:
        cases: list of Case; only groups with a label map in every case count.
        share: in (0, 1]; a smaller share's patients are among those of a larger one.
        seed: integer.
        some: groups with a label map in any case count, with the cases that have one.

    Raises:
        DataError: no case has a label map.
    """
    unlabelled = _without_labels(cases, some)
    found = [case for case in cases if case.group not in unlabelled and case.label is not None]
    if not found:
        raise DataError("no training case has a label map; check data.root and data.options")
    order = _shuffled_groups(found, seed)
    chosen = set(order[: math.ceil(share * len(order) - 1e-9)])
    return [case for case in found if case.group in chosen]


def first_groups(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """The cases of so many patients, the first of a seeded shuffle: fewer are always among more.

    Raises:
        DataError: there are fewer patients.
    """
    order = _shuffled_groups(cases, seed)
    if count > len(order):
        raise DataError(f"{count} labelled patients are asked for, and {len(order)} train; lower it, or add cases")
    chosen = set(order[:count])
    return [case for case in cases if case.group in chosen]


def _given(cases: Sequence[Case], drawn: Sequence[Case], config: SplitConfig, seed: int) -> dict[str, list[Case]]:
    """The parts that a data set names in `meta["part"]`; one that it does not name is drawn from its training cases."""
    named = {name: {case.group for case in cases if case.meta.get("part") == name} for name in PARTS[1:]}
    if not named["validation"] and not named["test"]:
        raise DataError("data.split.given: this source names no validation or test cases; set it to false")
    torn = sorted((named["validation"] & named["test"]) | _also_trains(cases, named))
    if torn:
        raise DataError(f"data.split.given: patient {torn[0]} stands in two parts; correct the parts of its cases")
    rest = [case for case in drawn if case.group not in named["validation"] | named["test"]]
    if not named["validation"] and config.validation:
        named["validation"] = {case.group for case in by_group(rest, config.validation, 0, seed)["validation"]}
    if not named["test"] and config.test:
        named["test"] = {case.group for case in by_group(rest, 0, config.test, seed + 1)["test"]}
    return _parts(cases, **named)


def _also_trains(cases: Sequence[Case], named: Mapping[str, set[str]]) -> set[str]:
    held = named["validation"] | named["test"]
    return {case.group for case in cases if case.meta.get("part", "train") not in PARTS[1:] and case.group in held}


def _shuffled_groups(cases: Sequence[Case], seed: int) -> list[str]:
    groups = sorted({case.group for case in cases})
    return [groups[i] for i in _GROUPS(seed, len(groups)).permutation(len(groups))]


def _parts(cases: Sequence[Case], validation: Iterable[str], test: Iterable[str]) -> dict[str, list[Case]]:
    groups = {"validation": set(validation), "test": set(test)}
    groups["train"] = {case.group for case in cases} - groups["validation"] - groups["test"]
    return {name: [case for case in cases if case.group in groups[name]] for name in PARTS}
