"""python -m tfmed.annotate RUN [--port N]: a page on this machine in which a person answers what a run asks for."""

import sys
from collections.abc import Sequence

from tfmed import cli
from tfmed.errors import RunError, Stopped


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("annotate", "Answer in a page what a run asks for: outlines of slices, or classes of cases.")
    parser.add_argument("run", help="run directory that waits for answers (model.annotations, or model.answers)")
    parser.add_argument("--port", type=cli.at_least(0, 65535), default=0, help="of this machine (default: a free one)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    from tfmed import registry
    from tfmed.engine import annotation_page
    from tfmed.engine.abilities import CanAsk
    from tfmed.engine.run import load_run

    run = load_run(arguments.run)
    kind = registry.method_class(run.method_name)
    if not issubclass(kind, CanAsk):
        raise RunError(f"{run.path}: method {run.method_name!r} asks a person for nothing; give a run of uss or "
                       "active_learning_cls")  # fmt: skip
    desk = kind(run.settings).desk_of(run.path)
    with annotation_page.server(desk, run.path.resolve().name, str(run.path), arguments.port) as server:
        print(f"open {server.address} in a browser on this machine; Ctrl-C ends", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except Stopped:
            raise
        except KeyboardInterrupt:  # the way to end it: everything is saved
            print("ended; what was saved stays")


if __name__ == "__main__":
    sys.exit(cli.run(main))
