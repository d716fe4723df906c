"""Every field of a method's settings, and what a slip of the hand or the mind puts there."""

import json
import math
import typing

import pydantic

import tfmed
from tests.support.harness import REPOSITORY
from tfmed.config import Strict

NUMBERS = (0, -1, 1, 2**31, 2**63, 10**30, 1e30, -1e30, math.nan, math.inf, -math.inf, 1e-45, 0.5)
OTHERS = ("", "no such choice", True, None, [], {}, [[]], {"x": 1}, [1] * 9, ["x"])
# What must be given to settings that do not all have defaults, by their tag or class.
NEEDED = {"crop": {"shape": [8, 8, 8]}, "resample": {"spacing_mm": [1, 1, 1]},
          "letterbox": {"size": [64, 64]},
          "EarlyStoppingConfig": {"metric": "loss"},
          "AugmentWith": {"run": "runs/none"}, "StartFrom": {"run": "runs/none"},
          "MoreCases": {"source": "phantom_chest_ct"}}  # fmt: skip
TAGS = ("name", "step")  # what tells the members of a union of settings apart


def settings(name):
    """The shipped settings of a method as a file holds them, and as they are typed."""
    typed = tfmed.load_config(REPOSITORY / "configs" / f"{name}.yaml")
    return json.loads(typed.model_dump_json()), typed


def fields(section):
    """(path, value) of every field that is no section, those of the members of unions and of lists of steps as well.

    Args:
        section: settings, typed.

    Returns:
        Iterator of ([(name of a section, what else must stand there), ..., (name of the field, None)], its value).
    """
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, pydantic.BaseModel):
            yield from _below(name, value, {})
        for key, one in value.items() if isinstance(value, dict) else ():  # sections by names of the user's own
            if isinstance(one, pydantic.BaseModel):
                yield from (([(name, {}), *path], inner) for path, inner in _below(key, one, {}))
        for kind in () if isinstance(value, dict) else _kinds(info.annotation):
            if type(value) is not kind:
                tag = next((tag for tag in TAGS if tag in kind.model_fields), None)
                word = kind.model_fields[tag].default if tag else kind.__name__
                needed = {key: given for key, given in NEEDED.get(word, {}).items() if key in kind.model_fields}
                there = ({tag: word} if tag else {}) | needed
                yield from _below(name, kind(**there), [there] if tag == "step" else there)
        yield [(name, None)], value


def _below(name, section, there):
    for path, value in fields(section):
        yield [(name, there), *path], value


def _kinds(annotation):
    """The classes of settings within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [kind for inner in typing.get_args(annotation) for kind in _kinds(inner)]


def changed(values, path, value):
    """Plain settings with the field at a path set to a value."""
    (name, there), *rest = path
    if not rest:
        return values | {name: value}
    if isinstance(there, list):
        return values | {name: [changed(there[0], rest, value)]}
    return values | {name: changed(there or values.get(name) or {}, rest, value)}


def extremes(value):
    """Values for a field that holds `value`: numbers, other types, and its own list longer, shorter, or with another
    first entry."""
    yield from NUMBERS
    yield from OTHERS
    if isinstance(value, (tuple, list)) and value:
        yield from ([extreme, *value[1:]] for extreme in NUMBERS)
        yield from (list(value[1:]), [*value, value[-1]], [value[0]] * 1000)
