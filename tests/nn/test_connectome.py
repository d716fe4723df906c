"""Connectome layers against triple loops; which edges an output sees; parameter totals; triangles."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.compat import tensor_variable
from tfmed.nn.connectome import EdgeToEdge, EdgeToNode, NodeToGraph, connectome_critic
from tfmed.nn.graph import GraphConv
from tfmed.ops.triangle import size_of, to_matrix, to_vector

pytestmark = pytest.mark.current
D, C, F = 5, 2, 3
RNG = np.random.default_rng(0)
EDGES, NODES = RNG.normal(size=(2, D, D, C)).astype("float32"), RNG.normal(size=(2, D, C)).astype("float32")


def built(layer, *inputs):
    layer(*inputs)
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape).astype("float32"))
    return layer, [tf.convert_to_tensor(tensor_variable(v)).numpy() for v in layer.trainable_variables]


def test_edge_to_edge_is_its_definition():
    layer, (r, s, b) = built(EdgeToEdge(F), EDGES)
    expected = np.zeros((2, D, D, F))
    for n in range(2):
        for i in range(D):
            for j in range(D):
                expected[n, i, j] = b + sum(EDGES[n, i, k] @ r[k] + EDGES[n, k, j] @ s[k] for k in range(D))
    np.testing.assert_allclose(layer(EDGES), expected, atol=1e-4)
    assert layer.count_params() == 2 * D * C * F + F


def test_edge_to_node_node_to_graph_and_graph_convolution():
    layer, (r, b) = built(EdgeToNode(F), EDGES)
    np.testing.assert_allclose(layer(EDGES), np.einsum("nikc,kco->nio", EDGES, r) + b, atol=1e-4)
    layer, (t, b) = built(NodeToGraph(F), NODES)
    expected = [b + sum(NODES[n, i] @ t[i] for i in range(D)) for n in range(2)]
    np.testing.assert_allclose(layer(NODES), expected, atol=1e-4)
    layer, (own, others, b) = built(GraphConv(F), [NODES, EDGES[..., 0]])
    expected = [NODES[n] @ own + EDGES[n, ..., 0] @ NODES[n] @ others + b for n in range(2)]
    np.testing.assert_allclose(layer([NODES, EDGES[..., 0]]), expected, atol=1e-4)


def test_an_edge_reaches_its_row_and_its_column():
    edge, node = built(EdgeToEdge(F), EDGES)[0], built(EdgeToNode(F), EDGES)[0]
    changed = EDGES.copy()
    changed[:, 1, 3] += 1
    moved = np.abs(edge(changed) - edge(EDGES)).max((0, 3)) > 1e-5
    expected = np.zeros((D, D), bool)
    expected[1], expected[:, 3] = True, True
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(np.abs(node(changed) - node(EDGES)).max((0, 2)) > 1e-5, np.arange(D) == 1)


def test_symmetric_edges_stay_symmetric_under_equal_kernels():
    layer, _ = built(EdgeToEdge(F), EDGES)
    layer.columns.assign(layer.rows)
    x = EDGES + np.swapaxes(EDGES, 1, 2)
    np.testing.assert_allclose(layer(x), np.swapaxes(layer(x), 1, 2), atol=1e-4)


@pytest.mark.parametrize("layer, inputs", [
    (EdgeToEdge(F), EDGES), (EdgeToNode(F), EDGES), (NodeToGraph(F), NODES), (GraphConv(F), [NODES, EDGES[..., 0]]),
])  # fmt: skip
def test_config_and_shape(layer, inputs):
    again = type(layer).from_config(layer.get_config())
    assert again.filters == F
    shape = [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape
    assert tuple(again(inputs).shape) == tuple(again.compute_output_shape(shape))


def test_parameters_of_the_critic():
    critic = connectome_critic(90)
    assert critic.count_params() == 1_892_477
    counts = [critic.get_layer(name).count_params() for name in ("edges1", "edges2", "nodes")]
    assert counts == [5_792, 184_352, 184_384]
    assert connectome_critic(12, plain=True).get_layer("conv1").count_params() == 9 * 32 + 32
    assert isinstance(critic, keras.Model) and critic.output_shape == (None, 1)


@given(st.integers(2, 30), st.integers(0, 100))
@settings(max_examples=15)
def test_triangles_round_trip(regions, seed):
    vectors = np.random.default_rng(seed).random((2, size_of(regions))).astype("float32")
    matrices = to_matrix(vectors, regions).numpy()
    assert matrices.shape == (2, regions, regions)
    np.testing.assert_array_equal(matrices, np.swapaxes(matrices, 1, 2))
    np.testing.assert_array_equal(np.diagonal(matrices, axis1=1, axis2=2), 0)
    np.testing.assert_array_equal(to_vector(matrices), vectors)
    assert matrices[0, 0, 1] == vectors[0, 0]  # row by row
    if regions > 2:
        assert matrices[0, 0, 2] == vectors[0, 1]
