"""Splits by patient group."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data.case import Case
from tfmed.data.settings import SplitConfig
from tfmed.data.splits import balanced_folds, by_group, few_labels, split
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


# --- folds ------------------------------------------------------------------------------------------------------------

SEED = st.integers(0, 2**31 - 1)


@given(st.lists(st.integers(1, 3), min_size=5, max_size=30), st.integers(2, 5), st.sampled_from([0.0, 0.2]), SEED)
def test_over_all_folds_every_group_is_tested_once(sizes, folds, validation, seed):
    everything, tested = cases(sizes), []
    for fold in range(folds):
        config = SplitConfig(folds=folds, fold=fold, validation=validation)
        parts = split(everything, config, seed)
        assert sorted(c.id for part in parts.values() for c in part) == sorted(c.id for c in everything)
        assert sum(len(groups(part)) for part in parts.values()) == len(sizes)
        assert parts["train"] and bool(parts["validation"]) == bool(validation)
        tested += groups(parts["test"])
    assert sorted(tested) == sorted(groups(everything))


def test_too_many_folds():
    with pytest.raises(DataError, match=r"^3 patient group\(s\) cannot make 5 folds; set data\.split\.folds lower"):
        split(cases([2] * 3), SplitConfig(folds=5), 0)
    with pytest.raises(DataError, match=r"none of 1 groups is left to train on; lower data\.split\.validation"):
        split(cases([2] * 2), SplitConfig(folds=2, validation=0.5), 0)


# --- few labels -------------------------------------------------------------------------------------------------------


def labelled(sizes, without=()):
    """As `cases`; all have labels but those of the patients in `without`."""
    return [dataclasses.replace(case, label=None if case.group in without else "label.nii") for case in cases(sizes)]


@pytest.mark.parametrize("share, patients", [(0.01, 3), (0.05, 14), (0.1, 27), (1.0, 268)])
def test_the_shares_of_equireg(share, patients):
    assert len(groups(few_labels(labelled([1] * 268), share, 0))) == patients


@given(st.lists(st.integers(1, 3), min_size=1, max_size=40), SEED, st.randoms())
def test_smaller_shares_are_among_larger_ones(sizes, seed, random):
    everything = labelled(sizes)
    shuffled = random.sample(everything, len(everything))
    before = set()
    for share in (0.01, 0.1, 0.3, 0.5, 0.99, 1.0):
        chosen = groups(few_labels(everything, share, seed))
        assert before <= chosen and len(chosen) == math.ceil(round(share * len(sizes), 9))
        assert chosen == groups(few_labels(shuffled, share, seed))
        before = chosen
    assert before == groups(everything)


def test_labels_of_none():
    with pytest.raises(DataError, match="no training case has a label map"):
        few_labels(cases([1, 2]), 1.0, 0)


@given(st.lists(st.integers(1, 3), min_size=8, max_size=30), st.data(), SEED)
def test_cases_without_labels_only_ever_train(sizes, data, seed):
    count = data.draw(st.integers(0, len(sizes) - 6))
    without = {f"patient{k}" for k in data.draw(st.permutations(range(len(sizes))))[:count]}
    everything = labelled(sizes, without)
    for config in (SplitConfig(validation=0.2, test=0.2), SplitConfig(folds=3, fold=1)):
        parts = split(everything, config, seed, labelled=True)
        assert without <= groups(parts["train"])
        assert not without & (groups(parts["validation"]) | groups(parts["test"]))
        assert sorted(c.id for part in parts.values() for c in part) == sorted(c.id for c in everything)
        chosen = few_labels(parts["train"], 0.5, seed)
        assert chosen and all(case.label for case in chosen)


def test_a_patient_of_whom_one_case_has_no_label_is_not_held_out():
    everything = labelled([2] * 5)
    everything = [dataclasses.replace(c, label=None) if c.id.endswith("-1") else c for c in everything]
    with pytest.raises(DataError, match=r"no patient has a label map in every case; check data\.root"):
        split(everything, SplitConfig(), 0, labelled=True)


def test_patients_of_whom_some_cases_have_labels():
    """They are drawn, and lend the labels that they have; those without any only train."""
    everything = labelled([2] * 6)
    everything = [dataclasses.replace(c, label=None) if c.id.endswith("-1") or c.group == everything[-1].group else c
                  for c in everything]  # fmt: skip
    for seed in range(6):
        parts = split(everything, SplitConfig(validation=0.4, test=0.2), seed, labelled="some")
        assert everything[-1] in parts["train"] and parts["validation"] and parts["test"]
    chosen = few_labels(everything, 0.5, 0, some=True)
    assert len(chosen) == 3 and all(case.label for case in chosen)
    with pytest.raises(DataError, match=r"no patient has a label map; check data\.root"):
        split(cases([2] * 3), SplitConfig(), 0, labelled="some")


# --- a data set's own parts -------------------------------------------------------------------------------------------


def parted(names, sizes=None):
    """A patient per name of a part ("" for none)."""
    made = labelled(sizes or [1] * len(names))
    return [
        dataclasses.replace(case, meta={"part": name} if (name := names[int(case.group[7:])]) else {}) for case in made
    ]


GIVEN = SplitConfig(given=True, validation=0.25, test=0.25)


@given(st.lists(st.sampled_from(["train", "validation", "test", ""]), min_size=12, max_size=30), SEED)
def test_given_parts_are_kept_and_the_others_drawn_from_training(names, seed):
    names = [*names, "train", "train", "train", "validation"]
    parts = split(parted(names), GIVEN, seed)
    assert groups(parts["validation"]) == {f"patient{k}" for k, name in enumerate(names) if name == "validation"}
    if "test" in names:
        assert groups(parts["test"]) == {f"patient{k}" for k, name in enumerate(names) if name == "test"}
    else:
        assert parts["test"] and all(names[int(g[7:])] in ("train", "") for g in groups(parts["test"]))
    assert len(parts["train"]) + len(parts["validation"]) + len(parts["test"]) == len(names)


@pytest.mark.parametrize("parts", [("train", "test"), ("validation", "test"), ("", "test"), ("train", "validation")])
def test_a_patient_in_two_parts(parts):
    everything = parted(["train"] * 6 + ["test", "validation"])
    torn = [
        dataclasses.replace(case, id=f"torn{i}", group="torn", meta={"part": part} if part else {})
        for i, (case, part) in enumerate(zip(everything[:2], parts, strict=True))
    ]
    with pytest.raises(DataError, match=r"^data\.split\.given: patient torn stands in two parts; correct"):
        split([*everything, *torn], GIVEN, 0)


def test_a_source_that_names_no_parts():
    with pytest.raises(DataError, match=r"data\.split\.given: this source names no validation or test cases; set it"):
        split(labelled([1] * 9), GIVEN, 0)


# --- folds of like size -----------------------------------------------------------------------------------------------


def sizes_of(folds, sizes):
    """Mean size of the groups of each fold."""
    return np.array([np.mean([sizes[group] for group in groups(fold)]) for fold in folds])


@given(st.lists(st.integers(1, 3), min_size=4, max_size=30), st.integers(2, 4), st.randoms())
def test_balanced_folds_are_a_partition_that_separates_no_group(counts, folds, random):
    everything = cases(counts)
    sizes = {group: random.choice([1.0, 2.0, random.random()]) for group in sorted(groups(everything))}
    found = balanced_folds(everything, sizes, folds)
    assert sorted(c.id for fold in found for c in fold) == sorted(c.id for c in everything)
    numbers = [len(groups(fold)) for fold in found]
    assert sum(numbers) == len(counts) and max(numbers) - min(numbers) <= 1
    shuffled = balanced_folds(random.sample(everything, len(everything)), sizes, folds)
    assert [groups(fold) for fold in shuffled] == [groups(fold) for fold in found]


def test_groups_are_dealt_to_and_fro():
    everything = cases([1] * 7)
    sizes = {f"patient{k}": float(size) for k, size in enumerate((5, 1, 7, 3, 6, 2, 4))}
    found = [{int(sizes[group]) for group in groups(fold)} for fold in balanced_folds(everything, sizes, 3)]
    assert found == [{7, 2, 1}, {6, 3}, {5, 4}]


def test_balanced_folds_differ_less_than_drawn_ones():
    """111 patients with the paper's sizes (mean 3.86 mm, standard deviation 2.39): folds of 3.7 to 4.0 mm there."""
    rng = np.random.default_rng(0)
    everything = cases([1] * 111)
    for _ in range(10):
        sizes = dict(
            zip(sorted(groups(everything)), np.clip(rng.lognormal(1.188, 0.57, 111), 1.23, 19.63), strict=True)
        )
        dealt = sizes_of(balanced_folds(everything, sizes, 5), sizes)
        drawn = [sizes_of([split(everything, SplitConfig(folds=5, fold=k), seed)["test"] for k in range(5)], sizes)
                 for seed in range(5)]  # fmt: skip
        assert np.ptp(dealt) < 0.8 and np.ptp(dealt) < np.median([np.ptp(one) for one in drawn])


@pytest.mark.parametrize("folds, sizes, said", [
    (1, {}, "2 patient group.* cannot make 1 folds"), (3, {}, "cannot make 3 folds"),
    (2, {"patient0": 1.0}, "^patient patient1: has no size"), (2, {"patient0": 1.0, "patient1": math.nan}, "no size"),
])  # fmt: skip
def test_folds_that_cannot_be_balanced(folds, sizes, said):
    with pytest.raises(DataError, match=said):
        balanced_folds(cases([1, 1]), sizes, folds)


@pytest.mark.parametrize("fold", range(3))
def test_balanced_folds_are_a_setting(fold):
    everything = cases([1, 2, 1, 1, 3, 1, 1, 1, 2])
    sizes = {case.group: float(len(case.group) + int(case.group[-1]) ** 2) for case in everything}
    config = SplitConfig(folds=3, fold=fold, balanced=True, validation=0.2)
    parts = split(everything, config, seed=fold, sizes=lambda found: sizes)
    wanted = balanced_folds(everything, sizes, 3)[fold]
    assert parts["test"] == wanted and groups(parts["validation"]).isdisjoint(groups(wanted))
    assert len(groups(parts["validation"])) == 1
    drawn = split(everything, SplitConfig(folds=3, fold=fold, validation=0.2), seed=fold)
    assert groups(drawn["test"]) != groups(wanted) or fold
    with pytest.raises(DataError, match="knows no sizes"):
        split(everything, config, seed=0)
