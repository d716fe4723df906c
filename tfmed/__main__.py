"""`python -m tfmed <verb> ...`."""

import sys

from tfmed.cli import console_script

sys.exit(console_script())
