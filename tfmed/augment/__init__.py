"""Seeded augmentation: paired transforms of image and label, and changes of an image's values."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
