"""Average precision of tfmed.metrics.detection against pycocotools.

Run: python -m benchmarks.speed.detection [--rounds 5] [--images 500] [--classes 12]

Each image has 6 references on average and 20 detections, moved references among them. Sides take turns in one process;
arrays and the records that pycocotools reads are made beforehand. pycocotools counts boxes of one range of sizes only
here, as tfmed does. Processor milliseconds, median (fastest .. slowest), and the ratio of each round (median,
quartiles).
"""

import argparse
import contextlib
import io
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.support.tables import ratios, spread
from tfmed.metrics.detection import Boxes, average_precision


def made(rng, classes):
    """(detections, references) of one image."""
    corner = rng.uniform(0, 400, (rng.poisson(6), 2))
    true = np.concatenate([corner, corner + rng.uniform(10, 100, corner.shape)], 1)
    numbers = rng.integers(0, classes, len(true))
    corner = rng.uniform(0, 400, (20 - min(20, len(true)), 2))
    others = np.concatenate([corner, corner + rng.uniform(10, 100, corner.shape)], 1)
    boxes = np.concatenate([true + rng.normal(0, 3, true.shape), others])
    guessed = np.concatenate([numbers, rng.integers(0, classes, len(others))])
    return Boxes(boxes, guessed, rng.random(len(boxes))), Boxes(true, numbers)


def records(images):
    kept = []
    for image, boxes in enumerate(images):
        scores = np.ones(len(boxes.classes)) if boxes.scores is None else boxes.scores
        for (x0, y0, x1, y1), number, score in zip(boxes.boxes, boxes.classes, scores, strict=True):
            size = (x1 - x0, y1 - y0)
            kept.append({"id": len(kept) + 1, "image_id": image, "category_id": int(number), "iscrowd": 0,
                         "bbox": [x0, y0, *size], "area": size[0] * size[1], "score": score})  # fmt: skip
    return kept


def by_pycocotools(reference, found):
    evaluation = COCOeval(reference, found, "bbox")
    evaluation.params.areaRng, evaluation.params.areaRngLbl, evaluation.params.maxDets = [[0, 1e10]], ["all"], [100]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rounds", 5), ("images", 500), ("classes", 12)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    found, truth = zip(*(made(rng, o.classes) for _ in range(o.images)), strict=True)
    times = {"tfmed": [], "pycocotools": []}
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {"images": [{"id": k} for k in range(o.images)], "annotations": records(truth),
                             "categories": [{"id": k} for k in range(o.classes)]}  # fmt: skip
        reference.createIndex()
        loaded = reference.loadRes(records(found))
        for _ in range(o.rounds):
            begun = time.process_time()
            ours = average_precision(found, truth, o.classes)
            times["tfmed"].append(1e3 * (time.process_time() - begun))
            begun = time.process_time()
            theirs = by_pycocotools(reference, loaded)
            times["pycocotools"].append(1e3 * (time.process_time() - begun))
    apart = np.abs(np.nan_to_num(ours.precision, nan=-1) - theirs).max()
    print(f"{o.images} images, {o.classes} classes; AP {ours.mean:.4f}, precisions {apart:.1e} apart at most\n")
    print("| side | ms | times tfmed's (quartiles) |\n|---|---|---|")
    for name, taken in times.items():
        print(f"| {name} | {spread(taken)} | {ratios(np.array(taken), np.array(times['tfmed']), 1)} |")


if __name__ == "__main__":
    main()
