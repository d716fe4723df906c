"""Splits by patient group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data.case import Case
from tfmed.data.splits import by_group
from tfmed.errors import DataError

pytestmark = pytest.mark.current

PARTS = ("train", "validation", "test")
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.125, 0.2, 0.3])


def cases(sizes):
    """One patient per entry, with so many cases."""
    return [Case(f"{group}-{i}", f"patient{group}", {"ct": f"{group}-{i}.nii"})
            for group, size in enumerate(sizes) for i in range(size)]  # fmt: skip


def groups(part):
    return {case.group for case in part}


@given(st.lists(st.integers(1, 4), min_size=3, max_size=30), SHARES, SHARES, st.integers(0, 2**31 - 1))
def test_a_split_is_a_partition_that_separates_no_group(sizes, validation, test, seed):
    everything = cases(sizes)
    parts = by_group(everything, validation, test, seed)
    assert tuple(parts) == PARTS
    assert sorted(c.id for part in parts.values() for c in part) == sorted(c.id for c in everything)
    assert sum(len(groups(part)) for part in parts.values()) == len(sizes)
    for name, share in (("validation", validation), ("test", test)):
        assert len(groups(parts[name])) == (max(1, round(share * len(sizes))) if share else 0)
    assert parts["train"]


@given(st.lists(st.integers(1, 4), min_size=3, max_size=20), st.integers(0, 2**31 - 1), st.randoms())
def test_the_order_of_the_cases_does_not_matter(sizes, seed, random):
    everything = cases(sizes)
    shuffled = random.sample(everything, len(everything))
    one, other = by_group(everything, 0.2, 0.2, seed), by_group(shuffled, 0.2, 0.2, seed)
    assert [groups(one[name]) for name in PARTS] == [groups(other[name]) for name in PARTS]


def test_cases_keep_their_order_within_a_part():
    everything = cases([2] * 10)
    for part in by_group(everything, 0.2, 0.2, 0).values():
        assert part == [case for case in everything if case in part]


def test_the_seed_decides():
    everything = cases([1] * 20)
    splits = [frozenset(groups(by_group(everything, 0.2, 0.2, seed)["test"])) for seed in (0, 0, 1, 2)]
    assert splits[0] == splits[1] and len(set(splits)) == 3


def test_paper_shares():
    """1,200 volumes as 900 / 150 / 150."""
    parts = by_group(cases([1] * 1200), 0.125, 0.125, 0)
    assert [len(parts[name]) for name in PARTS] == [900, 150, 150]


TOO_FEW = [(0, 0, 0), (0, 0.1, 0.1), (1, 0.1, 0), (2, 0.1, 0.1), (3, 0.5, 0.4)]


@pytest.mark.parametrize("count, validation, test", TOO_FEW)
def test_too_few_groups(count, validation, test):
    with pytest.raises(DataError, match=rf"^{count} patient group.*data\.split\.test to 0$"):
        by_group(cases([3] * count), validation, test, 0)


def test_one_group_can_train():
    assert len(by_group(cases([3]), 0, 0, 0)["train"]) == 3
