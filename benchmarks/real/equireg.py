"""EquiReg against supervised training with the same few labels, and with all of them, on real images.

Run: python -m benchmarks.real.equireg la2018 FOLDER [--seeds 0 1 2] [--steps 1000]
     python -m benchmarks.real.equireg nuclei FOLDER

FOLDER holds `<id>_image.nii.gz`, `<id>_label.nii.gz` in `train_labelled`, `train_unlabelled` and `test` (la2018), or
`images` and `instances` with PNG files and `index.csv` (nuclei; the fluorescence images are used). For each seed three
networks are trained for as many steps, the best by validation cross-entropy is scored on the test cases: supervised
with few labels, EquiReg with the same ones, supervised with all. Prints Dice and equivariance Dice per seed, their
means and spread, and the bridging coefficient with its bootstrap interval over the trained networks.
"""

import argparse
import csv
import pathlib
import tempfile
import time

import numpy as np

import tfmed
from tfmed.engine.lifecycle import fit
from tfmed.io import Volume, write_volume
from tfmed.io.stack import read_stack
from tfmed.metrics.aggregate import bootstrap_interval
from tfmed.metrics.segmentation import bridging_coefficient

CONFIGS = pathlib.Path(__file__).parents[1] / "configs" / "equireg"
SUPERVISED = ("model.weight=0", "train.batch_size=4", "model.labelled_batch=4")
EQUIREG = ("train.batch_size=8", "model.labelled_batch=4")  # as many labelled samples per step
DATA = {
    "la2018": ("left_atrium.yaml", 0.25, [
        "data.preprocess=[{step: resample, spacing_mm: [2, 2, 2]}, {step: equalize}]", "model.patch=[48, 64]",
        "data.split.validation=0.3", "model.elastic_alpha=45", "model.elastic_sigma=6",
        "model.network={name: unet, widths: [16, 32, 64], norm: batch, dropout: 0.2}"]),
    "nuclei": ("nuclei.yaml", 0.1, []),
}  # fmt: skip


def nuclei(folder, out):
    """The fluorescence images as NIfTI of one slice, with labels 0 and 1."""
    with open(folder / "index.csv", newline="", encoding="utf-8") as stream:
        names = [row["name"] for row in csv.DictReader(stream) if row["kind"] == "fluorescence"]
    for name in names:
        image, instances = (read_stack([folder / part / f"{name}.png"]) for part in ("images", "instances"))
        write_volume(image, out / "images" / f"{name}.nii.gz")
        write_volume(Volume((instances.array > 0).astype("uint8"), image.affine), out / "labels" / f"{name}.nii.gz")
    return out


def trained(config, overrides, folder):
    """{score: mean over the test cases} of one training, and its minutes."""
    start = time.monotonic()
    run = fit(tfmed.load_config(CONFIGS / config, overrides), folder)
    rows = run.restored().evaluate({"run": run.restored()})["cases"]
    scores = {name: float(np.mean([row[name] for row in rows])) for name in ("Dice", "equivariance Dice")}
    return scores | {"minutes": (time.monotonic() - start) / 60}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--few", type=float, help="share of the training patients with labels (default: the config's)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of all trainings")
    parser.add_argument("--equireg", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of EquiReg's")
    parser.add_argument("--only-equireg", action="store_true", help="train no baselines")
    arguments = parser.parse_args()
    config, few, extra = DATA[arguments.data]
    few = arguments.few or few
    shares = {"supervised, few": few, "EquiReg, few": few, "supervised, all": 1.0}
    found = {name: [] for name in shares if not arguments.only_equireg or name == "EquiReg, few"}
    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(temporary)
        root = nuclei(arguments.folder, out / "nuclei") if arguments.data == "nuclei" else arguments.folder
        for seed in arguments.seeds:
            shared = [*extra, f"data.root={root}", f"train.steps={arguments.steps}", f"seed={seed}",
                      "train.tensorboard=false", "train.preview_every=100000", "train.validate_every=100",
                      "train.schedule={kind: cosine}", *arguments.set]  # fmt: skip
            for name in found:
                more = [*EQUIREG, *arguments.equireg] if name == "EquiReg, few" else SUPERVISED
                more = [*more, f"data.labelled_share={shares[name]}"]
                folder = out / f"{name.replace(', ', '-')}-{seed}"
                found[name].append(trained(config, [*shared, *more], folder))
                print("|", name, "|", seed, "|", *(f"{v:.3f} |" for v in found[name][-1].values()), flush=True)
    print("\n| training | Dice | equivariance Dice | minutes |\n|---|---|---|---|")
    for name, scores in found.items():
        columns = {key: np.array([score[key] for score in scores]) for key in scores[0]}
        spread = [f"{v.mean():.3f} ± {v.std(ddof=1) if len(v) > 1 else 0:.3f}" for v in columns.values()]
        print(f"| {name} | {' | '.join(spread)} |")
    if arguments.only_equireg:
        return
    dice = [np.array([score["Dice"] for score in found[name]])
            for name in ("EquiReg, few", "supervised, few", "supervised, all")]  # fmt: skip
    interval = bootstrap_interval(bridging_coefficient, *dice) if len(arguments.seeds) > 1 else (np.nan, np.nan)
    print(f"\nbridging coefficient {bridging_coefficient(*dice):.2f}, 95 % {interval[0]:.2f} to {interval[1]:.2f}")


if __name__ == "__main__":
    main()
