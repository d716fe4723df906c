"""What `benchmarks.support.mutants` changes, what it leaves alone, and how sure its shares are."""

import ast

import pytest

from benchmarks.support import mutants as runner
from benchmarks.support.mutants import interval, mutants, sample

SOURCE = '''
"""A module."""
def scaled(values: list[2], k: int = 3):
    """Words 4."""
    if k < 0 or not values:
        raise ValueError(f"k of {k + 1}")
    return [k * v for v in zip(values, strict=True)]
'''


def test_each_place_is_changed_in_its_way():
    found = [(one.kind, one.before.split(":")[0], one.after.split(":")[0]) for one in mutants("m", SOURCE)]
    assert found == [
        ("constant", "3", "4"), ("condition", "if k < 0 or not values", "if not (k < 0 or not values)"),
        ("boolean", "k < 0 or not values", "k < 0 and (not values)"), ("comparison", "k < 0", "k <= 0"),
        ("constant", "0", "1"), ("boolean", "not values", "values"),
        ("deleted", "raise ValueError(f'k of {k + 1}')", "pass"),
        ("return", "return [k * v for v in zip(values, strict=True)]", "return None"),
        ("arithmetic", "k * v", "k / v"),
    ]  # fmt: skip


def test_a_mutant_is_one_change_of_a_program_that_can_be_read():
    found = mutants("m", SOURCE)
    assert len({one.key for one in found}) == len(found) and ast.unparse(ast.parse(SOURCE)) not in {
        one.source for one in found
    }
    for one in found:
        lines, before = ast.unparse(ast.parse(one.source)).splitlines(), ast.unparse(ast.parse(SOURCE)).splitlines()
        assert sum(a != b for a, b in zip(lines, before, strict=True)) == 1


def test_a_sample_is_seeded():
    found = mutants("m", SOURCE)
    assert sample(found, 0.5, 2, 0) == sample(found, 0.5, 2, 0) and len(sample(found, 0.5, 2, 0)) == 4
    assert len(sample(found, 0.1, 3, 0)) == 3 and sample(found, 0.1, 99, 0) == found
    assert len({tuple(one.key for one in sample(found, 0.5, 2, seed)) for seed in range(9)}) > 1


def test_tests_are_those_of_the_module():
    names = [file.rpartition("tests/")[2] for file in runner.tests_of("metrics", "aggregate")]
    assert names == ["metrics/test_aggregate.py", "test_docstrings.py::test_examples[tfmed.metrics.aggregate]"]
    assert any(file.endswith("losses/test_segmentation.py") for file in runner.tests_of("losses", "checks"))


def test_interval_by_hand():
    """Wilson 1927: 8 of 10."""
    assert interval(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert interval(10, 10)[1] == pytest.approx(1)
