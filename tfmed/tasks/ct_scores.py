"""Scores and pictures of synthetic CTs: MAE, PSNR and SSIM of whole volumes and where high frequencies are strong.

A prepared pair has the channels MR, CT and the CT's low frequencies. After Shi et al., DGM4MICCAI 2021 (Tables 1-3).
"""

import numpy as np

from tfmed.errors import RunError
from tfmed.metrics import aggregate
from tfmed.metrics.image_quality import mae, psnr, ssim_map
from tfmed.metrics.segmentation import dice
from tfmed.pictures.charts import JointHistogram
from tfmed.pictures.volumes import Picture, Scale
from tfmed.tasks.scored_cases import refuse_leak

AIR_HU, BONE_HU = -300.0, 300.0  # the paper shows air, soft tissue and bone by thresholds that it does not name
TISSUES = ("air", "soft", "bone")
SCORES = tuple(f"{score}{where}" for where in ("", "_edges") for score in ("mae_hu", "psnr_db", "ssim"))
SCORES += tuple(f"dice_{tissue}" for tissue in TISSUES)  # the names that `scores` gives
_MOST = 4  # cases of a joint histogram
_SHOWN_HU, _DIFFERENCE_HU = (-1000.0, 1500.0), 500.0


def scores(method, prepared, made):
    """Scores of one synthetic CT against a prepared pair, over the whole volume (no body mask), in HU.

    `_edges`: the same over the voxels with the largest |high frequencies| of the real CT. `dice_<tissue>`: overlap of
    air, soft tissue and bone, by thresholds of -300 and 300 HU.
    """
    real, found = real_hu(method, prepared), np.asarray(made["ct"])
    width = method.config.window_hu[1] - method.config.window_hu[0]
    row, similar = {}, ssim_map(found, real, width)
    for name, mask in (("", np.ones(real.shape, bool)), ("_edges", edges(prepared, method.config.edge_share))):
        row[f"mae_hu{name}"] = mae(found, real, mask)
        row[f"psnr_db{name}"] = psnr(found, real, width, mask)
        row[f"ssim{name}"] = float(np.nanmean(similar[mask]))
    ours, theirs = _tissues(found), _tissues(real)
    return row | {f"dice_{name}": dice(ours[name], theirs[name]) for name in theirs}


def real_hu(method, prepared):
    """The real CT of a prepared pair, in HU, clipped as for training."""
    return method.window.invert(np.asarray(prepared.image[..., 1], np.float32))


def edges(prepared, share):
    """The given share of the voxels: those with the largest |high frequencies|; bool `(z, y, x)`."""
    high = np.abs(np.asarray(prepared.image[..., 1]) - np.asarray(prepared.image[..., 2]))
    count = max(1, round(share * high.size))
    mask = np.zeros(high.size, bool)
    mask[np.argpartition(high.ravel(), high.size - count)[high.size - count :]] = True
    return mask.reshape(high.shape)


def _tissues(hu):
    return dict(zip(TISSUES, (hu < AIR_HU, (hu >= AIR_HU) & (hu <= BONE_HU), hu > BONE_HU), strict=True))


def evaluate(own, methods, part="test"):
    """({"evaluation": a row per run, "cases": a row per run and case}, pictures).

    Args:
        own: the Method whose cases, and whose edges, are used.
        methods: name of the run -> its Method, the own one first.
        part: "test", "validation" or "train".

    Raises:
        RunError: there are no such cases, a run was trained on one of them, or prepares its images in another way.
    """
    cases = own.cases[part]
    if not cases:
        raise RunError(f"no case is in the part {part!r} of the split; choose another --part, or set data.split.{part}")
    own.prepared(part)
    rows, made = [], {}
    for name, method in methods.items():
        refuse_leak(name, method, cases, part)
        if (method.geometry, method.config.window_hu) != (own.geometry, own.config.window_hu):
            raise RunError(f"{name}: has another data.preprocess or model.window_hu; compare like with like")
        for case in cases:
            prepared = own.open(case)
            found = method.synthesise(prepared.image)
            rows.append({"run": name, "case": case.id} | scores(own, prepared, found))
            if method is own and len(made) < _MOST:
                made[case.id] = found
    tables = {"evaluation": [_summary(rows, name, next(iter(methods))) for name in methods], "cases": rows}
    return tables, pictures(own, made, cases)


def _summary(rows, run, first):
    """Means over cases and their spread; for further runs the p-value of their MAE being the first run's."""

    def column(name, of):
        return np.array([row[name] for row in rows if row["run"] == of], np.float64)

    names = [name for name in rows[0] if name not in ("run", "case")]
    line = {"run": run, "cases": len(column(names[0], run))}
    for name in names:
        line |= aggregate.mean_and_std(name, column(name, run))
    several = len({row["run"] for row in rows}) > 1
    p = aggregate.wilcoxon(column("mae_hu", first), column("mae_hu", run)).p if run != first else ""
    return line | ({"p (Wilcoxon, mae_hu)": p} if several else {})


# --- pictures ---------------------------------------------------------------------------------------------------------


def pictures(method, made, cases):
    """{"synthesis": planes of the first case, "histogram": of real and synthetic HU of all of them}.

    Args:
        made: case id -> what `synthesise` gives.
        cases: list of Case that holds those.
    """
    shown = [case for case in cases if case.id in made]
    first = shown[0]
    prepared, found = method.open(first), made[first.id]
    mr, real = np.asarray(prepared.image[..., 0], np.float32), real_hu(method, prepared)
    volumes = {"MR": mr, "synthetic CT": found["ct"], "real CT": real, "difference": found["ct"] - real}
    signed = Scale((-_DIFFERENCE_HU, _DIFFERENCE_HU), "HU", "RdBu_r")
    own = {"MR": Scale(tuple(np.percentile(mr, [0.5, 99.5]).tolist()), "standard deviations"), "difference": signed}
    if "high" in found:
        low = method.window.invert(np.asarray(prepared.image[..., 2], np.float32))
        volumes |= {"synthetic high frequencies": found["high"], "real high frequencies": real - low}
        own |= dict.fromkeys(("synthetic high frequencies", "real high frequencies"), signed)
    picture = Picture({name: method.as_volume(first, array) for name, array in volumes.items()}, _SHOWN_HU, "HU", own)
    pairs = [(real_hu(method, method.open(case)), made[case.id]["ct"]) for case in shown]
    joint = JointHistogram(*(np.concatenate([array.ravel() for array in side]) for side in zip(*pairs, strict=True)),
                           method.config.window_hu, ("real CT, HU", "synthetic CT, HU"))  # fmt: skip
    return {"synthesis": picture, "histogram": joint}
