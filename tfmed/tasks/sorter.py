"""Sorts series and pictures into the groups that clusters of a trained network make, whoever computes."""

import collections
import csv
import os
import pathlib

import numpy as np

from tfmed.data import preprocess, sources
from tfmed.data.readers import read_address
from tfmed.data.sources.series_archive import IMAGE, of_file, of_folder, series_archive
from tfmed.engine.terminal import log
from tfmed.errors import DataError, UserError
from tfmed.files import atomic_path
from tfmed.io.tables import read_rows

NAMES, TABLE = "names=", "groups.csv"
COLUMNS = ("input", "cluster", "name", "distance", "share", "problem")
_AT_ONCE = 64  # slices


class Sorter:
    """Tells which group a Volume belongs to: that of most of its slices.

    Args:
        steps: preprocessing before `distances`.
        slices: how many slices of a volume are looked at, evenly; None: all.
        names: what the clusters are called, "" where nobody has named one; clusters of one name are one group.
        distances: function of slices `(n, y, x)` float32 -> Euclidean distances `(n, clusters)` from all centres.
    """

    outputs = ()

    def __init__(self, steps, slices, names, distances):
        self.steps, self.slices, self.names, self.distances = tuple(steps), slices, list(names), distances

    def predict(self, words, out, outputs=None):
        """Write `groups.csv`, a row for each series, volume or picture: its cluster, the cluster's name, the mean
        distance of its slices, and the share of them that say so.

        Args:
            words: folders, below which everything is sorted, files, and `names=FILE`: a table with the columns `id` and
                `name` of the clusters.
            out: folder.
            outputs: there are no others.

        Raises:
            UserError: an input is not there; the table of names is wrong.
            DataError: some inputs cannot be read: they stand in the table with the reason, and all others are sorted.
        """
        names = self.names
        for word in (word for word in words if word.startswith(NAMES)):
            names = named(word.removeprefix(NAMES), len(self.names))
        cases, problems = _listed([word for word in words if not word.startswith(NAMES)])
        path = pathlib.Path(out) / TABLE
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [self._row(case, names) for case in cases] + problems
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(rows)
        yield path
        wrong = [row for row in rows if row.get("problem")]
        for row in wrong:
            log.warning("not sorted: %s", row["problem"])
        if wrong:
            raise DataError(f"{path}: {len(wrong)} of {len(rows)} inputs could not be sorted, such as "
                            f"{wrong[0]['input']}; it tells why of each")  # fmt: skip

    def _row(self, case, names):
        try:
            image = read_address(case.images[IMAGE], case.meta.get("series_uid"))
            array = preprocess.as_float32(preprocess.run(self.steps, image).array)
        except (UserError, OSError) as error:
            text = str(error)
            return {"input": case.id, "problem": text if str(case.id) in text else f"{case.id}: {text}"}
        chosen = array[evenly(len(array), self.slices)]
        found = [self.distances(chosen[k : k + _AT_ONCE]) for k in range(0, len(chosen), _AT_ONCE)]
        cluster, distance, share = most(np.concatenate(found), names)
        return {"input": case.id, "cluster": cluster, "name": names[cluster], "distance": f"{distance:.5f}",
                "share": f"{share:.3f}"}  # fmt: skip

    def note(self):
        """What stands beside a SavedModel of it, see `tfmed.tasks.exported`."""
        steps = [step.model_dump(mode="json") for step in self.steps]
        return {"task": "clustering", "steps": steps, "slices": self.slices, "names": self.names}


def evenly(depth, count):
    """Numbers of `count` of `depth` slices, evenly spread; all where there are no more, or count is None."""
    if count is None or count >= depth:
        return np.arange(depth)
    return ((np.arange(count) + 0.5) * depth / count).astype(int)


def most(distances, names):
    """(cluster, mean distance, share of the slices) that most slices of a volume say.

    Slices vote for the name of their nearest cluster, or for the cluster where it has none; of groups with as many
    votes the nearest counts. Of its clusters that one is given which most of these slices are in.

    Args:
        distances: `(slices, clusters)`.
        names: of the clusters.
    """
    nearest, away = distances.argmin(1), distances.min(1)
    keys = [names[cluster] or int(cluster) for cluster in nearest]
    winner = _commonest(keys, away)
    own = np.array([key == winner for key in keys])
    return int(_commonest(nearest[own].tolist(), away[own])), float(away[own].mean()), float(own.mean())


def _commonest(keys, away):
    """The key that occurs most often; of several that with the least mean distance."""
    found = collections.defaultdict(list)
    for key, distance in zip(keys, away, strict=True):
        found[key].append(float(distance))
    return min(found, key=lambda key: (-len(found[key]), np.mean(found[key])))


def named(path, count, *further):
    """Names of `count` clusters by a table with the columns `id` and `name`; "" of those that it does not name.

    Args:
        path: of the table.
        count: how many clusters there are.
        further: columns; the texts of each, "" where it is not there, follow the names.

    Raises:
        UserError: it cannot be read, lacks a column, or names a cluster that there is not, or twice.
    """
    columns, rows = read_rows(path)
    if missing := [name for name in ("id", "name") if name not in columns]:
        raise DataError(f"{path}: has no column {missing[0]}; a table of clusters has the columns id and name")
    seen, found = set(), [[""] * count for _ in ("name", *further)]
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        text = row.get("id", "")
        if not text.isdecimal() or int(text) >= count or int(text) in seen:
            why = "is there twice" if text.isdecimal() and int(text) in seen else f"is none of 0 .. {count - 1}"
            raise DataError(f"{path}:{line}: cluster {text!r} {why}; keep the ids as they were written")
        seen.add(int(text))
        for texts, name in zip(found, ("name", *further), strict=True):
            texts[int(text)] = row.get(name, "")
    return found if further else found[0]


def _listed(words):
    """(cases below folders and of files, rows of what looks like an image and is not read).

    Raises:
        UserError: a word names nothing, or a folder holds nothing to sort.
    """
    cases, problems = [], []
    for word in words:
        place = pathlib.Path(os.path.abspath(word))
        if not place.exists():
            raise UserError(f"{word}: no such file or folder; give a DICOM series, a volume, a picture or a folder")
        if place.is_file():
            found = [case for case in [of_file(place, place.parent)] if case is not None]
            if not found:
                found = of_folder(place.parent, place.parent) if place.suffix == ".dcm" else []
            if not found:
                raise UserError(f"{word}: is neither a volume nor a picture; give a DICOM series as its folder")
        else:
            found = series_archive(place, ignore="")
            problems += [{"input": path.relative_to(place).as_posix(), "problem": f"{path}: {reason}"}
                         for path, reason in sources.unused(place, found)]  # fmt: skip
        cases += found
    if not cases:
        raise UserError("predict: nothing to sort; give folders, DICOM series, volumes or pictures")
    return cases, problems
