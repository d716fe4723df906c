"""What columns mean: told of those that are there, and only of those."""

from tfmed.metrics import definitions


def test_each_distance_among_the_columns_is_told_once():
    columns = ["run", "Dice mean", "Dice std", "HD95 mm mean", "HD95 mm std", "HD95 undefined", "ASSD mm mean",
               "MSD mm mean", f"{definitions.nsd_column(1.5)} mean", "HD mm"]  # fmt: skip
    lines = definitions.of_columns(columns)
    assert [line.partition(":")[0] for line in lines] == [
        "HD95 mm", "ASSD mm", "MSD mm", "NSD 1.5 mm", "HD mm", "std and ±"]  # fmt: skip
    assert "both directed sets of distances together" in lines[0] and "two directed mean distances" in lines[1]
    assert "n - 1" in lines[-1]


def test_other_tables_need_no_words():
    assert definitions.of_columns(["run", "PSNR dB", "nodules mm"]) == []
    assert definitions.of_columns(["FD std"]) == [definitions.SPREAD]


def test_frechet_distances_are_told_whatever_their_features():
    lines = definitions.of_columns(["FD[random-0] mean", "FD[random-0] std", "FD[random-0] pooled", "FID pooled"])
    assert [line.partition(":")[0] for line in lines[:-1]] == ["FD[random-0]", "FD[random-0] pooled", "FID pooled"]
    assert "mean of pairs" in lines[0] and "halves of few patients" in lines[1] and "halves" in lines[2]
