"""python -m tfmed.mix RUN --rows 1 2 --columns 3 4 --out DIR: mix the styles of generated or projected volumes."""

import sys
from collections.abc import Sequence

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import atomic_path


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("mix", "Mix the styles of volumes: coarse shape of the rows, fine detail of the columns.")
    parser.add_argument("run", help="run directory")
    what = "seeds, or latent.npz files that 'tfmed project' wrote"
    parser.add_argument("--rows", nargs="+", required=True, help=f"whose coarse layers are taken: {what}")
    parser.add_argument("--columns", nargs="+", required=True, help=f"whose fine layers are taken: {what}")
    parser.add_argument("--crossover", type=cli.at_least(0), help="how many layers are coarse (default: 4)")
    parser.add_argument("--psi", type=cli.number, default=1.0, help="truncation of seeds' styles (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write: mixing.png, and a volume for each mixture")
    arguments, _, method, _ = cli.trained(parser, argv, "CanMixStyles")
    for name in ("rows", "columns"):
        if len(set(getattr(arguments, name))) < len(getattr(arguments, name)):
            raise UserError(f"--{name}: name each source once")
    from tfmed.engine import use
    from tfmed.io import write_volume
    from tfmed.pictures.style import save
    from tfmed.pictures.volume_grids import mixing_picture

    rows, columns = (
        [method.latents(word, arguments.psi) for word in words] for words in (arguments.rows, arguments.columns)
    )
    table = method.mixtures(rows, columns, arguments.crossover)
    out = use.new_folder(arguments.out)
    for i, row in enumerate(list(table.values())[1:], start=1):
        for j, volume in enumerate(list(row.values())[1:], start=1):
            write_volume(volume, out / f"mix-{i}-{j}.nii.gz")
    with atomic_path(out / "mixing.png") as temporary:
        save(mixing_picture(table), temporary)
    print(out / "mixing.png")


if __name__ == "__main__":
    sys.exit(cli.run(main))
