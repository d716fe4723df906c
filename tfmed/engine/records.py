"""What a method decides between its stages (which slices to annotate): kept in the run directory, decided once."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from tfmed.files import PathLike, own_json, write_text


class Records:
    """Named plain values (JSON) of a run.

    A value is made when it is first asked for and written in one piece, so a run that is broken off and resumed, or
    looked at later, goes by the same decisions, without the models and the time that made them. If the run breaks off
    before a value is written it is made again: `make` must be a function of settings and of finished stages alone.

    Args:
        folder: where `<name>.json` lie; None keeps values in memory only.
        writes: False on all but the first machine of several, which make the same values themselves.
        frozen: nothing is made: the run is only looked at.
    """

    def __init__(self, folder: PathLike | None = None, writes: bool = True, frozen: bool = False) -> None:
        self.folder = None if folder is None else pathlib.Path(folder)
        self.writes, self.frozen = writes, frozen
        self._values: dict[str, Any] = {}

    def recall(
        self, name: str, make: Callable[[], Any] | None = None, valid: Callable[[Any], bool] | None = None
    ) -> Any:
        """The value of this name; made by `make()` where there is none. None if there is none and nothing may be made.

        Args:
            name: of the value.
            make: function that gives it.
            valid: function of a value that was read: whether it has the form of those that `make` gives.

        Raises:
            RunError: the file is damaged or cannot be written.
        """
        if name not in self._values:
            value = self._read(name, valid)
            if value is None:
                if make is None or self.frozen:
                    return None
                value = json.loads(json.dumps(make()))  # what a resumed run will read
                if self.folder is not None and self.writes:
                    write_text(self.folder / f"{name}.json", json.dumps(value))
            self._values[name] = value
        return self._values[name]

    def _read(self, name: str, valid: Callable[[Any], bool] | None) -> Any:
        path = None if self.folder is None else self.folder / f"{name}.json"
        if path is None or not path.exists():
            return None
        return own_json(path, "remove it, and --resume decides it again", valid)
