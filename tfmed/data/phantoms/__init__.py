"""Phantoms: labelled images made from a seed, named by an address such as

    phantom:chest_ct?seed=3&shape=224,224,224&nodules=2&part=image

An address stands wherever a path may stand. A new phantom is one file with one function `name(seed, shape=..., ...)`
whose result has `.volume` and `.labels`, and one line in `REGISTRY`; the defaults of its arguments tell the types of
its options.
"""

import inspect
from urllib.parse import parse_qsl, quote

from tfmed.errors import UserError, nearest

from .chest_ct import chest_ct

VERSION = 1  # raise it whenever the voxels of any address change: caches are keyed by it
REGISTRY = {"chest_ct": chest_ct}
_SCHEME = "phantom:"
_PARTS = ("image", "label")

__all__ = ["REGISTRY", "VERSION", "address", "chest_ct", "is_address", "options", "parse", "read"]


def is_address(text):
    """Whether `text` is a phantom address (and not a path)."""
    return isinstance(text, str) and text.startswith(_SCHEME)


def options(name):
    """The options of a phantom with their defaults (a dict; `seed` and `part` included).

    Raises:
        UserError: there is no such phantom.
    """
    if name not in REGISTRY:
        raise UserError(f"no phantom {name!r}{nearest(name, REGISTRY)}")
    parameters = inspect.signature(REGISTRY[name]).parameters.values()
    defaults = {p.name: 0 if p.default is inspect.Parameter.empty else p.default for p in parameters}
    return {**defaults, "part": "image"}


def address(name, **chosen):
    """The address of a phantom; options as keyword arguments (`part`: image or label).

    Raises:
        UserError: the phantom or an option is unknown, or a value has the wrong type.
    """
    known = options(name)
    values = {key: _typed(name, key, _text(value), known) for key, value in chosen.items()}
    query = "&".join(f"{key}={quote(_text(value), safe=',.-+')}" for key, value in values.items())
    return f"{_SCHEME}{name}?{query}" if query else f"{_SCHEME}{name}"


def parse(text):
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


def read(text):
    """Make the volume that an address names: int16 HU for a CT image, uint8 for a label map.

    Raises:
        UserError: the address is wrong, or a value is out of range.
    """
    name, chosen = parse(text)
    part = chosen.pop("part")
    made = REGISTRY[name](**chosen)
    return made.volume if part == "image" else made.labels


def _text(value):
    return ",".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)


def _typed(name, key, text, known):
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
    if key == "part" and value not in _PARTS:
        raise UserError(f"phantom {name}: part must be image or label; got {text!r}")
    return value
