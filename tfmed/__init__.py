"""tfmed: published medical-imaging methods in TensorFlow/Keras, each trainable from one YAML file with one command."""

import importlib
import os
import sys

import wrapt

from tfmed import half_precision as _half_precision
from tfmed._lazy import submodules

__version__ = "0.1.0"

# TensorFlow reads this when it is imported. Left alone it does without oneDNN on some CPUs, where 3-D convolutions then
# take twice as long and strided ones twenty to seventy times (benchmarks/onednn.py).
imported_after_tensorflow = "tensorflow" in sys.modules and "TF_ENABLE_ONEDNN_OPTS" not in os.environ
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# What is wrong with oneDNN is put right as soon as TensorFlow is imported, by whomever.
wrapt.register_post_import_hook(_half_precision.install, "tensorflow.python.ops.gen_nn_ops")

_LAZY = {"load_config": "tfmed.config", "load_run": "tfmed.engine.run", "Run": "tfmed.engine.run"}
_submodule = submodules(__name__)
__all__ = [*_LAZY, "fit", "catalog"]


def __getattr__(name):
    """Import on first use: `import tfmed` stays fast and does not load TensorFlow."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    return _submodule(name)
