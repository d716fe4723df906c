"""Scores of points that methods find in images: of any number of them, matched; of named landmarks, one by one."""

from typing import Any

import numpy as np

from tfmed.data.points import Landmarks
from tfmed.data.readers import read_address
from tfmed.engine.abilities import Evaluation
from tfmed.metrics.landmarks import Counts, error_summary, errors, failure_rate, success_curve
from tfmed.pictures.points import LandmarkErrors, PointedImage, PointedImages, SuccessCurves
from tfmed.tasks.point_finder import shown

_SHOWN = 3  # images of a picture
_LIMITS = np.linspace(0.0, 0.1, 41)  # of success curves, shares of an image's width


def grouped(rows, keys):
    """{values of some keys: the rows that have them}, in the order of the rows."""
    found: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


# --- any number of points ---------------------------------------------------------------------------------------------


def point_rows(rows, keys):
    """A row for each combination of some keys, of rows {key: value, "matching": Matching} of single images."""
    table = []
    for values, own in grouped(rows, keys).items():
        matchings = [row["matching"] for row in own]
        total = sum((one.counts for one in matchings), Counts())
        away = np.concatenate([one.distances for one in matchings])
        line = dict(zip(keys, values, strict=True)) | ({} if "case" in keys else {"images": len(matchings)})
        line |= {"points": total.true_positives + total.false_negatives,
                 "found": total.true_positives + total.false_positives, "matched": total.true_positives,
                 "precision": total.precision, "sensitivity": total.sensitivity, "F1": total.f1,
                 "error px mean": float(away.mean()) if len(away) else float("nan")}  # fmt: skip
        table.append(line)
    return table


# --- named landmarks --------------------------------------------------------------------------------------------------


def evaluate(methods, cases):
    """The `Evaluation` of `NamedLandmarkMethod.evaluate`.

    Args:
        methods: name of the run -> its Method, the one first by whose names and settings all are scored.
        cases: annotated ones.
    """
    first = next(iter(methods.values()))
    rows: list[dict[str, Any]] = []
    pictures: dict[str, Any] = {}
    for run, method in methods.items():
        end = "" if len(methods) == 1 else f"-{run}"
        for number, (name, network) in enumerate(method.networks().items()):
            finder = method.finder(network, name)
            own, images = [], []
            for case in cases:
                volumes = [read_address(case.images[one]) for one in method.config.modalities]
                own.append({"run": run, "network": name} | _row(first, method, finder(volumes), case, volumes[0].shape))
                if number == 0 and len(images) < _SHOWN:
                    images.append(_pointed(own[-1], volumes))
            rows += own
            if number == 0:
                pictures[f"landmarks{end}"] = PointedImages(tuple(images))
                pictures[f"errors{end}"] = _error_picture(first.names, own)
    limit, keys = first.config.failure_share, ("run", "network") if any(row["network"] for row in rows) else ("run",)
    pictures["success"] = success(rows, keys, limit)
    tables = {
        "evaluation": score_rows(rows, keys, limit),
        "landmarks": landmark_rows(rows, keys, first.names, limit),
        "cases": score_rows(rows, (*keys, "group", "case"), limit),
    }
    return Evaluation(tables, pictures)


def _row(first, method, found, case, shape):
    """What a method finds in a case `(1, y, x)`, in pixels of its file, beside what is there."""
    found = Landmarks.of(dict(zip(method.names, found.tolist(), strict=True)), first.names)
    _, height, width = shape
    return {"group": case.group, "case": case.id, "true": first.landmarks(case).points, "found": found.points,
            "width": width, "aspect": height / width, "spacing": first.spacing_mm(case)}  # fmt: skip


def _pointed(row, volumes):
    return PointedImage(row["case"], shown([volume.array for volume in volumes]), row["found"], row["true"])


def _error_picture(names, rows):
    true, found = (np.stack([row[key] / row["width"] for row in rows]) for key in ("true", "found"))
    return LandmarkErrors(names, true, found, float(np.median([row["aspect"] for row in rows])))


def score_rows(rows, keys, limit):
    """A row for each combination of some keys, of rows of single images (see `NamedLandmarkMethod.evaluate`)."""
    table = []
    for values, own in grouped(rows, keys).items():
        line = dict(zip(keys, values, strict=True)) | ({} if "case" in keys else {"images": len(own)})
        table.append(line | _scores(own, slice(None), limit))
    return table


def landmark_rows(rows, keys, names, limit):
    """Likewise, and for each landmark."""
    return [
        dict(zip(keys, values, strict=True)) | {"landmark": name} | _scores(own, slice(k, k + 1), limit)
        for values, own in grouped(rows, keys).items()
        for k, name in enumerate(names)
    ]


def _errors(own, which):
    """(errors in px, whether there is such a landmark, errors as shares of the width, in mm or None) of some rows."""
    away = [errors(row["found"], row["true"])[which] for row in own]
    there = [~np.isnan(row["true"]).any(-1)[which] for row in own]
    shares = [one / row["width"] for one, row in zip(away, own, strict=True)]
    mm = None
    if all(row["spacing"] for row in own):
        mm = np.concatenate([errors(row["found"], row["true"], row["spacing"])[which] for row in own])
    return (*(np.concatenate(values) for values in (away, there, shares)), mm)


def _scores(own, which, limit):
    away, there, shares, mm = _errors(own, which)
    line = {"landmarks" if which == slice(None) else "images": int(there.sum())}
    line |= {f"error px {name}": value for name, value in error_summary(away, there).items()}
    if mm is not None:
        line |= {f"error mm {name}": value for name, value in error_summary(mm, there).items()}
    return line | {"failure %": 100 * failure_rate(shares, limit, there)}


def success(rows, keys, limit):
    """The `SuccessCurves` of rows of single images."""
    curves = {}
    for values, own in grouped(rows, keys).items():
        _, there, shares, _ = _errors(own, slice(None))
        curves[" ".join(value for value in values if value)] = success_curve(shares, _LIMITS, there)
    return SuccessCurves(_LIMITS, curves, "share of the image's width", limit)
