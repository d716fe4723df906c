"""Lesions in breast ultrasound by five points: do pictures without points help where few have some?

Run: python -m benchmarks.real.landmarks DATA [key=value ...] --out DIR [--seeds 0 1 2] [--labelled 10]
     [--arms NAME ...]

DATA holds `ultrasound_busi`, of whose pictures 74 have the outermost points of a lesion (left, right, top, bottom) and
its centre, computed from experts' masks; 39 others have none or no lesion. Each seed splits anew: 40 % of the 74 test,
10 % choose a model, `labelled` of the others keep their points. The demo profile of configs/fewshot_dag.yaml on
pictures of 96 x 96 pixels. Prints the mean error in pixels of the stored pictures (320 on their longer side) and the
share of errors above 5 % of the width, of DAG on few points and on all, and of what it becomes with pictures without
points. Repeat the command to go on where it was broken off.
"""

import csv
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

from benchmarks.support.words import of_real_data

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "fewshot_dag.yaml"
SHARED = (
    "train.preview_every=100000", "train.tensorboard=false", "data.source=points_folder", "data.options={grey: true}",
    "data.split={validation: 0.1, test: 0.4}",
)  # fmt: skip
ARMS = {
    "DAG": ("model.mode=dag",),
    "DAG, all points": ("model.mode=dag", "model.labelled=null"),
    "few-shot": ("model.mode=fewshot",),
    "few-shot, JS": ("model.mode=fewshot_js",),
    "pseudo labels": ("model.mode=pseudo_label",),
    "Pi-model": ("model.mode=pi_model",),
    "temporal ensemble": ("model.mode=temporal_ensemble",),
}
POINTS = ("left", "right", "top", "bottom", "centroid")


def pictures(data, folder):
    """A folder of links to the pictures, and the points in it, for source `points_folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in sorted((data / "images").glob("*.png")):
        link = folder / image.name
        if not link.exists():
            link.symlink_to(image.resolve())
    with open(data / "derived_landmarks.csv", encoding="utf-8") as stream:
        rows = [(f"{row['name']}.png", point, row[f"{point}_x"], row[f"{point}_y"])
                for row in csv.DictReader(stream) for point in POINTS]  # fmt: skip
    with open(folder / "points.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("image", "name", "x", "y"), *rows])
    return folder


def scored(arm, seed, words):
    """(mean error in pixels, failures in per cent) of a run, which is made first if need be."""
    root = pictures(words.data / "ultrasound_busi", words.out / "pictures")
    given = [*SHARED, f"model.labelled={words.labelled}", *ARMS[arm], f"data.root={root}", f"seed={seed}",
             f"data.split.seed={seed}", *words.overrides]  # fmt: skip
    settings = tfmed.load_config(CONFIG, given, profile="demo")
    name = arm.replace(", ", "-").replace(" ", "-")
    run = tfmed.fit(settings, words.out / f"{name}-{words.labelled}-{seed}", resume=True)
    row = run.evaluate()["evaluation"][-1]
    return row["error px mean"], row["failure %"]


def main(argv=None):
    """Train, score, print."""
    parser = of_real_data(__doc__, ARMS)
    parser.add_argument("--labelled", type=int, default=10)
    words = parser.parse_intermixed_args(argv)
    print("| arm | error in px and failures in %, each seed | mean error | mean failures |\n|---|---|---|---|")
    for arm in words.arms:
        found = [scored(arm, seed, words) for seed in words.seeds]
        each = ", ".join(f"{error:.1f} px {failures:.0f} %" for error, failures in found)
        means = [statistics.mean(column) for column in zip(*found, strict=True)]
        print(f"| {arm} | {each} | {means[0]:.1f} px | {means[1]:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
