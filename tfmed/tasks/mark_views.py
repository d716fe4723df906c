"""What `tfmed view` shows of runs that say where something is: points, landmarks, boxes and lesions over the image."""

import numpy as np

from tfmed.data.objects import of_case
from tfmed.data.points import Landmarks, along_affine, as_points, between_grids
from tfmed.data.preprocess import onto_grid
from tfmed.data.readers import read_address, read_case
from tfmed.io.volume import Volume
from tfmed.metrics import lesions
from tfmed.metrics.landmarks import errors, match
from tfmed.pictures import layers, marks
from tfmed.pictures.layers import Panel, View
from tfmed.tasks.detection_scores import above, matched
from tfmed.tasks.detections import detections
from tfmed.tasks.lesion_scores import Scored
from tfmed.tasks.views import cases_of, ground_of

_NOWHERE = np.full(3, np.nan)


def _views(methods, part, title, look):
    """A View of each case of a part of the split, with a panel for each run.

    Args:
        methods: name of the run -> its Method; the cases are the first one's.
        part: "test", "validation" or "train".
        title: of the panel, where there is one run.
        look: case -> (layers, what is said of them) for each run, in order.

    Raises:
        RunError: the part has no case.
    """
    for case in cases_of(next(iter(methods.values())), part):
        panels, said = [], []
        for run, (shown, words) in zip(methods, look(case), strict=True):
            panels.append(Panel(title if len(methods) == 1 else run, shown))
            said.append(words if len(methods) == 1 else f"{run}: {words}")
        yield View(case.id, tuple(panels), "; ".join(said))


def pointed(methods, part):
    """Views of pictures with any number of points: true and found ones, and the heatmap.

    Args:
        methods: name of the run -> its `LandmarkMethod`.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    finders, radius = [method.finder() for method in methods.values()], first.config.radius_px

    def look(case):
        for finder in finders:
            images = [read_address(case.images[name]) for name in finder.modalities]
            stack, grids = finder.prepared(images)
            heatmap = finder.heatmap(stack)
            found = between_grids(finder.decoding.points(heatmap), *grids)
            heat = onto_grid(Volume(heatmap[None], grids[0]), images[0].shape, images[0].affine)
            over = [layers.probability("heatmap", heat)]
            if "points" in case.meta:
                true = as_points(case.meta["points"])
                matching = match(found, true, radius)
                over += _matched(images[0], found, true, matching)
                words = _hits(matching, radius)
            else:
                names = [str(k) for k in range(1, len(found) + 1)]
                over.append(marks.points("found", images[0], _in_plane(found), names, np.ones(len(found), bool)))
                words = f"{len(found)} points found"
            yield (*ground_of(finder.modalities, images), *over), words

    return _views(methods, part, "points", look)


def _matched(ground, found, true, matching):
    """The layers of true and found points, which have the numbers of those true ones that they find."""
    whose = dict(matching.pairs.tolist())
    away = dict(zip(matching.pairs[:, 0].tolist(), matching.distances.tolist(), strict=True))
    hit = np.array([k in whose for k in range(len(found))], bool)
    names = [f"{whose[k] + 1}: {away[k]:.1f} px" if k in whose else "none there" for k in range(len(found))]
    places = _in_plane(true)
    towards = np.array([places[whose[k]] if k in whose else _NOWHERE for k in range(len(found))]).reshape(-1, 3)
    seen = np.isin(np.arange(len(true)), list(whose.values()))
    told = [f"{k}" if one else f"{k}: missed" for k, one in enumerate(seen, 1)]
    return [marks.points("found", ground, _in_plane(found), names, hit, towards=towards),
            marks.points("reference", ground, places, told, seen, reference=True)]  # fmt: skip


def _hits(matching, radius):
    """How many points were found, in words."""
    counts, away = matching.counts, matching.distances
    hit, all_ = counts.true_positives, counts.true_positives + counts.false_negatives
    mean = f"; mean error {away.mean():.1f} px" if len(away) else ""
    return f"{hit} of {all_} points found within {radius:g} px, {counts.false_positives} false{mean}"


def named(methods, part):
    """Views of pictures with named landmarks, true and found ones.

    Args:
        methods: name of the run -> its `NamedLandmarkMethod`; by the first one's names.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    finders = [method.finder() for method in methods.values()]

    def look(case):
        spacing = first.spacing_mm(case)
        for finder in finders:
            images = [read_address(case.images[name]) for name in finder.modalities]
            found = Landmarks.of(dict(zip(finder.names, finder(images).tolist(), strict=True)), first.names).points
            true = first.landmarks(case).points if "points" in case.meta else np.full_like(found, np.nan)
            away = errors(found, true, spacing) if spacing else errors(found, true)
            far = errors(found, true) > first.config.failure_share * images[0].shape[2]
            over = _landmarks(images[0], first.names, _in_plane(found), _in_plane(true), away, far, _unit(spacing))
            yield (*ground_of(finder.modalities, images), *over), _mean(away, _unit(spacing))

    return _views(methods, part, "landmarks", look)


def located(methods, part):
    """Views of volumes with named landmarks, true and found ones.

    Args:
        methods: name of the run -> its `VolumeLandmarkMethod`; by the first one's names.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    locators = {run: method.locator() for run, method in methods.items()}

    def look(case):
        for run, method in methods.items():
            (kind,) = method.config.modalities
            volume = read_address(case.images[kind], case.meta.get("series_uid"))
            there = method.locate(volume, locators[run])
            found = Landmarks.of(dict(zip(method.names, there.points.tolist(), strict=True)), first.names, 3).points
            true = first.true_points(case)
            away = errors(found, true)
            places = [along_affine(points, np.linalg.inv(volume.affine))[:, ::-1] for points in (found, true)]
            over = _landmarks(volume, first.names, *places, away, np.zeros(len(away), bool), "mm")
            ground = layers.image(kind, volume, tuple(method.config.intensities))
            yield (ground, *over), there.problem or _mean(away, "mm")

    return _views(methods, part, "landmarks", look)


def _landmarks(ground, names, found, true, away, far, unit):
    """The layers of true and found named landmarks.

    Args:
        ground: the image.
        names: of the landmarks.
        found, true: voxels (z, y, x) of each; NaN where one is missing.
        away: errors in `unit`, NaN where one is missing.
        far: whether each is a failure.
        unit: of the errors.
    """
    gone = np.isnan(found).any(-1)
    told = [name if np.isnan(error) else f"{name} {error:.1f} {unit}" for name, error in zip(names, away, strict=True)]
    missed = [f"{name}: missed" if one else name for name, one in zip(names, gone, strict=True)]
    made = [marks.points("found", ground, found, told, ~far, towards=true)]
    if not np.isnan(true).all():
        made.append(marks.points("reference", ground, true, missed, ~gone, reference=True))
    return made


def boxed(methods, part):
    """Views of pictures with objects: true boxes, and found ones with class and score.

    Args:
        methods: name of the run -> its `DetectionMethod`.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    finders = {run: method.finder() for run, method in methods.items()}

    def look(case):
        images = first.volumes(case)
        for run, method in methods.items():
            found = above(finders[run](images), method.config.shown_score)
            over, hits = [], np.ones(len(found.names), bool)
            told = f"{len(found.names)} objects found"
            if "objects" in case.meta:
                true = of_case(case)
                rows = matched(found, true)
                hits, seen = rows >= 0, np.isin(np.arange(len(true.names)), rows)
                names = [name if one else f"{name}: missed" for name, one in zip(true.names, seen, strict=True)]
                over.append(marks.boxes("reference", images[0], true.boxes, names, seen, reference=True))
                told = f"{seen.sum()} of {len(seen)} objects found, {(~hits).sum()} false"
            names = [f"{name} {score:.2f}" for name, score in zip(found.names, found.scores, strict=True)]
            over.append(marks.boxes("found", images[0], found.boxes, names, hits))
            ground = ground_of(method.config.modalities, images)
            yield (*ground, *over), f"{told} (scores of {method.config.shown_score:g} or more)"

    return _views(methods, part, "objects", look)


def lesions_of(methods, part):
    """Views of volumes with lesions: each lesion, and each detection with its probability.

    Args:
        methods: name of the run -> its `LesionMethod`; by the first one's lesions.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    segmenters = {run: method.segmenter() for run, method in methods.items()}
    known = {case.id for case in first.marked_cases(part)}

    def look(case):
        images, label = read_case(case, first.case_spec)
        ground = ground_of(first.case_spec.images, images)
        for run, method in methods.items():
            found = segmenters[run](images)
            rows = detections(found, method.config.connectivity)
            over, hits = [], np.ones(len(rows), bool)
            told = f"{len(rows)} detections"
            if case.id in known:
                one = Scored.of(first, case, images, label, found)
                hits = ~one.match.false
                over.append(_lesions(first.truth(case, label, images[0]), images[0], one, first.config.connectivity))
                told = f"{one.match.tp} of {one.match.lesions} lesions found, {one.match.fp} false"
            names = [f"detection of {row['diameter_mm']:.1f} mm, {row['score']:.2f}" for row in rows]
            mask = lesions.numbered(found.labels.array > 0, method.config.connectivity)
            over.append(marks.regions("detections", found.labels.replace(array=mask), names, hits))
            chance = found.probabilities.replace(array=np.ascontiguousarray(found.probabilities.array[..., 1]))
            over.append(layers.probability("probability of a lesion", chance))
            yield (*ground, *over), f"{told}, at a threshold of {method.threshold:.2g}"

    return _views(methods, part, "lesions", look)


def _lesions(mask, image, scored, connectivity):
    """The layer of a case's lesions, of a `Scored`."""
    names = [f"lesion of {size:.1f} mm{'' if hit else ': missed'}"
             for size, hit in zip(scored.diameters_mm, scored.match.found, strict=True)]  # fmt: skip
    numbers = image.replace(array=lesions.numbered(mask, connectivity))
    return marks.regions("reference", numbers, names, scored.match.found, reference=True)


# --- words ------------------------------------------------------------------------------------------------------------


def _in_plane(points):
    """Points (x, y) of a picture as voxels (z, y, x)."""
    return np.insert(np.asarray(points, np.float64).reshape(-1, 2)[:, ::-1], 0, 0, axis=1)


def _unit(spacing):
    return "mm" if spacing else "px"


def _mean(away, unit):
    """The mean of errors, NaN where there is none, in words."""
    known = away[~np.isnan(away)]
    if not len(known):
        return "no reference to compare with"
    return f"mean error of {len(known)} landmarks {known.mean():.1f} {unit}, largest {known.max():.1f} {unit}"
