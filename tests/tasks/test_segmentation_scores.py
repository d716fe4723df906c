"""Rows of scores put together."""

import pytest

from tfmed.tasks.segmentation_scores import mean_of_regions, summaries


def test_each_run_and_region_has_the_scores_of_its_own():
    """One run, and one region, has a score that the others do not have."""
    whole, core = ({"region": name, "Dice": dice} for name, dice in (("whole", 0.5), ("core", 0.25)))
    rows = [{"run": "ours", "case": "a"} | whole, {"run": "ours", "case": "a"} | core | {"bias": 2.0}]
    rows += [{"run": "theirs", "case": "a"} | whole | {"entropy": 1.0}, {"run": "theirs", "case": "a"} | core]
    found = {(row["run"], row["region"]): row for row in summaries(rows, ["ours", "theirs"], 0)}
    assert len(found) == 4 and found["ours", "core"]["Dice mean"] == 0.25
    assert found["ours", "core"]["bias mean"] == 2 and found["theirs", "whole"]["entropy mean"] == 1
    assert sum("bias mean" in row or "entropy mean" in row for row in found.values()) == 2


def test_a_score_that_a_case_lacks_is_a_mean_over_the_others():
    rows = [{"run": "ours", "case": name, "region": "whole", "Dice": 0.5} for name in "ab"]
    rows[1]["bias"] = 3.0
    assert summaries(rows, ["ours"], 0)[0]["bias mean"] == pytest.approx(3)


def test_a_case_has_the_mean_of_its_regions_overlaps_and_of_nothing_else():
    regions = [{"region": name, "Dice": dice, "equivariance Dice": 1.0, "HD95 mm": 3.0} for name, dice in
               (("whole", 0.9), ("core", 0.6), ("enhancing", 0.0))]  # fmt: skip
    assert mean_of_regions(regions) == {"region": "mean of regions", "Dice": 0.5, "equivariance Dice": 1.0}


def test_a_single_case_has_no_interval_of_its_mean():
    rows = [{"run": "a", "case": str(k), "region": region, "Dice": 0.5 + k / 10} for region in ("one", "two")
            for k in range(1 if region == "one" else 5)]  # fmt: skip
    one, two = summaries(rows, ["a"], 0)
    assert (one["Dice mean, 95 % interval"], one["Dice 5 - 95 %"]) == ("", "0.500 - 0.500")
    low, high = map(float, two["Dice mean, 95 % interval"].split(" - "))
    assert low < 0.7 < high
