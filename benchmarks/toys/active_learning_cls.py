"""Which images to label next: every strategy against random ones, on a pool of equal classes and on one of 67, 24, 9 %.

Run: python -m benchmarks.toys.active_learning_cls --out DIR [--seeds 0] [--pools balanced unbalanced] [--arms NAME ...]
     [key=value ...]

The demo profile of configs/active_learning_cls.yaml: shapes in noise, a narrow ResNet trained anew in each round, five
budgets (10 to 50 % of the pool), a test set of equal classes. Every arm starts from the same labelled tenth. Prints
balanced accuracy on the test pictures after each round, and the rare class's share of all that is labelled in the end.
Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false", "model.rounds=4", "model.repeats=1",
          "train.validate_every=100000")  # fmt: skip
POOLS = {"balanced": ("data.options.cases=750", "model.class_shares=null"), "unbalanced": ()}
ARMS = {
    "random": ("model.strategy=random",),
    "top_n": ("model.strategy=top_n",),
    "top_n inverted": ("model.strategy=top_n", "model.reproduce_released=true"),
    "mixture": ("model.strategy=mixture",),
    "k_nearest": ("model.strategy=k_nearest",),
    "core_set": ("model.weighted_by_score=false",),
    "core_set weighted": (),
}


def rounds(arm, pool, seed, folder, overrides):
    """Rows of "rounds" of a run, which is made first if need be."""
    words = (*SHARED, *POOLS[pool], *ARMS[arm], f"seed={seed}", *overrides)
    settings = tfmed.load_config(ROOT / "active_learning_cls.yaml", words, profile="demo")
    run = tfmed.fit(settings, folder, resume=True)
    if not (folder / "rounds.csv").exists():
        run.evaluate()
    return list(csv.DictReader((folder / "rounds.csv").open(encoding="utf-8")))


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--pools", choices=POOLS, nargs="+", default=list(POOLS))
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS))
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    print("| pool | strategy | seed | balanced accuracy by round | mean over rounds | labelled | rare class, % |")
    print("|---|---|---|---|---|---|---|")
    for pool in words.pools:
        for seed in words.seeds:
            for arm in words.arms:
                folder = words.out / f"{pool}-{arm.replace(' ', '_')}-{seed}"
                rows = rounds(arm, pool, seed, folder, words.overrides)
                found = [float(row["balanced accuracy"]) for row in rows]
                count, rare = int(rows[-1]["labelled"]), int(rows[-1]["labelled square"])
                text = ", ".join(f"{one:.3f}" for one in found)
                mean = statistics.mean(found[1:])
                print(
                    f"| {pool} | {arm} | {seed} | {text} | {mean:.3f} | {count} | {100 * rare / count:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
