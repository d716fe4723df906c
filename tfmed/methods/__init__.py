"""The methods: one file or small folder per paper."""

from tfmed._lazy import submodules

__getattr__ = submodules(__name__)
