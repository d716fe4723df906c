"""Which slices to annotate, on real left atrium MR: USS against random slices and random volumes, at equal effort.

Run: python -m benchmarks.real.slices LA2018 --out DIR [--seeds 0 1 2] [--steps 200] [--rounds 3] [key=value ...]

LA2018 holds `<id>_image.nii.gz` and `<id>_label.nii.gz` in `train_labelled` and `test`. The pool is 7 scans of about 22
slices at 2.5 mm, of which one is annotated at the start; rvs asks for one more per round, uss and rss for 5 slices (of
those that show the atrium), which cost as much: a third of the atrium's slices in a scan, the paper's rule. Strategies
of a seed start from the same scan and are scored on the same 6 test scans. Repeat the command to go on where it was
broken off. Prints, per strategy and round, the slices annotated so far, their effort, and Dice: mean (each seed).
"""

import argparse
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "uss.yaml"
SHARED = (
    "data.source=paired_folder",
    "data.options={modality: mr, test_folder: test}",
    "data.split={given: true, validation: 0.3, test: 0.0, seed: 0}",
    "data.cache_dtype=float32",
    "data.preprocess=[{step: resample, spacing_mm: [2.5, 2.5, 2.5]}, {step: equalize}, {step: zscore}]",
    "train.schedule={kind: cosine}",
    "train.batch_size=4",
    "train.log_every=50",
    "train.validate_every=50",
    "train.early_stopping={metric: jaccard_atrium, mode: max, patience: 1000}",
    "train.preview_every=100000",
    "train.tensorboard=false",
    "model.modalities=[mr]",
    "model.merge=[]",
    "model.regions={atrium: [1]}",
    "model.patch=[8, 32, 32]",
    "model.network={name: aunet, widths: [8, 16, 32], dropout: 0.25}",
    "model.learning_rate=0.002",
    "model.initial_volumes=1",
    "model.volumes=1",
    "model.slices=5",
    "model.distance=3",
    "model.query_passes=10",
    "model.epochs=100000",
)


def labelled_only(folder, out):
    """A folder with links to the annotated scans, so that nothing is asked for that has no answer."""
    for part in ("train_labelled", "test"):
        link = out / "scans" / part
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((folder / part).resolve())
    return out / "scans"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["uss", "rss", "rvs"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of each round")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    root, rows = labelled_only(arguments.folder, arguments.out), []
    for seed in arguments.seeds:
        for strategy in arguments.strategies:
            size = (f"model.rounds={arguments.rounds}", f"train.steps={arguments.steps}")
            words = (*SHARED, *size, f"data.root={root}", f"seed={seed}", f"model.strategy={strategy}")
            words += tuple(arguments.overrides)
            run = tfmed.fit(CONFIG, arguments.out / f"{strategy}-{seed}", resume=True, overrides=words)
            method = run.restored()
            rows += [{"strategy": strategy} | row for row in method.evaluate({strategy: method})["rounds"]]
    print("| strategy | round | slices | effort | Dice, mean (each seed) | Dice, 5th percentile |")
    print("|---|---|---|---|---|---|")
    for strategy in arguments.strategies:
        for stage in dict.fromkeys(row["stage"] for row in rows):
            here = [row for row in rows if row["strategy"] == strategy and row["stage"] == stage]
            slices, effort, dice, tail = (
                np.array([row[key] for row in here]) for key in ("slices", "effort", "Dice", "Dice, 5 %")
            )
            each = ", ".join(f"{value:.3f}" for value in dice)
            print(f"| {strategy} | {stage} | {slices.mean():.0f} | {effort.mean():.1f} |", end=" ")
            print(f"{dice.mean():.3f} ({each}) | {tail.mean():.3f} |")


if __name__ == "__main__":
    main()
