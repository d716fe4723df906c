"""The forecast of a stage: its steps, and what is done between them."""

import logging

import pytest

from tfmed.engine import terminal
from tfmed.engine.terminal import StepReport

pytestmark = [pytest.mark.current, pytest.mark.one_stack]


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by hand."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])

    def go_on(seconds):
        now[0] += seconds

    return go_on


def played(clock, steps, pauses, until, first=0):
    """A report after `until` steps of 2 s each, with validations of 100 s."""
    report = StepReport("stage", first, steps, 4, pauses, log_seconds=0)
    for step in range(first + 1, until + 1):
        clock(2.0)
        report.step(step, {}, 0.0)
        if step % pauses.get("validation", steps + 1) == 0 or step == steps:
            with report.pause("validation"):
                clock(100.0)
    return report


def test_validations_are_no_steps(clock):
    report = played(clock, 100, {"validation": 10}, 50)
    assert report.timing(50) == {"seconds_per_step": pytest.approx(2.0), "waiting_share": 0.0}


@pytest.mark.parametrize("every, until, wanted", [
    (10, 50, 50 * 2 + 5 * 100), (10, 55, 45 * 2 + 5 * 100), (30, 60, 40 * 2 + 2 * 100), (30, 95, 5 * 2 + 100),
])  # fmt: skip
def test_the_time_that_is_left_has_the_validations_in_it(clock, every, until, wanted):
    """At the multiples and at the last step, whether or not it is one."""
    report = played(clock, 100, {"validation": every}, until)
    assert report._left(until + 1, 2.0) == pytest.approx(wanted - 2)


def test_what_has_not_been_seen_yet_is_said(clock, caplog, monkeypatch):
    monkeypatch.setattr(terminal.log, "propagate", True)
    with caplog.at_level(logging.INFO, "tfmed"):
        played(clock, 100, {"validation": 30, "preview": 100}, 8)
    (line,) = [line for line in caplog.messages if "take about" in line]
    assert line.endswith("take about 3 min on this machine, besides 4 validations and 1 preview")
