"""Scores of methods that find lesions: per run, case, lesion and detection; FROC curves.

By `metrics.lesions`: a detection is a component of the thresholded map, and finds a lesion where its centre of mass
lies in it; beside that the rule of the ADAM challenge, within a lesion's radius of its centre. Sensitivities are means
over the cases that have lesions, false positives over all cases.
"""

import dataclasses

import numpy as np

from tfmed.data.readers import read_case
from tfmed.data.spheres import to_mm
from tfmed.metrics import lesions
from tfmed.metrics.segmentation import dice
from tfmed.pictures.lesions import Circle, FrocCurves, Head, Heads
from tfmed.tasks.detections import detections
from tfmed.tasks.scored_cases import checked

THRESHOLDS = tuple(float(1 / (1 + np.exp(-x))) for x in np.linspace(7, -7, 57))  # at which FROC curves are known
EDGES_MM = (2.0, 3.0, 5.0)  # between classes of size
MOST_FALSE = (1.0, 8.0)  # false positives per case up to which areas below FROC curves are given
_SHOWN = 3  # scans of a picture


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What a network found in a case.

    Args:
        case: its name.
        match, adam: Match by centres of mass, and by distance.
        lesions_mm: RAS (x, y, z) of the centres of the reference's components, `(n, 3)`.
        diameters_mm: of these, `(n,)`.
        found: the rows of `tasks.lesions.detections`.
        froc: of this case alone.
        dice: of the two masks.
    """

    case: str
    match: lesions.Match
    adam: lesions.Match
    lesions_mm: np.ndarray
    diameters_mm: np.ndarray
    found: list
    froc: lesions.Froc
    dice: float

    @classmethod
    def of(cls, method, case, images, label, segmentation):
        """Of a Segmentation of a case's images."""
        image, mask = images[0], segmentation.labels.array > 0
        truth, how = method.truth(case, label, image), method.config.connectivity
        found = detections(segmentation, how)
        spheres = method.lesions(case)
        places = _places([(row["x_mm"], row["y_mm"], row["z_mm"]) for row in found])
        centres, radii = _places([one.centre_mm for one in spheres]), [one.radius_mm for one in spheres]
        probabilities = segmentation.probabilities.array[..., 1]
        return cls(
            case.id,
            lesions.match(mask, truth, how),
            lesions.match_points(places, centres, radii),
            _places([to_mm(at, image.affine) for at in lesions.centres(truth, how)]),
            lesions.equivalent_diameters(truth, image.spacing, how),
            found,
            lesions.froc_of_maps([probabilities], [truth], THRESHOLDS, how),
            dice(mask, truth),
        )

    @property
    def hits(self):
        """Whether each row of `found` is in a lesion."""
        return [bool(hit) for hit in ~self.match.false]

    def head(self, image):
        """The picture's row of this case."""
        circles = [Circle(tuple(at), size / 2, "lesion")
                   for at, size in zip(self.lesions_mm, self.diameters_mm, strict=True)]  # fmt: skip
        for row, hit in zip(self.found, self.hits, strict=True):
            place = (row["x_mm"], row["y_mm"], row["z_mm"])
            circles.append(Circle(place, row["diameter_mm"] / 2, "hit" if hit else "false"))
        return Head.of(self.case, image, circles, self.match.tp)


def curve(method, cases):
    """The Froc of a network on some cases."""
    found = []
    for case in cases:
        images, label = read_case(case, method.case_spec)
        probabilities = method.segmenter()(images).probabilities.array[..., 1]
        truth = method.truth(case, label, images[0])
        found.append(lesions.froc_of_maps([probabilities], [truth], THRESHOLDS, method.config.connectivity))
    return lesions.joined(found)


def evaluate(methods, part="test"):
    """({name of a table: rows}, {name: picture}); see `LesionMethod.evaluate`.

    Raises:
        RunError: no case's lesions are known, or a run was trained on one of them.
        DataError: a case is damaged.
    """
    first = next(iter(methods.values()))
    cases = checked(methods, first.marked_cases(part), part, "case with known lesions")
    tables = {name: [] for name in ("evaluation", "cases", "lesions", "detections", "sizes", "froc")}
    curves, chosen, shown = {}, {}, []
    for name, method in methods.items():
        segmenter, found = method.segmenter(), []
        for case in cases:
            images, label = read_case(case, method.case_spec)
            one = Scored.of(method, case, images, label, segmenter(images))
            found.append(one)
            if method is first and len(shown) < _SHOWN:
                shown.append(one.head(images[0]))
        whole = lesions.joined([one.froc for one in found])
        row = _summary(found, whole, method.threshold)
        tables["evaluation"].append({"run": name} | row | method.patch_scores(part))
        for table, rows in _details(found, whole).items():
            tables[table] += [{"run": name} | row for row in rows]
        curves[name] = whole.line()
        chosen[name] = (row["FP per case"], row["sensitivity"])
    pictures = {"lesions": Heads(tuple(shown), first.threshold)}
    if not np.isnan(np.concatenate([sensitivity for _, sensitivity in curves.values()])).any():
        pictures["froc"] = FrocCurves(curves, chosen)
    return {name: rows for name, rows in tables.items() if rows}, pictures


def _summary(found, froc, threshold):
    """The row of a run."""
    matches, adam = [one.match for one in found], [one.adam for one in found]
    best, row = froc.best(), {"cases": len(found), "lesions": sum(one.lesions for one in matches)}
    row |= {
        "threshold": threshold,
        "sensitivity": lesions.sensitivity(matches),
        "FP per case": lesions.false_positives_per_case(matches),
        "pooled sensitivity": lesions.sensitivity(matches, pooled=True),
        "ADAM sensitivity": lesions.sensitivity(adam),
        "ADAM FP per case": lesions.false_positives_per_case(adam),
        "sensitivity at best": float(froc.sensitivity[best]),
        "FP per case at best": float(froc.false_positives[best]),
        "threshold at best": float(froc.thresholds[best]),
    }
    row |= {f"FROC area to {most:g} FP": froc.area(most) for most in MOST_FALSE}
    return row | {"mean sensitivity, 1/8 to 8 FP": froc.cpm(), "Dice of masks": float(np.mean([o.dice for o in found]))}


def _details(found, froc):
    """The rows of all other tables."""
    tables = {name: [] for name in ("cases", "lesions", "detections", "sizes", "froc")}
    for one in found:
        said = {"case": one.case}
        tables["cases"].append(said | {
            "lesions": one.match.lesions, "found": one.match.tp, "false positives": one.match.fp,
            "ADAM found": one.adam.tp, "ADAM false positives": one.adam.fp, "Dice of masks": one.dice,
        })  # fmt: skip
        for at, size, hit in zip(one.lesions_mm, one.diameters_mm, one.match.found, strict=True):
            place = dict(zip(("x_mm", "y_mm", "z_mm"), map(float, at), strict=True))
            tables["lesions"].append(said | place | {"diameter_mm": float(size), "found": bool(hit)})
        tables["detections"] += [said | row | {"hit": hit} for row, hit in zip(one.found, one.hits, strict=True)]
    sizes = lesions.by_size([one.match for one in found], [one.diameters_mm for one in found], EDGES_MM)
    tables["sizes"] = [{"diameter from mm": s.low, "to mm": s.high, "lesions": s.lesions, "found": s.found,
                        "sensitivity": s.sensitivity} for s in sizes if s.lesions]  # fmt: skip
    names, columns = (
        ("threshold", "sensitivity", "FP per case"),
        (froc.thresholds, froc.sensitivity, froc.false_positives),
    )
    tables["froc"] = [dict(zip(names, map(float, point), strict=True)) for point in zip(*columns, strict=True)]
    return tables


def _places(points):
    return np.array(points, np.float64).reshape(-1, 3)
