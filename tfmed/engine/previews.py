"""Pictures of what a run makes, written as PNG while it goes on and at its end."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from tfmed.engine.abilities import CanPreview
from tfmed.engine.terminal import log
from tfmed.files import atomic_path
from tfmed.pictures.style import digest, save


def pictures(method: Any) -> dict[str, Any]:
    """{name: Picture} of what a method wants to show."""
    return method.previews() if isinstance(method, CanPreview) else {}


def write(
    shown: Mapping[str, Any],
    folder: pathlib.Path,
    step: int | None,
    drawn: dict[str, tuple[Any, pathlib.Path]] | None = None,
) -> None:
    """Write pictures as `previews/<name>-<step>.png`, or `previews/<name>.png` when step is None.

    Args:
        shown: {name: picture}.
        folder: the run's.
        step: of the training, or None at its end.
        drawn: {name: (digest, path)} of the pictures before, kept up to date: one that shows the same is copied.
    """
    drawn = {} if drawn is None else drawn
    for name, picture in shown.items():
        suffix = "" if step is None else f"-{step:08d}"
        path = folder / "previews" / f"{name}{suffix}.png"
        shown_now = digest(picture)
        before, there = drawn.get(name, (None, path))
        with atomic_path(path) as temporary:
            if shown_now == before and there.is_file():
                shutil.copyfile(there, temporary)
            else:
                save(picture, temporary)
        drawn[name] = shown_now, path
        log.debug("%s written", path)
