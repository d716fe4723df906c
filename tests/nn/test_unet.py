"""U-Nets: GBDL's table and total, options, upsampling, Monte Carlo passes that reuse the encoder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import precision, set_precision, tensor_variable
from tfmed.nn.dropout import Dropout, mc_mean
from tfmed.nn.unet import Upsample, mc_unet3d, unet

pytestmark = pytest.mark.current

STAGES = {"down0": 28_576, "down1": 83_040, "down2": 276_640, "down3": 746_784, "down4": 2_986_560,
          "up3": 3_981_696, "up2": 995_520, "up1": 387_200, "up0": 110_656, "head0": 66}  # fmt: skip


def parameters(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


def noise(shape, seed=1):
    return tf.random.stateless_normal(shape, [seed, 2])


@pytest.mark.usefixtures("unfilled_weights")
def test_gbdl_total_and_stages_as_in_the_card():
    model = mc_unet3d(size=(5, 32, 48))
    assert parameters(model.trainable_weights) == 9_596_738
    layers = model.get_layer("encoder").layers + model.get_layer("decoder").layers
    for stage, expected in STAGES.items():
        own = [w for layer in layers if layer.name.startswith(stage) for w in layer.trainable_weights]
        assert parameters(own) == expected, stage
    assert parameters(mc_unet3d(channels=3).trainable_weights) == 9_598_466
    drops = [layer for layer in layers if isinstance(layer, Dropout)]
    assert [layer.rate for layer in drops] == [0.3] * 4 and all(layer.spatial for layer in drops)
    shapes = [tuple(f.shape[1:]) for f in model.get_layer("encoder").output]
    assert shapes == [(5, 32, 48, 32), (5, 16, 24, 64), (5, 8, 12, 96), (5, 4, 6, 192), (5, 2, 3, 384)]


@pytest.mark.parametrize(("rank", "options"), [
    (2, {}), (2, {"norm": "batch", "residual": True}), (3, {"norm": "none", "upsample": "transposed"}),
    (3, {"norm": "layer", "affine": False, "upsample": "nearest", "activation": "leaky_relu"}),
    (2, {"dropout": 0.5, "dropout_in": "all", "residual": True, "widen": "second"}), (3, {"residual": True}),
])  # fmt: skip
def test_every_option_gives_logits_and_gradients(rank, options):
    model = unet(2, 3, (None,) * rank, (4, 6, 8), **options)
    x = noise((2, 8, 12, 4)[: rank + 1] + (2,))
    with tf.GradientTape() as tape:
        y = model(x, training=True)
        loss = tf.reduce_mean(tf.square(y - noise(y.shape, 3)))
    assert y.shape == (*x.shape[:-1], 3) and y.dtype == tf.float32
    gradients = tape.gradient(loss, [tensor_variable(w) for w in model.trainable_weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)


def test_in_plane_pools_never_touch_the_slices():
    model = unet(1, 2, (None, None, None), (4, 6), factors=(1, 2, 2))
    for slices in (1, 3):
        assert model(noise((1, slices, 4, 6, 1))).shape == (1, slices, 4, 6, 2)


def test_deep_supervision_gives_logits_of_coarser_levels():
    model = unet(1, 2, (None, None), (4, 4, 4), deep_supervision=1)
    assert [y.shape for y in model(noise((1, 8, 8, 1)))] == [(1, 8, 8, 2), (1, 4, 4, 2)]


def test_linear_upsampling_is_bilinear_resizing():
    x = noise((2, 5, 7, 3))
    np.testing.assert_allclose(Upsample((2, 2))(x), tf.image.resize(x, (10, 14)), atol=1e-6)
    np.testing.assert_allclose(Upsample((1, 2, 2))(x[None])[0], tf.image.resize(x, (10, 14)), atol=1e-6)
    np.testing.assert_array_equal(Upsample((2, 1), "nearest")(x), tf.repeat(x, 2, 1))
    assert Upsample((2, 1)).compute_output_shape((None, None, 3, 4)) == (None, None, 3, 4)
    with pytest.raises(ValueError, match="by 1 or 2"):
        Upsample((3, 1))


def test_monte_carlo_passes_run_the_encoder_once():
    model = unet(1, 2, (None, None), (4, 6), dropout=0.5, seed=3)
    twin = unet(1, 2, (None, None), (4, 6), dropout=0.5, seed=3)
    twin.set_weights(model.get_weights())
    x = noise((2, 8, 8, 1))
    whole = tf.reduce_mean([tf.nn.softmax(twin(x, training=True)) for _ in range(4)], 0)
    for function in (mc_mean, tf.function(mc_mean, autograph=False)):
        model.set_weights([np.zeros_like(w) if w.shape == () else w for w in model.get_weights()])
        np.testing.assert_allclose(function(model, x, 4), whole, atol=1e-5)
    assert np.abs(mc_mean(model, x, 1) - mc_mean(model, x, 1)).max() > 1e-3
    assert int(model.get_layer("decoder").get_layer("up0_dropout").calls) == 6


def test_monte_carlo_passes_with_dropout_everywhere_run_everything():
    model = unet(1, 2, (None, None), (4, 6), norm="batch", dropout=0.5, dropout_in="all")
    x = noise((1, 8, 8, 1))
    np.testing.assert_allclose(tf.reduce_sum(mc_mean(model, x, 3), -1), np.ones((1, 8, 8)), rtol=1e-5)
    assert int(model.get_layer("encoder").get_layer("down1_dropout").calls) == 3


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = unet(1, 2, (8, 8), (4, 6), dropout=0.5)
    x = noise((1, 8, 8, 1))
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x, training=True), model(x, training=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gives_float32_logits_near_those_of_full_precision(policy):
    def make():
        return unet(1, 2, (None, None), (4, 6, 8), norm="batch", dropout=0.2, deep_supervision=1)

    full, x = make(), noise((2, 8, 8, 1))
    before = precision()
    set_precision(policy)
    try:
        low = make()
    finally:
        set_precision(before)
    low.set_weights(full.get_weights())
    for a, b in zip(low(x), full(x), strict=True):
        assert a.dtype == tf.float32
        np.testing.assert_allclose(a, b, atol=0.1)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"size \(30, 32\): the sides must be multiples of \(8, 8\)"):
        unet(1, 2, (30, 32))
    with pytest.raises(TypeError, match="unknown options of a U-Net: drop_out"):
        unet(1, 2, drop_out=0.5)
    with pytest.raises(ValueError, match="dropout_in is 'encoder'"):
        unet(1, 2, dropout_in="encoder")
    with pytest.raises(ValueError, match="one number, 1 or 2"):
        unet(1, 2, factors=(1, 2, 2))


def test_the_last_convolution_may_see_neighbours():
    plain, wide = (unet(1, 2, (None, None), (4, 6), head_kernel=size) for size in (1, 3))
    assert parameters(wide.trainable_weights) - parameters(plain.trainable_weights) == 8 * 4 * 2
    assert wide(noise((1, 4, 6, 1))).shape == (1, 4, 6, 2)


@pytest.mark.parametrize(("classes", "options", "expected"), [
    (6, {}, 1_467_334), (5, {"factors": 2}, 1_467_317), (6, {"transposed_kernel": None, "factors": 2}, 1_263_046),
    (6, {"widths": (16, 32, 64, 128, 128)}, 3_680_454), (6, {"widths": (16, 32, 64, 128, 256)}, 5_893_062),
])  # fmt: skip
@pytest.mark.usefixtures("unfilled_weights")
def test_small_anisotropic_network_of_fsnet(classes, options, expected):
    """Guo et al. 2021: one convolution per level on the way up, after a transposed one of size 3."""
    usual = dict(widths=(16, 32, 64, 128), factors=(1, 2, 2), norm="batch", upsample="transposed", transposed_kernel=3)
    model = unet(16, classes, (None,) * 3, decoder_convolutions=1, **(usual | options))
    assert parameters(model.trainable_weights) == expected


def test_in_plane_levels_of_fsnet():
    widths = (16, 32, 64, 128)
    options = dict(factors=(1, 2, 2), norm="batch", upsample="transposed", transposed_kernel=3, decoder_convolutions=1)
    model = unet(16, 6, (6, 128, 128), widths, **options)
    shapes = [tuple(f.shape[1:]) for f in model.get_layer("encoder").output]
    assert shapes == [(6, 128 // 2**k, 128 // 2**k, width) for k, width in enumerate(widths)]
    layers = [layer for layer in model.get_layer("decoder").layers if layer.name.endswith("_conv0")]
    assert [layer.filters for layer in layers] == [64, 32, 16]
    assert tuple(model.output.shape[1:]) == (6, 128, 128, 6)


def test_without_biases_and_without_a_last_convolution():
    """No bias in front of a norm; no classes: the finest features."""
    how = dict(norm="batch", upsample="transposed")
    plain, bare = (
        unet(1, classes, (None, None), (2, 3), conv_bias=bias, **how) for classes, bias in ((4, True), (0, False))
    )
    biases = 2 * 2 + 2 * 3 + 2 * 2
    assert parameters(plain.trainable_weights) - parameters(bare.trainable_weights) == biases + (2 + 1) * 4
    assert bare(noise((1, 4, 6, 1))).shape == (1, 4, 6, 2)
