"""Active learning of classes: scores and class histograms of each round, as tables and pictures.

After J. Chong et al., "Comparing active learning strategies for classification", DALI 2021.
"""

import numpy as np

from tfmed.metrics import classification as metrics
from tfmed.metrics.uncertainty import expected_calibration_error
from tfmed.pictures.charts import Bars, Curves


def all_scores(probabilities, labels, classes):
    """Those of `metrics.classification.scores`, the recall of every class, and the expected calibration error.

    Args:
        probabilities: `(n, classes)`.
        labels: class numbers `(n,)`.
        classes: their names.
    """
    found = metrics.scores(probabilities, labels, classes)
    recalls = metrics.recalls(probabilities, labels, classes)
    return found | recalls | {"calibration error": expected_calibration_error(probabilities, labels)}


def round_rows(methods, part, cases, labels):
    """A row per run and training: its labelled cases, the classes of what was asked for before it, and its scores.

    Args:
        methods: name of the run -> its Method.
        part: of the split.
        cases, labels: of that part, with class numbers.
    """
    table = []
    for run, method in methods.items():
        classes = method.config.classes
        for name, model in method.models.items():
            counts = method.records.recall(f"labelled_{name}") or {}
            line = {"run": run, "strategy": method.config.called, "training": name, "part": part}
            line |= {"labelled": sum(counts.values())} | {f"labelled {one}": counts.get(one, 0) for one in classes}
            asked = method.records.recall(f"asked_{name}") or {}
            line |= {f"asked {one}": asked.get(one, 0) for one in classes}
            table.append(line | all_scores(method.probabilities(model, cases), labels, classes))
    return table


def curves(rows, part):
    """`Curves` of accuracy and balanced accuracy over the labelled cases; trainings on the same ones are averaged."""
    panels = {}
    for score in ("accuracy", "balanced accuracy"):
        panels[score] = {}
        for run in dict.fromkeys(row["run"] for row in rows):
            mine = [row for row in rows if row["run"] == run]
            x = sorted({row["labelled"] for row in mine})
            y = [float(np.mean([row[score] for row in mine if row["labelled"] == count])) for count in x]
            panels[score][f"{run} ({mine[0]['strategy']})"] = (x, y)
    caption = (
        f"Learning curves: scores on the {part} cases over the number of labelled cases, a point for each round; where "
        "several trainings had the same cases, their mean."
    )
    return Curves(panels, "labelled cases", "score", caption)


def histograms(methods):
    """{"classes": Bars} of how many cases of each class every round asked for; {} before the first round's end."""
    bars, single = {}, len(methods) == 1
    for run, method in methods.items():
        for name in method.models:
            counts = method.records.recall(f"asked_{name}")
            for one, count in (counts or {}).items():
                bars.setdefault(one, {})[name if single else f"{run[:12]}: {name}"] = (count, 0.0)
    caption = "How many cases of each class (colours) were labelled at the start, and how many each round asked for."
    return {"classes": Bars(bars, "round", "cases", None, caption)} if bars else {}


def is_query(found):
    """Whether a value has the form of a round's record."""
    asked = found.get("asked") if isinstance(found, dict) else None
    return isinstance(asked, list) and all(isinstance(name, str) for name in asked)


def is_counts(found):
    """Whether a value has the form of a record of class counts."""
    return isinstance(found, dict) and all(type(count) is int and count >= 0 for count in found.values())


def is_answers(found):
    """Whether a value has the form of a person's answers to a round."""
    return isinstance(found, dict) and all(isinstance(name, str) for name in found.values())
