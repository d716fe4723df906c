"""Channel attention, layers of channels, and weights that are taken over."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import precision, set_precision
from tfmed.nn.attention import ChannelAttention, ChannelGate, SpatialGate, gated
from tfmed.nn.channels import ChannelSlot, TakeChannels
from tfmed.nn.transfer import start_from
from tfmed.nn.unet import unet

pytestmark = pytest.mark.current


def noise(shape, seed=1):
    return tf.random.stateless_normal(shape, [seed, 2])


@pytest.mark.parametrize("energy", ["plain", "max_minus"])
@pytest.mark.parametrize("normalise", [True, False])
def test_formula_and_rows(energy, normalise):
    """R A + A, by loops; the rows of R add up to 1."""
    layer = ChannelAttention("none", energy, normalise)
    x = 0.4 * noise((2, 3, 4, 2, 5))
    found = layer(x).numpy()
    for sample, out in zip(x.numpy().reshape(2, -1, 5).astype(float), found.reshape(2, -1, 5), strict=True):
        energies = sample.T @ sample / (len(sample) if normalise else 1)
        if energy == "max_minus":
            energies = energies.max(1, keepdims=True) - energies
        weights = np.exp(energies) / np.exp(energies).sum(1, keepdims=True)
        for j in range(5):
            mixed = sum(weights[j, i] * sample[:, i] for i in range(5))
            np.testing.assert_allclose(out[:, j], mixed + sample[:, j], atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(layer.weights_of(tf.reshape(x, (2, -1, 5))), -1), 1, atol=1e-6)


def test_a_learned_scale_begins_as_the_identity_and_is_learned():
    layer = ChannelAttention()
    x = noise((2, 3, 4, 6))
    np.testing.assert_array_equal(layer(x), x)
    assert layer.count_params() == 1
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) * noise(x.shape, 3))
    assert abs(float(tape.gradient(loss, layer.trainable_variables[0]))) > 1e-3
    layer.set_weights([np.float32(1)])
    np.testing.assert_allclose(layer(x), ChannelAttention("none")(x), atol=1e-6)


def test_permuted_voxels_and_channels_are_permuted_outputs():
    layer = ChannelAttention("none")
    x = noise((1, 30, 7))
    voxels, channels = np.random.default_rng(0).permutation(30), np.random.default_rng(1).permutation(7)
    plain = layer(x).numpy()
    np.testing.assert_allclose(layer(tf.gather(x, voxels, axis=1)), plain[:, voxels], atol=1e-5)
    np.testing.assert_allclose(layer(tf.gather(x, channels, axis=2)), plain[..., channels], atol=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_finite_in_a_patch_of_98304_voxels(normalise):
    x = 3 * noise((1, 6, 128, 128, 16))
    layer = ChannelAttention("none", normalise=normalise)
    out = layer(x)
    assert out.shape == x.shape and np.isfinite(out).all()
    weights = layer.weights_of(tf.reshape(x, (1, -1, 16)))[0].numpy()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert (np.count_nonzero(weights > 1e-6, 1) > 1).all() == normalise  # raw energies pick one channel alone


def test_half_precision_and_saving(tmp_path):
    before = precision()
    try:
        set_precision("mixed_bfloat16")
        assert ChannelAttention("none")(tf.cast(noise((1, 8, 4)), tf.bfloat16)).dtype == tf.bfloat16
    finally:
        set_precision(before)
    inputs = keras.Input((None, None, 3))
    x = ChannelAttention("none", "max_minus", False)(inputs)
    model = keras.Model(inputs, TakeChannels([2, 0])(ChannelSlot(1, 5)(x)))
    model.save(tmp_path / "model.keras")
    image = noise((2, 4, 6, 3))
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(image), model(image))
    assert model(image).shape == (2, 4, 6, 2) and model.output_shape == (None, None, None, 2)


@pytest.mark.parametrize("options", [{"scale": "learnt"}, {"energy": "minus"}])
def test_unknown_options(options):
    with pytest.raises(ValueError, match="it may be"):
        ChannelAttention(**options)


def test_weights_are_taken_over_but_not_the_last_layer_nor_other_shapes():
    one, other, wide = (unet(c, k, (None, None), (4, 6), norm="batch") for c, k in ((1, 3), (1, 3), (2, 4)))
    one.get_layer("encoder").layers[2].set_weights([np.full(4, 3.0)] * 4)
    before = [w.copy() for w in other.get_weights()]
    count = start_from(other, one)
    changed = [i for i, (a, b) in enumerate(zip(other.get_weights(), one.get_weights(), strict=True)) if (a != b).any()]
    assert count == len(one.weights) - 2 and len(changed) == 1  # the kernel of the head; its bias is 0 in both
    np.testing.assert_array_equal(other.get_weights()[changed[0]], before[changed[0]])
    assert start_from(wide, one) == len(one.weights) - 3  # nor the first kernel, of two channels
    with pytest.raises(ValueError, match="same layers"):
        start_from(unet(1, 3, (None, None), (4, 6, 8)), one)


def test_a_slot_before_a_convolution_holds_in_graphs():
    """As models are exported and applied: what is padded must not be taken for a convolution's own padding."""
    inputs = keras.Input((None, None, None, 1))
    convolution = keras.layers.Conv3D(3, 1, name="convolution")
    model = keras.Model(inputs, convolution(ChannelSlot(1, 3)(inputs)))
    x = noise((1, 4, 6, 5, 1))
    graph = tf.function(model, autograph=False)
    np.testing.assert_allclose(graph(x), convolution(tf.pad(x, [[0, 0]] * 4 + [[1, 1]])), atol=1e-6)


# --- gates ------------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("pools", [("mean",), ("mean", "max")])
@pytest.mark.parametrize("clipped", [False, True])
def test_channel_gates_by_numpy(pools, clipped):
    keras.utils.set_random_seed(0)  # other weights may open a gate so wide that float32 calls it 1
    layer, x = ChannelGate(2, pools, clipped), 3 * noise((2, 5, 4, 6))
    found = layer(x).numpy()
    squeeze, first, excite, last = (weight.numpy() for weight in layer.weights)
    assert squeeze.shape == (6, 3) and excite.shape == (3, 6)
    scores = 0
    for name in pools:
        answer = np.maximum(getattr(x.numpy(), name)((1, 2)) @ squeeze + first, 0) @ excite + last
        scores = scores + (np.maximum(answer, 0) if clipped else answer)
    gates = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(found, x * gates[:, None, None], rtol=1e-4, atol=1e-5)
    assert gates.min() > 0 and gates.max() < 1 and (gates.min() < 0.5) != clipped


@pytest.mark.one_stack
def test_spatial_gates_see_mean_and_maximum_of_places_around():
    layer, x = SpatialGate(3), noise((1, 5, 6, 4))
    gates = layer(x).numpy() / x.numpy()
    taps, offset = (weight.numpy() for weight in layer.weights)
    pooled = np.pad(np.stack([x[0].numpy().mean(-1), x[0].numpy().max(-1)], -1), ((1, 1), (1, 1), (0, 0)))
    score = np.sum(pooled[2:5, 1:4] * taps[..., 0]) + offset[0]  # of place (2, 1)
    np.testing.assert_allclose(gates[0, 2, 1], 1 / (1 + np.exp(-score)), rtol=1e-4)
    assert gates.min() > 0 and gates.max() < 1


@pytest.mark.parametrize("kind, weights", [("cbam", 6), ("se", 4), ("none", 0)])
def test_every_kind_keeps_the_shape(kind, weights):
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, gated(keras.layers.Activation("linear")(inputs), kind, reduction=8))
    assert model(noise((2, 3, 5, 4))).shape == (2, 3, 5, 4) and len(model.weights) == weights
    assert model.output_shape == (None, None, None, 4)


@pytest.mark.parametrize("make", [lambda: ChannelGate(pools=()), lambda: gated(None, "cbm")])
def test_unknown_gates(make):
    with pytest.raises(ValueError, match="may be"):
        make()
