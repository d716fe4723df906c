"""python -m tfmed.verify BUNDLE...: see that a bundle is as it was made, and that its model answers as it did."""

import sys
from collections.abc import Sequence

from tfmed import cli
from tfmed.files import PathLike


def main(argv: Sequence[str]) -> None:
    parser = cli.parser(
        "verify",
        "See that bundles of 'tfmed export --format bundle' are as they were made: every file by its hash, and the "
        "model by the example that lies beside it.",
    )
    parser.add_argument("bundles", nargs="+", metavar="bundle", help="its folder")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    for path in arguments.bundles:
        for line in _verify(path):
            print(line)


def _verify(bundle: PathLike) -> list[str]:
    """See that a bundle is as it was made, and that its model answers as it did.

    Args:
        bundle: its folder.

    Returns:
        What was found, a line each.

    Raises:
        RunError: a file is missing, changed or additional, or the model answers otherwise.
    """
    from tfmed.engine import example
    from tfmed.engine.bundle import opened

    found = opened(bundle)
    found.run()  # its settings are of its method
    manifest = found.manifest
    return [
        f"{found.path}: {len(manifest.files)} files of {manifest.method} are as they were made on stack "
        f"{manifest.stack!r} (SHA-256 of the manifest: {found.sha256})",
        *(f"{found.path}: example repeated here: {line}" for line in example.repeated(found)),
    ]


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _verify)
