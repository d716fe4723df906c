"""python -m tfmed.project RUN VOLUME --out DIR: find the style and noise with which a generator makes a real volume."""

import csv
import os
import sys

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import atomic_path


def main(argv):
    parser = cli.parser("project", "Find the style and noise with which a trained generator makes a real volume.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("volume", help="a volume like those of the training: a file, or a folder with a DICOM series")
    parser.add_argument("--steps", type=cli.at_least(1), default=1000, help="of the optimiser (default: 1000)")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of its noise (default: 0)")
    parser.add_argument(
        "--out", required=True, help="folder to write: projected.nii.gz, latent.npz, comparison.png, loss.png, loss.csv"
    )
    arguments, _, method, _ = cli.trained(parser, argv, "CanProject")
    if not os.path.exists(arguments.volume):
        raise UserError(f"{arguments.volume}: no such volume; give a file, or a folder with a DICOM series")
    from tfmed.engine import use
    from tfmed.engine.terminal import progress

    found, projected, target = method.project(
        arguments.volume, arguments.steps, arguments.seed, lambda steps: progress(steps, "Projecting")
    )
    out = use.new_folder(arguments.out)
    for path in write(found, projected, target, out):
        print(path)


def write(found, projected, target, out):
    """Write a projection's files; returns their paths."""
    from tfmed.io import write_volume
    from tfmed.pictures.style import save

    paths = [out / name for name in ("projected.nii.gz", "latent.npz", "loss.csv", "loss.png", "comparison.png")]
    write_volume(projected, paths[0])
    found.latents.save(paths[1])
    with atomic_path(paths[2]) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(found.losses[0]))
        table.writeheader()
        table.writerows(found.losses)
    for path, picture in ((paths[3], LossCurve(found.losses)), (paths[4], comparison(target, projected))):
        with atomic_path(path) as temporary:
            save(picture, temporary)
    return paths


def comparison(target, projected):
    """Picture of target, projection and what is left, in the target's units."""
    import numpy as np

    from tfmed.pictures.volumes import Picture

    white = float(np.percentile(target.array[target.array > 0], 99.9))
    left = np.abs(np.asarray(target.array, np.float32) - projected.array)
    return Picture({"target": target, "projection": projected, "|difference|": target.replace(array=left)}, (0, white))


class LossCurve:
    """Picture of a projection's losses."""

    caption = "Mean squared error of grey values 0 to 255 over the steps, at full size and after pooling 8 x 8 x 8."

    def __init__(self, losses):
        self.losses = losses

    def figure(self):
        """The picture as a matplotlib Figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axis = figure.subplots()
        steps = [row["step"] for row in self.losses]
        for name, label in (("mse", "full size"), ("mse_pooled", "pooled")):
            axis.semilogy(steps, [row[name] for row in self.losses], label=label)
        axis.set_xlabel("step")
        axis.set_ylabel("mean squared error")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False)
        return figure


if __name__ == "__main__":
    sys.exit(cli.run(main))
