"""Coloured shapes on texture: do 300 frames without boxes help a detector that knows 30 with boxes?

Run: python -m benchmarks.toys.tool_detection [--seeds 0] [--steps 200] [--methods NAME ...] [--out FILE]

Frames of 64 x 96 pixels with one to three discs, squares or triangles. Every arm is a small RetinaNet by Adam; the arms
of a seed have one teacher, and students of as many steps of 8 + 8 frames. Printed are AP50:95 and AP50 on 100 other
frames, and of the pseudo boxes that an arm learnt: how many in a frame, and the share that overlaps a true box of its
class by half or more.
Asked: students have a higher AP50:95 than the teacher; boxes with scores of 0.9 or more are right more often than those
of 0.5 or more; ssl_hc_sa is no worse than ssl.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip

import functools
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from benchmarks.support import tables
from tfmed import registry
from tfmed.io.objects import Objects, write_boxes_csv
from tfmed.metrics.detection import Boxes, average_precision, match
from tfmed.tasks.detection import kept_areas

FEW, MANY, TEST, STEPS = 30, 300, 100, 200
METHODS = ("supervised", "ssl", "ssl_hc", "ssl_sa", "ssl_hc_sa")
SHAPES = ("disc", "square", "triangle")
_SIZE = (64, 96)
_DETECTOR = (
    "{name: retinanet, widths: [8, 16, 32, 64], blocks: [1, 1, 1, 1], pyramid: 32, convolutions: 1, "
    "anchors: [14, 22, 34, 44, 52]}"
)


def frame(seed):
    """(picture uint8 `(64, 96, 3)`, its Objects): one to three shapes that do not touch, in colours that vary."""
    rng = np.random.default_rng([seed, 14])
    picture = 110 + 26 * ndimage.gaussian_filter(rng.standard_normal((*_SIZE, 3)), (2, 2, 0)) / 0.14
    y, x = np.mgrid[: _SIZE[0], : _SIZE[1]]
    boxes, names, taken = [], [], np.zeros(_SIZE, bool)
    for _ in range(int(rng.integers(1, 4))):
        radius, kind = rng.uniform(7, 14), int(rng.integers(3))
        cx, cy = rng.uniform(radius + 1, _SIZE[1] - radius - 1), rng.uniform(radius + 1, _SIZE[0] - radius - 1)
        dx, dy = (x - cx) / radius, (y - cy) / radius
        mask = (np.hypot(dx, dy) <= 1, np.maximum(abs(dx), abs(dy)) <= 1, (abs(dx) <= (dy + 1) / 2) & (dy <= 1))[kind]
        if (ndimage.binary_dilation(mask, iterations=2) & taken).any():
            continue
        taken |= mask
        colour = 110 + rng.uniform(-70, 70, 3)
        colour[kind] += 60
        picture[mask] = 0.25 * picture[mask] + 0.75 * colour
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        names.append(SHAPES[kind])
    picture += 6 * rng.standard_normal(picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), Objects(np.array(boxes, float), tuple(names))


@functools.cache
def folder(seed, first, count, few):
    """A folder of frames, of which the first `few` have boxes; (path, {name: objects of all})."""
    root, known = pathlib.Path(tempfile.mkdtemp()), {}
    for k in range(count):
        picture, known[f"f{k:04d}"] = frame(100_000 * seed + first + k)
        Image.fromarray(picture).save(root / f"f{k:04d}.png")
    write_boxes_csv(root / "boxes.csv", {f"{name}.png": known[name] for name in sorted(known)[:few]})
    return root, known


def method(name, seed, steps, root=None):
    """The Method of an arm, with data of a seed."""
    words = (
        f"seed={seed}", "data.source=boxes_folder", f"data.root={root or folder(seed, 0, FEW + MANY, FEW)[0]}",
        "data.split={validation: 0, test: 0}", f"train.steps={steps}", "train.batch_size=8", f"model.mode={name}",
        "model.size=[64, 96]", "model.optimizer=adam", "model.learning_rate=2.0e-3", f"model.detector={_DETECTOR}",
        f"model.classes=[{', '.join(SHAPES)}]",
    )  # fmt: skip
    settings = tfmed.load_config("configs/tool_detection.yaml", words)
    return registry.method_class(settings.method)(settings)


def train(one, name, steps):
    """A stage of a Method, which then has its model."""
    keras.utils.set_random_seed(one.settings.seed)
    stage = next(stage for stage in one.stages() if stage.name == name)
    model, samples = stage.model(), stage.train()
    step = tf.function(model.train_step, autograph=False)
    for batch in samples.batches(0, steps):
        step(batch)
    one.models[name] = model


@functools.cache
def teacher(seed, steps):
    """The detector that all students of a seed have as teacher."""
    one = method("supervised", seed, steps)
    train(one, "teacher", steps)
    return one.models["teacher"]


def tested(model, seed, steps):
    """(AP50:95, AP50) in per cent."""
    one = method("supervised", seed, steps, folder(seed, 50_000, TEST, TEST)[0])
    finder, found, true = one.finder(model.detector), [], []
    for case in one.cases["train"]:
        answer = finder.objects(finder.compute(one.open(case)[None]))
        found.append(Boxes(answer.boxes, [one.classes.index(name) for name in answer.names], answer.scores))
        true.append(Boxes(*one.objects(case)))
    score = average_precision(kept_areas(found), true, len(one.classes))
    return 100 * score.mean, 100 * score.at(0.5)


def judged(one, seed):
    """(boxes per frame, share of them that is right) of the pseudo boxes."""
    right, count, known = 0, 0, folder(seed, 0, FEW + MANY, FEW)[1]
    for name, rows in one.pseudo()["frames"].items():
        for number in {row[0] for row in rows}:
            own = np.array([row[1:] for row in rows if row[0] == number])
            there = known[name].boxes[[kind == one.classes[number] for kind in known[name].names]]
            right += int((match(own[:, 1:], own[:, 0], there) >= 0).sum())
            count += len(own)
    return count / MANY, right / count if count else float("nan")


def score(seed, name, steps):
    """AP50:95, AP50, pseudo boxes per frame and their precision."""
    first = teacher(seed, steps)
    if name == "supervised":
        return (*tested(first, seed, steps), float("nan"), float("nan"))
    one = method(name, seed, steps)
    one.models["teacher"] = first
    train(one, "student", steps)
    return (*tested(one.models["student"], seed, steps), *judged(one, seed))


def main():
    columns = ("AP50:95", "AP50", "boxes per frame", "precision")
    tables.make(__doc__, METHODS, STEPS, "toy_tool_detection.csv", columns, 2, score)


if __name__ == "__main__":
    main()
