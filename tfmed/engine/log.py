"""What a run writes down as it goes: metrics.csv (exactly repeatable), timing.csv and TensorBoard events."""

import csv
import io
import math
import os
import pathlib
import re

from tfmed.engine.terminal import log
from tfmed.errors import RunError
from tfmed.files import damage, own_csv, set_aside, write_error, write_text

METRICS, TIMING = ("stage", "step", "split"), ("stage", "step")  # the first columns


class Table:
    """A CSV file that grows by rows; a new column rewrites the file.

    Args:
        path: the file; rows in it from before are kept (one whose writing was cut short will be written again).
        keys: the first columns: names, and a step. All others hold numbers.

    Raises:
        RunError: the file is damaged.
    """

    def __init__(self, path, keys):
        self.path = pathlib.Path(path)
        self.columns, self.rows = list(keys), []
        if not os.path.lexists(self.path):
            return
        try:
            self.columns, self.rows = own_csv(self.path, _fault)
            if missing := [key for key in keys if key not in self.columns]:
                raise ValueError(f"{self.path}:1: has no column {missing[0]!r}")
        except OSError as error:
            raise RunError(damage(self.path, error)) from None
        except ValueError as error:
            line = damage(self.path, error)
            raise RunError(f"{line}; repair it or put a copy back, or move the file away to go on without it") from None

    @classmethod
    def anew(cls, path, keys):
        """As `Table`, of a file that nothing depends on: what is damaged is set aside, with a word."""
        try:
            return cls(path, keys)
        except RunError as error:
            try:
                log.warning("%s; it is kept as %s, and another is begun", error, set_aside(path))
            except OSError as refused:
                raise write_error(path, refused) from refused
            return cls(path, keys)

    def keep(self, wanted):
        """Drop the rows for which `wanted(row)` is false, and rewrite the file in one piece."""
        self.rows = [row for row in self.rows if wanted(row)]
        self._rewrite()

    def append(self, row):
        """Add a row {column: value}; floats are written with all their digits."""
        row = {name: _text(value) for name, value in row.items()}
        new = [name for name in row if name not in self.columns]
        self.rows.append({name: row.get(name, "") for name in self.columns} | row)
        if new or not self.path.exists():
            self.columns += new
            self._rewrite()
            return
        try:
            with open(self.path, "a", newline="", encoding="utf-8") as stream:
                stream.write(self._lines([self.rows[-1]]))
        except OSError as error:
            raise write_error(self.path, error) from error

    def _rewrite(self):
        write_text(self.path, ",".join(self.columns) + "\n" + self._lines(self.rows))

    def _lines(self, rows):
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self.columns, restval="", lineterminator="\n")
        writer.writerows(rows)
        return buffer.getvalue()


def _text(value):
    return repr(float(value)) if isinstance(value, float) or hasattr(value, "dtype") else str(value)


def _fault(row):
    """What is wrong with a row, or None."""
    for name, text in row.items():
        if name == "step" and not re.fullmatch("[0-9]{1,15}", text):
            return f"its step, {text[:30]!r}, is no whole number"
        if name not in METRICS and text and not _is_number(text):
            return f"{text[:30]!r} in column {name!r} is no number"
    return None


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_metrics(path):
    """{(stage, split, metric): ([steps], [values])} of a metrics.csv, for plotting.

    Raises:
        RunError: it is damaged.
    """
    series = {}
    for row in Table(path, METRICS).rows:
        for name, text in row.items():
            if name in METRICS or text == "" or not math.isfinite(float(text)):
                continue
            steps, values = series.setdefault((row["stage"], row["split"], name), ([], []))
            steps.append(int(row["step"]))
            values.append(float(text))
    return series
