"""What methods share that find named landmarks in volumes: data, scores in mm, files of points, and pictures.

A case's landmarks are `meta["landmarks"]`, {name: [x, y, z]} in mm towards right, anterior, superior, and a second set
by the same person `meta["landmarks_again"]`; a case without them is not annotated.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from pydantic import Field

from tfmed.config import Interval, MethodConfig, SizeMm
from tfmed.data import preprocess
from tfmed.data.checks import CaseSpec
from tfmed.data.preprocess import Orient, Resample, Window, as_float32
from tfmed.data.readers import read_address, read_label
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView, Evaluation, Split
from tfmed.engine.method import Method
from tfmed.engine.terminal import log
from tfmed.errors import DataError
from tfmed.files import atomic_path
from tfmed.io.points import write_markups, write_points_csv
from tfmed.metrics.landmarks import error_summary, errors
from tfmed.pictures.points import PointedVolume, PointedVolumes
from tfmed.pictures.style import save
from tfmed.tasks import mark_views
from tfmed.tasks.prediction import check_grids, inputs, refuse_overwriting
from tfmed.tasks.scored_cases import checked

OUTPUTS = ("landmarks", "picture")
_FILES = {"landmarks": "landmarks.mrk.json", "picture": "landmarks.png"}
_SHOWN = 3  # volumes of a picture
FULL, RATER = "full", "intra-rater"


class VolumeLandmarksConfig(MethodConfig):
    """What every method has in its `model` section that finds landmarks in volumes."""

    modalities: tuple[str, ...] = Field(("ct",), min_length=1, max_length=1)  # name of a case's image
    label_values: tuple[int, int] = (0, 1)  # in label maps: background, structure
    intensities: Interval = (-1000.0, 3000.0)  # values in files (HU) that become 0 and 1
    spacing_mm: SizeMm = 0.25  # to which volumes are resampled, along all axes
    shown_mm: float = Field(15.0, gt=0, le=1e4)  # of pictures: how far planes are shown around the landmarks


@dataclasses.dataclass(frozen=True, eq=False)
class Located:
    """What was found in a volume.

    Attributes:
        points: float64 `(n, 3)` in mm (RAS), in the order of the method's `names`; NaN where there is none.
        centres: the structure's centre after each iteration, likewise `(iterations, 3)`.
        problem: why nothing was found, or "".
        facts: {column: number} that tell how it went.
    """

    points: np.ndarray
    centres: np.ndarray
    problem: str
    facts: dict[str, Any]


class VolumeLandmarkMethod(Method, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that find named landmarks in volumes; a subclass gives `stages`, `names` and `locators`."""

    Config = VolumeLandmarksConfig
    outputs = OUTPUTS

    @property
    def case_spec(self):
        config = self.config
        return CaseSpec(config.modalities, "optional", config.label_values, minimum_shape=(8, 8, 8), stack=True)

    def preprocessing(self):
        """The settings' steps; then voxels of one size and orientation, and the scale of intensities."""
        config = self.config
        resample = Resample(spacing_mm=(config.spacing_mm,) * 3)
        return (*super().preprocessing(), Orient(), resample, Window(window_hu=config.intensities, range=(0.0, 1.0)))

    def open(self, case):
        """The Prepared case: `image` `(z, y, x, 1)` in [0, 1], `label` `(z, y, x)`."""
        return self.cache.stack(case, self.case_spec)

    @property
    def names(self):
        """Names of the landmarks, tuple of text."""
        raise NotImplementedError

    def locators(self):
        """{name: function of a Prepared-like image `(z, y, x)` in [0, 1] and its affine -> Located} of the ways that
        `evaluate` scores, the settings' own one, `FULL`, first."""
        raise NotImplementedError

    def locator(self):
        """The settings' own one of the `locators`, as the network is now."""
        return self.locators()[FULL]

    def locate(self, volume, locator):
        """The Located of a Volume as it lies in its file, by one of the `locators`.

        Raises:
            DataError: it cannot be preprocessed.
        """
        prepared, _ = preprocess.run_together(self.preprocessing(), [volume])
        return locator(as_float32(prepared[0].array), prepared[0].affine)

    def true_points(self, case, key="landmarks"):
        """A case's landmarks `(n, 3)` in mm, in the order of `names`; NaN where one is missing."""
        places = case.meta.get(key, {})
        return np.array([places.get(name, (np.nan,) * 3) for name in self.names], np.float64).reshape(-1, 3)

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def predict(self, words, out, outputs=None):
        """Find the landmarks in each input, and write `<name>_landmarks.mrk.json` (points for 3D Slicer) and
        `<name>_landmarks.png` (three planes); and `landmarks.csv` of all, in mm towards right, anterior, superior.

        A volume in which nothing was found has empty lines there, undefined points, and a warning.

        Raises:
            UserError: an input is wrong, or would be overwritten.
            DataError: it is damaged, or cannot be preprocessed.
        """
        outputs, cases, out = outputs or OUTPUTS, inputs(words, self.config.modalities), pathlib.Path(out)
        targets = [out / f"{name}_{_FILES[kind]}" for name, _ in cases for kind in outputs]
        refuse_overwriting((path for _, paths in cases for path in paths.values()), [*targets, out / "landmarks.csv"])
        return self._predicted(cases, out, outputs)

    def _predicted(self, cases, out, outputs):
        table, locator = {}, self.locator()
        for name, paths in cases:
            (path,) = paths.values()
            volume = read_address(path)
            check_grids([volume], [path])
            try:
                found = self.locate(volume, locator)
            except DataError as error:  # of a preprocessing step, which does not know the file
                raise DataError(f"{path}: {error}") from None
            if found.problem:
                log.warning("%s: %s; its landmarks are left empty", path, found.problem)
            table[name] = (self.names, found.points)
            for kind in outputs:
                target = out / f"{name}_{_FILES[kind]}"
                if kind == "landmarks":
                    write_markups(target, self.names, found.points)
                else:
                    with atomic_path(target) as temporary:
                        save(self._picture([PointedVolume(name, volume, found.points)]), temporary)
                yield target
        write_points_csv(out / "landmarks.csv", table)
        yield out / "landmarks.csv"

    def _picture(self, volumes):
        return PointedVolumes(tuple(volumes), self.names, self.config.intensities, self.config.shown_mm)

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run and way of finding landmarks, and one of both manual sets where there is a
        second one, "cases": a row per run, way and case}, and pictures.

        Errors are Euclidean distances in mm; of each landmark the mean and the standard deviation (of a sample) over
        the annotated cases in which something was found. `failed` counts those in which nothing was, `mistaken` the
        cases without landmarks in which something was.

        Args:
            methods: name of the run -> its Method, this one first; all are scored on this one's cases and landmarks.
            part: of the split.

        Raises:
            RunError: there are no such cases, or a run was trained on one of them.
        """
        cases = checked(methods, self.cases[part], part, "case")
        rows, pictures = [], {}
        for run, method in methods.items():
            shown: list[PointedVolume] = []
            ways = method.locators()
            for case in cases:
                volume = read_address(case.images[method.config.modalities[0]], case.meta.get("series_uid"))
                true = self.true_points(case)
                for way, locator in ways.items():
                    found = method.locate(volume, locator)
                    points = self._in_order(method, found.points)
                    rows.append(self._row({"run": run, "way": way, "case": case.id}, case, points, true, found))
                    if way == FULL and len(shown) < _SHOWN and "landmarks" in case.meta:
                        shown.append(PointedVolume(case.id, volume, points, true))
            if shown:
                pictures["landmarks" if len(methods) == 1 else f"landmarks-{run}"] = self._picture(shown)
        table = [self._summary(run, way, [row for row in rows if (row["run"], row["way"]) == (run, way)])
                 for run, way in dict.fromkeys((row["run"], row["way"]) for row in rows)]  # fmt: skip
        again = [errors(self.true_points(case, "landmarks_again"), self.true_points(case))
                 for case in cases if "landmarks_again" in case.meta]  # fmt: skip
        if again:
            table.append(self._line("", RATER, np.array(again), 0, 0))
        return Evaluation({"evaluation": table, "cases": [self._shown(row) for row in rows]}, pictures)

    def _in_order(self, method, points):
        """A run's points in this one's order of names; those that it does not know are missing."""
        known = dict(zip(method.names, points, strict=True))
        return np.array([known.get(name, np.full(3, np.nan)) for name in self.names])

    def _row(self, keys, case, points, true, found):
        away = errors(points, true)
        row = keys | {"annotated": "landmarks" in case.meta, "located": not found.problem, "errors": away}
        if case.label is not None and len(found.centres) and (middle := centre_of_label(case)) is not None:
            first, last = (float(np.linalg.norm(found.centres[k] - middle)) for k in (0, -1))
            row |= {"first centre mm": first, "last centre mm": last}
        return row | found.facts

    def _shown(self, row):
        """A row of the table of cases."""
        away = {f"{name} mm": float(value) for name, value in zip(self.names, row["errors"], strict=True)}
        kept = {key: value for key, value in row.items() if key not in ("annotated", "errors")}
        return {"run": kept.pop("run"), "way": kept.pop("way"), "case": kept.pop("case")} | away | kept

    def _summary(self, run, way, rows):
        failed = sum(row["annotated"] and not row["located"] for row in rows)
        mistaken = sum(row["located"] and not row["annotated"] for row in rows)
        return self._line(run, way, np.array([row["errors"] for row in rows]), failed, mistaken)

    def _line(self, run, way, away, failed, mistaken):
        count = (~np.isnan(away)).sum(0).max(initial=0)
        line = {"run": run, "way": way, "cases": int(count), "failed": failed, "mistaken": mistaken}
        for name, found in {**dict(zip(self.names, away.T, strict=True)), "all": away}.items():
            line |= {f"{name} mm {kind}": error_summary(found)[kind] for kind in ("mean", "std")}
        return line

    def previews(self):
        """Landmarks in up to three validation cases, and where they have none, in their volumes alone."""
        shown, cases = [], self.cases["validation"][:_SHOWN]
        locator = self.locator() if cases else None
        for case in cases:
            volume = read_address(case.images[self.config.modalities[0]], case.meta.get("series_uid"))
            true = self.true_points(case) if "landmarks" in case.meta else None
            shown.append(PointedVolume(case.id, volume, self.locate(volume, locator).points, true))
        return {"landmarks": self._picture(shown)} if shown else {}

    def views(self, methods, part="test"):
        """True and found landmarks of each volume; see `tasks.mark_views`."""
        return mark_views.located(methods, part)


def centre_of_label(case):
    """The middle of a case's label map in mm (RAS) `(3,)`, or None where that is empty."""
    label = read_label(case)
    places = np.argwhere(label.array)
    return None if not len(places) else to_mm(places.mean(0)[None], label.affine)[0]


def to_mm(voxels, affine):
    """Voxels (z, y, x) `(n, 3)` -> mm (RAS) `(n, 3)`."""
    return np.asarray(voxels, np.float64)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]


def to_voxels(points, affine):
    """Back: mm (RAS) `(n, 3)` -> voxels (z, y, x)."""
    back = np.linalg.inv(affine)
    return (np.asarray(points, np.float64) @ back[:3, :3].T + back[:3, 3])[:, ::-1]
