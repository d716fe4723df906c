"""Label noise, long: random errors hardly hurt, errors that are always the same do (item 9 of the card)."""

import pytest

from benchmarks.toys import label_noise as toy


@pytest.mark.long
def test_what_errors_of_discs_cost():
    dice = {error: toy.score(0, error, steps=200) for error in toy.ERRORS}
    relative = {error: value / dice["clean"] for error, value in dice.items()}
    assert dice["clean"] > 0.9
    assert relative["warp"] >= 0.97 and relative["shift up to"] >= 0.97
    assert relative["shift"] == pytest.approx(toy.shifted_disc(toy.PIXELS), abs=0.03)
    assert dice["permute"] < dice["drop"]
