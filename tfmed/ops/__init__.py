"""Stateless tensor operations, graph-safe."""

from typing import TYPE_CHECKING

from tfmed._lazy import submodules

if TYPE_CHECKING:  # modules that can be called: for type checkers they are their functions
    from tfmed.ops.sliding_window import sliding_window as sliding_window
    from tfmed.ops.warp import warp as warp

__getattr__, __dir__ = submodules(__name__)
