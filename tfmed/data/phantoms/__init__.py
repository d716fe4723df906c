"""Phantoms: labelled images made from a seed, named by an address such as

    phantom:chest_ct?seed=3&shape=224,224,224&nodules=2&part=image

An address stands wherever a path may stand. A new phantom is one file with one function `name(seed, shape=..., ...)`
whose result has `.volume` and `.labels`, and one line in `REGISTRY`; the defaults of its arguments tell the types of
its options. A phantom of several images has a field for each instead of `.volume`, and their names in `_IMAGES`.
"""

import inspect
import threading
from typing import Any, TypeGuard
from urllib.parse import parse_qsl, quote

from tfmed.errors import UserError, nearest
from tfmed.io.volume import Volume

from .brain_tumour import MODALITIES, brain_tumour
from .cardiac import cardiac
from .cell_pairs import cell_pairs
from .chest_ct import chest_ct
from .coloured_shape import coloured_shape
from .connectome import connectome
from .endoscopy import endoscopy
from .ground_glass import ground_glass
from .histology import histology
from .left_atrium import left_atrium
from .liver_ct import liver_ct
from .lung_lesion import lung_lesion
from .mitochondria import mitochondria
from .panel import panel
from .pelvis import pelvis
from .plane_shape import plane_shape
from .plane_texture import plane_texture
from .radiograph import radiograph
from .stained_tissue import stained_tissue
from .surgery import surgery
from .temporal_bone import temporal_bone
from .tof_mra import tof_mra
from .ultrasound import ultrasound

VERSION = 1  # raise it whenever the voxels of any address change: caches are keyed by it
_PHANTOMS = (
    brain_tumour, cardiac, cell_pairs, chest_ct, coloured_shape, connectome, endoscopy, ground_glass, histology,
    left_atrium, liver_ct, lung_lesion, mitochondria, panel, pelvis, plane_shape, plane_texture, radiograph,
    stained_tissue, surgery, temporal_bone, tof_mra, ultrasound,
)  # fmt: skip
REGISTRY = {function.__name__: function for function in _PHANTOMS}
_IMAGES = {
    "brain_tumour": MODALITIES,
    "cell_pairs": ("image", "found"),
    "coloured_shape": ("red", "green", "blue"),
    "endoscopy": ("red", "green", "blue"),
    "ground_glass": ("soft", "sharp"),
    "histology": ("red", "green", "blue"),
    "panel": ("red", "green", "blue"),
    "pelvis": ("mr", "mrcat", "ct"),
    "stained_tissue": ("red", "green", "blue", "clean_red", "clean_green", "clean_blue"),
    "surgery": ("red", "green", "blue"),
    "ultrasound": ("image", "clean", "artefact", "needle"),
}
_SCHEME = "phantom:"

__all__ = [
    "REGISTRY",
    "VERSION",
    "address",
    "brain_tumour",
    "cardiac",
    "cell_pairs",
    "chest_ct",
    "coloured_shape",
    "connectome",
    "endoscopy",
    "ground_glass",
    "histology",
    "is_address",
    "left_atrium",
    "liver_ct",
    "lung_lesion",
    "mitochondria",
    "options",
    "parse",
    "parts",
    "panel",
    "pelvis",
    "plane_shape",
    "plane_texture",
    "radiograph",
    "read",
    "stained_tissue",
    "surgery",
    "temporal_bone",
    "tof_mra",
    "ultrasound",
]


def is_address(text: object) -> TypeGuard[str]:
    """Whether `text` is a phantom address (and not a path)."""
    return isinstance(text, str) and text.startswith(_SCHEME)


def parts(name: str) -> tuple[str, ...]:
    """The parts that an address of a phantom may name: its images, of which the first is the default, and "label"."""
    return (*_IMAGES.get(name, ("image",)), "label")


def options(name: str) -> dict[str, Any]:
    """The options of a phantom with their defaults (a dict; `seed` and `part` included).

    Raises:
        UserError: there is no such phantom.
    """
    if name not in REGISTRY:
        raise UserError(f"no phantom {name!r}{nearest(name, REGISTRY)}")
    parameters = inspect.signature(REGISTRY[name]).parameters.values()
    defaults = {p.name: 0 if p.default is inspect.Parameter.empty else p.default for p in parameters}
    return {**defaults, "part": parts(name)[0]}


def address(name: str, **chosen: Any) -> str:
    """The address of a phantom; options as keyword arguments (`part`: one of `parts(name)`).

    Raises:
        UserError: the phantom or an option is unknown, or a value has the wrong type.
    """
    known = options(name)
    values = {key: _typed(name, key, _text(value), known) for key, value in chosen.items()}
    query = "&".join(f"{key}={quote(_text(value), safe=',.-+')}" for key, value in values.items())
    return f"{_SCHEME}{name}?{query}" if query else f"{_SCHEME}{name}"


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """`(name, options)` of an address, every option given, typed as the phantom's function wants it.

    Raises:
        UserError: the address is malformed, or names an unknown phantom or option.
    """
    if not is_address(text):
        raise UserError(f"not a phantom address: {text!r}; one looks like phantom:chest_ct?seed=3&part=image")
    name, _, query = text[len(_SCHEME) :].partition("?")
    known = options(name)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=64)
    except ValueError:
        raise UserError(f"malformed phantom address {text!r}; options look like ?seed=3&part=image") from None
    return name, {**known, **{key: _typed(name, key, value, known) for key, value in pairs}}


def read(text: str) -> Volume:
    """Make the volume that an address names: int16 for an image (HU for CT), uint8 for a label map
    (uint16 for one of instances).

    The parts of one phantom are made at once. Those not asked for yet are kept until another phantom is made, each
    to be handed out once: reading all parts costs one phantom, and no two callers ever share an array.

    Raises:
        UserError: the address is wrong, or a value is out of range.
    """
    name, chosen = parse(text)
    part = chosen.pop("part")
    key = (name, tuple(sorted(chosen.items())))
    kept = _leftover.take(key, part)
    if kept is not None:
        return kept
    made = REGISTRY[name](**chosen)
    fields = {"image": "volume", "label": "labels"}
    volumes = {each: getattr(made, fields.get(each, each)) for each in parts(name)}
    asked = volumes.pop(part)
    _leftover.put(key, volumes)
    return asked


class _Leftover:
    """The parts of the last phantom that nobody has asked for; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Any = None
        self._volumes: dict[str, Volume] = {}

    def take(self, key: Any, part: str) -> Volume | None:
        """The part, which is then forgotten here; None if it is not here."""
        with self._lock:
            return self._volumes.pop(part, None) if key == self._key else None

    def put(self, key: Any, volumes: dict[str, Volume]) -> None:
        """Keep these and forget all others."""
        with self._lock:
            self._key, self._volumes = key, volumes


_leftover = _Leftover()


def _text(value: object) -> str:
    return ",".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)


def _typed(name: str, key: str, text: str, known: dict[str, Any]) -> Any:
    """The value of one option, of the type of its default."""
    if key not in known:
        raise UserError(f"phantom {name} has no option {key!r}{nearest(key, known)}")
    default = known[key]
    try:
        if isinstance(default, tuple):
            return tuple(type(default[0])(part) for part in text.split(","))
        value = type(default)(text)
    except ValueError:
        kind = f"{type(default[0]).__name__}s with commas" if isinstance(default, tuple) else type(default).__name__
        raise UserError(f"phantom {name}: {key} must be {kind}; got {text!r}") from None
    if key == "part" and value not in parts(name):
        *most, last = parts(name)
        meant = nearest(text, parts(name))
        meant = meant if "did you mean" in meant else ""
        raise UserError(f"phantom {name}: part must be {', '.join(most)} or {last}; got {text!r}{meant}")
    return value
