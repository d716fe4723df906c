"""Figures from arrays: volumes, segmentations, images, charts, connectomes."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
