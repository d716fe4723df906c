"""What has to happen before TensorFlow is imported, and what tfmed knows of itself then."""

import os
import sys

import wrapt

from tfmed import half_precision

VERSION = "0.1.0"

# TensorFlow reads this when it is imported. Left alone it does without oneDNN on some CPUs, where 3-D convolutions then
# take twice as long and strided ones twenty to seventy times (benchmarks/speed/onednn.py).
imported_after_tensorflow = "tensorflow" in sys.modules and "TF_ENABLE_ONEDNN_OPTS" not in os.environ
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# What is wrong with oneDNN is put right as soon as TensorFlow is imported, by whomever.
wrapt.register_post_import_hook(half_precision.install, "tensorflow.python.ops.gen_nn_ops")
