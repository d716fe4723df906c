"""BrainNetGAN on the connectomes of 24 mice of four strains, or of two sexes: real, SMOTE, ADASYN, generated.

Run: python -m benchmarks.real.mice MICE --out DIR [--of genotype] [--steps 300] [--folds 3] [key=value ...]

MICE holds `mice_train.npz` (streamlines between 332 regions). Each fold is a run of configs/brainnetgan/mice.yaml,
tested on animals that it has not seen; repeat the command to go on where it was broken off. Prints the accuracy of
the graph network (mean and standard deviation over folds of the mean of its restarts) and the distances of graph
measures (mean over folds and classes).
"""

import argparse
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np
import pandas

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "brainnetgan" / "mice.yaml"


def unpack(file, of, folder):
    """Matrices as `folder/<class>/<animal>.npy`; returns the classes' names."""
    with np.load(file, allow_pickle=False) as stored:
        upper, classes, subjects = stored["sc_upper"], stored[of].astype(str), stored["subject"].astype(str)
    side = int(np.sqrt(2 * upper.shape[1]))
    for values, name, subject in zip(upper, classes, subjects, strict=True):
        matrix = np.zeros((side, side), np.float32)
        matrix[np.triu_indices(side)] = values
        matrix = np.maximum(matrix, matrix.T)
        np.fill_diagonal(matrix, 0)
        (folder / name).mkdir(parents=True, exist_ok=True)
        np.save(folder / name / f"{subject}.npy", matrix)
    return sorted(set(classes))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--of", choices=("genotype", "sex"), default="genotype")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    data = arguments.out / "matrices" / arguments.of
    classes = unpack(arguments.folder / "mice_train.npz", arguments.of, data)
    tables = {"evaluation": [], "similarity": []}
    for fold in range(arguments.folds):
        split = f"{{folds: {arguments.folds}, fold: {fold}, validation: 0.25, seed: 0}}"
        words = (f"data.root={data}", f"data.split={split}", f"model.classes=[{', '.join(classes)}]",
                 f"train.steps={arguments.steps}", *arguments.overrides)  # fmt: skip
        run = tfmed.fit(CONFIG, arguments.out / f"{arguments.of}-{fold}", resume=True, overrides=words)
        method = run.restored()
        for name, rows in method.evaluate({"BrainNetGAN": method}).items():
            tables[name] += [{"fold": fold} | row for row in rows]
    print("| training data | test accuracy |\n|---|---|")
    frame = pandas.DataFrame(tables["evaluation"])
    for name, rows in frame.groupby("training data", sort=False):
        scores = rows["test accuracy mean"]
        print(f"| {name} | {scores.mean():.3f} ± {scores.std():.3f} |")
    frame = pandas.DataFrame(tables["similarity"])
    measures = [column for column in frame.columns if column.endswith((" KL", " MMD", " MMD of graphs"))]
    print(f"\n| source | {' | '.join(measures)} |\n|---|{'---|' * len(measures)}")
    for name, rows in frame.groupby("source", sort=False):
        print(f"| {name} | {' | '.join(f'{rows[column].mean():.3g}' for column in measures)} |")


if __name__ == "__main__":
    main()
