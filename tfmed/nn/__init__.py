"""Building blocks that several methods share."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
