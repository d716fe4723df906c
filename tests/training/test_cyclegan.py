"""CycleGANModel on networks of one weight, whose losses can be told by hand; as a method: pix2pix_bridge's tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.adam import Adam
from tfmed.training.cyclegan import CycleGANModel

pytestmark = pytest.mark.current


def times(factor, name):
    """Images `(n, 2, 2, 1)` times a number."""
    inputs = keras.Input((2, 2, 1))
    start = keras.initializers.Constant(factor)
    layer = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=start, name="times")
    return keras.Model(inputs, layer(inputs), name=name)


class Tiny(CycleGANModel):
    def __init__(self, there=2.0, back=0.25, history=0, **kwargs):
        super().__init__("a", "b", cycle_weight=3.0, identity_weight=5.0, **kwargs)
        self.generator, self.back_generator = times(there, "there"), times(back, "back")
        self.critic, self.back_critic = times(1.0, "critic"), times(1.0, "back_critic")
        self.finish_cycle([Adam(0.01), Adam(0.01)], history, (2, 2, 1))


def batch(a=1.0, b=4.0, step=0):
    one, other = (tf.fill((1, 2, 2, 1), value) for value in (a, b))
    return {"a": one, "b": other, "index": tf.constant([step], tf.int64)}


def test_the_losses_by_hand():
    """a = 1 becomes 2, and comes back as 0.5; b = 4 becomes 1, and comes back as 2."""
    model, samples = Tiny(), batch()
    made = model.made(samples)
    assert [float(image[0, 0, 0, 0]) for image in made] == [2.0, 1.0]
    loss, logs = model.critic_loss(samples, made)
    assert (
        float(loss) == pytest.approx(0.5 * ((4 - 1) ** 2 + 2**2) + 0.5 * ((1 - 1) ** 2 + 1**2)) == logs["critic_loss"]
    )
    total, logs = model.generator_loss(samples, made)
    assert float(logs["generator_critic"]) == pytest.approx((2 - 1) ** 2 + (1 - 1) ** 2)
    assert float(logs["cycle"]) == pytest.approx(abs(0.5 - 1) + abs(2 - 4))
    assert float(logs["identity"]) == pytest.approx(abs(8 - 4) + abs(0.25 - 1))
    assert float(total) == pytest.approx(1 + 3 * 2.5 + 5 * 4.75)


@pytest.mark.long
def test_generators_learn_each_other_s_inverse():
    model = Tiny()
    for step in range(300):
        logs = model.train_step(batch(step=step))
    assert float(logs["cycle"]) < 2.5  # the running mean, from which it started
    there, back = (float(net.get_layer("times").kernel.numpy().squeeze()) for net in
                   (model.generator, model.back_generator))  # fmt: skip
    assert there * back == pytest.approx(1.0, abs=0.1)


def test_critics_are_shown_older_translations_and_generators_none():
    model = Tiny(history=2)
    seen, plain = [], []
    for step in range(12):
        samples = batch(a=1.0 + step, step=step)
        made = model.made(samples)
        seen.append(float(model.critic_loss_with_history(samples, made)[0]))
        plain.append(float(model.critic_loss(samples, made)[0]))
    assert seen[:2] == plain[:2]
    assert np.sum(np.abs(np.subtract(seen, plain)) > 1e-6) >= 3
    assert not [v for v in model.trainable_variables if "images" in v.name]
