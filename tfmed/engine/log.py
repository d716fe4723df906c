"""What a run writes down as it goes: metrics.csv (exactly repeatable), timing.csv and TensorBoard events."""

import csv
import io
import math
import pathlib

from tfmed.files import write_error, write_text


class Table:
    """A CSV file that grows by rows; a new column rewrites the file.

    Args:
        path: the file; rows in it from before are kept.
        keys: the first columns.
    """

    def __init__(self, path, keys):
        self.path = pathlib.Path(path)
        self.keys = list(keys)
        self.columns, self.rows = list(keys), []
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                self.columns = list(reader.fieldnames or keys)
                # A row whose writing was cut short has too few fields; it will be written again.
                self.rows = [row for row in reader if None not in row.values() and None not in row]

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


def read_metrics(path):
    """{(stage, split, metric): ([steps], [values])} of a metrics.csv, for plotting."""
    series = {}
    for row in Table(path, ()).rows:
        for name, text in row.items():
            if name in ("stage", "step", "split") or text == "" or not math.isfinite(float(text)):
                continue
            steps, values = series.setdefault((row["stage"], row["split"], name), ([], []))
            steps.append(int(row["step"]))
            values.append(float(text))
    return series
