"""Stateless tensor operations, graph-safe."""

from tfmed._lazy import submodules

_submodule = submodules(__name__)
_FUNCTIONS = {"warp"}  # named as their file: `tfmed.ops.warp(...)` is the function


def __getattr__(name):
    found = _submodule(name)
    if name in _FUNCTIONS:
        found = globals()[name] = getattr(found, name)
    return found
