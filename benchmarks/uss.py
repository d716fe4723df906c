"""Uncertainty slice sampling against random slices on toy phantoms: Dice over rounds, at equal numbers of slices.

    python benchmarks/uss.py [--seeds 0 1 2] [--strategies uss rss] [--rounds 2] [--steps 120] [key=value ...]

Small abdominal phantoms of 24 x 32 x 32 voxels, a small au-net, a pool of 12 volumes of which one is labelled at the
start. Each run is `configs/uss.yaml` with few steps; scores are those of `tfmed evaluate` on 6 held-out phantoms that
are the same for all strategies of a seed. Prints a table: per strategy and round, means and each seed's value.
"""

import argparse
import tempfile
import time

import numpy as np

import tfmed

SMALL = (
    "data.options={cases: 20, shape: [24, 32, 32], length_mm: 240.0}",
    "data.split={validation: 0.1, test: 0.3}",
    "data.preprocess=[{step: window, window_hu: [-200, 250], range: [0, 1]}]",
    "model.patch=[8, 32, 32]",
    "model.network={name: aunet, widths: [8, 16, 32], dropout: 0.25}",
    "model.learning_rate=0.003",
    "model.initial_volumes=1",
    "model.volumes=1",
    "model.slices=6",
    "model.distance=3",
    "model.query_passes=5",
    "model.epochs=100000",
    "train.validate_every=40",
    "train.log_every=40",
    "train.tensorboard=false",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["uss", "rss"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    rows = [
        {"strategy": strategy, "seed": seed} | row
        for seed in arguments.seeds
        for strategy in arguments.strategies
        for row in measured(arguments, strategy, seed)
    ]
    print("| strategy | round | slices | with liver | effort | Dice, mean (each seed) | Dice, 5th percentile |")
    print("|---|---|---|---|---|---|---|")
    for strategy in arguments.strategies:
        for stage in dict.fromkeys(row["stage"] for row in rows):
            here = [row for row in rows if row["strategy"] == strategy and row["stage"] == stage]
            slices, liver, effort, dice, tail = (
                [row[key] for row in here] for key in ("slices", "liver slices", "effort", "Dice", "Dice, 5 %")
            )
            each = ", ".join(f"{value:.3f}" for value in dice)
            print(
                f"| {strategy} | {stage} | {np.mean(slices):.0f} | {np.mean(liver):.1f} | {np.mean(effort):.1f} | "
                f"{np.mean(dice):.3f} ({each}) | {np.mean(tail):.3f} |"
            )


def measured(arguments, strategy, seed):
    """Rows of the table "rounds" of one run."""
    began = time.process_time()
    shared = (f"model.strategy={strategy}", f"model.rounds={arguments.rounds}", f"train.steps={arguments.steps}")
    settings = tfmed.load_config("configs/uss.yaml", (*SMALL, *shared, f"seed={seed}", *arguments.overrides))
    with tempfile.TemporaryDirectory() as folder:
        run = tfmed.fit(settings, f"{folder}/run")
        method = run.restored()
        rows = method.evaluate({strategy: method})["rounds"]
    print(f"{strategy}, seed {seed}: {time.process_time() - began:.0f} processor s", flush=True)
    return rows


if __name__ == "__main__":
    main()
