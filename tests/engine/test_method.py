"""What every method has."""

import keras
import tensorflow as tf

from tests.support import toy
from tfmed import registry


def test_a_network_has_a_graph_for_each_name():
    method = registry.method_class("toy")(toy.settings())
    network, other = (keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]) for _ in range(2))
    one = method.compiled("one", network, lambda x: x + 1, [tf.TensorSpec(None)])
    two = method.compiled("two", network, lambda x: 2 * x)
    assert (float(one(3.0)), float(two(3.0))) == (4, 6)
    assert method.compiled("one", network, lambda x: x - 1) is one  # callers make their functions anew
    assert float(method.compiled("one", other, lambda x: x - 1)(3.0)) == 2
