"""Vessels on one probe's phantoms, eight of them labelled: do another probe's labelled pictures help, in which look?

Run: python -m benchmarks.toys.us_style_segmenter --out DIR [--seeds 0 1 2] [--arms NAME ...]

As in the paper's Table 1, with phantoms of 64 x 64 pixels: 8 labelled pictures of probe `handheld` train, 4 validate,
40 test; 80 labelled ones of probe `linear` are at hand. A transfer (demo profile of configs/us_style.yaml) is trained
on the 88 without labels; then the same U-Net by the same steps on the eight alone ("own"), with the 80 as they are
("other"), with the 80 in the style of one of the eight each ("transferred"), and on the eight with nine times as many
copies of them in drawn styles ("drawn", by `data.augment_with`). Prints the mean Dice of veins and arteries over the
test pictures. Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

from tfmed.data.phantoms.ultrasound import ultrasound
from tfmed.io.stack import write_picture

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false", "data.source=csv_list", "data.split.given=true")
SEGMENTER = (
    "model.modalities=[us]", "model.labels={vein: 1, artery: 2}", "model.patch=[64, 64]", "train.steps=400",
    "train.batch_size=8", "train.validate_every=100", "model.network={name: unet, widths: [8, 16, 32]}",
    "model.learning_rate=0.003", "model.flips=[]",
)  # fmt: skip
COUNTS = {"train": 8, "validation": 4, "test": 40, "other": 80}
PROBES = {"other": "linear"}
ARMS = ("own", "other", "transferred", "drawn")


def pictures(seed, folder):
    """{part: [(id, image, mask)]} of written phantoms; anatomies are all different."""
    found, number = {}, 10_000 * (seed + 1)
    for part, count in COUNTS.items():
        found[part] = []
        for k in range(count):
            number += 1
            name = f"{part}{k:02d}"
            place = folder / (f"other{k % COUNTS['train']}" if part == "other" else part)
            paths = place / f"{name}.png", folder / "masks" / f"{name}.png"
            made = ultrasound(number, (64, 64), PROBES.get(part, "handheld"))
            for path, volume in zip(paths, (made.volume, made.labels), strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_picture(volume.array[0].astype("uint8"), path)
            found[part].append((name, *paths))
    return found


def listed(path, rows):
    """A table of (id, image, mask, part) for source `csv_list`."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("id", "us", "label", "part"), *rows])
    return path


def transferred(run, seen, folder):
    """[(id, image, mask)] of the other probe's pictures, each in the style of one of the own ones."""
    for k, (_, own, _) in enumerate(seen["train"]):
        out = folder / f"style{k}"
        if not out.exists():
            run.predict([f"us={folder / f'other{k}'},style={own}"], out)
    made = {path.stem.split("_")[0]: path for path in sorted(folder.glob("style*/**/other*.png"))}
    return [(name, made[name], mask) for name, _, mask in seen["other"]]


def dice(arm, seed, folder):
    """{label: mean Dice of the test pictures} of an arm, whose runs are made first if need be."""
    seen = pictures(seed, folder / "pictures")
    own = [(*one, part) for part in ("train", "validation", "test") for one in seen[part]]
    added = []
    if arm in ("transferred", "drawn"):
        bare = [(name, image, "", "train") for part in ("train", "other") for name, image, _ in seen[part]]
        held = [(name, image, "", part) for part in ("validation", "test") for name, image, _ in seen[part]]
        table = listed(folder / "style.csv", bare + held)
        words = [*SHARED, f"data.root={table}", "data.options={}", "model.image=us", f"seed={seed}"]
        style = tfmed.fit(tfmed.load_config(CONFIGS / "us_style.yaml", words, profile="demo"), folder / "style",
                          resume=True)  # fmt: skip
    if arm == "transferred":
        added = transferred(style, seen, folder / "pictures")
    elif arm == "other":
        added = seen["other"]
    words = [*SHARED, *SEGMENTER, f"seed={seed}"]
    words += [f"data.root={listed(folder / f'{arm}.csv', own + [(*one, 'train') for one in added])}"]
    words += [f"data.augment_with={{run: {style.path}, share: 0.9}}"] if arm == "drawn" else []
    run = tfmed.fit(tfmed.load_config(CONFIGS / "segmentation.yaml", words), folder / arm, resume=True)
    rows = run.evaluate()["evaluation"]
    return {row["region"]: row["Dice mean"] for row in rows if row["region"] in ("vein", "artery")}


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    words = parser.parse_args(argv)
    found = {}
    print("| seed | arm | Dice of veins | of arteries |\n|---|---|---|---|")
    for seed in words.seeds:
        for arm in words.arms:
            found[seed, arm] = dice(arm, seed, words.out / str(seed))
            cells = [f"{value:.3f}" for value in found[seed, arm].values()]
            print(f"| {seed} | {arm} | {' | '.join(cells)} |", flush=True)
    for arm in words.arms:
        means = [statistics.mean(found[seed, arm].values()) for seed in words.seeds]
        spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
        print(f"{arm}: both {statistics.mean(means):.3f}{spread}")


if __name__ == "__main__":
    main()
