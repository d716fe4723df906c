"""Sub-packages on first use: `import tfmed; tfmed.metrics.surface...` works, and `import tfmed` loads none of them."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterable
from typing import Any


def submodules(package: str, names: Iterable[str] = ()) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A module-level `__getattr__` that imports `package.<name>` when it is asked for, and the `__dir__` to it.

    Args:
        package: its full name.
        names: further names that `dir` shows.
    """

    def __getattr__(name: str) -> Any:
        full_name = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full_name) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(full_name)

    def __dir__() -> list[str]:
        module = sys.modules[package]
        own = getattr(module, "__all__", ())
        below = [found.name for found in pkgutil.iter_modules(module.__path__) if not found.name.startswith("_")]
        return sorted({*own, *below, *names, "__doc__", "__file__", "__name__", "__path__"})

    return __getattr__, __dir__
