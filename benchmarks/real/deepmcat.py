"""DeepMCAT on a mixed archive of real scans: do series come out pure?

Run: python -m benchmarks.real.deepmcat DATA --out DIR [--seeds 0] [key=value ...]

DATA holds `brain_mr_ms`, `ct_organs` and `ultrasound_busi`. Links to their images lie in a folder per kind: T1, T1 with
contrast, T2 and FLAIR of brains, CT of the body, B-mode pictures of breasts. Trains configs/deepmcat/archive.yaml at 64
pixels and a narrow network without these kinds, then prints purity and NMI of images beside those of groupings that
learn nothing, and how many series a prediction sorts right by clusters that are named after their commonest kind.
Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "deepmcat" / "archive.yaml"
SHARED = (
    'data.options={class_pattern: "^([^/]+)/", ignore: ""}',
    "train.batch_size=32",
    "train.log_every=20",
    "train.preview_every=100000",
    "train.tensorboard=false",
    "model.kinds=6",
    "model.multiplier=8",
    "model.slices=12",
    "model.image_size=64",
    "model.width=8",
    "model.convolutions=[1, 1, 1, 1]",
    "model.hidden=[64]",
    "model.dropout=0",
    "model.dense_deviation=0.02",
    "model.area=[0.3, 1.0]",
    "model.epochs=80",
    "model.reassign=4",
    "model.learning_rate=0.1",
)


def archive(data, folder):
    """A folder per kind with links to its images."""
    found = {("us", path.name): path for path in sorted((data / "ultrasound_busi" / "images").glob("*.png"))}
    volumes = sorted((data / "ct_organs").glob("*/ct*.nii.gz"))
    found |= {("ct", f"{path.parent.name}_{path.name}"): path for path in volumes if "organs" not in path.name}
    for path in sorted((data / "brain_mr_ms").glob("*/*/*.nii.gz")):
        kind = path.name.partition(".")[0]
        if kind != "lesions":
            found[f"brain_{kind.lower()}", f"{path.parent.parent.name}_{path.parent.name}_{path.name}"] = path
    for (kind, name), path in found.items():
        place = folder / kind / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():
            place.symlink_to(path.resolve())
    return folder


def right(run, folder, out):
    """(series, those of them that lie in a cluster named after their kind) of a prediction."""
    with open(run.path / "clusters.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    table = run.path.with_suffix(".names.csv")
    table.write_text("\n".join(["id,name", *(f"{row['id']},{row['class']}" for row in rows)]), encoding="utf-8")
    run.predict([str(folder), f"names={table}"], out)
    with open(out / "groups.csv", encoding="utf-8") as stream:
        found = [(row["input"].partition("/")[0], row["name"]) for row in csv.DictReader(stream)]
    kinds = sorted({kind for kind, _ in found})
    return {
        kind: (sum(one == kind for one, _ in found), sum(one == name == kind for one, name in found)) for kind in kinds
    }


def main(argv=None):
    """Train, score, sort, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_intermixed_args(argv)
    folder = archive(words.data, words.out / "archive")
    print("| seed | grouping | images | purity | NMI kinds | largest cluster |\n|---|---|---|---|---|---|")
    for seed in words.seeds:
        settings = tfmed.load_config(CONFIG, [*SHARED, f"data.root={folder}", f"seed={seed}", *words.overrides])
        run = tfmed.fit(settings, words.out / f"run-{seed}", resume=True)
        for row in run.evaluate()["evaluation"]:
            numbers = " | ".join(f"{row[name]:.3f}" for name in ("purity", "NMI labels", "largest share"))
            print(f"| {seed} | {row['grouping']} | {row['images']} | {numbers} |", flush=True)
        found = right(run, folder, words.out / f"sorted-{seed}")
        print(f"seed {seed}: series sorted right: " + ", ".join(f"{kind} {b} of {a}" for kind, (a, b) in found.items()))


if __name__ == "__main__":
    main()
