"""Path-length regularisation: equal steps in the latent space make equally large changes of the image.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, Sect. 3.2; all in float32.
"""

from collections.abc import Callable

import tensorflow as tf

from tfmed.losses import checks


def path_lengths(synthesise: Callable[[tf.Tensor], tf.Tensor], w: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """|J_w^T y| per sample, float32 `(n,)`: the root of the mean over style layers of the squared gradient's sum.

    Args:
        synthesise: w -> images `(n, ...)`.
        w: `(n, layers, latent)`.
        y: normal noise of the images' shape; it is divided by the root of the number of voxels here.

    Raises:
        ValueError: noise of another shape than the images', styles of another rank.
    """
    if len(w.shape) != 3:
        raise ValueError(f"w of shape {w.shape}; give (n, layers, latent)")
    with tf.GradientTape() as tape:
        tape.watch(w)
        images = tf.cast(synthesise(w), tf.float32)
        checks.same_shape("noise", tf.convert_to_tensor(y), "images", images)
        voxels = tf.cast(tf.size(images[0]), tf.float32)
        projected = tf.reduce_sum(images * y) * tf.math.rsqrt(voxels)
    gradient = tf.cast(tape.gradient(projected, w), tf.float32)
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=2), axis=1) + 1e-12)


def path_length_penalty(lengths: tf.Tensor, mean: float | tf.Tensor) -> tf.Tensor:
    """(length - a)^2 per sample `(n,)`; no gradient into the running mean a, one number."""
    checks.one_number("mean", tf.convert_to_tensor(mean))
    return tf.square(lengths - tf.stop_gradient(mean))
