"""Names and colours of label maps, for 3D Slicer (a colour table, .ctbl) and ITK-SNAP (a label description file).

Both formats are plain text; the index in a line is the number in the label map. Slicer's names have no spaces, and its
lines are index, name, red, green, blue, opacity (0 to 255). ITK-SNAP's are index, red, green, blue (0 to 255),
opacity (0 to 1), visible (0 or 1), visible as mesh (0 or 1), name in quotes. Lines that begin with # are comments.
"""

import colorsys
from collections.abc import Mapping

from tfmed.files import PathLike, own_text, write_text
from tfmed.io.errors import damage

_GOLDEN = 0.618034  # of the circle of hues between two colours, so that few of them are alike, however many there are
_SHADES = ((0.85, 0.95), (0.55, 1.0), (0.9, 0.65))  # (saturation, value), in turn


def distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """So many different colours (red, green, blue), 0 to 255; the first ones are the same however many follow."""
    found = []
    for number in range(count):
        saturation, value = _SHADES[number // 6 % len(_SHADES)]
        red, green, blue = colorsys.hsv_to_rgb(0.11 + number * _GOLDEN, saturation, value)
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return found


def write_slicer_table(names: Mapping[int, str], path: PathLike) -> None:
    """Write a colour table (.ctbl) of 3D Slicer.

    Args:
        names: {number in the label map: name}, without the background.
        path: of the file.

    Raises:
        RunError: the file cannot be written.
    """
    lines = ["# Color table file", f"# {len(names) + 1} values", "0 Background 0 0 0 0"]
    for (number, name), (red, green, blue) in _coloured(names):
        lines.append(f"{number} {'_'.join(name.split())} {red} {green} {blue} 255")
    write_text(path, "\n".join(lines) + "\n")


def write_itksnap_labels(names: Mapping[int, str], path: PathLike) -> None:
    """Write a label description file of ITK-SNAP; arguments and errors as of `write_slicer_table`."""
    lines = ["# ITK-SnAP Label Description File", "# IDX -R- -G- -B- -A- VIS MSH LABEL", '0 0 0 0 0 0 0 "Clear Label"']
    for (number, name), (red, green, blue) in _coloured(names):
        quoted = " ".join(name.split()).replace('"', "'")
        lines.append(f'{number} {red} {green} {blue} 1 1 1 "{quoted}"')
    write_text(path, "\n".join(lines) + "\n")


def read_itksnap_labels(path: PathLike) -> dict[int, tuple[str, tuple[int, int, int]]]:
    """{number: (name, (red, green, blue))} of a label description file of ITK-SNAP, without the background.

    Raises:
        ImageIntegrityError: it is none.
    """
    found = {}
    try:
        for line in own_text(path, 1 << 22).splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                fields, name = line.split(maxsplit=7)[:7], line.split(maxsplit=7)[7]
                number, *colour = (int(word) for word in fields[:4])
                if not all(0 <= one <= 255 for one in colour):
                    raise ValueError(line)
                found[number] = name.strip().strip('"'), (colour[0], colour[1], colour[2])
    except (OSError, ValueError, IndexError):
        raise damage(path, "it is no label description file of ITK-SNAP", "repair or remove it") from None
    found.pop(0, None)
    return found


def _coloured(names: Mapping[int, str]) -> list[tuple[tuple[int, str], tuple[int, int, int]]]:
    return list(zip(sorted(names.items()), distinct_colours(len(names)), strict=True))
