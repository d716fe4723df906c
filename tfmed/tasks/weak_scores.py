"""Scores of segmentation from the classes of images, per image and as the rows of a table.

Means are over images; of one without the pattern Dice, recall and precision are 1 if nothing is found, else 0. A
baseline gives a map, which is cut at the threshold whose mean Dice is best of all grey levels.
"""

import numpy as np

from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.segmentation import threshold_sweep
from tfmed.tasks.scored_cases import checked
from tfmed.tasks.weak_baselines import NAMES
from tfmed.tasks.weak_segmentation import SCORES, dilated, scores

LEVELS = np.arange(1, 256) / 255  # thresholds of maps in [0, 1]


def evaluate(methods, part="test"):
    """{"evaluation": rows, "cases": rows}, and the tables that runs add; see `WeakSegmentationMethod.evaluate`."""
    first = next(iter(methods.values()))
    known = first.with_references(part)
    checked(methods, [case for case, _ in known], part, "image with a mask, or without the pattern,")
    table, every, more = [], [], {}
    for run, method in methods.items():
        radius, images = max(method.config.dilation, 1), [method.image(case) for case, _ in known]
        found = [method.mask(image) for image in images]
        ways = {"network": (found, None), f"network, {radius} px wider": ([dilated(m, radius) for m in found], None)}
        for name in method.config.baselines:
            maps = [method.baseline_map(name, image) for image in images]
            threshold = best_threshold(method, name, maps, known)
            ways[NAMES[name]] = [values >= threshold for values in maps], threshold
        for way, (masks, threshold) in ways.items():
            rows = [{"run": run, "segmentation": way, "case": case.id} | scores(mask, reference)
                    for mask, (case, reference) in zip(masks, known, strict=True)]  # fmt: skip
            every += rows
            line = {"run": run, "segmentation": way, "images": len(rows)}
            line |= {"threshold": "" if threshold is None else threshold}
            for name in SCORES:
                line |= mean_and_std(name, [row[name] for row in rows])
            table.append(line)
        for name, rows in method.extra_tables(known).items():
            more.setdefault(name, []).extend({"run": run} | row for row in rows)
    return {"evaluation": table, "cases": every} | more


def best_threshold(method, name, maps, known):
    """The threshold of best mean Dice, of the images to be scored or, as the settings say, of those of validation."""
    if method.config.baseline_part == "validation":
        known = method.with_references("validation")
        maps = [method.baseline_map(name, method.image(case)) for case, _ in known]
    found = threshold_sweep(maps, [reference for _, reference in known], LEVELS) if known else np.zeros((1, 255))
    return float(LEVELS[int(found.mean(0).argmax())])
