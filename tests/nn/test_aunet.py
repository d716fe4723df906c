"""The au-net: the card's geometry and totals, level by level; shifts; sizes that there are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.aunet import aunet, check_input, margin, output_sizes
from tfmed.nn.dropout import Dropout, mc_mean

pytestmark = pytest.mark.current

STAGES = {
    "down0": 3_860, "down1": 21_760, "down2": 125_440, "down3": 500_480, "down4": 1_999_360,
    "up3_transposed": 819_520, "up3_": 819_520 + 1_076_480, "up2_transposed": 204_960, "up2_": 204_960 + 269_440,
    "up1_transposed": 25_680, "up1_": 25_680 + 57_760, "up0_transposed": 6_440, "up0_": 6_440 + 14_480, "head": 42,
}  # fmt: skip


def parameters(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


def noise(shape, seed=1):
    return tf.random.stateless_normal(shape, [seed, 2])


def trained(model):
    """Weights and statistics as after some training: fresh ones hide mistakes."""
    for i, weight in enumerate(model.weights):
        if "calls" not in weight.name:
            value = noise(weight.shape, i)
            scale = (2 / max(1, np.prod(weight.shape[:-1]))) ** 0.5
            weight.assign(1 + 0.1 * tf.abs(value) if len(weight.shape) == 1 else value * scale)
    return model


@pytest.mark.usefixtures("unfilled_weights")
def test_total_and_stages_as_in_the_card():
    model = aunet()
    assert parameters(model.trainable_weights) == 5_125_702
    layers = model.get_layer("encoder").layers + model.get_layer("decoder").layers
    for stage, expected in STAGES.items():
        own = [w for layer in layers if layer.name.startswith(stage) for w in layer.trainable_weights]
        assert parameters(own) == expected, stage
    drops = [layer for layer in model.get_layer("decoder").layers if isinstance(layer, Dropout)]
    assert [(layer.name, layer.rate, layer.spatial) for layer in drops] == [
        (f"up{i}_dropout", 0.25, False) for i in (3, 2, 1, 0)
    ]
    assert not any(isinstance(layer, Dropout) for layer in model.get_layer("encoder").layers)


def test_geometry_as_in_the_card():
    """Shapes (z, y, x) for an input of 44 x 364 x 364, after the convolutions and after going up."""
    model = aunet(size=(44, 364, 364))
    assert tuple(model.output_shape) == (None, 4, 180, 180, 2)
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")

    def shape(half, name):
        return tuple(half.get_layer(name).output.shape[1:4])

    last = ["down0_plane1", "down1_plane1", "down2_z1", "down3_z1", "down4_z1"]
    assert [shape(encoder, name) for name in last] == [
        (44, 360, 360), (44, 176, 176), (40, 84, 84), (16, 38, 38), (4, 15, 15)]  # fmt: skip
    assert [shape(decoder, f"up{i}_transposed") for i in (3, 2, 1, 0)] == [
        (8, 30, 30), (8, 52, 52), (4, 96, 96), (4, 184, 184)]  # fmt: skip
    assert [shape(decoder, f"up{i}_dropout") for i in (3, 2, 1, 0)] == [
        (4, 26, 26), (4, 48, 48), (4, 92, 92), (4, 180, 180)]  # fmt: skip
    crops = [encoder.get_layer(f"down{i}_cropped").cropping for i in (3, 2, 1, 0)]
    assert [(crop[0][0], crop[1][0], crop[2][1]) for crop in crops] == [(4, 4, 4), (16, 16, 16), (20, 40, 40),
                                                                        (20, 88, 88)]  # fmt: skip


def test_margins_and_sizes():
    assert margin() == (20, 92, 92)
    assert output_sizes() == ((4, 16, 16), (0, 4, 4))
    assert margin(3) == (2, 20, 20) and output_sizes(3) == ((1, 4, 4), (0, 0, 0))
    assert margin(2) == (0, 8, 8)


def answer_size(model, size):
    """(z, y, x) of the answer to an input, None if there is none."""
    try:
        return tuple(model(noise((1, *size, 1))).shape[1:4])
    except (ValueError, tf.errors.InvalidArgumentError):
        return None


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_every_size_that_passes_the_check_works_and_no_other(levels):
    """All small inputs: those refused are the ones that lose a voxel on the way."""
    model = aunet(widths=(2, 2, 2, 2)[:levels], norm="none")
    edge = margin(levels)
    good = 0
    for z, x in [(z, x) for z in range(2 * edge[0] - 1, 2 * edge[0] + 7) for x in (2 * edge[2], 2 * edge[2] + 4)]:
        size = (z, x, x)
        wanted = tuple(s - 2 * e for s, e in zip(size, edge, strict=True))
        try:
            check_input(size, levels)
        except ValueError as error:
            assert "..." in str(error) and "\n" not in str(error)
            assert min(wanted) < 1 or answer_size(model, size) != wanted
        else:
            good += 1
            assert answer_size(model, size) == wanted
    assert good


def test_moving_the_input_moves_the_output():
    """By 16 in the plane and 4 along z, the strides of the deepest level."""
    model = trained(aunet(widths=(2, 3, 4, 5, 6)))
    image = noise((1, 48, 204 + 16, 204 + 16, 1))
    whole = model(image)
    assert whole.shape == (1, 8, 36, 36, 2) and float(tf.math.reduce_std(whole)) > 1e-3
    moved = model(image[:, 4:, 16:, 16:])
    np.testing.assert_allclose(moved, whole[:, 4:, 16:, 16:], atol=1e-4)
    one_voxel = model(tf.roll(image, -1, 3))[:, :, :, :-1]
    assert np.abs(one_voxel - whole[:, :, :, 1:]).max() > 1e-3  # pooling: a single voxel is no such shift


def test_an_output_voxel_sees_no_further_than_the_margin():
    model = trained(aunet(widths=(3, 4, 5)))
    edge = margin(3)
    size = tuple(2 * e + s for e, s in zip(edge, (1, 4, 4), strict=True))
    image = tf.Variable(noise((1, *size, 1)))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.square(model(image)))
    seen = np.abs(tape.gradient(value, image).numpy()[0, ..., 0]) > 0
    assert seen[0].any() and seen[-1].any() and seen[:, 0].any() and seen[:, -1].any()


def test_passes_reuse_the_encoder_and_training_reaches_every_weight():
    model = aunet(2, 3, widths=(3, 4, 5))
    image = noise((1, 10, 44, 44, 2))
    first = mc_mean(model, image, 5)
    np.testing.assert_allclose(tf.reduce_sum(first, -1), 1.0, atol=1e-5)
    assert not np.allclose(first, tf.nn.softmax(model(image, training=False)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(image, training=True) - 1.0))
    gradients = tape.gradient(loss, [tensor_variable(w) for w in model.trainable_weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)


def test_it_is_saved_and_loaded(tmp_path):
    model = trained(aunet(widths=(2, 3, 4)))
    model.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    image = noise((1, 9, 44, 48, 1))
    np.testing.assert_allclose(model(image), again(image), rtol=1e-5)
