"""Boxes around blood cells or surgical tools: do pictures without boxes help where few have some?

Run: python -m benchmarks.real.boxes DATA [key=value ...] --out DIR [--of cells] [--seeds 0 1 2] [--labelled 20]

DATA holds `blood_cells_bccd` (120 pictures, three classes) and `surgical_tools` (340 pictures, 18 classes, taken
as one, "tool"). Each seed splits anew: a third of the pictures test, `labelled` of the others keep their boxes. A small
RetinaNet on pictures of 128 x 160 (cells) or 96 x 96 (tools) pixels, by Adam; the student begins anew and takes as many
steps as its teacher (`model.student_steps`). Prints AP50:95 and AP50 of both in per cent, and how many boxes of how
many pictures taught the student. Repeat the command to go on where it was broken off.
"""

import csv
import dataclasses
import json
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

from benchmarks.support.words import of_real_data

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "tool_detection.yaml"


@dataclasses.dataclass(frozen=True)
class Set:
    """A folder of `images` with `boxes.csv`, and how it is learnt; `name` is that of all classes, None: their own."""

    folder: str
    size: tuple[int, int]
    anchors: tuple[int, ...]
    name: str | None = None


SETS = {
    "cells": Set("blood_cells_bccd", (128, 160), (10, 24, 40, 60, 80)),
    "tools": Set("surgical_tools", (96, 96), (20, 32, 50, 70, 90), "tool"),
}


def pictures(one, seed, words):
    """(folder of links to all pictures, with boxes of those that test or train with boxes; how many pictures)."""
    source, folder = words.data / one.folder, words.out / f"{words.of}-{words.labelled}-{seed}-pictures"
    with open(source / "boxes.csv", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    names = np.random.default_rng(seed).permutation(sorted({row["image"] for row in table}))
    boxed = set(names[: tested(len(names)) + words.labelled])
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name).exists():
            (folder / name).symlink_to((source / "images" / name).resolve())
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = [[row["image"], one.name or row["class_name"], *(row[corner] for corner in corners)]
            for row in table if row["image"] in boxed]  # fmt: skip
    with open(folder / "boxes.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("image", "class_name", *corners), *rows])
    return folder, len(names)


def tested(count):
    """How many of the pictures test."""
    return count // 3


def scored(seed, words):
    """((AP50:95, AP50) of the teacher, of the student, (boxes, pictures that have some)) of a run, made if need be."""
    one = SETS[words.of]
    root, count = pictures(one, seed, words)
    share = tested(count) / (tested(count) + words.labelled)
    given = (
        "data.source=boxes_folder", f"data.root={root}", "data.options={}", f"seed={seed}",
        f"data.split={{validation: 0, test: {share:.6f}, seed: {seed}}}", "train.steps=1500", "train.batch_size=8",
        "train.validate_every=1500", "train.preview_every=100000", "train.tensorboard=false",
        f"model.size={list(one.size)}", f"model.detector.anchors={list(one.anchors)}", "model.student_steps=1500",
        "model.tau=0.6", *words.overrides,
    )  # fmt: skip
    settings = tfmed.load_config(CONFIG, given, profile="demo")
    run = tfmed.fit(settings, words.out / f"{words.of}-{words.labelled}-{seed}", resume=True)
    stages = [(100 * row["AP50:95"], 100 * row["AP50"]) for row in run.evaluate()["evaluation"]]
    frames = json.loads((run.path / "records" / "pseudo.json").read_text(encoding="utf-8"))["frames"]
    return (*stages, (sum(map(len, frames.values())), sum(map(bool, frames.values()))))


def main(argv=None):
    """Train, score, print."""
    parser = of_real_data(__doc__)
    parser.add_argument("--of", choices=SETS, default="cells")
    parser.add_argument("--labelled", type=int, default=20)
    words = parser.parse_intermixed_args(argv)
    print("| seed | teacher: AP50:95, AP50 | student: AP50:95, AP50 | taught by boxes, pictures |\n|---|---|---|---|")
    found = []
    for seed in words.seeds:
        found.append(scored(seed, words))
        print(f"| {seed} | {' | '.join(', '.join(f'{one:.4g}' for one in pair) for pair in found[-1])} |", flush=True)
    means = [[statistics.mean(values) for values in zip(*pairs, strict=True)] for pairs in zip(*found, strict=True)]
    print(f"| mean | {' | '.join(', '.join(f'{one:.4g}' for one in pair) for pair in means)} |")


if __name__ == "__main__":
    main()
