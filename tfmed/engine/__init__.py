"""The life of a run: settings, stages, training loop, checkpoints, pictures, report."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
