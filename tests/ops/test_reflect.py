"""Images mirrored to multiples: as numpy pads them, also where an image is shorter than what it lacks."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.ops.reflect import to_multiple

pytestmark = pytest.mark.current


@pytest.mark.parametrize("shape, multiples", [((333, 333), (16, 16)), ((5, 32), (16, 16)), ((3, 2), (8, 16)),
                                              ((16, 7), (16, 1)), ((1, 9), (4, 4))])  # fmt: skip
def test_equals_numpy(shape, multiples):
    image = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype("float32")
    lacks = [(0, -side % multiple) for side, multiple in zip(shape, multiples, strict=True)]
    expected = np.pad(image, [(0, 0), *lacks, (0, 0)], mode="reflect")
    graph = tf.function(lambda x: to_multiple(x, multiples), input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_array_equal(graph(image), expected)
