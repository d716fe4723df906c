"""Scores of methods that find objects by boxes: of each run, after each stage, of each class and image."""

import numpy as np

from tfmed.data.objects import numbers_of, of_case
from tfmed.engine.abilities import Evaluation
from tfmed.errors import RunError
from tfmed.io.objects import Objects
from tfmed.metrics.aggregate import paired_t_test
from tfmed.metrics.detection import Boxes, average_precision, match
from tfmed.pictures.objects import BoxedImage, BoxedImages, PrecisionRecall
from tfmed.tasks.point_finder import shown
from tfmed.tasks.scored_cases import refuse_leak

_SHOWN = 4  # images of a picture
_OVERLAP = 0.5  # from which a box of a picture, or of a case's row, is right


def evaluate(methods, part="test"):
    """{"evaluation": a row per run and stage, "classes": and class, "cases": per run and image}, and pictures.

    AP50:95 is the mean of the average precision over the overlaps 0.50, 0.55, ..., 0.95 and over classes, as of COCO;
    AP50 and AP75 that of one overlap. p: paired t-test, two-tailed, of the classes' AP50:95 (and of their AP50) against
    the first row's, or of a stage against the first stage's. Rows of images count boxes with scores of `shown_score` or
    more.

    Args:
        methods: name of the run -> its Method, this one first; all are scored on this one's annotated cases.
        part: of the split.

    Raises:
        RunError: there are no such cases, a run was trained on one of them, or finds other classes.
    """
    first = next(iter(methods.values()))
    if not (cases := first.scored(part)):
        raise RunError(f"no annotated image is in the part {part!r} of the split; choose another --part")
    first.prepared(part)
    tables, pictures = {"evaluation": [], "classes": [], "cases": []}, {}
    several, scores = len(methods) > 1, {}
    true = [_numbered(of_case(case), first.classes, case.id) for case in cases]
    for run, method in methods.items():
        refuse_leak(run, method, first.cases[part], part)
        if tuple(method.classes) != tuple(first.classes):
            raise RunError(f"{run}: finds other classes ({', '.join(method.classes)[:80]}); compare runs of one list")
        for stage, model in method.models.items():
            finder, found, images, more = method.finder(model.detector), [], [], []
            for case in cases:
                opened = first.volumes(case)
                found.append(finder(opened))
                if len(images) < _SHOWN:
                    images.append(boxed_image(case, opened, found[-1], method.config.shown_score))
                more.append(method.measured(above(found[-1], method.config.shown_score), of_case(case)))
                if model is method.model:
                    counts = _counts(case, found[-1], method.config.shown_score)
                    tables["cases"].append({"run": run, "case": case.id} | counts | more[-1])
            one = average_precision([_numbered(o, first.classes, run) for o in found], true, len(first.classes),
                                    most=method.config.most_found)  # fmt: skip
            scores[run, stage] = one
            against = scores[run, next(iter(method.models))] if len(method.models) > 1 else next(iter(scores.values()))
            where = {"run": run, "stage": stage}
            tables["evaluation"].append(where | _row(one) | _means(more) | _tested(one, against))
            tables["classes"] += [where | row for row in _class_rows(one, first.classes, true)]
        pictures[f"objects-{run}" if several else "objects"] = BoxedImages(tuple(images), _OVERLAP, _least(method))
        pictures[f"precision-{run}" if several else "precision"] = _curves(one, first.classes)
    return Evaluation(tables, pictures)


def boxed_image(case, volumes, found, least):
    """A case as a `BoxedImage`, with the boxes that were found of scores of `least` or more."""
    true = of_case(case) if "objects" in case.meta else None
    found = above(found, least)
    right = None if true is None else matched(found, true) >= 0
    return BoxedImage(case.id, shown([volume.array for volume in volumes]), found, true, right)


def above(found, least):
    """The `Objects` whose scores are `least` or more."""
    rows = np.flatnonzero(found.scores >= least)
    return Objects(found.boxes[rows], tuple(found.names[row] for row in rows), found.scores[rows])


def matched(found, true):
    """Which true object of its class each found one finds, rows int64; -1: none."""
    rows = np.full(len(found.names), -1)
    for name in set(found.names):
        ours = np.array([one == name for one in found.names])
        theirs = np.flatnonzero([one == name for one in true.names])
        which = match(found.boxes[ours], found.scores[ours], true.boxes[theirs], _OVERLAP)
        rows[ours] = np.where(which < 0, -1, np.append(theirs, -1)[which])
    return rows


def _least(method):
    return f"Boxes with scores of {method.config.shown_score:g} or more are shown."


def _numbered(objects, classes, where):
    return Boxes(objects.boxes, numbers_of(objects.names, classes, where), objects.scores)


def _row(one):
    return {"AP50:95": one.mean, "AP50": one.at(0.5), "AP75": one.at(0.75)}


def _means(rows):
    """The means of numbers {name: value} over the images that have them."""
    known = {name: [row[name] for row in rows if not np.isnan(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in known.items()}


def _at_half(one):
    return one.precision[np.flatnonzero(np.isclose(one.overlaps, 0.5))[0]].mean(0)


def _tested(one, against):
    """p-values of the classes' scores; {} where there is nothing to compare with, or too few classes for it."""
    if one is against:
        return {}
    found = {}
    for name, ours, theirs in (
        ("AP50:95", one.per_class, against.per_class),
        ("AP50", _at_half(one), _at_half(against)),
    ):
        there = ~np.isnan(ours)
        if there.sum() > 1:
            found[f"p ({name})"] = paired_t_test(ours[there], theirs[there])[1]
    return found


def _class_rows(one, classes, true):
    counts = np.bincount(np.concatenate([np.asarray(image.classes, int) for image in true]), minlength=len(classes))
    rows = zip(classes, counts, one.per_class, _at_half(one), strict=True)
    return [
        {"class": name, "boxes": int(count), "AP50:95": float(ap), "AP50": float(half)}
        for name, count, ap, half in rows
    ]


def _counts(case, found, least):
    true, found = of_case(case), above(found, least)
    return {"boxes": len(true.names), "found": len(found.names), "right": int((matched(found, true) >= 0).sum())}


def _curves(one, classes):
    places = [int(np.flatnonzero(np.isclose(one.overlaps, overlap))[0]) for overlap in (0.5, 0.75)]
    return PrecisionRecall({f"overlap {one.overlaps[place]:.2f}": {
        name: one.precision[place, :, k] for k, name in enumerate(classes)} for place in places})  # fmt: skip
