"""Splits that never separate a patient group."""

from tfmed.data.sampling import generator
from tfmed.errors import DataError


def by_group(cases, validation, test, seed):
    """Split cases into {"train", "validation", "test"} by group.

    Args:
        cases: list of Case.
        validation, test: shares of the groups, in [0, 1); each non-zero share gets at least one group.
        seed: integer; the same seed and groups give the same split.

    Raises:
        DataError: too few groups for the shares asked for.
    """
    groups = sorted({case.group for case in cases})
    order = [groups[i] for i in generator(seed, len(groups), 0x59117).permutation(len(groups))]
    counts = {
        name: max(1, round(share * len(groups))) if share else 0
        for name, share in (("validation", validation), ("test", test))
    }
    if sum(counts.values()) >= len(groups):
        raise DataError(
            f"{len(groups)} patient group(s) cannot be split into train/validation/test with shares {validation:g} and "
            f"{test:g}; add cases or set data.split.validation and data.split.test to 0"
        )
    cut = counts["validation"]
    parts = {"validation": set(order[:cut]), "test": set(order[cut : cut + counts["test"]])}
    parts["train"] = set(order) - parts["validation"] - parts["test"]
    return {name: [case for case in cases if case.group in parts[name]] for name in ("train", "validation", "test")}
