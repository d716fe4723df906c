"""The errors that a user can fix: each is one line that says what, where and how to fix it (exit status 2)."""

import difflib
import unicodedata
from collections.abc import Iterable

_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # of the direction of reading


class UserError(Exception):
    """Wrong usage, settings or data; the command line prints the message alone and exits with status 2."""


def one_line(text: object) -> str:
    """`text` as one line that a terminal shows as it stands: line breaks become blanks, what steers a terminal or
    turns the direction of reading is written out.
    """
    words = " ".join(str(text).split())
    return words if words.isprintable() else "".join(map(_shown, words))


def _shown(letter: str) -> str:
    steers = unicodedata.category(letter) in ("Cc", "Cs") or unicodedata.bidirectional(letter) in _TURNS
    return letter.encode("unicode_escape").decode() if steers else letter


class ConfigError(UserError):
    """A setting is unknown, of the wrong type, out of range, or in conflict with another."""

    def __init__(self, message: object) -> None:
        super().__init__(one_line(message))  # names from a file may hold line breaks


class DataError(UserError):
    """Cases are missing, unreadable as a set, or do not fit together."""


class RunError(UserError):
    """A run directory or a checkpoint is absent, damaged, or belongs to something else."""


class Stopped(KeyboardInterrupt):
    """A signal asks to end, and nothing was saved on its account.

    Args:
        signum: the signal.
        way_on: for the message: how to go on.
    """

    def __init__(self, signum: int, way_on: str = "repeat the command") -> None:
        super().__init__()
        self.signum, self.way_on = signum, way_on


def nearest(word: object, known: Iterable[object]) -> str:
    """What to add to an error: "; did you mean 'x'?" for a near miss, otherwise the list of what is known.

    Example:
        >>> nearest("ctsgn", ["ctsgan", "gbdl"])
        "; did you mean 'ctsgan'?"
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(names))}" if names else ""
