"""`tfmed evaluate RUN --compare RUN ...`: how real translations look (Tables 2-5), and how well structures are kept."""

import numpy as np
from scipy import ndimage

from tfmed.errors import RunError
from tfmed.metrics.features import open_features
from tfmed.metrics.generative import frechet_distance, kernel_distance
from tfmed.metrics.segmentation import dice


def body_and_bone(hu):
    """{"body", "bone"} -> mask `(z, y, x)` of a CT-like volume in HU, by threshold.

    The body is, in each slice, the largest piece above -300 HU once thin pieces (the couch) are opened away.
    """
    body = np.stack([_largest(ndimage.binary_opening(plane > -300, np.ones((3, 3)))) for plane in hu])
    return {"body": body, "bone": body & (hu > 250)}


def _largest(mask):
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    return ndimage.binary_fill_holes(pieces == sizes.argmax() + 1)


def evaluate(own, methods, features, segment=None):
    """{"evaluation": rows}: a row per run, all on the test cases of one of them.

    FID and KID are called so only with Inception features. M->C: `dice_<structure>` compares structures found in the
    translation with those in the MRCAT, `hu_dif` is the mean over structures of the difference between their mean HU
    in translations and in real CTs, `mae_hu` that to a pair's "ct" within the body (to its MRCAT where there is none).
    C->M: `dice_body` compares the bodies in a CT and in its translation, `mae` (share of white) is that of translated
    MRCATs to their MRs within the body.

    Args:
        own: the Method whose test cases are used.
        methods: name of the run -> its Method.
        features: see `tfmed.metrics.features`.
        segment: HU `(z, y, x)` -> {structure: mask}; default `body_and_bone`.
    """
    network, segment = open_features(features), segment or body_and_bone
    if not own.pairs("test") or not own.unpaired("test"):
        raise RunError("evaluation needs test cases of both kinds: set data.split.test above 0, and add unpaired CTs")
    own.prepared("test")
    rows = []
    for name, method in methods.items():
        _check_alike(own, name, method)
        scores = _to_ct(own, method, segment) if own.config.direction == "m2c" else _to_mr(own, method)
        translated, real, scores = scores
        rows.append({"run": name} | _distances(network, translated, real) | scores)
    return {"evaluation": rows}


def _check_alike(own, name, method):
    if (method.config.direction, method.window) != (own.config.direction, own.window):
        raise RunError(f"{name}: translates another way, or has another window_hu; compare like with like")
    torn = sorted({case.group for case in method.cases["train"]} & {case.group for case in own.cases["test"]})
    if torn:
        raise RunError(f"{name}: was trained on patient {torn[0]}, who is tested here; train with one data.split.seed")


def _distances(network, translated, real):
    described = [np.concatenate([network(volume)[0] for volume in volumes]) for volumes in (translated, real)]
    kernel = "KID" if network.name == "inception" else f"KD[{network.name}]"
    return {network.number("frechet"): frechet_distance(*described), kernel: kernel_distance(*described)}


def _to_ct(own, method, segment):
    translated, scores, means = [], [], {"real": {}, "made": {}}

    def count(kind, hu, masks):
        for name, mask in masks.items():
            means[kind].setdefault(name, []).extend([float(hu[mask].mean(dtype=np.float64))] if mask.any() else [])

    for case in own.pairs("test"):
        made = method.translate(own.volume(case, "mr"))
        hu, mrcat = own.window.invert(made), own.window.invert(own.volume(case, "mrcat").array)
        reference = own.window.invert(own.volume(case, "ct").array) if "ct" in case.images else mrcat
        found, wanted = segment(hu), segment(mrcat)
        count("made", hu, found)
        body = body_and_bone(mrcat)["body"]
        scores.append({f"dice_{name}": dice(found[name], mask) for name, mask in wanted.items()})
        scores[-1]["mae_hu"] = float(np.abs(hu - reference)[body].mean())
        translated.append(made)
    real = [np.asarray(own.volume(case, "ct").array) for case in own.unpaired("test")]
    for array in real:
        hu = own.window.invert(array)
        count("real", hu, segment(hu))
    gaps = [abs(np.mean(means["real"][name]) - np.mean(values)) for name, values in means["made"].items()
            if values and means["real"].get(name)]  # fmt: skip
    return translated, real, _summary(scores) | {"hu_dif": float(np.mean(gaps)) if gaps else float("nan")}


def _to_mr(own, method):
    translated, scores = [], []
    for case in own.unpaired("test"):
        volume = own.volume(case, "ct")
        translated.append(method.translate(volume))
        body = body_and_bone(own.window.invert(volume.array))["body"]
        bright = np.stack([_largest(plane > -0.8) for plane in translated[-1]])  # above a tenth of white
        scores.append({"dice_body": dice(bright, body)})
    for case in own.pairs("test"):
        mrcat, mr = own.volume(case, "mrcat"), own.volume(case, "mr").array
        body = body_and_bone(own.window.invert(mrcat.array))["body"]
        scores.append({"mae": float(np.abs(method.translate(mrcat) - mr)[body].mean() / 2)})
    real = [np.asarray(own.volume(case, "mr").array) for case in own.pairs("test")]
    return translated, real, _summary(scores)


def _summary(scores):
    """Means of scores, and standard deviations of Dice (the paper gives both)."""
    row = {}
    for name in dict.fromkeys(name for score in scores for name in score):
        values = [score[name] for score in scores if name in score]
        row[name] = float(np.mean(values))
        if name.startswith("dice"):
            row[f"{name}_sd"] = float(np.std(values))
    return row
