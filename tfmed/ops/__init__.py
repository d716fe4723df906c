"""Stateless tensor operations, graph-safe."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
