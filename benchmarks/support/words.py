"""Words of commands that compare runs on real data."""

import argparse
import pathlib


def of_real_data(doc, arms=()):
    """A parser of DATA, further settings (`overrides`), --out, --seeds, and, where there are some, --arms."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    if arms:
        parser.add_argument("--arms", nargs="+", choices=arms, default=list(arms))
    return parser
