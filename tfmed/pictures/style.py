"""What all pictures share: colours, panels at fixed places, saving, and whether two pictures show the same."""

import dataclasses
import hashlib

import numpy as np

# One palette: of lines and areas on dark pictures (REAL: what was measured), of label contours, and on white reports.
REAL = "#ffb000"
COLOURS = ("#58c4dd", "#ff5c5c", "#9be564", "#d18cff", "#ff8c42", "#f2d0ff", "#6ee7b7", "#fca5a5")
LABELS = {"orange": REAL} | dict(zip(("cyan", "red", "green", "violet"), COLOURS, strict=False)) | {"white": "#f0f0f0"}
ON_WHITE = ("#27598c", "#c8642b", "#3f8f5b", "#8a4f9e", "#b8992f", "#5b6b7a")


def panels(rows, columns, size, margins, gaps, colour="white"):
    """(Figure, its axes `(rows, columns)`), at fixed places: finding a layout would take longer than drawing.

    Args:
        rows, columns: number of panels.
        size: (width, height) of a panel in inches.
        margins: left, right, bottom and top of all panels, in inches.
        gaps: between two columns and between two rows, in inches.
        colour: of the background.
    """
    from matplotlib.figure import Figure

    left, right, bottom, top = margins
    wide = columns * size[0] + (columns - 1) * gaps[0] + left + right
    high = rows * size[1] + (rows - 1) * gaps[1] + bottom + top
    figure = Figure(figsize=(wide, high), facecolor=colour)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left / wide, bottom / high, 1 - right / wide, 1 - top / high, gaps[0] / size[0], gaps[1] / size[1]
    )
    return figure, axes


def dark_figure(width, height, layout="constrained"):
    """An empty black Figure; sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="black", layout=layout)


def darken(axis, title, x, y):
    """Give an axis of a chart its title and its labels, white on black."""
    axis.set_facecolor("black")
    axis.set_title(title, color="white", fontsize=9)
    axis.set_xlabel(x, color="white", fontsize=8)
    axis.set_ylabel(y, color="white", fontsize=8)
    axis.tick_params(colors="white", labelsize=7)
    for spine in axis.spines.values():
        spine.set_color("#555555")


def save(picture, path):
    """Draw a picture, whatever kind it is; the file carries its caption as its "Description"."""
    figure = picture.figure()
    described = {"Description": picture.caption}
    figure.savefig(path, format="png", dpi=90, facecolor=figure.get_facecolor(), metadata=described)


def digest(picture):
    """A hash of all that a picture shows."""
    found = hashlib.sha256()
    for inner in _content(picture):
        found.update(inner)
    return found.digest()


def _content(value):
    """The bytes that a picture is made of; of an object that nothing is known of they tell its place in memory."""
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        yield f"{array.dtype}{array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, (dict, tuple, list)):
        yield f"{type(value).__name__}{len(value)}".encode()
        for inner in value.items() if isinstance(value, dict) else value:
            yield from _content(inner)
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__.encode()
        yield from _content([getattr(value, field.name) for field in dataclasses.fields(value)])
    else:
        yield repr(value).encode()
