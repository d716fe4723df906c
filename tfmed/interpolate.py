"""python -m tfmed.interpolate RUN A B --out DIR: the way from one generated or projected image to another."""

import sys
from collections.abc import Sequence

from tfmed import cli
from tfmed.files import atomic_path


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("interpolate", "Images on the way from one style to another.")
    parser.add_argument("run", help="run directory")
    what = "a seed; of stylegan3d also a latent.npz that 'tfmed project' wrote, of us_style a picture"
    parser.add_argument("first", help=f"where the way begins: {what}")
    parser.add_argument("second", help="where it ends, likewise")
    parser.add_argument(
        "-n", "--count", type=cli.at_least(2), default=7, help="number of images with both ends (default: 7)"
    )
    parser.add_argument("--psi", type=cli.number, default=1.0, help="truncation of seeds' styles (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write: interpolation.png, and the images")
    arguments, _, method, (options,) = cli.trained(parser, argv, "CanInterpolate", ("interpolated",))
    from tfmed.engine import use
    from tfmed.pictures.style import save

    first, second = (method.latents(word, arguments.psi) for word in (arguments.first, arguments.second))
    way = method.interpolated(first, second, arguments.count, **options)
    out = use.new_folder(arguments.out)
    for i, item in enumerate(way.values()):
        method.write_sample(item, out, f"step-{i:02d}")
    with atomic_path(out / "interpolation.png") as temporary:
        save(method.interpolation_picture(way, first, second), temporary)
    print(out / "interpolation.png")


if __name__ == "__main__":
    sys.exit(cli.run(main))
