"""What a model needs before it is made: settings beyond a machine's memory are one line, and not its end."""

import contextlib
import math

import numpy as np
import tensorflow as tf

from tfmed.errors import RunError
from tfmed.io.geometry import machine_memory


@contextlib.contextmanager
def bounded_weights(method_name):
    """Models are made inside; the first variable that no longer fits into memory is refused before it is filled.

    Raises:
        RunError: from inside.
    """
    total = 0

    def create(next_creator, **options):
        nonlocal total
        shape = tf.TensorShape(options.get("shape"))
        if shape.is_fully_defined():
            total += math.prod(shape.as_list()) * tf.as_dtype(options.get("dtype") or np.float32).size
        if total > machine_memory():
            raise RunError(
                f"method {method_name!r}: the weights of its networks need {total / 2**30:.0f} GiB or more, which this "
                "machine's memory does not have; lower the sizes (widths, channels, units) in the section model"
            )
        return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield
