"""What the methods of one task share: data, validation, evaluation, prediction, pictures, export."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
