"""tfmed: published medical-imaging methods in TensorFlow/Keras, each trainable from one YAML file with one command."""

import importlib

from tfmed._lazy import submodules

__version__ = "0.1.0"

_LAZY = {"load_config": "tfmed.config", "load_run": "tfmed.engine.run", "Run": "tfmed.engine.run"}
_submodule = submodules(__name__)
__all__ = [*_LAZY, "fit", "catalog"]


def __getattr__(name):
    """Import on first use: `import tfmed` stays fast and does not load TensorFlow."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    return _submodule(name)
