"""Nuclei in stained tissue from few pictures: which start is best, after three other tasks of real pictures?

Run: python -m benchmarks.real.new_task DATA [key=value ...] --out DIR [--seeds 0 1 2] [--shots 5 10] [--arms NAME ...]

DATA holds `nuclei_dsb2018`, `blood_cells_bccd` and `ultrasound_busi`. The new task is the former's 20 pictures of
haematoxylin and eosin, of which 8 test and 2 validate. The others are its 40 pictures of fluorescence, blood smears
(red cells, white cells and platelets: ellipses in their boxes, as there are no masks), and lesions of the breast. All
have half of their stored size, patches of 64 x 64 pixels. The demo profile of configs/metahistoseg.yaml by 480 steps
and 60 of fine-tuning, whose last weights count. Prints mIoU over all pixels of the test pictures. Repeat the command to
go on where it was broken off.
"""

import csv
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np
from PIL import Image

from benchmarks.support.words import of_real_data

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "metahistoseg.yaml"
ARMS = {"MAML": "maml", "pooled training": "transfer", "from scratch": "scratch"}
CELLS = ("RBC", "WBC", "Platelets")
LABELS = {
    "fluorescence": {"nucleus": 1},
    "blood": {"red_cell": 1, "white_cell": 2, "platelet": 3},
    "ultrasound": {"lesion": 1},
}
NEW = {"nucleus": 1}
TEST, VALIDATE = 8, 2
SHARED = (
    "data.source=image_pairs", "data.options={colour: true}", f"model.labels={NEW}", "train.steps=480",
    "train.validate_every=480", "train.preview_every=100000", "train.tensorboard=false", "train.early_stopping=null",
    "model.selection_steps=0", "model.fine_tune_steps=60",
)  # fmt: skip


def nuclei(data, kind):
    """(name, colour picture, class numbers) of one kind of `nuclei_dsb2018`."""
    folder = data / "nuclei_dsb2018"
    with open(folder / "index.csv", encoding="utf-8") as stream:
        names = [row["name"] for row in csv.DictReader(stream) if row["kind"] == kind]
    for name in names:
        instances = np.asarray(Image.open(folder / "instances" / f"{name}.png"))
        yield name, Image.open(folder / "images" / f"{name}.png"), instances > 0


def blood(data):
    """(name, colour picture, class numbers) of blood smears; every box is an ellipse."""
    folder = data / "blood_cells_bccd"
    with open(folder / "boxes.csv", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    for name in sorted({row["image"] for row in table}):
        image = Image.open(folder / "images" / name)
        label = np.zeros(image.size[::-1], np.uint8)
        y, x = np.mgrid[: label.shape[0], : label.shape[1]] + 0.5
        for row in (row for row in table if row["image"] == name):
            x0, y0, x1, y1 = (float(row[edge]) for edge in ("xmin", "ymin", "xmax", "ymax"))
            inside = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1
            label[inside] = 1 + CELLS.index(row["class_name"])
        yield pathlib.Path(name).stem, image, label


def ultrasound(data):
    """(name, colour picture, class numbers) of lesions of the breast."""
    folder = data / "ultrasound_busi"
    for path in sorted((folder / "masks").glob("*.png")):
        mask = np.asarray(Image.open(path)) > 0
        if mask.any():
            yield path.stem, Image.open(folder / "images" / path.name), mask


def prepared(data, folder):
    """{task: a folder for source `image_pairs`}, pictures of half their size."""
    made = {"tissue": nuclei(data, "histology_HE"), "fluorescence": nuclei(data, "fluorescence"), "blood": blood(data),
            "ultrasound": ultrasound(data)}  # fmt: skip
    for task, rows in made.items():
        for name, image, label in rows:
            size = (image.size[0] // 2, image.size[1] // 2)
            numbers = Image.fromarray(np.asarray(label, np.uint8)).resize(size, Image.Resampling.NEAREST)
            for kind, picture in (("images", image.convert("RGB").resize(size)), ("labels", numbers)):
                path = folder / task / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
    return {task: folder / task for task in made}


def miou(arm, shots, seed, folders, words):
    """mIoU of the test pictures of a run, which is made first if need be."""
    tasks = {task: {"source": "image_pairs", "root": str(folders[task]), "options": {"colour": True},
                    "modalities": ["red", "green", "blue"], "labels": labels}
             for task, labels in LABELS.items()}  # fmt: skip
    given = [*SHARED, f"data.root={folders['tissue']}", f"model.tasks={tasks}", f"model.training={ARMS[arm]}",
             f"data.split={{validation: {VALIDATE / 20}, test: {TEST / 20}, seed: {seed}}}", f"seed={seed}",
             f"model.shots={shots}", *words.overrides]  # fmt: skip
    settings = tfmed.load_config(CONFIG, given, profile="demo")
    run = tfmed.fit(settings, words.out / f"{arm.replace(' ', '-')}-{shots}-{seed}", resume=True)
    return float(run.evaluate()["miou"][0]["mIoU"])


def main(argv=None):
    """Train, score, print."""
    parser = of_real_data(__doc__, ARMS)
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10])
    words = parser.parse_intermixed_args(argv)
    folders = prepared(words.data, words.out / "pictures")
    print("| pictures | arm | mIoU, each seed | mean | std |\n|---|---|---|---|---|")
    for shots in words.shots:
        for arm in words.arms:
            found = [miou(arm, shots, seed, folders, words) for seed in words.seeds]
            each, spread = ", ".join(f"{one:.3f}" for one in found), statistics.stdev(found) if len(found) > 1 else 0.0
            print(f"| {shots} | {arm} | {each} | {statistics.mean(found):.3f} | {spread:.3f} |", flush=True)


if __name__ == "__main__":
    main()
