"""Twofold resampling of volumes with a low-pass FIR filter (StyleGAN2's, in 3-D): twice differentiable, no aliasing."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

FILTER = (1.0, 3.0, 3.0, 1.0)  # its even and odd taps have equal sums: a constant stays constant when upsampled


def fir3d(
    volumes: tf.Tensor,
    taps: Sequence[float] = FILTER,
    gain: float = 1.0,
    padding: tuple[int, int] = (0, 0),
    stride: int = 1,
) -> tf.Tensor:
    """Low-pass filter along the three axes of volumes.

    Args:
        volumes: `(n, d, h, w, c)`.
        taps: one axis' filter; it is normalised to sum 1.
        gain: of the whole filter.
        padding: zeros (before, after) along each of the three axes.
        stride: 1, or 2 to keep every second voxel.

    Returns:
        `(n, d', h', w', c)`, d' = floor((d + sum(padding) - len(taps)) / stride) + 1.
    """
    kernel = np.asarray(taps, np.float64)[::-1]  # reversed: a convolution, not a correlation
    kernel = kernel / kernel.sum() * gain ** (1 / 3)
    if any(padding):
        volumes = tf.pad(volumes, [[0, 0], *[list(padding)] * 3, [0, 0]])
    # Depthwise 2-D convolutions: ten times as fast on a CPU as sums of slices, and 3-D ones do not exist there.
    d, h, w, c = volumes.shape[1:]
    x = _depthwise(tf.reshape(volumes, (-1, d, h * w, c)), kernel[:, None])[:, ::stride]
    d = x.shape[1]
    x = tf.reshape(x, (-1, h, w, c))
    if stride == 1:
        x = _depthwise(_depthwise(x, kernel[:, None]), kernel[None])
    else:
        x = _depthwise(x, np.outer(kernel, kernel), stride)
    return tf.reshape(x, (-1, d, *x.shape[1:]))


def _depthwise(images: tf.Tensor, kernel: np.ndarray, stride: int = 1) -> tf.Tensor:
    """Filter every channel of images `(n, h, w, c)` with a kernel `(kh, kw)`."""
    weights = np.tile(kernel[:, :, None, None], (1, 1, images.shape[-1], 1))
    return tf.nn.depthwise_conv2d(images, tf.constant(weights, images.dtype), (1, stride, stride, 1), "VALID")


def upsample3d(volumes: tf.Tensor, taps: Sequence[float] = FILTER) -> tf.Tensor:
    """`(n, d, h, w, c)` -> `(n, 2d, 2h, 2w, c)`: zeros between the voxels, then the filter with gain 8."""
    shape, spread = list(volumes.shape[1:]), volumes
    for axis in range(3):
        inner = int(np.prod(shape[axis + 1 :]))
        spread = tf.pad(tf.reshape(spread, (-1, 1, inner)), [[0, 0], [0, 1], [0, 0]])
        shape[axis] *= 2
    spread = tf.reshape(spread, (-1, *shape))
    rest = len(taps) - 2
    return fir3d(spread, taps, 8.0, ((rest + 1) // 2 + 1, rest // 2))


def downsample3d(volumes: tf.Tensor, taps: Sequence[float] = FILTER) -> tf.Tensor:
    """`(n, 2d, 2h, 2w, c)` -> `(n, d, h, w, c)`: the filter, then every second voxel."""
    rest = len(taps) - 2
    return fir3d(volumes, taps, 1.0, ((rest + 1) // 2, rest // 2), stride=2)
