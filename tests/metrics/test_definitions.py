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
