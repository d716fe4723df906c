"""Generators of images of given classes, judged by networks that tell their images from real ones: tables, pictures.

After Tronchin et al., DGM4MICCAI 2021 (Table 4), with null references.
"""

import numpy as np

from tfmed.data.sampling import Stream
from tfmed.engine.terminal import progress
from tfmed.errors import RunError
from tfmed.metrics.judge import Real, judge
from tfmed.metrics.template_matching import Lattice, template_match
from tfmed.pictures.charts import Distributions, FeaturePlane
from tfmed.pictures.images import HeatMap, ImageGrid
from tfmed.tasks.scored_cases import refuse_leak

_CHOSEN = Stream("gan_eval.judged_images")
_TABLE_4 = ("recall", "specificity", "Mahalanobis", "Mahalanobis null", "Mahalanobis half", "Mahalanobis real halves",
            "Frechet", "Frechet half", "Frechet real halves")  # fmt: skip


def compare(own, methods, seed):
    """(tables, pictures) of several runs, judged by the data of one of them.

    Args:
        own: a Method with `generate(count, class, seed)` -> images in [0, 1], `of_class(part, class)` and
            `array(case)`, in [-1, 1]; its config says how a judge is trained (`evaluator_...`) and how often (`runs`).
        methods: name of the run -> its Method.
        seed: of the choice of images, and of the judges.
    """
    _check_alike(own, methods)
    c, real = own.config, {label: _real(own, label) for label in own.config.classes}
    models = {name: _sampler(method) for name, method in methods.items()}
    found = judge(
        models, real, c.runs, seed, c.feature_net, c.auxiliary, c.most_neighbours, c.flag_level,
        lambda items: progress(items, "Judging"), _CHOSEN, epochs=c.evaluator_epochs, batch_size=c.evaluator_batch,
        channels=c.evaluator_channels, features=c.evaluator_features,
    )  # fmt: skip
    whole = found.table()
    chosen = ("model", "class", "runs", *(f"{name} {kind}" for name in _TABLE_4 for kind in ("mean", "std")))
    tables = {
        "evaluation": [{key: row[key] for key in chosen if key in row} for row in whole],
        "evaluation_all": whole,
        "evaluation_runs": found.rows,
        "structure": found.structure,
        "plane": found.plane,
    }
    if found.auxiliary:
        tables["auxiliary"] = found.table(found.auxiliary, ("model", "class", "classifier"))
    return tables, _pictures(found)


def _sampler(method):
    return lambda count, label, seed: method.generate(count, label, seed)


def _check_alike(own, methods):
    for name, method in methods.items():
        for setting in ("classes", "size", "window"):
            theirs, ours = getattr(method.config, setting), getattr(own.config, setting)
            if theirs != ours:
                raise RunError(f"{name}: was trained with {setting} {theirs}, not {ours}; compare runs of one data set")
        refuse_leak(name, method, own.cases["test"], "test")


def _real(own, label):
    """The training and test images of one class in [0, 1]."""
    parts = {part: own.of_class(part, label) for part in ("train", "test")}
    own.prepared("test")
    images = {part: (np.stack([own.array(case) for case in cases]).astype(np.float32) + 1) / 2
              for part, cases in parts.items()}  # fmt: skip
    groups = (tuple(case.group for case in cases) for cases in parts.values())
    try:
        return Real(images["train"], images["test"], *groups)
    except ValueError as error:
        raise RunError(f"class {label!r}: {error}; add images, or raise data.split.test") from None


def _pictures(found):
    pictures = {"features": FeaturePlane(found.ellipses)}
    caption = (
        "MS-SSIM of every image to its nearest one: synthetic to synthetic (S_S), synthetic to training (S_R), "
        "training to training images (R_R; where model.most_neighbours limits these sets, R_all: to all training "
        "images, as S_R is). S_R above R_R or R_all: the generator may copy; S_S above R_R: it makes too few kinds of "
        "images."
    )
    panels = {f"{model}, {label}": {name: nearest.similarity for name, nearest in similar.by_sets().items()}
              for (model, label), (_, _, similar) in found.nearest.items()}  # fmt: skip
    pictures["similarity"] = Distributions(panels, "MS-SSIM of the nearest", caption)
    rows, notes = {}, {}
    for (model, label), (synthetic, copied, similar) in found.nearest.items():
        top = np.argsort(similar.s_r.similarity)[::-1][:8]
        title = f"{model}, {label}: synthetic"
        rows[title] = list(synthetic[top])
        rows[f"{model}, {label}: nearest training image"] = list(copied[top])
        notes[f"{model}, {label}: nearest training image"] = [f"{similar.s_r.similarity[i]:.3f}" for i in top]
    caption = "The eight synthetic images most like a training image, above that image; the number is their MS-SSIM."
    pictures["nearest"] = ImageGrid(rows, (0, 1), caption, notes)
    pictures["template"] = _match(next(iter(found.nearest.values())))
    return pictures


def _match(entry):
    synthetic, copied, similar = entry
    order = np.argsort(similar.s_r.similarity)[::-1]
    template, lattice = synthetic[order[0]], Lattice.of(copied[order[:36]])
    heat = template_match(template, lattice.canvas, centred=True)
    place = np.unravel_index(heat.argmax(), heat.shape)
    caption = (
        f"The synthetic image most like a training image, matched with {len(order[:36])} training images, of which the "
        f"first is the one it is most like (centred normalised correlation at every place); the best match, "
        f"{heat.max():.2f}, is framed."
    )
    return HeatMap(template, lattice.canvas, heat, place, caption)
