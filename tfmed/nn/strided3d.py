"""Strided 3-D convolutions, and transposed ones, as convolutions of stride 1 or products over blocks of voxels.

The numbers are those of Keras' layers. On CPUs TensorFlow's own take ten to a hundred times as long to train where
channels are few (`benchmarks/strided3d.py`).
"""

import math

import keras
import tensorflow as tf


@keras.utils.register_keras_serializable("tfmed")
class StridedConv3D(keras.layers.Conv3D):
    """`keras.layers.Conv3D` of blocks (kernel and stride alike, no padding), or with stride 2 and a kernel of 3 or 4.

    `(n, d, h, w, c)` -> `(n, d', h', w', filters)`.

    Args:
        filters, kernel_size: as of Conv3D.
        kwargs: likewise; no dilation, groups or activation.
    """

    def __init__(self, filters, kernel_size, strides=2, padding="valid", **kwargs):
        super().__init__(filters, kernel_size, strides, padding, **kwargs)
        self.of_blocks = self.kernel_size == self.strides and self.padding == "valid"
        if not self.of_blocks and (self.kernel_size not in ((3,) * 3, (4,) * 3) or self.strides != (2,) * 3):
            raise ValueError(f"kernel_size {kernel_size}, strides {strides}: only 3 or 4, and 2, are done here")

    def call(self, x):
        """The convolution, and the bias."""
        kernel = tf.cast(self.kernel, x.dtype)
        made = gathered(x, kernel) if self.of_blocks else strided_conv(x, kernel, self.padding)
        return made + tf.cast(self.bias, x.dtype) if self.use_bias else made


@keras.utils.register_keras_serializable("tfmed")
class StridedConv3DTranspose(keras.layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose` that makes a block of each voxel, or with stride 2, a kernel of 4, padding "same".

    `(n, d, h, w, c)` -> `(n, s d, s h, s w, filters)`: sides become as many times longer as `strides` say.

    Args:
        filters, kernel_size: as of Conv3DTranspose.
        kwargs: likewise; no dilation, groups or activation.
    """

    def __init__(self, filters, kernel_size=4, strides=2, padding="same", **kwargs):
        super().__init__(filters, kernel_size, strides, padding, **kwargs)
        self.of_blocks = self.kernel_size == self.strides
        if not self.of_blocks and (self.kernel_size, self.strides, self.padding) != ((4,) * 3, (2,) * 3, "same"):
            raise ValueError(f"{kernel_size}, {strides}, {padding!r}: only 4, 2 and 'same' are done here")

    def call(self, x):
        """The transposed convolution, and the bias."""
        kernel = tf.cast(self.kernel, x.dtype)
        made = spread(x, kernel) if self.of_blocks else transposed_conv(x, kernel)
        return made + tf.cast(self.bias, x.dtype) if self.use_bias else made


@tf.autograph.experimental.do_not_convert
def gathered(x, kernel):
    """Convolution whose stride is its kernel's size: a product of each whole block with the kernel.

    Args:
        x: `(n, d, h, w, c)`; what is left over at the ends of the axes is not used.
        kernel: `(a, b, c, channels, filters)`.
    """
    *factors, channels, filters = kernel.shape
    d, h, w = (_length(x, axis) // factor for axis, factor in zip((1, 2, 3), factors, strict=True))
    x = x[:, : d * factors[0], : h * factors[1], : w * factors[2]]
    x = tf.reshape(x, (-1, d, factors[0], h, factors[1], w, factors[2], channels))
    x = tf.reshape(tf.transpose(x, (0, 1, 3, 5, 2, 4, 6, 7)), (-1, math.prod(factors) * channels))
    return tf.reshape(tf.matmul(x, tf.reshape(kernel, (-1, filters))), (-1, d, h, w, filters))


@tf.autograph.experimental.do_not_convert
def spread(x, kernel):
    """Transposed convolution whose stride is its kernel's size: each voxel, times the kernel, becomes a block.

    Args:
        x: `(n, d, h, w, c)`.
        kernel: `(a, b, c, filters, channels)`.
    """
    *factors, filters, channels = kernel.shape
    d, h, w = (_length(x, axis) for axis in (1, 2, 3))
    kernel = tf.reshape(kernel, (-1, channels))
    x = tf.matmul(tf.reshape(x, (-1, channels)), kernel, transpose_b=True)
    x = tf.transpose(tf.reshape(x, (-1, d, h, w, *factors, filters)), (0, 1, 4, 2, 5, 3, 6, 7))
    return tf.reshape(x, (-1, d * factors[0], h * factors[1], w * factors[2], filters))


@tf.autograph.experimental.do_not_convert
def strided_conv(x, kernel, padding):
    """Convolution of stride 2.

    Args:
        x: `(n, d, h, w, c)`.
        kernel: `(k, k, k, c, filters)`, k 3 or 4.
        padding: "same" or "valid".
    """
    size, channels, filters, widths = kernel.shape[0], kernel.shape[3], kernel.shape[4], []
    for axis in (1, 2, 3):
        have = _length(x, axis)
        if padding == "same":
            extra = size - 2 + have % 2
            widths.append([extra // 2, extra - extra // 2 + 4 - size])
        else:
            used = (have - size) // 2 * 2 + size
            x = x[(slice(None),) * axis + (slice(used),)]
            widths.append([0, 4 - size])
    kernel = tf.pad(kernel, [[0, 4 - size]] * 3 + [[0, 0]] * 2) if size < 4 else kernel
    kernel = to_blocks(tf.reshape(kernel, (1, 4, 4, 4, channels * filters)))
    kernel = tf.reshape(kernel, (2, 2, 2, 8 * channels, filters))
    return tf.nn.conv3d(to_blocks(tf.pad(x, [[0, 0], *widths, [0, 0]])), kernel, (1,) * 5, "VALID")


@tf.autograph.experimental.do_not_convert
def transposed_conv(x, kernel):
    """Transposed convolution of stride 2 with padding "same".

    Args:
        x: `(n, d, h, w, c)`.
        kernel: `(4, 4, 4, filters, c)`.
    """
    filters, channels = kernel.shape[3:]
    # A block of the result is a sum over the block before and its own: the kernel's halves, mirrored.
    kernel = tf.reshape(kernel, (2, 2, 2, 2, 2, 2, filters, channels))[::-1, :, ::-1, :, ::-1]
    kernel = tf.reshape(tf.transpose(kernel, (0, 2, 4, 7, 1, 3, 5, 6)), (2, 2, 2, channels, 8 * filters))
    padded = tf.pad(x, [[0, 0], *[[1, 1]] * 3, [0, 0]])
    return from_blocks(tf.nn.conv3d(padded, kernel, (1,) * 5, "VALID"))[:, 1:-1, 1:-1, 1:-1]


def to_blocks(x):
    """`(n, 2d, 2h, 2w, c)` -> `(n, d, h, w, 8 c)`: the voxels of each block, z before y before x before channels."""
    d, h, w, c = (_length(x, axis) for axis in (1, 2, 3, 4))
    x = tf.reshape(x, (-1, d // 2, 2, h // 2, 2, w // 2, 2, c))
    return tf.reshape(tf.transpose(x, (0, 1, 3, 5, 2, 4, 6, 7)), (-1, d // 2, h // 2, w // 2, 8 * c))


def from_blocks(x):
    """The inverse of `to_blocks`."""
    d, h, w, c = (_length(x, axis) for axis in (1, 2, 3, 4))
    x = tf.reshape(x, (-1, d, h, w, 2, 2, 2, c // 8))
    return tf.reshape(tf.transpose(x, (0, 1, 4, 2, 5, 3, 6, 7)), (-1, 2 * d, 2 * h, 2 * w, c // 8))


def _length(x, axis):
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
