"""Scores of slices that were translated between MR and CT: how real they look, and how well structures are kept."""

import functools

import numpy as np

from tfmed.errors import RunError
from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.features import open_features
from tfmed.metrics.generative import frechet_distance, kernel_distance
from tfmed.metrics.segmentation import dice
from tfmed.tasks.scored_cases import refuse_leak
from tfmed.tasks.structures import body_and_bone, bright_body


def evaluate(own, methods, features, segmenters=None):
    """{"evaluation": rows}: a row per run, all on the test cases of one of them.

    FID and KID are called so only with Inception features. Of an MR with an aligned, CT-like image: `dice_<structure>`
    compares structures found in the translation with those in that image, `hu_dif_<structure>` is the difference
    between its mean HU in translations and in real CTs and `hu_dif` their mean, `mae_hu` the difference to a pair's
    "ct" within the body (to the aligned image where there is none). Of a CT: `dice_<structure>` compares structures in
    it and in its translation that have one name, `mae` (share of white) is that of translated aligned images to their
    MRs within the body.

    Args:
        own: the `SliceTranslationMethod` whose test cases are used.
        methods: name of the run -> its Method.
        features: see `tfmed.metrics.features`.
        segmenters: {"ct" or "mr": function of a Volume (HU; an MR as training has them) -> {structure: mask}}; by
            default `body_and_bone` and `bright_body`.
    """
    network, segmenters = open_features(features), {"ct": body_and_bone} | (segmenters or {})
    _check_segmenters(own, segmenters)
    if not own.pairs("test") or not own.unpaired("test"):
        raise RunError("evaluation needs test cases of both kinds: set data.split.test above 0, and add unpaired CTs")
    own.prepared("test")
    rows = []
    for name, method in methods.items():
        _check_alike(own, name, method)
        to_target = _to_ct if own.config.target == "ct" else _to_mr
        translated, real, scores = to_target(own, method, segmenters)
        rows.append({"run": name} | _distances(network, translated, real) | scores)
    return {"evaluation": rows}


def _check_segmenters(own, segmenters):
    known = {"ct"} if own.config.target == "ct" else {"ct", "mr"}
    for name in segmenters.keys() - known:
        raise RunError(f"--segmenters: one segments {name!r} images; give runs of {' and '.join(sorted(known))} alone")


def _check_alike(own, name, method):
    if (method.config.target, method.window) != (own.config.target, own.window):
        raise RunError(f"{name}: translates another way, or has another window_hu; compare like with like")
    refuse_leak(name, method, own.cases["test"], "test")


def _distances(network, translated, real):
    described = [np.concatenate([network(volume)[0] for volume in volumes]) for volumes in (translated, real)]
    kernel = "KID" if network.name == "inception" else f"KD[{network.name}]"
    return {network.number("frechet"): frechet_distance(*described), kernel: kernel_distance(*described)}


def _to_ct(own, method, segmenters):
    segment, (source, aligned) = segmenters["ct"], own.aligned
    translated, scores, means = [], [], {"real": {}, "made": {}}

    def count(kind, hu, masks):
        for name, mask in masks.items():
            means[kind].setdefault(name, []).extend([float(hu[mask].mean(dtype=np.float64))] if mask.any() else [])

    for case in own.pairs("test"):
        made = method.translate(own.volume(case, source))
        mrcat = own.in_hu(own.volume(case, aligned))
        hu = own.window.invert(made)
        reference = own.in_hu(own.volume(case, "ct")).array if "ct" in case.images else mrcat.array
        found, wanted = segment(mrcat.replace(array=hu)), segment(mrcat)
        count("made", hu, found)
        body = body_and_bone(mrcat)["body"]
        scores.append({f"dice_{name}": dice(found[name], mask) for name, mask in wanted.items()})
        scores[-1]["mae_hu"] = float(np.abs(hu - reference)[body].mean())
        translated.append(made)
    real = []
    for case in own.unpaired("test"):
        volume = own.volume(case, "ct")
        real.append(np.asarray(volume.array))
        ct = own.in_hu(volume)
        count("real", ct.array, segment(ct))
    gaps = {f"hu_dif_{name}": float(abs(np.mean(means["real"][name]) - np.mean(values)))
            for name, values in means["made"].items() if values and means["real"].get(name)}  # fmt: skip
    mean = float(np.mean(list(gaps.values()))) if gaps else float("nan")
    return translated, real, _summary(scores) | {"hu_dif": mean} | gaps


def _to_mr(own, method, segmenters):
    translated, scores, white = [], [], method.mr_white()
    segment_mr = segmenters.get("mr") or functools.partial(bright_body, white=white)
    for case in own.unpaired("test"):
        volume = own.volume(case, "ct")
        translated.append(method.translate(volume))
        wanted = segmenters["ct"](own.in_hu(volume))
        found = segment_mr(volume.replace(array=(translated[-1] + 1) * np.float32(white / 2)))
        both = [name for name in wanted if name in found]
        if not both:
            raise RunError(f"segmenters name structures {', '.join(wanted)} in CTs and {', '.join(found)} in MRs: none "
                           "in common; give runs whose model.regions have the same names")  # fmt: skip
        scores.append({f"dice_{name}": dice(found[name], wanted[name]) for name in both})
    for case in own.pairs("test"):
        mr, mrcat = own.volume(case, own.aligned[0]).array, own.volume(case, own.aligned[1])
        body = body_and_bone(own.in_hu(mrcat))["body"]
        scores.append({"mae": float(np.abs(method.translate(mrcat) - mr)[body].mean() / 2)})
    real = [np.asarray(own.volume(case, own.aligned[0]).array) for case in own.pairs("test")]
    return translated, real, _summary(scores)


def _summary(scores):
    """Means of scores, and standard deviations of Dice (the paper gives both)."""
    row = {}
    for name in dict.fromkeys(name for score in scores for name in score):
        values = [score[name] for score in scores if name in score]
        row[name] = float(np.mean(values))
        if name.startswith("dice"):
            row[f"{name}_sd"] = mean_and_std(name, values)[f"{name} std"]
    return row
