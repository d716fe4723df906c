"""NiiVue, the viewer of volumes in browsers: its code from the package that ships it, layers as it reads them, and a
widget for notebooks."""

import base64
import gzip
import importlib.metadata
import importlib.util
import io
import pathlib
import re
import tempfile
from typing import Any

import numpy as np

from tfmed.errors import UserError
from tfmed.files import own_text
from tfmed.pictures import layers
from tfmed.pictures.layers import Layer, Panel

PACKAGE = "ipyniivue"
_CLASS = re.compile(r'"Creating new Niivue instance"\);.{0,200}?=new ([\w$]+)\(')
_EXPORT = re.compile(r"export\s*\{\s*[\w$]+ as default\s*\};?\s*$")
_STEPS = 16  # entries of a colour map
_KNOWN = ("gray", "inferno")  # that NiiVue has itself, and so a notebook that was saved: what is sent to it is not kept
_LOOK = {"is_radiological_convention": True, "crosshair_width": 0.3, "crosshair_width_unit": "percent",
         "crosshair_color": (1.0, 0.75, 0.0, 0.7)}  # fmt: skip


def bundle() -> tuple[str, str]:
    """(code that sets `globalThis.Niivue`, notice that must stay with it) of the installed package; nothing is run.

    Raises:
        UserError: the package is not installed, or is another than those that are known.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise UserError(f"the viewer of volumes needs {PACKAGE}: pip install 'tfmed[view]'")
    code = own_text(pathlib.Path(spec.origin).parent / "static" / "widget.js")
    found, end = _CLASS.search(code), _EXPORT.search(code)
    version = importlib.metadata.version(PACKAGE)
    if found is None or end is None:
        raise UserError(f"{PACKAGE} {version}: is of another form than tfmed knows; pip install 'tfmed[view]'")
    code = f"{code[: end.start()]};globalThis.Niivue={found[1]};"
    files = importlib.metadata.files(PACKAGE) or []
    notice = "\n".join(own_text(str(one.locate())) for one in files if one.name.upper().startswith("LICENSE"))
    return code, f"NiiVue, from the package {PACKAGE} {version} (https://github.com/niivue/niivue)\n{notice}"


def packed(layer: Layer) -> bytes:
    """A Layer as a gzipped NIfTI file.

    Class numbers become their places in the layer's classes, from 1. Images and maps of whole numbers that int16 holds
    stay as they are; others are rounded to steps of 1/65534 of their range, maps to 1/255 of their window.
    """
    array, slope, offset = _stored(layer)
    import nibabel

    header = nibabel.Nifti1Header(endianness="<")
    colour = array.ndim == 4
    header.set_data_dtype([("R", "u1"), ("G", "u1"), ("B", "u1")] if colour else array.dtype)
    header.set_data_shape(array.shape[2::-1])
    header.set_sform(layer.volume.affine, 1)
    header.set_zooms(layer.volume.spacing[::-1])
    header.set_xyzt_units("mm")
    header["magic"], header["vox_offset"], header["scl_slope"], header["scl_inter"] = b"n+1", 352, slope, offset
    whole = header.binaryblock + bytes(4) + np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return gzip.compress(whole, 6, mtime=0)


def _stored(layer: Layer) -> tuple[np.ndarray, float, float]:
    array = np.asarray(layer.volume.array)
    if layer.kind == "labels":
        known = np.array(sorted(layer.classes), np.int64)
        return layers.places(array, known), 1.0, 0.0
    if array.ndim == 4:
        return array.astype(np.uint8), 1.0, 0.0
    if layer.kind == "map":
        low, high = layer.window
        return bytes_of(array, layer.window), (high - low) / 255, low
    if array.dtype.kind in "iub" and array.size and array.min() >= -(2**15) and array.max() < 2**15:
        return array.astype(np.int16), 1.0, 0.0
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    slope = (high - low) / 65534 or 1.0
    whole = np.rint((np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / slope) - 32767
    return whole.astype(np.int16), slope, low + 32767 * slope


def bytes_of(array: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Values as uint8, 0 at the low end of a window and 255 at the high one; what is no number is 0."""
    low, high = window
    scaled = (np.nan_to_num(np.asarray(array, np.float64), nan=low) - low) * (255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def colour_map(layer: Layer) -> dict[str, list[int]]:
    """{"R", "G", "B", "A", "I"} of an image or a map: entries at equal distances; maps show through where low."""
    from matplotlib import colormaps

    at = np.linspace(0, 1, _STEPS)
    rgb = np.rint(255 * colormaps[layer.colours](at)[:, :3]).astype(int)
    alpha = np.rint(255 * np.minimum(1, 2 * at)) if layer.kind == "map" else np.full(_STEPS, 255)
    alpha = alpha if layer.kind == "map" else np.r_[0, alpha[1:]]
    found = {name: rgb[:, k].tolist() for k, name in enumerate("RGB")}
    return found | {"A": alpha.astype(int).tolist(), "I": np.rint(255 * at).astype(int).tolist()}


def label_table(layer: Layer) -> dict[str, list[Any]]:
    """{"R", "G", "B", "A", "I", "labels"} of labels, the background first and invisible."""
    colours = [(0, 0, 0), *(layer.classes[number][1] for number in sorted(layer.classes))]
    found: dict[str, list[Any]] = {name: [colour[k] for colour in colours] for k, name in enumerate("RGB")}
    names = ["", *(layer.classes[number][0] for number in sorted(layer.classes))]
    return found | {"A": [0, *(255 for _ in colours[1:])], "I": list(range(len(colours))), "labels": names}


def png(array: np.ndarray) -> bytes:
    """A plane uint8 or uint16 `(y, x)`, or uint8 `(y, x, 3)`, as the bytes of a PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, "PNG")
    return stream.getvalue()


def widget(panel: Panel, height: int = 400) -> Any:
    """An ipyniivue widget of a Panel, for notebooks.

    Args:
        panel: layers on one grid, such as `Panel("scan", (image("CT", scan), labels("organs", organs)))`.
        height: in pixels.

    Raises:
        UserError: ipyniivue is not installed.
    """
    try:
        from ipyniivue import NiiVue
    except ImportError:
        raise UserError(f"the widget needs {PACKAGE}: pip install 'tfmed[view]'") from None
    shown, volumes = NiiVue(height=height, **_LOOK), []
    shown.files = tempfile.TemporaryDirectory(prefix="tfmed-widget-")  # they are read late, and go with the widget
    for number, layer in enumerate(panel.layers):
        path = pathlib.Path(shown.files.name) / f"{number}.nii.gz"
        path.write_bytes(packed(layer))
        volume: dict[str, Any] = {"path": path, "name": f"{layer.name}.nii.gz"}
        volume["opacity"] = layer.opacity if layer.shown else 0.0
        if layer.kind != "labels" and layer.volume.array.ndim == 3:
            known = layer.colours in _KNOWN
            if not known:
                shown.add_colormap(f"layer{number}", colour_map(layer))
            name = layer.colours if known else f"layer{number}"
            volume |= {"colormap": name, "cal_min": layer.window[0], "cal_max": layer.window[1]}
        volumes.append(volume)
    shown.load_volumes(volumes)
    for layer, loaded in zip(panel.layers, shown.volumes, strict=True):
        if layer.kind == "labels":
            loaded.set_colormap_label(label_table(layer))
    return shown


def as_text(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode()
