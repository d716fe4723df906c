"""From files to batches: cases, sources, phantoms, splits, preprocessing, cache, pipelines."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
