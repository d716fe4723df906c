"""Graph convolutions: closed forms of some edges, permutations, and networks that move nothing at first."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.graph import GlobalTransform, GraphConv, GraphNetwork, RegionFeatures

pytestmark = pytest.mark.current
RNG = np.random.default_rng(0)
FEATURES = tf.constant(RNG.normal(size=(2, 4, 3)), tf.float32)


def layer():
    made = GraphConv(5)
    made.build([(None, 4, 3), (4, 4)])
    made.bias.assign(RNG.normal(size=5))
    return made, *(np.array(tf.convert_to_tensor(w)) for w in (made.own, made.others, made.bias))


def test_edges_decide_what_a_vertex_hears():
    conv, own, others, bias = layer()
    alone = conv([FEATURES, tf.zeros((4, 4))])
    np.testing.assert_allclose(alone, FEATURES.numpy() @ own + bias, atol=1e-5)  # a Dense layer of each vertex
    np.testing.assert_allclose(conv([FEATURES, tf.eye(4)]), FEATURES.numpy() @ (own + others) + bias, atol=1e-5)
    edges = RNG.normal(size=(4, 4)).astype("float32")
    expected = [[f[i] @ own + sum(edges[i, j] * f[j] @ others for j in range(4)) + bias for i in range(4)]
                for f in FEATURES.numpy()]  # fmt: skip
    np.testing.assert_allclose(conv([FEATURES, tf.constant(edges)]), expected, atol=1e-5)


def test_permuted_vertices_are_permuted_rows():
    conv, *_ = layer()
    edges, order = RNG.normal(size=(4, 4)).astype("float32"), [2, 0, 3, 1]
    found = conv([tf.gather(FEATURES, order, axis=1), tf.constant(edges[np.ix_(order, order)])])
    np.testing.assert_allclose(found, tf.gather(conv([FEATURES, tf.constant(edges)]), order, axis=1), atol=1e-5)


def test_a_network_s_edges_begin_alike_and_its_head_at_nothing():
    network = GraphNetwork(4, 2, width=6, narrow=5)
    assert not network(FEATURES).numpy().any() and network(FEATURES).shape == (2, 4, 2)
    np.testing.assert_allclose(tf.convert_to_tensor(network.edges), 0.25)
    assert len(network.trainable_weights) == 1 + 4 * 3 + 2
    network.head.kernel.assign(RNG.normal(size=(5, 2)))
    x = FEATURES
    edges = tf.convert_to_tensor(network.edges)
    first, second, third, last = network.convolutions
    x = kept = tf.nn.relu(first([x, edges]))
    x = tf.nn.relu(third([tf.nn.relu(second([x, edges])), edges]) + kept)
    expected = network.head(tf.nn.relu(last([x, edges])))
    np.testing.assert_allclose(network(FEATURES), expected, atol=1e-6)
    pooled = GraphNetwork(4, 6, width=6, narrow=5, pooled=True)
    assert pooled(FEATURES).shape == (2, 6)


@pytest.mark.parametrize("kind, outputs", [("affine", 6), ("perspective", 9)])
def test_a_global_transform_begins_as_none_and_moves_all_by_one_map(kind, outputs):
    points = tf.constant(RNG.uniform(0, 1, (2, 4, 2)), tf.float32)
    move = GlobalTransform(4, kind, width=6, narrow=5)
    np.testing.assert_allclose(move(FEATURES, points), points, atol=1e-7)
    told = np.zeros(outputs)
    told[[4, 5] if kind == "affine" else [2, 5]] = 0.1, -0.2
    move.graph.head.bias.assign(told)
    np.testing.assert_allclose(move(FEATURES, points), points + [0.1, -0.2], atol=1e-6)
    again = GlobalTransform.from_config(move.get_config())
    assert (again.kind, again.width, again.narrow) == (kind, 6, 5)
    with pytest.raises(ValueError, match="affine or perspective"):
        GlobalTransform(4, "rigid")


def test_a_model_of_it_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, GraphNetwork(4, 2, 6, 5)(inputs))
    model.layers[-1].head.bias.assign([1.0, 2.0])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(FEATURES), model(FEATURES))


def test_regions_have_their_row_their_strength_or_nothing_of_their_own():
    matrices = tf.constant(RNG.random((3, 4, 4)), tf.float32)
    assert np.array_equal(RegionFeatures()(matrices), matrices)
    np.testing.assert_allclose(RegionFeatures("strength")(matrices)[..., 0], matrices.numpy().sum(2), rtol=1e-6)
    assert np.array_equal(RegionFeatures("constant")(matrices), np.ones((3, 4, 1)))
    inputs = keras.Input((4, 4))
    for kind in ("row", "strength", "constant"):
        again = RegionFeatures.from_config(RegionFeatures(kind).get_config())
        assert again(inputs).shape[1:] == RegionFeatures(kind)(matrices).shape[1:] and again.kind == kind
    with pytest.raises(ValueError, match="row, strength or constant"):
        RegionFeatures("degree")
