"""Lesions in breast ultrasound: does a segmenter gain from copies of its training pictures in other styles?

Run: python -m benchmarks.real.busi DATA --out DIR [--seeds 0 1 2] [--arms NAME ...]

DATA holds `ultrasound_busi`, of whose pictures 74 have a lesion. Each seed splits them anew: 40 % test, 10 % validate.
A U-Net on pictures of 64 x 64 pixels is trained by the same steps on the training pictures alone ("own"), and with as
many copies of them in styles that a transfer draws ("styles", `data.augment_with` by configs/us_style.yaml, demo
profile, trained on the same pictures), or with holes that an inpainting filled ("filled", by configs/us_inpaint.yaml).
Prints the mean Dice over the test pictures. Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = (
    "train.preview_every=100000", "train.tensorboard=false", "data.source=csv_list", "data.options={}",
    "data.split={validation: 0.1, test: 0.4}",
)  # fmt: skip
SEGMENTER = (
    "model.modalities=[image]", "model.labels={lesion: any}", "model.patch=[64, 64]", "train.steps=600",
    "train.batch_size=8", "train.validate_every=100", "model.network={name: unet, widths: [8, 16, 32, 64]}",
    "model.learning_rate=0.003", "model.flips=[]",
    "data.preprocess=[{step: resample, shape: [1, 64, 64]}, {step: zscore}]",
)  # fmt: skip
MAKERS = {"styles": "us_style.yaml", "filled": "us_inpaint.yaml"}
ARMS = ("own", *MAKERS)


def table(data, path):
    """A list of the pictures with a lesion, for source `csv_list`."""
    masks = {mask.name: mask for mask in sorted((data / "ultrasound_busi" / "masks").glob("*.png"))}
    rows = [(image.stem, image, masks[image.name]) for image in
            sorted((data / "ultrasound_busi" / "images").glob("*.png")) if image.name in masks
            and not image.name.startswith("normal")]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("id", "image", "label"), *rows])
    return path


def dice(arm, seed, data, folder):
    """Mean Dice of the test pictures of an arm, whose runs are made first if need be."""
    words = [*SHARED, f"data.root={table(data, folder / 'pictures.csv')}", f"seed={seed}",
             f"data.split.seed={seed}"]  # fmt: skip
    more = []
    if arm in MAKERS:
        words_of_maker = [*words, "model.image=image", "data.preprocess=[{step: resample, shape: [1, 64, 64]}]"]
        settings = tfmed.load_config(CONFIGS / MAKERS[arm], words_of_maker, profile="demo")
        made = tfmed.fit(settings, folder / f"{arm}-maker-{seed}", resume=True)
        more = [f"data.augment_with={{run: {made.path}, share: 0.5}}"]
    settings = tfmed.load_config(CONFIGS / "segmentation.yaml", [*words, *SEGMENTER, *more])
    run = tfmed.fit(settings, folder / f"{arm}-{seed}", resume=True)
    return run.evaluate()["evaluation"][0]["Dice mean"]


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    words = parser.parse_args(argv)
    print("| arm | Dice, each seed | mean | std |\n|---|---|---|---|")
    for arm in words.arms:
        found = [dice(arm, seed, words.data, words.out) for seed in words.seeds]
        each = ", ".join(f"{one:.3f}" for one in found)
        spread = f"{statistics.stdev(found):.3f}" if len(found) > 1 else ""
        print(f"| {arm} | {each} | {statistics.mean(found):.3f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
