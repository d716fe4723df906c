"""The methods: one file or small package per paper, found by their names and imported only when they are asked for."""

import ast
import importlib
import importlib.util
import pathlib
import pkgutil
import sys
from typing import Any

from tfmed import registry
from tfmed._lazy import submodules

__getattr__, __dir__ = submodules(__name__)


def names() -> list[str]:
    """Names of all methods that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def described(name: str) -> dict[str, str]:
    """What a method's docstring says: {"": its first line, "Paper": ..., "Task": ..., ...}, without importing it."""
    spec: Any = importlib.util.find_spec(f"{__name__}.{name}")
    text = ast.get_docstring(ast.parse(pathlib.Path(spec.origin).read_text(encoding="utf-8"))) or ""
    first, *paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    entries = [paragraph.partition(": ") for paragraph in paragraphs]
    return {"": first} | {key: words for key, colon, words in entries if colon and key.isalpha()}


def method_class(name: str) -> Any:
    """The `Method` subclass of a method's module."""
    return importlib.import_module(f"{__name__}.{name}").METHOD


registry.install(sys.modules[__name__])
