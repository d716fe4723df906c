"""Building blocks that several methods share."""

from tfmed._lazy import submodules

__getattr__ = submodules(__name__)
