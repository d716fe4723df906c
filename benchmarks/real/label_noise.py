"""Which errors of annotators cost a segmenter most, on slices of real left atrium MR: Dice relative to clean labels.

Run: python -m benchmarks.real.label_noise LA2018 --out DIR [--seeds 3] [--steps 300] [--segmenters supervised ...]
     [--only NAME ...] [key=value ...]

LA2018 holds `<id>_image.nii.gz` and `<id>_label.nii.gz` in `train_labelled`, `test` and, images alone,
`train_unlabelled`. The grid is 2 mm, where an atrium is about 25 pixels wide, and networks are narrow, so that two
cores can carry it. Of the 10 labelled scans 3 validate; masks of the other 7 are corrupted, those of the 6 test scans
are not. All runs of a seed have the same slices, steps and last weights. It is `tfmed compare` on settings files that
it writes to DIR/configs: repeat the command to go on where it was broken off. Prints, per segmenter and corruption, the
Dice of all test slices together and what is left of that of clean labels, over the seeds; draws it as DIR/relative.png.
"""

import argparse
import pathlib

import numpy as np
import pandas
import yaml

from tfmed.engine.study import Comparison
from tfmed.engine.terminal import print_table, set_up_logging
from tfmed.files import atomic_path
from tfmed.metrics.aggregate import mean_and_std, relative
from tfmed.pictures.style import ON_WHITE

BASE = pathlib.Path(__file__).resolve().parents[2] / "configs" / "label_noise.yaml"
SHARED = {
    "data": {
        "source": "paired_folder",
        "options": {"modality": "mr", "test_folder": "test"},
        "split": {"given": True, "validation": 0.3, "test": 0.0, "seed": 0},
        "cache_dtype": "float32",
        "preprocess": [
            {"step": "resample", "spacing_mm": [2, 2, 2]},
            {"step": "zscore"},
            {"step": "window", "window_hu": [-5, 5], "range": [-1, 1]},
        ],
    },
    "train": {
        "batch_size": 8,
        "schedule": {"kind": "cosine"},
        "log_every": 50,
        "validate_every": 300,
        "preview_every": 100000,
        "tensorboard": False,
        "early_stopping": None,
    },
    "model": {
        "modalities": ["mr"],
        "labels": {"atrium": 1},
        "patch": [48, 64],
        "network": {"name": "compressed_unet", "widths": [8, 16, 32, 64]},
        "learning_rate": 2e-3,
        "warp_pixels": 2,
        "rotate_degrees": 10,
    },
}
CLEAN = "clean"
CORRUPTIONS = {
    CLEAN: {"name": "clean"},
    "warp-2": {"name": "warp", "sigma": 2},
    "warp-8": {"name": "warp", "sigma": 8},
    "shift-4": {"name": "shift", "pixels": 4},
    "shift-either-4": {"name": "shift", "pixels": 4, "amount": "either_way"},
    "crop-left": {"name": "crop", "kind": "left"},
    "crop-rand_0.5": {"name": "crop", "kind": "rand_0.5", "slope": "calibrate"},
    "crop-rand_0": {"name": "crop", "kind": "rand_0", "slope": "calibrate"},
    "flip-0.2": {"name": "flip", "probability": 0.2},
    "permute-0.5": {"name": "permute", "fraction": 0.5},
    "drop-0.5": {"name": "drop", "fraction": 0.5},
}
SEGMENTERS = ("supervised", "autoencoder", "mean_teacher")


def settings_file(folder, segmenter, corruption):
    """The settings file of a row, which starts from the method's own."""
    values = {"base": str(BASE)} | {key: dict(section) for key, section in SHARED.items()}
    values["model"] |= {"segmenter": {"name": segmenter}, "corruption": CORRUPTIONS[corruption]}
    if segmenter != "supervised":  # as many annotated slices per step, and as many others
        values["train"]["batch_size"] *= 2
    path = folder / f"{segmenter}-{corruption}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def scores(comparison):
    """{name of a settings file: [Dice of all test slices together, for each seed]} of what is done."""
    found = {}
    for name, repeat in comparison.scored():
        table = pandas.read_csv(comparison.folder(name, repeat) / "evaluation.csv")
        found.setdefault(name, []).append(float(table["Dice, all slices"].iloc[0]))
    return found


def rows(found, segmenters):
    """A row per segmenter and corruption, where its clean runs are done."""
    table = []
    for segmenter in segmenters:
        clean = found.get(f"{segmenter}-{CLEAN}")
        for corruption in CORRUPTIONS:
            dice = found.get(f"{segmenter}-{corruption}")
            if clean and dice:
                ratio, spread = relative(dice, clean)
                row = {"segmenter": segmenter, "labels": corruption, "seeds": len(dice)}
                table.append(row | mean_and_std("Dice", dice) | {"relative Dice": ratio, "its std": spread})
    return table


def draw(table, path):
    """Bars of relative Dice."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(row["labels"] for row in table))
    segmenters = list(dict.fromkeys(row["segmenter"] for row in table))
    figure = Figure(figsize=(6.5, 1 + 0.3 * len(labels) * len(segmenters)), layout="constrained")
    axis, high = figure.subplots(), 0.8 / len(segmenters)
    for k, segmenter in enumerate(segmenters):
        mine = [row for row in table if row["segmenter"] == segmenter]
        places = [labels.index(row["labels"]) + (k - (len(segmenters) - 1) / 2) * high for row in mine]
        spread = np.nan_to_num([row["its std"] for row in mine])
        style = {"height": high, "color": ON_WHITE[k], "label": segmenter, "error_kw": {"lw": 1}}
        axis.barh(places, [row["relative Dice"] for row in mine], xerr=spread, **style)
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xlabel("Dice of all test slices, relative to clean training labels")
    if len(segmenters) > 1:
        axis.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--segmenters", nargs="+", choices=SEGMENTERS, default=["supervised"])
    parser.add_argument("--only", nargs="+", choices=CORRUPTIONS, default=list(CORRUPTIONS), metavar="NAME")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    set_up_logging()
    folder = arguments.out / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in CORRUPTIONS if name in arguments.only or name == CLEAN]
    files = [settings_file(folder, segmenter, name) for segmenter in arguments.segmenters for name in wanted]
    overrides = [f"data.root={arguments.folder.resolve()}", f"train.steps={arguments.steps}", *arguments.overrides]
    comparison = Comparison(files, arguments.out, range(arguments.seeds), overrides)
    failed = comparison.train_and_score()
    table = rows(scores(comparison), arguments.segmenters)
    print_table([{key: f"{value:.3f}" if isinstance(value, float) else str(value) for key, value in row.items()}
                 for row in table])  # fmt: skip
    if table:
        draw(table, arguments.out / "relative.png")
        print(comparison.write())
    print(*failed, sep="\n")


if __name__ == "__main__":
    main()
