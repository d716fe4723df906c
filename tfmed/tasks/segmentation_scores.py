"""Scores of segmentation methods, per case and as the rows of a table.

What the distances are `tfmed.metrics.definitions` says; standard deviations are those of the sample.
"""

import itertools

import numpy as np

from tfmed.data.census import is_picture
from tfmed.data.preprocess import class_labels
from tfmed.data.readers import read_case
from tfmed.errors import RunError
from tfmed.metrics import aggregate, surface
from tfmed.metrics.definitions import nsd_column
from tfmed.metrics.segmentation import dice, jaccard, relative_volume_error
from tfmed.metrics.uncertainty import expected_calibration_error
from tfmed.tasks.scored_cases import checked

MEAN = "mean of regions"


def evaluate(methods, part="test", seed=0):
    """{"evaluation": rows per run and region, "cases": rows per run, region and case}; see `SegmentationMethod`.

    All runs are scored on the labelled cases of the first run's `part`, on the grids of their files, with that run's
    tolerance of surface Dices.

    Raises:
        RunError: there are none, a run was trained on one of them, or runs score other regions.
        DataError: a case is damaged or its files do not fit together.
    """
    first = next(iter(methods.values()))
    labelled = [case for case in first.cases[part] if case.label is not None]
    cases = checked(methods, labelled, part, "labelled case")
    for name, method in methods.items():
        if method.config.scored.keys() != first.config.scored.keys():
            regions = f"{', '.join(method.config.scored)}, not {', '.join(first.config.scored)}"
            raise RunError(f"{name}: scores the regions {regions}; compare runs with the same model.regions")
    rows, tolerance = [], first.config.nsd_tolerance_mm
    for name, method in methods.items():
        segmenter = method.segmenter()
        for case in cases:
            found = case_rows(method, segmenter, case, seed, tolerance)
            rows += [{"run": name, "case": case.id} | row for row in found]
    return {"evaluation": summaries(rows, list(methods), seed), "cases": rows}


def case_rows(method, segmenter, case, seed=0, tolerance=None):
    """A row of scores for each region of one case, and of their mean; distances in mm, of pictures in pixels (px).

    Args:
        method: the Method, and `segmenter` its Segmenter.
        case: the Case.
        seed: of stored transformations.
        tolerance: of surface Dices, in the same unit; None: the method's own.
    """
    tolerance = method.config.nsd_tolerance_mm if tolerance is None else tolerance
    images, label = read_case(case, method.case_spec)
    found = segmenter(images)
    reference = class_labels(label, method.config.label_values).array
    prediction, spacing = found.labels.array, images[0].spacing
    calibration = expected_calibration_error(found.probabilities.array, reference)
    extra = method.extra_scores(case, found, reference, seed)
    unit = "px" if all(is_picture(str(address)) for address in case.images.values()) else "mm"
    rows = []
    for name, classes in method.config.scored.items():
        ours, theirs = np.isin(prediction, classes), np.isin(reference, classes)
        distances = surface.distances(ours, theirs, spacing)
        row = {
            "region": name,
            "Dice": dice(ours, theirs),
            "Jaccard": jaccard(ours, theirs),
            "volume error %": relative_volume_error(ours, theirs),
            f"HD95 {unit}": distances.hd95,
            f"ASSD {unit}": distances.assd,
            f"MSD {unit}": distances.msd,
            nsd_column(tolerance, unit): distances.nsd(tolerance),
            "calibration error": calibration,
        }
        rows.append(row | extra.get(name, {}))
    return rows if len(rows) == 1 else [*rows, mean_of_regions(rows)]


def mean_of_regions(rows):
    """A case's further row: the means over its regions of the overlaps that all of them have (Dice is "collective")."""
    overlaps = [key for key in rows[0] if key == "Jaccard" or key.endswith("Dice")]
    return {"region": MEAN} | {key: float(np.mean([row[key] for row in rows])) for key in overlaps}


def summaries(rows, runs, seed):
    """A row per run and region, of the scores that it has: methods have some of their own, for some regions only."""
    table = []
    for run in runs:
        for region in dict.fromkeys(row["region"] for row in rows):
            here = [row for row in rows if row["run"] == run and row["region"] == region]
            scores = [key for key in dict.fromkeys(itertools.chain(*here)) if key not in ("run", "case", "region")]
            values = {key: _column(rows, run, region, key) for key in scores}
            line = {"run": run, "region": region, "cases": len(values["Dice"])}
            for key in scores:
                found = aggregate.summary(values[key], seed=seed, allow_nan=True)
                line |= {f"{key} mean": found.mean, f"{key} std": found.std}
                if key == "Dice":
                    line |= {"Dice 5 - 95 %": _range(found.p5, found.p95)}
                    line |= {"Dice mean, 95 % interval": _range(found.low, found.high)}
                if key.startswith("HD95 "):
                    line |= {"HD95 undefined": found.undefined}
            if run != runs[0]:
                line |= {"p (Wilcoxon, Dice)": _p_value(rows, runs[0], run, region)}
            elif len(runs) > 1:
                line |= {"p (Wilcoxon, Dice)": ""}
            table.append(line)
    return table


def _range(low, high):
    """Both in one text; "" where there is none, as of the mean of a single case."""
    return "" if np.isnan([low, high]).any() else f"{low:.3f} - {high:.3f}"


def _column(rows, run, region, key):
    found = [row.get(key, np.nan) for row in rows if row["run"] == run and row["region"] == region]
    return np.array(found, np.float64)


def _p_value(rows, first, second, region):
    """Of the hypothesis that two runs' Dice differ by nothing, case by case."""
    ours, theirs = (_column(rows, run, region, "Dice") for run in (first, second))
    return aggregate.wilcoxon(ours, theirs).p
