"""KeptRows: a table in which each result is kept as soon as it is known, so that a broken benchmark goes on."""

import csv
import pathlib


class KeptRows:
    """Numbers by key, in a CSV file.

    Args:
        path: the file; made with the first result.
        key_length: columns of a key.
    """

    def __init__(self, path, key_length):
        self.path, self.rows = pathlib.Path(path), {}
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as stream:
                for row in csv.reader(stream):
                    self.rows[tuple(row[:key_length])] = tuple(map(float, row[key_length:]))

    def recall(self, key, make):
        """The numbers of a key; those of `make()`, which are then kept, where there are none."""
        key = tuple(map(str, key))
        if key not in self.rows:
            self.rows[key] = tuple(map(float, make()))
            with open(self.path, "a", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerow([*key, *self.rows[key]])
        return self.rows[key]
