"""tfmed: published medical-imaging methods in TensorFlow/Keras, each trainable from one YAML file with one command."""

import importlib
from typing import Any

from tfmed import methods as _methods  # noqa: F401 - tells the registry what methods there are
from tfmed._lazy import submodules
from tfmed.startup import VERSION as __version__

_LAZY = {"load_config": "tfmed.config", "load_run": "tfmed.engine.run", "Run": "tfmed.engine.run"}
__all__ = [*_LAZY, "fit", "catalog", "__version__"]
_submodule, __dir__ = submodules(__name__, __all__)


def __getattr__(name: str) -> Any:
    """Import on first use: `import tfmed` stays fast and does not load TensorFlow."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    return _submodule(name)
