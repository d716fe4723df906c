"""python -m tfmed.fit CONFIG [--profile demo] [--run-dir DIR] [--resume] [key=value ...]: train a method."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tfmed import cli
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.run import Run
    from tfmed.engine.settings import Settings


def main(argv: Sequence[str]) -> int:
    parser = cli.parser("fit", "Train a method from one settings file.")
    parser.add_argument("config", help="settings file, e.g. configs/ctsgan.yaml; with --resume also a run directory")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="e.g. data.root=scans")
    parser.add_argument("--profile", default="paper", help="named set of changes, e.g. demo (default: paper)")
    parser.add_argument("--run-dir", help="where to write (default: runs/<method>-<time>)")
    parser.add_argument("--resume", action="store_true", help="go on with --run-dir after its newest checkpoint")
    parser.add_argument("--export", action="store_true", help="write a SavedModel to RUN_DIR/export at the end")
    arguments = parser.parse_intermixed_args(argv)
    cli.start_tensorflow()
    from tfmed.engine.lifecycle import fit
    from tfmed.engine.loop import Interrupted
    from tfmed.engine.run import load_run

    config, run_dir = arguments.config, arguments.run_dir
    if os.path.isdir(config) and arguments.resume:
        run = load_run(config)
        run.check_writable("start a training from it: train.start_from")
        run_dir, config = config, run.path / "config.yaml"
    options = {"overrides": arguments.overrides, "profile": arguments.profile}
    try:
        run = fit(config, run_dir, arguments.resume, **options)
    except Interrupted as stop:
        print(
            f"tfmed: interrupted, everything so far is saved; go on with: python -m tfmed.fit {stop.path} --resume",
            file=sys.stderr,
        )
        return 128 + stop.signum
    if arguments.export:
        from tfmed.engine.exporting import export

        print(f"SavedModel: {export(run, run.path / 'export')}")
    print(f"run: {run.path}\npictures: {run.path / 'previews'}\nreport: {run.path / 'report.html'}")
    return 0


def _fit(
    config: "PathLike | Settings",
    run_dir: PathLike | None = None,
    resume: bool = False,
    overrides: Iterable[str] = (),
    profile: str = "paper",
) -> "Run":
    """Train a method; the same as `tfmed.engine.lifecycle.fit`.

    Args:
        config: path of a settings file, or the Settings that `load_config` gave.
        run_dir: where to write; default `runs/<method>-<time>`.
        resume: go on with `run_dir`.
        overrides, profile: as in `load_config`, when `config` is a path.

    Returns:
        The finished Run.
    """
    from tfmed.engine.lifecycle import fit

    return fit(config, run_dir, resume, overrides, profile)


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _fit)
