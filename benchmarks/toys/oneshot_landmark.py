"""One-shot landmarks on phantoms of a temporal bone: does each part of the method help?

Run: python -m benchmarks.toys.oneshot_landmark --out DIR [--seeds 0] [--ways NAME ...] [key=value ...]

Volumes of 96^3 voxels of 0.5 mm: a spiral with three landmarks among air cells, canals and drops that look like it;
each shifted by up to 10 voxels along each axis, turned by up to 20 degrees about each axis, and mildly warped. One is
the reference, one validates, ten are targets. Prints what the card asks: (i) how far the centre is after the first look
and after the last, in voxels, and in how many targets it ends within 2; (ii) landmark errors of the whole method beside
a registration of whole images; (iii) beside landmarks that are moved rigidly; and beside no second look and no
rotation.
Repeat the command to go on where it was broken off.
"""

import argparse
import json
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

from tfmed.files import own_json, write_text
from tfmed.tasks.one_reference import WAYS

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "oneshot_landmark.yaml"
VOXEL_MM = 0.5


def evaluated(out, seed, ways, overrides):
    """(rows of runs, rows of cases) of one seed, kept in a file."""
    path = out / f"seed{seed}"
    options = f"data.options={{cases: 12, seed: {seed}, spacing_mm: {VOXEL_MM}, shift_mm: 5.0, turn_degrees: 20.0}}"
    shared = (options, f"seed={seed}", "model.demons_iterations=20", f"model.ways=[{', '.join(ways)}]")
    run = tfmed.fit(CONFIG, path, resume=True, profile="demo", overrides=(*shared, *overrides))
    kept = path / "toy.json"
    if not kept.exists():
        method = run.restored()
        found = method.evaluate({"run": method})
        write_text(kept, json.dumps({"evaluation": found["evaluation"], "cases": found["cases"]}))
    found = own_json(kept, "remove it, and the runs are scored again")
    return found["evaluation"], found["cases"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        table, cases = evaluated(arguments.out, seed, arguments.ways, arguments.overrides)
        full = [row for row in cases if row["way"] == "full"]
        first, last = (np.array([row[f"{name} centre mm"] for row in full]) / VOXEL_MM for name in ("first", "last"))
        print(f"seed {seed}: centre {first.mean():.2f} voxels after one look, {last.mean():.2f} after the last; "
              f"{int((last < 2).sum())} of {len(last)} end within 2, {int((last <= first).sum())} no further than "
              f"before; {np.mean([row['iterations'] for row in full]):.1f} looks")  # fmt: skip
        print("| way | failed | centre mm | top mm | window mm | all mm |\n|---|---|---|---|---|---|")
        for row in table:
            found = " | ".join(f"{row[f'{name} mm mean']:.2f} +- {row[f'{name} mm std']:.2f}"
                               for name in ("centre", "top", "window", "all"))  # fmt: skip
            print(f"| {row['way']} | {row['failed']} | {found} |", flush=True)
        for row in full:
            print({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})


if __name__ == "__main__":
    main()
