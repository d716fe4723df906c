"""One HTML file that shows volumes and pictures with their layers, opened from a disk, without any network."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfmed.engine.templating import template
from tfmed.engine.terminal import log
from tfmed.errors import UserError
from tfmed.files import PathLike, write_text
from tfmed.pictures import layers, niivue

LARGEST_MB = 200  # of a page: browsers get slow beyond, and do not open much larger ones
_SMALLER = "show it in coarser voxels by --spacing MM, or fewer at a time"


def write(views: Iterable[layers.View], path: PathLike, title: str, largest_mb: float = LARGEST_MB) -> list[str]:
    """Write the page of some views; returns the titles of those that had no more room in it.

    Args:
        views: of the cases, taken one at a time.
        path: of the page.
        title: of the page.
        largest_mb: size of the page; views beyond it are left out, with a word.

    Raises:
        UserError: there is no view, not even the first one has room, or the viewer's package is not installed.
        RunError: the page cannot be written.
    """
    data, room = _Data(), largest_mb * 1e6
    shown: list[dict[str, Any]] = []
    left_out: list[str] = []
    for view in views:
        before = len(data.blocks)
        described = _view(view, data)
        if shown and data.size > room:
            data.forget(before)
            left_out.append(view.title)
            continue
        if data.size > room:
            raise UserError(
                f"{view.title}: would make a page of {data.size / 1e6:.0f} MB, above {largest_mb:g}; {_SMALLER}"
            )
        shown.append(described)
    if not shown:
        raise UserError("view: there is nothing to show")
    if left_out:
        names = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
        log.warning("%s: left out, as the page would pass %g MB; %s", names, largest_mb, _SMALLER)
    needs_niivue = any(panel["kind"] == "volume" for view in shown for panel in view["panels"])
    code, notice = niivue.bundle() if needs_niivue else ("", "")
    text = template("view.html").render(
        title=title, views=_as_json(shown), blocks=data.blocks, code=_as_script(code), notice=notice
    )
    write_text(path, text)
    return left_out


class _Data:
    """Base64 texts of a page, each once."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.known: dict[Any, tuple[int, Any]] = {}

    @property
    def size(self) -> int:
        return sum(map(len, self.blocks))

    def add(self, layer: layers.Layer, flat: bool) -> int:
        """The number of a layer's text."""
        key = (id(layer.volume.array), layer.kind, layer.window, tuple(layer.classes), flat)
        if key not in self.known:
            self.blocks.append(niivue.as_text(_picture(layer) if flat else niivue.packed(layer)))
            self.known[key] = len(self.blocks) - 1, layer.volume.array  # kept: its id is then nobody else's
        return self.known[key][0]

    def forget(self, count: int) -> None:
        """Only the first `count` texts stay."""
        del self.blocks[count:]
        self.known = {key: value for key, value in self.known.items() if value[0] < count}


def _view(view: layers.View, data: _Data) -> dict[str, Any]:
    flat = layers.is_flat(view.panels)
    panels = [{"title": panel.title, "kind": "picture" if flat else "volume",
               "layers": [_layer(layer, data, flat) for layer in panel.layers]} for panel in view.panels]  # fmt: skip
    data.known = {}  # of other cases nothing is the same
    return {"title": view.title, "note": view.note, "at": layers.place(view.panels), "panels": panels}


def _layer(layer: layers.Layer, data: _Data, flat: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": layer.name, "kind": layer.kind, "data": data.add(layer, flat)}
    found |= {"window": list(layer.window), "opacity": layer.opacity, "shown": layer.shown}
    if layer.kind == "labels":
        at = {} if flat else layers.middles(layer)
        classes = [{"number": k, "name": layer.classes[k][0], "colour": list(layer.classes[k][1]), "at": at.get(k)}
                   for k in sorted(layer.classes)]  # fmt: skip
        written = [k for k, one in enumerate(sorted(layer.classes)) if one in layer.written]
        return found | {"classes": classes, "table": niivue.label_table(layer), "written": written}
    return found | {"colour": layer.volume.array.ndim == 4, "map": niivue.colour_map(layer)}


def _picture(layer: layers.Layer) -> bytes:
    """A layer of one slice as PNG: grey from the window's low end to its high one, or colour; places of classes have
    their low byte in red, the high one in green, as browsers read 8 bits of a colour."""
    array = np.asarray(layer.volume.array)[0]
    if layer.kind == "labels":
        found = layers.places(array, np.array(sorted(layer.classes), np.int64)).astype(np.int64)
        return niivue.png(np.stack([found & 255, found >> 8, np.zeros_like(found)], -1).astype(np.uint8))
    return niivue.png(array.astype(np.uint8) if array.ndim == 3 else niivue.bytes_of(array, layer.window))


def _as_script(code: str) -> str:
    """Code as an HTML page may hold it: what would end a script, or hide its end, stands there otherwise."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _as_json(values: Any) -> str:
    """JSON as an HTML page may hold it in a script."""
    text = json.dumps(values, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
