"""Adversarial losses on raw critic scores, and gradient penalties. All in float32, whatever dtype the scores have.

Every loss returns one value per sample (scores are averaged over all axes but the first), so that a caller can weigh
samples and divide by the global batch. ValueError: not as many real samples as generated ones, or other shapes that
would be stretched.
"""

from collections.abc import Callable

import tensorflow as tf

from tfmed.losses import checks


def _per_sample(values: tf.Tensor) -> tf.Tensor:
    values = tf.cast(values, tf.float32)
    return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)


def js_critic(real: tf.Tensor, fake: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Critic side of the original loss (Goodfellow et al. 2014, Eq. 1): softplus(-D(x)) + softplus(D(G(z))); (n,).

    Args:
        smoothing: real images are to score 1 - smoothing in place of 1 (one-sided, Salimans et al. 2016, Sect. 3.4).
    """
    real, fake = _pair(real, fake)
    return _per_sample(tf.nn.softplus(-real) + smoothing * real) + _per_sample(tf.nn.softplus(_float(fake)))


def js_generator(fake: tf.Tensor) -> tf.Tensor:
    """Non-saturating generator loss softplus(-D(G(z))); (n,)."""
    return _per_sample(tf.nn.softplus(-_float(fake)))


def wasserstein_critic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Critic side of the Wasserstein loss (Arjovsky et al. 2017): D(G(z)) - D(x); (n,).

    Example:
        >>> wasserstein_critic(tf.constant([[3.0]]), tf.constant([[1.0]])).numpy().tolist()
        [-2.0]
    """
    real, fake = _pair(real, fake)
    return _per_sample(fake) - _per_sample(real)


def wasserstein_generator(fake: tf.Tensor) -> tf.Tensor:
    """-D(G(z)); (n,)."""
    return -_per_sample(fake)


def least_squares_critic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Critic side of the least-squares loss (Mao et al. 2017, Eq. 9): ((D(x) - 1)^2 + D(G(z))^2) / 2; (n,)."""
    real, fake = _pair(real, fake)
    return 0.5 * (_per_sample(tf.square(real - 1.0)) + _per_sample(tf.square(fake)))


def least_squares_generator(fake: tf.Tensor) -> tf.Tensor:
    """(D(G(z)) - 1)^2 / 2; (n,)."""
    return 0.5 * _per_sample(tf.square(_float(fake) - 1.0))


def hinge_critic(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
    """Critic side of the hinge loss max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Miyato et al. 2018, Eq. 16); (n,)."""
    real, fake = _pair(real, fake)
    return _per_sample(tf.nn.relu(1.0 - real)) + _per_sample(tf.nn.relu(1.0 + fake))


def relativistic_critic(
    real: tf.Tensor, fake: tf.Tensor, mean_real: float | tf.Tensor, mean_fake: float | tf.Tensor
) -> tf.Tensor:
    """Critic side of the relativistic average loss (Jolicoeur-Martineau 2019, Eq. 7), halved; (n,).

    (softplus(-(C(x) - E C(G))) + softplus(C(G) - E C(x))) / 2. With one sample it is softplus(C(G) - C(x)).

    Args:
        real, fake: scores of as many real images as generated ones.
        mean_real, mean_fake: their means over the whole batch, scalars.
    """
    real, fake = _pair(real, fake)
    for name, mean in (("mean_real", mean_real), ("mean_fake", mean_fake)):
        checks.one_number(name, tf.convert_to_tensor(mean))
    return 0.5 * (_per_sample(tf.nn.softplus(mean_fake - real)) + _per_sample(tf.nn.softplus(fake - mean_real)))


def relativistic_generator(
    real: tf.Tensor, fake: tf.Tensor, mean_real: float | tf.Tensor, mean_fake: float | tf.Tensor
) -> tf.Tensor:
    """The same with real and generated images in each other's place (Eq. 8), halved; (n,)."""
    return relativistic_critic(fake, real, mean_fake, mean_real)


def class_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of a critic's class head (Odena et al. 2017, Eq. 3): logits `(n, k)`, labels `(n,)` int; (n,)."""
    logits, labels = _float(logits), tf.convert_to_tensor(labels)
    checks.same_shape("labels", labels, "samples", logits[:, 0])
    checks.known_labels(labels, logits.shape[-1])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _float(scores: tf.Tensor) -> tf.Tensor:
    return tf.cast(scores, tf.float32)


def _pair(real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The scores of as many real images as generated ones, float32."""
    real, fake = _float(real), _float(fake)
    checks.as_many_samples("real scores", real, "generated ones", fake)
    return real, fake


LOSSES = {
    "js": (js_critic, js_generator),
    "wasserstein": (wasserstein_critic, wasserstein_generator),
    "least_squares": (least_squares_critic, least_squares_generator),
    "hinge": (hinge_critic, wasserstein_generator),
}


def squared_gradient_norm(critic: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """||grad_x D(x)||^2 per sample, float32 `(n,)`; D's output may be a score or a map of scores (then their mean).

    Args:
        critic: images -> scores, first axis the sample.
        images: `(n, ...)`.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        score = tf.reduce_sum(_per_sample(critic(images)))
    gradient = tf.cast(tape.gradient(score, images), tf.float32)
    return tf.reduce_sum(tf.square(tf.reshape(gradient, [tf.shape(gradient)[0], -1])), axis=1)


def r1(
    critic: Callable[[tf.Tensor], tf.Tensor],
    real: tf.Tensor,
    fake: tf.Tensor,
    weight: float,
    mix: tf.Tensor | None = None,
) -> tf.Tensor:
    """Zero-centred penalty on real images, weight/2 * ||grad D(x)||^2 per sample (Mescheder et al. 2018, Eq. 9)."""
    return 0.5 * weight * squared_gradient_norm(critic, real)


def r2(
    critic: Callable[[tf.Tensor], tf.Tensor],
    real: tf.Tensor,
    fake: tf.Tensor,
    weight: float,
    mix: tf.Tensor | None = None,
) -> tf.Tensor:
    """Zero-centred penalty on generated images (Mescheder et al. 2018, Eq. 10)."""
    return 0.5 * weight * squared_gradient_norm(critic, fake)


def wgan_gp(
    critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, fake: tf.Tensor, weight: float, mix: tf.Tensor
) -> tf.Tensor:
    """One-centred penalty between real and fake images, weight * (||grad D|| - 1)^2 (Gulrajani et al. 2017, Eq. 3).

    Args:
        mix: uniform numbers in [0, 1], one per sample, `(n, 1, ...)`: the share of the real image.
    """
    real, fake, mix = (tf.convert_to_tensor(images) for images in (real, fake, mix))
    checks.same_shape("real images", real, "generated ones", fake)
    checks.as_many_samples("mix", mix, "images", real)
    if len(mix.shape) != len(real.shape) or mix.shape[1:].num_elements() not in (None, 1):
        raise ValueError(f"mix of shape {mix.shape} for images of shape {real.shape}; give one number to a sample")
    between = mix * real + (1.0 - mix) * fake
    norm = tf.sqrt(squared_gradient_norm(critic, between) + 1e-12)
    return weight * tf.square(norm - 1.0)


PENALTIES = {"r1": r1, "r2": r2, "wgan-gp": wgan_gp}
