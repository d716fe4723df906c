"""What tests cost in processor seconds, their processes included: `pytest --costs costs.csv`, also with `-n`.

A busy machine makes tests slow but hardly dearer. A fixture is charged to the first test that needs it.
"""

import csv
import os

_MOST = 20  # seconds of one test dearer ones are marked `long`


def pytest_addoption(parser):
    parser.addoption("--costs", metavar="FILE", help="write processor seconds per test to FILE, and sum them per file")


class Costs:
    """Notes what each phase of a test took; the reports carry it from the workers to the process that writes."""

    def __init__(self, file):
        self.file, self.last, self.tests = file, _spent(), {}

    def pytest_runtest_logstart(self):
        self.last = _spent()

    def pytest_runtest_makereport(self, item):
        now = _spent()
        item.user_properties[:] = [p for p in item.user_properties if p[0] != "seconds"] + [
            ("seconds", now - self.last)
        ]
        self.last = now

    def pytest_runtest_logreport(self, report):
        seconds = dict(report.user_properties).get("seconds", 0.0)
        name = report.nodeid.partition("@")[0]  # of a group that one worker runs
        self.tests[name] = self.tests.get(name, 0.0) + seconds

    def pytest_terminal_summary(self, terminalreporter):
        files = {}
        for name, seconds in self.tests.items():
            files.setdefault(name.partition("::")[0], []).append(seconds)
        rows = sorted(self.tests.items(), key=lambda row: -row[1])
        with open(self.file, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("seconds", "test"), *((f"{spent:.2f}", name) for name, spent in rows)])
        terminalreporter.section("processor seconds")
        for name, spent in sorted(files.items(), key=lambda row: -sum(row[1])):
            terminalreporter.line(f"{sum(spent):8.1f}  {len(spent):5d} tests  {name}")
        terminalreporter.line(f"{sum(self.tests.values()):8.1f}  {len(self.tests):5d} tests  in all")
        for name, spent in rows:
            if spent > _MOST:
                terminalreporter.line(f"{spent:8.1f}  {name}")


def pytest_configure(config):
    if config.getoption("--costs"):
        config.pluginmanager.register(Costs(config.getoption("--costs")), "costs")


def _spent():
    return sum(os.times()[:4])
