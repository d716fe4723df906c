"""FC-DenseNet: EquiReg's Table 2 stage by stage, parameter totals, gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.tiramisu import DECODERS, fc_densenet

pytestmark = pytest.mark.current

SMALL = dict(growth=4, first=6, encoder_layers=(2, 2), bottom_layers=3, decoder_layers=(3, 2))
DOWN = [112, 192, 304, 464, 656]


def parameters(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.one_stack
@pytest.mark.parametrize(("variant", "total", "joined", "new"), [
    ("stated", 9_319_956, [896, 656, 464, 304, 192], [192, 160, 112, 80, 64]),
    ("code", 11_119_684, [896, 704, 496, 352, 224], [240, 192, 160, 112, 80]),
])  # fmt: skip
@pytest.mark.usefixtures("unfilled_weights")
def test_stages_and_totals_as_in_the_paper(variant, total, joined, new):
    model = fc_densenet(4, 4, (224, 224), decoder_layers=variant)

    def shape(name):
        return tuple(model.get_layer(name).output.shape[1:])

    assert parameters(model) == total
    assert shape("first") == (224, 224, 48)
    for i, width in enumerate(DOWN):
        side = 224 // 2**i
        assert shape(f"down{i}") == (side, side, width)
        assert shape(f"transition{i}") == (side // 2, side // 2, width)
    assert shape("bottom_new") == (7, 7, 240)
    for i, (before, after, layers) in enumerate(zip(joined, new, DECODERS[variant], strict=True)):
        side = 14 * 2**i
        assert shape(f"joined{4 - i}") == (side, side, before)
        assert shape(f"up{4 - i}_new") == (side, side, after) and after == 16 * layers
    assert model.output.shape[1:] == (224, 224, 4)


def test_any_multiple_fits_and_every_weight_gets_a_gradient():
    model = fc_densenet(2, 3, **SMALL)
    x = tf.random.stateless_normal([2, 12, 20, 2], [1, 2])
    with tf.GradientTape() as tape:
        y = model(x, training=True)
        loss = tf.reduce_mean(tf.square(y - 1))
    assert y.shape == (2, 12, 20, 3) and y.dtype == tf.float32
    gradients = tape.gradient(loss, [tensor_variable(w) for w in model.trainable_weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)
    np.testing.assert_allclose(model(x), model(x), rtol=1e-4, atol=1e-5)
    assert (np.asarray(model(x, training=True)) != np.asarray(model(x, training=True))).any()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = fc_densenet(1, 2, (8, 8), **SMALL)
    x = tf.random.stateless_normal([1, 8, 8, 1], [1, 2])
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(x), model(x), rtol=1e-4, atol=1e-5)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="multiples of 32"):
        fc_densenet(4, 4, (240, 240))
    with pytest.raises(ValueError, match="decoder_layers is 'cod'"):
        fc_densenet(4, 4, decoder_layers="cod")
    with pytest.raises(ValueError, match="5 numbers"):
        fc_densenet(4, 4, decoder_layers=(4, 4))
