"""python -m tests.support.cli VERB ...: `tfmed VERB ...` with the toy among the methods, for tests of processes."""

import sys

from tests.support import toy  # noqa: F401 - so that it is found
from tfmed import cli

if __name__ == "__main__":
    sys.exit(cli.console_script())
