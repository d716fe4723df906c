"""Sub-packages on first use: `import tfmed; tfmed.metrics.surface...` works, and `import tfmed` loads none of them."""

import importlib
import importlib.util


def submodules(package):
    """A module-level `__getattr__` that imports `package.<name>` when it is asked for."""

    def __getattr__(name):
        full_name = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full_name) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(full_name)

    return __getattr__
