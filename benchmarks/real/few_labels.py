"""Semi-supervised methods on real left atrium MR, against labels alone with as many, twice as many, and all labels.

Run: python -m benchmarks.real.few_labels FOLDER --out DIR [--folds 4] [--seeds 1] [--steps 600] [--only NAME ...]
                                          [key=value ...]

FOLDER holds `<id>_image.nii.gz` and `<id>_label.nii.gz` and, images alone, further scans, in any folders below it. Each
of the labelled scans (16 of left atria) is tested once for each seed. Of those that train, two are labelled in the
semi-supervised runs; everything else trains without labels. The grid is 2.5 mm and the networks are narrow, so that two
cores can carry it.

All rows have the same terms: backbone, steps, labelled crops per step (semi-supervised methods add as many without
labels), cross-entropy + Dice of labelled crops, transforms and changes of appearance, schedule and last weights.
Weights of what unlabelled scans teach are such that its gradient is 10 to 50 % of the supervised one after their ramp:
see `gradient_ratio` in a run's metrics.csv.
It is `tfmed compare` on settings files that it writes to DIR/configs: repeat the command to go on where it was broken
off.
"""

import argparse
import pathlib

import yaml

from tfmed.engine.study import Comparison
from tfmed.engine.terminal import print_table, set_up_logging

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
TWO, FOUR, ALL = 2 / 10, 4 / 10, 1.0  # of the training patients: 16 less 4 tested and 2 that validate
SHARED = {
    "data": {
        "source": "paired_folder",
        "options": {"modality": "mr"},
        "split": {"validation": 0.17, "seed": 0},
        "cache_dtype": "float32",
        "preprocess": [
            {"step": "resample", "spacing_mm": [2.5, 2.5, 2.5]},
            {"step": "equalize"},
            {"step": "zscore"},
        ],
    },
    "train": {
        "schedule": {"kind": "cosine"},
        "log_every": 50,
        "validate_every": 300,
        "preview_every": 100000,
        "tensorboard": False,
        "early_stopping": None,
    },
    "model": {
        "modalities": ["mr"],
        "label_values": [0, 1],
        "regions": {"atrium": [1]},
        "patch": [24, 32, 32],  # as deep as the scans
        "network": {"name": "unet", "widths": [8, 16, 32], "factors": [1, 2, 2], "norm": "instance", "dropout": 0.3},
        "labelled_batch": 2,
        "unlabelled_pool": "rest",
        "weak": "weak",
        "appearance": {"gamma": [0.7, 1.5], "bias_field": 0.3, "slices": 0.2, "noise": 0.15},
        "learning_rate": 2e-3,
        "mc_passes": 5,
        "overlap": 0.5,
    },
}
GBDL = {
    "latent_widths": [8, 16, 32],
    "latent_size": 16,
    "latent_learning_rate": 2e-3,
    "stride": None,
    "schedule_stretch": 1.0,
    "beta_ce": 1.0,
    "beta_dice": 1.0,
    "jitter": 0.0,
}
EQUIREG = {"supervised": "both", "fill": "edge", "rampup_steps": 150}


def baseline(name, **options):
    """A baseline of GBDL, which counts fully after a quarter of the steps."""
    return GBDL | {"architecture": {"name": name, "rampup_steps": 150, **options}}


SUPERVISED = "gbdl/supervised.yaml"
METHODS = {  # name: (settings file, share of labelled patients, its own settings)
    "supervised-2": (SUPERVISED, TWO, GBDL),
    "mean_teacher-2": ("gbdl/mean_teacher.yaml", TWO, baseline("mean_teacher", weight=10.0)),
    "uamt-2": ("gbdl/uamt.yaml", TWO, baseline("uamt", weight=10.0)),
    "dtc-2": ("gbdl/dtc.yaml", TWO, baseline("dtc")),
    "gbdl-2": ("gbdl.yaml", TWO, GBDL),
    "gbdl_ramp-2": ("gbdl.yaml", TWO, GBDL | {"architecture": {"name": "gbdl", "weight": 0.4, "rampup_steps": 150}}),
    "gbdl_dropout-2": ("gbdl.yaml", TWO, GBDL | {"latent_dropout": 0.3}),  # as the segmenter has
    "equireg-2": ("equireg/volumes.yaml", TWO, EQUIREG),
    "double_uncertainty-2": ("gbdl/double_uncertainty.yaml", TWO, baseline("double_uncertainty")),
    "sassnet-2": ("gbdl/sassnet.yaml", TWO, baseline("sassnet")),
    "coranet-2": ("gbdl/coranet.yaml", TWO, baseline("coranet")),
    "tripled_uncertainty-2": ("gbdl/tripled_uncertainty.yaml", TWO, baseline("tripled_uncertainty")),
    "supervised-4": (SUPERVISED, FOUR, GBDL),
    "supervised-all": (SUPERVISED, ALL, GBDL),
}


def settings_file(folder, name):
    """The settings file of a row, which starts from the method's own."""
    base, share, own = METHODS[name]
    values = {"base": str(CONFIGS / base)} | {key: dict(section) for key, section in SHARED.items()}
    values["data"]["labelled_share"] = share
    values["train"]["batch_size"] = 2 if base == SUPERVISED else 4
    values["model"] |= own
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    set_up_logging()
    folder = arguments.out / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    files = [settings_file(folder, name) for name in METHODS if name in arguments.only]
    overrides = [f"data.root={arguments.folder.resolve()}", f"train.steps={arguments.steps}", *arguments.overrides]
    bridge = next((str(file) for file in files if file.stem == "supervised-all"), None)
    comparison = Comparison(
        files, arguments.out, range(arguments.seeds), overrides, folds=arguments.folds, bridge=bridge
    )
    failed = comparison.train_and_score()
    print_table(comparison.table())
    print(comparison.write(), *failed, sep="\n")


if __name__ == "__main__":
    main()
