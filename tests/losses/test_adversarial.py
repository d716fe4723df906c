"""Adversarial losses and penalties: closed forms, invariants, and agreement with TensorFlow-GAN."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.losses.adversarial import (
    LOSSES,
    PENALTIES,
    class_loss,
    js_critic,
    js_generator,
    least_squares_critic,
    least_squares_generator,
    r1,
    r2,
    relativistic_critic,
    relativistic_generator,
    squared_gradient_norm,
    wasserstein_critic,
    wasserstein_generator,
    wgan_gp,
)
from tfmed.losses.path_length import path_length_penalty, path_lengths

pytestmark = pytest.mark.current

needs_tfgan = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_gan") is None, reason="TensorFlow-GAN is installed on stack addons only"
)
SCORES = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=6).map(lambda v: np.array(v, "float32"))


def scores(seed, shape=(6,)):
    return tf.constant(np.random.default_rng(seed).normal(0, 3, shape), tf.float32)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_closed_forms():
    zero, two = tf.zeros(3), tf.fill([3], 2.0)
    np.testing.assert_allclose(js_critic(zero, zero), np.full(3, 2 * np.log(2)), rtol=1e-6)
    np.testing.assert_allclose(js_critic(two, -two), np.full(3, 2 * np.log1p(np.exp(-2))), rtol=1e-6)
    np.testing.assert_allclose(js_generator(two), np.full(3, np.log1p(np.exp(-2))), rtol=1e-6)
    np.testing.assert_allclose(wasserstein_critic(two, -two), np.full(3, -4.0))
    np.testing.assert_allclose(wasserstein_generator(two), np.full(3, -2.0))


def test_least_squares_closed_forms():
    """The critic's minimum 0 is at D(x) = 1, D(G(z)) = 0, the generator's at D(G(z)) = 1."""
    one, zero, two = tf.ones(3), tf.zeros(3), tf.fill([3], 2.0)
    np.testing.assert_allclose(least_squares_critic(one, zero), 0)
    np.testing.assert_allclose(least_squares_generator(one), 0)
    np.testing.assert_allclose(least_squares_critic(two, two), 0.5 * (1 + 4))
    np.testing.assert_allclose(least_squares_generator(-two), 0.5 * 9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_is_the_cross_entropy_with_a_soft_target(smoothing):
    x, z = scores(0), scores(1)
    soft = tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(x.shape, 1 - smoothing), x)
    expected = soft + tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros(z.shape), z)
    np.testing.assert_allclose(js_critic(x, z, smoothing), expected, rtol=1e-5, atol=1e-6)


def test_class_loss():
    logits, labels = np.array([[0.0, 0.0], [3.0, 1.0]], "float32"), np.array([0, 1])
    np.testing.assert_allclose(class_loss(logits, labels), [np.log(2), np.log1p(np.exp(2.0))], rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(SCORES)
def test_js_equals_the_binary_cross_entropies(values):
    p = 1 / (1 + np.exp(-values.astype("float64")))
    fake = -values / 2
    q = 1 / (1 + np.exp(-fake.astype("float64")))
    with np.errstate(divide="ignore"):
        expected = -np.log(p) - np.log1p(-q)
    np.testing.assert_allclose(js_critic(values, fake), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(js_generator(values), -np.log(p), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(SCORES, st.floats(-20, 20, width=32))
def test_a_wasserstein_critic_ignores_a_common_shift(values, shift):
    shifted = wasserstein_critic(values + np.float32(shift), values[::-1] + np.float32(shift))
    np.testing.assert_allclose(shifted, wasserstein_critic(values, values[::-1]), atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(SCORES)
def test_the_two_sides_of_wasserstein_cancel(values):
    """What the critic gains on generated images is what the generator loses."""
    both = wasserstein_critic(tf.zeros_like(values), values) + wasserstein_generator(values)
    np.testing.assert_array_equal(both, np.zeros(len(values)))


@pytest.mark.parametrize("name", LOSSES)
def test_one_value_per_sample_whatever_the_map(name):
    critic, generator = LOSSES[name]
    real, fake = scores(0, (4, 3, 5, 1)), scores(1, (4, 3, 5, 1))
    flat = [tf.reshape(s, (4, -1)) for s in (real, fake)]
    for i in range(4):
        one = critic(real[i : i + 1], fake[i : i + 1])
        np.testing.assert_allclose(critic(real, fake)[i : i + 1], one, rtol=1e-6)
        pixels = critic(flat[0][i], flat[1][i])
        np.testing.assert_allclose(one[0], np.mean(pixels), rtol=1e-5)
    assert generator(fake).shape == (4,)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_low_precision_scores_are_handled_in_float32(name, dtype):
    critic, generator = LOSSES[name]
    real, fake = (tf.cast(scores(seed, (3, 40, 50)), dtype) for seed in (0, 1))
    for found, exact in (
        (critic(real, fake), critic(tf.cast(real, tf.float32), tf.cast(fake, tf.float32))),
        (generator(fake), generator(tf.cast(fake, tf.float32))),
    ):
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("name", LOSSES)
def test_sums_of_large_float16_scores_do_not_overflow(name):
    critic, generator = LOSSES[name]
    huge = tf.fill([2, 100, 100], tf.constant(30000.0, tf.float16))
    assert np.isfinite(critic(huge, -huge)).all() and np.isfinite(generator(-huge)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_push_the_right_way(name):
    critic, generator = LOSSES[name]
    # Least squares pull scores to 1 and 0 from either side, the hinge is flat beyond its margins: scores lie between.
    squash = {"least_squares": tf.sigmoid, "hinge": tf.tanh}.get(name, tf.identity)
    real, fake = tf.Variable(squash(scores(0))), tf.Variable(squash(scores(1)))
    with tf.GradientTape(persistent=True) as tape:
        critic_loss, generator_loss = tf.reduce_sum(critic(real, fake)), tf.reduce_sum(generator(fake))
    assert (tape.gradient(critic_loss, real).numpy() < 0).all()  # the critic wants real scores up
    assert (tape.gradient(critic_loss, fake).numpy() > 0).all()  # and generated ones down
    assert (tape.gradient(generator_loss, fake).numpy() < 0).all()  # the generator wants them up


def test_js_is_least_where_the_critic_is_optimal():
    """D(x) = log(p_data / p_generated) minimises the critic's loss (Goodfellow et al. 2014, Prop. 1)."""
    data, generated = 0.8, 0.3  # densities at one point

    def loss(score):
        score = tf.constant([score])
        return float((data * js_critic(score, [-1e9]) + generated * js_critic([1e9], score))[0])

    best = np.log(data / generated)
    assert loss(best) < min(loss(best - 0.1), loss(best + 0.1))


# --- penalties --------------------------------------------------------------------------------------------------------

WEIGHTS = tf.constant(np.random.default_rng(0).normal(size=(5, 6, 2)), tf.float32)


def linear(images):
    """Its gradient is WEIGHTS everywhere."""
    return tf.reduce_sum(images * tf.cast(WEIGHTS, images.dtype), axis=(1, 2, 3))


def quadratic(images):
    """Its gradient is the image itself."""
    return 0.5 * tf.reduce_sum(tf.square(images), axis=(1, 2, 3))


def images(seed, n=3):
    return tf.constant(np.random.default_rng(seed).normal(size=(n, 5, 6, 2)), tf.float32)


def square(x):
    return np.sum(np.square(x), axis=(1, 2, 3))


def test_squared_gradient_norms():
    x = images(1)
    np.testing.assert_allclose(squared_gradient_norm(linear, x), np.full(3, np.sum(WEIGHTS.numpy() ** 2)), rtol=1e-5)
    np.testing.assert_allclose(squared_gradient_norm(quadratic, x), square(x), rtol=1e-5)


def test_a_map_of_scores_counts_by_its_mean():
    """Each of 30 scores is the sum of one pixel's two channels, so the mean's gradient is 1/30 in 60 entries."""
    norm = squared_gradient_norm(lambda x: tf.reduce_sum(x, axis=-1), images(1))
    np.testing.assert_allclose(norm, np.full(3, 60 / 900), rtol=1e-5)


def test_r1_sees_real_and_r2_generated_images():
    real, fake = images(1), images(2)
    np.testing.assert_allclose(r1(quadratic, real, fake, 10.0), 5 * square(real), rtol=1e-5)
    np.testing.assert_allclose(r2(quadratic, real, fake, 10.0), 5 * square(fake), rtol=1e-5)
    np.testing.assert_allclose(r1(quadratic, real, None, 1.0), 0.5 * square(real), rtol=1e-5)


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_wgan_gp_between_the_images(mix):
    real, fake = images(1), images(2)
    between = mix * real.numpy() + (1 - mix) * fake.numpy()
    found = wgan_gp(quadratic, real, fake, 10.0, tf.fill([3, 1, 1, 1], mix))
    np.testing.assert_allclose(found, 10 * (np.sqrt(square(between)) - 1) ** 2, rtol=1e-4)


def test_each_sample_has_its_own_mix():
    real, fake = images(1), images(2)
    mix = tf.reshape(tf.constant([0.0, 0.5, 1.0]), (3, 1, 1, 1))
    found = wgan_gp(quadratic, real, fake, 1.0, mix)
    alone = [wgan_gp(quadratic, real[i : i + 1], fake[i : i + 1], 1.0, mix[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(found, alone, rtol=1e-6)


def test_a_critic_of_slope_one_pays_nothing_and_a_flat_one_the_weight():
    norm = tf.norm(WEIGHTS)
    mix = tf.fill([3, 1, 1, 1], 0.3)
    np.testing.assert_allclose(wgan_gp(lambda x: linear(x) / norm, images(1), images(2), 10.0, mix), 0, atol=1e-9)
    flat = wgan_gp(lambda x: tf.reduce_sum(0.0 * x, axis=(1, 2, 3)), images(1), images(2), 10.0, mix)
    np.testing.assert_allclose(flat, np.full(3, 10.0), rtol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 100, width=32), st.floats(0.125, 4, width=32))
def test_penalties_scale_with_weight_and_critic(weight, slope):
    real, fake = images(1), images(2)
    for penalty in (r1, r2):
        one = penalty(linear, real, fake, 1.0).numpy()
        np.testing.assert_allclose(penalty(linear, real, fake, weight), weight * one, rtol=1e-5, atol=1e-30)
        steeper = penalty(lambda x: np.float32(slope) * linear(x), real, fake, 1.0)
        np.testing.assert_allclose(steeper, slope**2 * one, rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_can_be_differentiated_also_where_the_critic_is_flat(name):
    """d/ds of a penalty on the critic s * w . x: known for s > 0, finite at s = 0."""
    scale = tf.Variable(0.0)
    mix = tf.fill([3, 1, 1, 1], 0.5)
    for value in (0.0, 2.0):
        scale.assign(value)
        with tf.GradientTape() as tape:
            loss = PENALTIES[name](lambda x: scale * linear(x), images(1), images(2), 10.0, mix)
        gradient = tape.gradient(loss, scale).numpy()
        assert np.isfinite(gradient)
    squared = np.sum(WEIGHTS.numpy() ** 2)
    expected = 20 * (2 * np.sqrt(squared) - 1) * np.sqrt(squared) if name == "wgan-gp" else 10 * 2 * squared
    np.testing.assert_allclose(gradient, 3 * expected, rtol=1e-4)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_run_in_a_graph_and_give_float32(name):
    mix = tf.fill([3, 1, 1, 1], 0.5)
    eager = PENALTIES[name](quadratic, images(1), images(2), 10.0, mix)
    graph = tf.function(lambda a, b: PENALTIES[name](quadratic, a, b, 10.0, mix))(images(1), images(2))
    np.testing.assert_allclose(eager, graph, rtol=1e-6)
    half = squared_gradient_norm(linear, tf.cast(images(1), tf.float16))
    assert half.dtype == tf.float32
    np.testing.assert_allclose(half, np.full(3, np.sum(WEIGHTS.numpy() ** 2)), rtol=5e-3)


# --- TensorFlow-GAN as oracle -----------------------------------------------------------------------------------------


def mean(values):
    return float(tf.reduce_mean(values))


@needs_tfgan
@pytest.mark.parametrize("seed", range(5))
def test_losses_equal_tensorflow_gan(seed):
    from tensorflow_gan.python.losses import losses_impl as tfgan

    real, fake = scores(seed), scores(seed + 100)
    for theirs in (tfgan.modified_discriminator_loss, tfgan.minimax_discriminator_loss):
        assert mean(js_critic(real, fake)) == pytest.approx(float(theirs(real, fake, label_smoothing=0.0)), abs=1e-5)
    assert mean(js_generator(fake)) == pytest.approx(float(tfgan.modified_generator_loss(fake)), abs=1e-5)
    ours = mean(wasserstein_critic(real, fake)), mean(wasserstein_generator(fake))
    theirs = float(tfgan.wasserstein_discriminator_loss(real, fake)), float(tfgan.wasserstein_generator_loss(fake))
    assert ours == pytest.approx(theirs, abs=1e-5)
    ours = mean(least_squares_critic(real, fake)), mean(least_squares_generator(fake))
    theirs = tfgan.least_squares_discriminator_loss(real, fake), tfgan.least_squares_generator_loss(fake)
    assert ours == pytest.approx([float(value) for value in theirs], rel=1e-5)


@needs_tfgan
@pytest.mark.parametrize("critic", [linear, quadratic])
def test_the_gradient_penalty_equals_tensorflow_gan(critic):
    """Theirs draws its own mixture; between an image and itself there is only one."""
    from tensorflow_gan.python.losses import losses_impl as tfgan

    tf.random.set_seed(0)  # theirs draws, and determinism may be on
    x = images(1) / 10

    @tf.function
    def theirs(x):
        return tfgan.wasserstein_gradient_penalty(x, x, None, lambda data, _: critic(data), "critic")

    ours = mean(wgan_gp(critic, x, x, 1.0, tf.fill([3, 1, 1, 1], 0.4)))
    assert ours == pytest.approx(float(theirs(x)), rel=1e-5)


# --- relativistic average ---------------------------------------------------------------------------------------------


def relativistic(real, fake):
    """(critic's, generator's) loss of logits `(n, 1)`, mean over the batch."""
    real, fake = (tf.constant(np.reshape(x, (-1, 1)), tf.float32) for x in (real, fake))
    means = tf.reduce_mean(real), tf.reduce_mean(fake)
    losses = (relativistic_critic, relativistic_generator)
    return [float(tf.reduce_mean(loss(real, fake, *means))) for loss in losses]


def test_relativistic_of_one_pair_is_the_plain_relativistic_loss():
    """softplus(C_f - C_r), and with the roles exchanged for the generator."""
    for real, fake in ((2.0, -1.0), (-3.0, 4.5), (0.3, 0.3)):
        critic, generator = relativistic([real], [fake])
        assert critic == pytest.approx(np.log1p(np.exp(fake - real)), rel=1e-5)
        assert generator == pytest.approx(np.log1p(np.exp(real - fake)), rel=1e-5)


def test_relativistic_of_equal_logits_is_log_2():
    assert relativistic([0.7] * 3, [0.7] * 3) == pytest.approx([np.log(2)] * 2, rel=1e-6)


def test_relativistic_of_a_batch_follows_the_definition():
    """With sigmoids: -E log D(x) - E log(1 - D(G)), D relative to the mean of the other side; shifts change nothing."""
    real, fake = np.array([1.0, -2.0, 0.5]), np.array([0.0, 3.0, -1.0])

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    r, f = sigmoid(real - fake.mean()), sigmoid(fake - real.mean())
    expected = [-(np.log(r).mean() + np.log(1 - f).mean()) / 2, -(np.log(f).mean() + np.log(1 - r).mean()) / 2]
    assert relativistic(real, fake) == pytest.approx(expected, rel=1e-5)
    assert relativistic(real + 5, fake + 5) == pytest.approx(expected, rel=1e-5)


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_one_sample_does_not_stand_for_many():
    for critic in (*(pair[0] for pair in LOSSES.values()), lambda a, b: relativistic_critic(a, b, 0.0, 0.0)):
        for call in (critic, tf.function(critic)):
            with pytest.raises(ValueError, match="differ in their samples"):
                call(scores(0, (4, 3)), scores(1, (1, 3)))
    with pytest.raises(ValueError, match="mean_fake of shape"):
        relativistic_critic(scores(0, (4, 1)), scores(1, (4, 1)), 0.0, scores(1, (4, 1)))


def test_class_labels_fit_the_logits():
    logits = scores(0, (4, 3))
    for labels in ([0], [[0], [1], [2], [0]], [0, 1, 2]):
        with pytest.raises(ValueError, match="labels of shape"):
            class_loss(logits, np.array(labels))
    with pytest.raises(ValueError, match="labels are not 0 to 2"):
        class_loss(logits, np.array([0, 1, 2, 3]))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3,), (3, 5, 1, 1), (3, 1, 1)])
def test_each_sample_needs_its_mix(shape):
    with pytest.raises(ValueError, match="mix of shape"):
        wgan_gp(quadratic, images(1), images(2), 10.0, tf.fill(shape, 0.5))


def test_images_between_others_need_both_of_one_shape():
    with pytest.raises(ValueError, match="does not fit"):
        wgan_gp(quadratic, images(1), images(2)[:1], 10.0, tf.fill([3, 1, 1, 1], 0.5))


def test_samples_are_counted_in_a_graph_of_open_sizes():
    critic = LOSSES["wasserstein"][0]
    graph = tf.function(critic, input_signature=[tf.TensorSpec([None, None])] * 2, autograph=False)
    assert graph(scores(0, (4, 3)), scores(1, (4, 5))).shape == (4,)
    with pytest.raises(tf.errors.InvalidArgumentError, match="differ in their samples"):
        graph(scores(0, (4, 3)), scores(1, (1, 3)))


def test_path_length_penalty_is_the_squared_gap_to_a_fixed_mean():
    lengths, mean = tf.constant([1.0, 4.0]), tf.Variable(2.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(lengths)
        found = path_length_penalty(lengths, mean)
    np.testing.assert_allclose(found, [1, 4])
    np.testing.assert_allclose(tape.gradient(found, lengths), [-2, 4])
    assert tape.gradient(found, mean) is None


def test_path_lengths_of_one_sample_and_of_a_flat_generator():
    """The root has no slope at 0: images that do not depend on w must not give NaN."""
    w, y = scores(0, (1, 3, 4)), scores(1, (1, 4))
    np.testing.assert_allclose(path_lengths(lambda w: 2 * w[:, 0], w, y), np.linalg.norm(y, axis=1) / 3**0.5, rtol=1e-5)
    np.testing.assert_allclose(path_lengths(lambda w: 0 * w[:, 0], w, y), [0], atol=2e-6)


def test_path_lengths_need_noise_of_the_images_shape():
    def synthesise(w):
        return tf.reduce_sum(w, 1)

    w, y = scores(0, (2, 3, 4)), scores(1, (2, 4))
    np.testing.assert_allclose(path_lengths(synthesise, w, y), np.linalg.norm(y, axis=1) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="noise of shape"):
        path_lengths(synthesise, w, y[:1])
    with pytest.raises(ValueError, match="mean of shape"):
        path_length_penalty(scores(0, (2,)), scores(1, (2,)))
