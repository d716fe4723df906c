"""Several settings files, each trained with several seeds: what has been done, one table, pictures and a report."""

import csv
import dataclasses
import json
import logging
import os
import pathlib
import subprocess
import sys

import numpy as np
import pandas

from tfmed import config as configuration
from tfmed import registry
from tfmed.engine import report
from tfmed.engine.abilities import CanEvaluate
from tfmed.engine.run import load_run
from tfmed.engine.terminal import log
from tfmed.errors import RunError, Stopped, UserError
from tfmed.files import atomic_path, damage, expanded, own_csv, own_text, write_text
from tfmed.metrics.aggregate import bootstrap_interval, wilcoxon
from tfmed.metrics.segmentation import bridging_coefficient

_DONE = "scored.json"  # in a run directory: with which settings it was trained and which part of the split was scored
_AGAIN = "remove {}, and the same command scores the run again"
_RESULTS = ("comparison.csv", "cases.csv", "scores.png", "median_case.png", "report.html")
_BROKEN_OFF = (130, 143, -2, -15)  # exit statuses of a run that a signal ended
_LOUDNESS = {logging.WARNING: "-q", logging.DEBUG: "-v"}  # runs say as much as the comparison does
_BOXES = ("Dice", "HD95 mm", "ASSD mm", "HD95 px", "ASSD px")


@dataclasses.dataclass(frozen=True)
class Repeat:
    """One of the times that every settings file is trained.

    Args:
        seed: of the run.
        fold: of cross-validation, from 0; None without it.
        folds: how many there are.
    """

    seed: int
    fold: int | None = None
    folds: int | None = None

    def __str__(self):
        return f"seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")

    @property
    def folder(self):
        return str(self).replace(", ", "-").replace(" ", "-")

    @property
    def overrides(self):
        """Of settings, for `load_config`."""
        folds = [] if self.fold is None else [f"data.split.folds={self.folds}", f"data.split.fold={self.fold}"]
        return [f"seed={self.seed}", *folds]

    @property
    def columns(self):
        """What tables say of it."""
        return {"seed": self.seed} if self.fold is None else {"seed": self.seed, "fold": self.fold}


class Comparison:
    """Runs below one folder, `<out>/<name>/seed-<k>[-fold-<f>]`, and what they say together.

    Every run is a process of its own: its memory is given back, and one that fails leaves the others alone. What is
    done is not done again, so the same call goes on where one was broken off.

    Args:
        configs: settings files; the first is what the others are compared with.
        out: the folder.
        seeds: of the runs.
        overrides, profile: as for `load_config`, for all of them.
        part: "test", "validation" or "train": the cases that are scored.
        folds: of cross-validation, each run with every seed: every case is tested once for each seed.
        bridge: which of `configs` has all labels: the table says how much of the gap between the first and it each
            file closes (`metrics.segmentation.bridging_coefficient`).

    Raises:
        ConfigError: settings are wrong.
        RunError: a method has no evaluation, or the files do not have the same cases to score.
    """

    def __init__(
        self, configs, out, seeds=(0, 1, 2), overrides=(), profile="paper", part="test", folds=None, bridge=None
    ):
        self.out, self.seeds, self.part, self.profile = expanded(out), list(seeds), part, profile
        self.overrides, self.folds = list(overrides), folds
        self.configs = dict(zip(_names(configs), configs, strict=True))
        self.bridge = self._bridge(bridge)
        self.repeats = [
            Repeat(seed, fold, folds) for seed in self.seeds for fold in (range(folds) if folds else [None])
        ]
        self.settings = {(name, repeat): self._load(name, repeat) for repeat in self.repeats for name in self.configs}
        for repeat in self.repeats:
            self._same_cases(repeat)

    def _bridge(self, given):
        """What tables call the file with all labels."""
        if given is None:
            return None
        found = [name for name, config in self.configs.items() if str(given) in (str(config), name)]
        if not found or found[0] == next(iter(self.configs)):
            raise UserError(f"bridge: {given} is none of the compared settings files after the first; name one of them")
        return found[0]

    @property
    def count(self):
        return len(self.settings)

    def _load(self, name, repeat):
        return configuration.load_config(self.configs[name], self._words(repeat), self.profile)

    def _words(self, repeat):
        return [*self.overrides, *repeat.overrides]

    def _same_cases(self, repeat):
        found = {}
        for name in self.configs:
            settings = self.settings[name, repeat]
            kind = registry.method_class(settings.method)
            kind.check_planned(settings, self.configs[name])
            method = kind(settings)
            if not isinstance(method, CanEvaluate):
                raise RunError(f"{self.configs[name]}: method {settings.method!r} has no evaluation; leave it out")
            found[name] = {case.id for case in method.cases[self.part]}
        first = next(iter(found))
        for name, cases in found.items():
            if cases != found[first]:
                raise RunError(
                    f"{self.configs[name]}: its {len(cases)} {self.part} cases are not the {len(found[first])} of "
                    f"{self.configs[first]}; give both the same data and data.split, with a data.split.seed"
                )

    def folder(self, name, repeat):
        """The run directory of a settings file and a Repeat."""
        return self.out / name / repeat.folder

    # --- training and scoring -----------------------------------------------------------------------------------------

    def train_and_score(self):
        """Do what is not done yet; one repeat of all files before the next. Returns what failed, in words.

        Raises:
            KeyboardInterrupt: a run was stopped by a signal (it is saved, and the same call goes on).
        """
        self._check_folder()
        failed = []
        for number, (name, repeat) in enumerate(self.settings, 1):
            if self._is_scored(name, repeat):
                continue
            log.info("%s, %s: run %d of %d", name, repeat, number, self.count)
            folder = self.folder(name, repeat)
            how = [*self._words(repeat), "--profile", self.profile, "--run-dir", folder, "--resume"]
            status = _process("fit", self.configs[name], *how) or _process("evaluate", folder, "--part", self.part)
            if status:
                log.error("%s, %s: failed with exit status %d", name, repeat, status)
                failed.append(f"{name}, {repeat}: exit status {status}, see above")
                continue
            write_text(folder / _DONE, json.dumps(self._wanted(name, repeat)))
        return failed

    def _check_folder(self):
        """RunError where the results would overwrite files that no comparison wrote."""
        there = [path for path in (self.out / name for name in _RESULTS) if os.path.lexists(path)]
        if there and not any(self.out.glob("*/seed-*/config.yaml")):
            raise RunError(f"{there[0]}: is of no comparison, and would be overwritten; choose another --out")

    def _wanted(self, name, repeat):
        settings = self.settings[name, repeat].model_dump(mode="json")
        settings["data"].pop("cache_dir", None)
        return {"settings": settings, "part": self.part}

    def _is_scored(self, name, repeat):
        try:
            done = json.loads(own_text(self.folder(name, repeat) / _DONE))
        except (OSError, ValueError, RecursionError):  # then it is scored again
            return False
        return done == json.loads(json.dumps(self._wanted(name, repeat)))

    def scored(self):
        """[(name, repeat)] of the runs that are done."""
        return [run for run in self.settings if self._is_scored(*run)]

    # --- what they say ------------------------------------------------------------------------------------------------

    def cases(self):
        """A DataFrame with a row per file, repeat and case (where a method scores cases; else per row of its table)."""
        tables = []
        for name, repeat in self.scored():
            folder = self.folder(name, repeat)
            path = folder / ("cases.csv" if os.path.lexists(folder / "cases.csv") else "evaluation.csv")
            rows = _scores(path)
            for other, before in tables:
                _check_alike(path, rows, other, before)
            tables.append((path, rows.assign(method=name, **repeat.columns)))
        return pandas.concat([rows for _, rows in tables], ignore_index=True)

    def table(self):
        """Rows per file (and region): means over repeats, their spread, and a paired test against the first file.

        A score's mean is the mean over cases of each repeat (seed, or seed and fold), averaged over the repeats; its
        std is that of these means. "p" is Wilcoxon's signed-rank test of the cases' Dice, each averaged over the seeds
        that both files have. "bridging" is the coefficient, with its bootstrap interval over the repeats.
        """
        cases = self.cases()
        first = next(iter(self.configs))
        repeats = list(self.repeats[0].columns)
        others = ("method", "case", *repeats)
        keys = [key for key in cases.columns if not _is_score(cases, key) and key not in others]
        scores = [key for key in cases.columns if _is_score(cases, key) and key not in others]
        rows = []
        for name in dict.fromkeys(cases["method"]):
            for group, found in _groups(cases[cases["method"] == name], keys):
                row = {"method": name} | group | {f"{key}s": found[key].nunique() for key in repeats}
                if "case" in found:
                    row["cases"] = found["case"].nunique()
                means = found.replace([np.inf, -np.inf], np.nan).groupby(repeats)[scores].mean()
                for key in (key for key in scores if found[key].notna().any()):
                    row |= {f"{key} mean": means[key].mean(), f"{key} std": means[key].std(ddof=1)}
                if "case" in found and "Dice" in scores:
                    row["p (Wilcoxon, Dice)"] = "" if name == first else _p_value(cases, first, name, group)
                if self.bridge and "Dice" in scores:
                    row |= self._bridging(cases, name, group, repeats)
                rows.append(row)
        return rows

    def _bridging(self, cases, name, group, repeats):
        """How much of the gap between the first file and the one with all labels a file closes."""
        first = next(iter(self.configs))
        if name in (first, self.bridge):
            return {"bridging (Dice)": "", "bridging, 95 % interval": ""}
        here = _rows_of(cases, group)
        dice = [here[here["method"] == one].groupby(repeats)["Dice"].mean() for one in (name, first, self.bridge)]
        if not all(len(one) for one in dice):  # of a comparison that is not done
            return {"bridging (Dice)": np.nan, "bridging, 95 % interval": ""}
        interval = ""
        if min(map(len, dice)) > 1:
            interval = "{:.2f} - {:.2f}".format(*bootstrap_interval(bridging_coefficient, *dice))
        return {"bridging (Dice)": bridging_coefficient(*dice), "bridging, 95 % interval": interval}

    def write(self):
        """Write comparison.csv, cases.csv, pictures and report.html below the folder; returns the report's path."""
        rows = self.table()
        for name, found in (("comparison", rows), ("cases", self.cases().to_dict("records"))):
            columns = list(dict.fromkeys(key for row in found for key in row))
            with atomic_path(self.out / f"{name}.csv") as path, open(path, "w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, columns)
                writer.writeheader()
                writer.writerows(found)
        pictures = {"scores": self._boxes(), "median case": self._overlays()}
        for name, picture in pictures.items():
            if picture is not None:
                with atomic_path(self.out / f"{name.replace(' ', '_')}.png") as temporary:
                    picture[0].savefig(temporary, dpi=110, facecolor=picture[0].get_facecolor())
        return report.write_comparison(self, rows, {name: found for name, found in pictures.items() if found})

    def _boxes(self):
        """(Figure, caption): each case's score, averaged over seeds, per file."""
        from matplotlib.figure import Figure

        cases = self.cases()
        if "case" not in cases:
            return None
        keys = [key for key in _BOXES if key in cases] or [key for key in cases if _is_score(cases, key)][:3]
        regions = list(dict.fromkeys(cases["region"])) if "region" in cases else [None]
        names = list(dict.fromkeys(cases["method"]))
        figure = Figure(figsize=(4 * len(keys), (1.2 + 0.38 * len(names)) * len(regions)), layout="constrained")
        axes = figure.subplots(len(regions), len(keys), squeeze=False)
        for row, region in zip(axes, regions, strict=True):
            chosen = cases if region is None else cases[cases["region"] == region]
            for axis, key in zip(row, keys, strict=True):
                columns = [_per_case(chosen[chosen["method"] == name], key) for name in names]
                axis.set_visible(any(map(len, columns)))
                axis.boxplot(columns, orientation="horizontal", widths=0.6, medianprops={"color": "#c8642b"})
                for place, values in enumerate(columns, 1):
                    axis.plot(values, np.full(len(values), place), ".", color="#27598c", alpha=0.6, markersize=5)
                axis.set_yticks(range(1, len(names) + 1), names if axis is row[0] else [""] * len(names))
                axis.invert_yaxis()
                axis.set_title(key if region is None else f"{region}: {key}", fontsize=10, loc="left")
                axis.grid(alpha=0.25, axis="x")
        return figure, "A point is a case, its score averaged over the seeds; undefined distances are left out."

    def _overlays(self):
        """(Figure, caption): the case of the first file's median Dice, as every file's first run for it segments it."""
        cases, first = self.cases(), next(iter(self.configs))
        own = cases[cases["method"] == first]
        if "Dice" not in cases or own.empty:
            return None
        from tfmed.data.readers import read_case
        from tfmed.pictures.segmentations import Overlay

        dice = own.groupby("case")["Dice"].mean().sort_values(kind="stable")
        wanted = dice.index[len(dice) // 2]
        rows, values, named = [], (), {}
        tested = cases[cases["case"] == wanted].drop_duplicates("method").set_index("method")
        for name in (name for name in self.configs if name in tested.index):
            found = {key: int(tested.loc[name, key]) for key in self.repeats[0].columns}
            method = load_run(self.folder(name, Repeat(**found, folds=self.folds))).restored()
            case = next(case for case in method.cases[self.part] if case.id == wanted)
            images, label = read_case(case, method.case_spec)
            values, named = method.config.label_values, method.config.class_names
            rows.append(Overlay.of(name, images, label, method.segmenter()(images), values))
        overlay = Overlay(tuple(rows), values, named)
        return overlay.figure(), f"Case {wanted}, of median Dice for {first}. {overlay.caption}"


def _names(configs):
    """What tables call the files: their stems, with the folder where two have one stem."""
    paths = [pathlib.Path(config) for config in configs]
    stems = [path.stem for path in paths]
    names = [p.stem if stems.count(p.stem) == 1 else f"{p.resolve().parent.name}-{p.stem}" for p in paths]
    for name, path in zip(names, paths, strict=True):
        if names.count(name) > 1:
            raise UserError(f"{path}: stands twice; name each settings file once")
    return names


def _process(verb, *words):
    """Run a verb in a process of its own; its exit status.

    Raises:
        KeyboardInterrupt: a signal broke it off.
    """
    signum = None
    root = str(pathlib.Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    loud = [option for level, option in _LOUDNESS.items() if log.level == level]
    process = subprocess.Popen([sys.executable, "-m", f"tfmed.{verb}", *map(str, words), *loud], env=environment)
    while True:
        try:
            status = process.wait()
            break
        except Stopped as stop:  # it came to this process alone
            signum = stop.signum
            process.send_signal(signum)
        except KeyboardInterrupt:  # the run has it too, and saves
            continue
    if signum is not None:
        raise Stopped(signum)
    if status in _BROKEN_OFF:
        raise KeyboardInterrupt
    return status


def _scores(path):
    """The table of a run, as a DataFrame.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        _, rows = own_csv(path)
        if not rows:
            raise ValueError(f"{path}: has no rows")
    except FileNotFoundError:
        raise RunError(f"{path}: is not there; {_AGAIN.format(path.parent / _DONE)}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{damage(path, error)}; {_AGAIN.format(path.parent / _DONE)}") from None
    return pandas.read_csv(path).drop(columns=["run"], errors="ignore")


def _check_alike(path, rows, other, before):
    """RunError where a column holds numbers in one table and text in another: one of them has been damaged."""
    for key in (key for key in rows if key in before and not rows[key].isna().all() and not before[key].isna().all()):
        if _is_score(rows, key) != _is_score(before, key):
            wrong = other if _is_score(rows, key) else path
            raise RunError(
                f"{wrong}: holds text in column {key!r}, where another run has numbers; "
                f"{_AGAIN.format(wrong.parent / _DONE)}"
            )


def _is_score(cases, key):
    return pandas.api.types.is_numeric_dtype(cases[key]) and not pandas.api.types.is_bool_dtype(cases[key])


def _groups(rows, keys):
    """({key: value}, rows) for each combination of the values of some columns, in the order of the rows."""
    if not keys:
        return [({}, rows)]
    found = rows.groupby(list(keys), sort=False, dropna=False)
    return [(dict(zip(keys, values, strict=True)), group) for values, group in found]


def _rows_of(cases, group):
    """The rows with the values of a group of `_groups`."""
    for key, value in group.items():
        cases = cases[cases[key] == value]
    return cases


def _per_case(rows, key):
    values = rows.replace([np.inf, -np.inf], np.nan).groupby("case")[key].mean()
    return values.dropna().to_numpy()


def _p_value(cases, first, name, group):
    """Of the hypothesis that two files' Dice differ by nothing, case by case, over the seeds that both have."""
    here = _rows_of(cases, group)
    ours, theirs = (here[here["method"] == method].set_index(["case", "seed"])["Dice"] for method in (name, first))
    both = ours.to_frame("ours").join(theirs.rename("theirs"), how="inner").groupby("case").mean()
    return wilcoxon(both["ours"], both["theirs"]).p if len(both) else ""
