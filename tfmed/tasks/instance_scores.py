"""Scores of methods that find objects: of each object, of each image, and of a run, before and after its iterations."""

import math

import numpy as np

from tfmed.metrics.aggregate import mean_and_std, paired_t_test
from tfmed.metrics.instances import instance_scores
from tfmed.tasks.scored_cases import checked

SCORES = ("AP", "DC", "AD", "ASD px", "RSD px", "MSD px")
_DISTANCES = SCORES[3:]


def evaluate(methods, part="test"):
    """{"evaluation": a row per run, "stages": a row per run and stage, "cases": per run and image, "cells": and cell}.

    AP is the overlap (Jaccard), DC the Dice, AD the relative difference of areas of each object of the reference and
    the predicted one that overlaps it most; ASD, RSD and MSD are mean, root mean square and maximum of the distances
    between their contours. Missed objects have overlaps of 0 and no distances. Means +- standard deviations are over
    all objects; those "of images" over the images' means. p: paired t-test, two-tailed, of the images' DC against the
    first run's, or the first stage's.

    Args:
        methods: name of the run -> its Method, this one first; all are scored on this one's cases.
        part: of the split.

    Raises:
        RunError: there are no labelled cases, or a run was trained on one of them.
        DataError: a case is damaged or its files do not fit together.
    """
    first = next(iter(methods.values()))
    labelled = [case for case in first.cases[part] if case.label is not None]
    cases = checked(methods, labelled, part, "labelled case")
    cells, images = [], []
    for run, method in methods.items():
        for stage in method.models:
            then = method.at(stage)
            for case in cases:
                rows, line = case_rows(then, case)
                where = {"run": run, "stage": stage, "case": case.id}
                images.append(where | line)
                cells += [where | row for row in rows]
    last = {run: list(method.models)[-1] for run, method in methods.items()}
    ends = [[row for row in rows if row["stage"] == last[row["run"]]] for rows in (images, cells)]
    tables = {"evaluation": [], "stages": [], "cases": _without_stage(ends[0]), "cells": _without_stage(ends[1])}
    runs = list(methods)
    for run in runs:
        line = {"run": run} | _summary(*([r for r in rows if r["run"] == run] for rows in ends))
        tables["evaluation"].append(line | _tested(ends[0], "run", runs[0], run, len(runs) > 1))
        here = [[r for r in rows if r["run"] == run] for rows in (images, cells)]
        stages = list(methods[run].models)
        for stage in stages:
            line = {"run": run, "stage": stage}
            line |= _summary(*([r for r in rows if r["stage"] == stage] for rows in here))
            tables["stages"].append(line | _tested(here[0], "stage", stages[0], stage, len(stages) > 1))
    return {name: rows for name, rows in tables.items() if name != "stages" or len(rows) > len(runs)}


def case_rows(method, case):
    """(a row for each object of an image's reference, the image's own row)."""
    image, reference = method.open(case)
    found = instance_scores(method.labels(image), reference)
    columns = dict(zip(SCORES, (found.jaccard, found.dice, found.area_difference, found.mean_distance,
                                found.rms_distance, found.max_distance), strict=True))  # fmt: skip
    rows = []
    for k, (number, missed) in enumerate(zip(found.reference, found.missed, strict=True)):
        scores = {name: float(values[k]) for name, values in columns.items()}
        rows.append({"cell": int(number), "missed": bool(missed)} | scores)
    line = {"cells": len(rows), "missed": int(found.missed.sum()), "extra": found.extra}
    return rows, line | {name: _mean(values) for name, values in columns.items()}


def _summary(images, cells):
    """What a table says of some images and their objects."""
    missed, extra = sum(row["missed"] for row in images), sum(row["extra"] for row in images)
    line = {"images": len(images), "cells": len(cells)}
    line |= {"missed %": 100 * missed / len(cells) if cells else math.nan, "extra": extra}
    for name in SCORES:
        of_cells, of_images = (np.array([row[name] for row in rows], np.float64) for rows in (cells, images))
        line |= _mean_and_std(name, of_cells) | _mean_and_std(f"{name} of images", of_images)
    return line


def _mean_and_std(name, values):
    """Of those that are known: missed objects have no distances."""
    known = values[np.isfinite(values)]
    return mean_and_std(name, known) if len(known) else {f"{name} mean": math.nan, f"{name} std": math.nan}


def _mean(values):
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _tested(images, column, first, other, several):
    """{"p (t-test, DC)": of the images' DC against those of the first}; "" of the first itself."""
    if not several:
        return {}
    if other == first:
        return {"p (t-test, DC)": ""}
    ours, theirs = ({row["case"]: row["DC"] for row in images if row[column] == name} for name in (first, other))
    pairs = np.array([(ours[case], theirs[case]) for case in ours])
    pairs = pairs[np.isfinite(pairs).all(1)]
    if len(pairs) < 2:
        return {"p (t-test, DC)": math.nan}
    return {"p (t-test, DC)": paired_t_test(*pairs.T)[1]}


def _without_stage(rows):
    return [{name: value for name, value in row.items() if name != "stage"} for row in rows]
