"""One-shot landmarks on phantoms of a temporal bone: does each part of the method help?

Run: python -m benchmarks.toys.oneshot_landmark --out DIR [--seeds 0] [--ways NAME ...] [--apart 0.3] [key=value ...]

Volumes of 96^3 voxels of 0.5 mm: a spiral with three landmarks among air cells, canals and drops that look like it;
each shifted by up to 10 voxels along each axis, turned by up to 20 degrees about each axis, and mildly warped. What
lies around the inner ear (bone, air, drops) goes a share of the way to where it would lie by itself (`--apart`). One is
the reference, one validates, ten are targets. Prints what the card asks: (i) how far the centre is after the first look
and after the last, in voxels, and in how many targets it ends within 2; (ii) landmark errors of the whole method beside
a registration of whole images; (iii) beside landmarks that are moved rigidly; and beside those without a second look,
and without a rotation.
Repeat the command to go on where it was broken off.
"""

import argparse
import json
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

from tfmed.data.readers import read_address
from tfmed.files import own_json, write_text
from tfmed.metrics.landmarks import error_summary, errors
from tfmed.tasks.one_reference import WAYS
from tfmed.tasks.volume_landmarks import centre_of_label

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "oneshot_landmark.yaml"
VOXEL_MM = 0.5


def scored(out, seed, ways, apart, overrides):
    """[{"way", "case", "errors" of the landmarks in mm, "centres": distances in voxels after each look}] of one seed,
    kept in a file after each."""
    path = out / f"seed{seed}"
    moves = f"shift_mm: 5.0, turn_degrees: 20.0, apart: {apart}"
    options = f"data.options={{cases: 12, seed: {seed}, spacing_mm: {VOXEL_MM}, {moves}}}"
    shared = (options, f"seed={seed}", "model.demons_iterations=20", f"model.ways=[{', '.join(ways)}]")
    method = tfmed.fit(CONFIG, path, resume=True, profile="demo", overrides=(*shared, *overrides)).restored()
    kept = path / "toy.json"
    rows = own_json(kept, "remove it, and the targets are scored again", _is_rows) if kept.exists() else []
    done = {(row["way"], row["case"]) for row in rows}
    for way, locator in sorted(method.locators().items(), key=lambda one: one[0] == "reg_only"):  # the slow one last
        for case in method.cases["test"]:
            if (way, case.id) not in done:
                found = method.locate(read_address(case.images["ct"]), locator)
                middle = centre_of_label(case)
                rows.append({
                    "way": way, "case": case.id, "facts": found.facts,
                    "errors": errors(found.points, method.true_points(case)).tolist(),
                    "centres": [float(np.linalg.norm(at - middle)) / VOXEL_MM for at in found.centres],
                })  # fmt: skip
                write_text(kept, json.dumps(rows))
                print(rows[-1], flush=True)
    return rows


def _is_rows(values):
    return isinstance(values, list) and all({"way", "case", "facts", "errors", "centres"} <= set(row) for row in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--apart", type=float, default=0.3)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        rows = scored(arguments.out, seed, arguments.ways, arguments.apart, arguments.overrides)
        centres = [row["centres"] for row in rows if row["way"] == "full"]
        first, last = (np.array([one[k] for one in centres]) for k in (0, -1))
        print(f"seed {seed}: centre {first.mean():.2f} voxels after one look, {last.mean():.2f} after the last; "
              f"{int((last < 2).sum())} of {len(last)} end within 2, {int((last <= first).sum())} no further than "
              f"before; {np.mean([len(one) for one in centres]):.1f} looks")  # fmt: skip
        print("| way | targets | failed | centre mm | top mm | window mm | all mm |\n|---|---|---|---|---|---|---|")
        for way in dict.fromkeys(row["way"] for row in rows):
            away = np.array([row["errors"] for row in rows if row["way"] == way], float)
            each = [error_summary(one) for one in (*away.T, away)]
            found = " | ".join(f"{one['mean']:.2f} +- {one['std']:.2f}" for one in each)
            print(f"| {way} | {len(away)} | {int(np.isnan(away).any(1).sum())} | {found} |", flush=True)


if __name__ == "__main__":
    main()
