"""Losses: functions of tensors, one family per file."""

from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)
