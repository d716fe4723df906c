"""python -m tfmed.interpolate RUN A B --out DIR: the way from one generated or projected volume to another."""

import sys
from collections.abc import Sequence

from tfmed import cli
from tfmed.files import atomic_path


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("interpolate", "Volumes on the way from one style to another.")
    parser.add_argument("run", help="run directory")
    what = "a seed, or a latent.npz that 'tfmed project' wrote"
    parser.add_argument("first", help=f"where the way begins: {what}")
    parser.add_argument("second", help="where it ends, likewise")
    parser.add_argument(
        "-n", "--count", type=cli.at_least(2), default=7, help="number of volumes with both ends (default: 7)"
    )
    parser.add_argument("--psi", type=cli.number, default=1.0, help="truncation of seeds' styles (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write: interpolation.png, and the volumes")
    arguments, _, method, _ = cli.trained(parser, argv, "CanMixStyles")
    from tfmed.engine import use
    from tfmed.io import write_volume
    from tfmed.pictures.style import save
    from tfmed.pictures.volume_grids import interpolation_picture

    first, second = (method.latents(word, arguments.psi) for word in (arguments.first, arguments.second))
    way = method.interpolated(first, second, arguments.count)
    out = use.new_folder(arguments.out)
    for i, volume in enumerate(way.values()):
        write_volume(volume, out / f"step-{i:02d}.nii.gz")
    with atomic_path(out / "interpolation.png") as temporary:
        save(interpolation_picture(way, first, second), temporary)
    print(out / "interpolation.png")


if __name__ == "__main__":
    sys.exit(cli.run(main))
