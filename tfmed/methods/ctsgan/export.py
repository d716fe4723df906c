"""The sampler as a SavedModel: noise, recurrence, decoding in chunks, assembly and HU in one graph."""

import tensorflow as tf

from tfmed.engine.exporting import ExportModule
from tfmed.methods.ctsgan.vanilla3d import Vanilla3DGAN
from tfmed.methods.ctsgan.volumes import assemble
from tfmed.ops.resize import linear_resize


class Sampler(ExportModule):
    """`sample(seed, n)`: n volumes `(n, L, H, W)` int16 in HU, the same as `Run.sample` gives for that seed.

    Args:
        model: a CTSGAN or Vanilla3DGAN.
        window: the Window that maps HU to [-1, 1].
        spacing_mm: voxel size (z, y, x) of the volumes; exported along with them.
        chunk: slices decoded at a time.
    """

    def __init__(self, model, window, spacing_mm, chunk=32):
        super().__init__(model)
        self.chunk = chunk
        self._window = lambda: window
        self.spacing_mm = tf.constant(spacing_mm, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int64, "seed"), tf.TensorSpec((), tf.int32, "n")])
    def sample(self, seed, n):
        def one(index):
            return self.volume(seed, tf.cast(index, tf.int64))

        signature = tf.TensorSpec(self.model.config.volume_shape, tf.int16)
        volumes = tf.map_fn(one, tf.range(n), fn_output_signature=signature, parallel_iterations=1)
        return {"volumes": volumes, "spacing_mm": self.spacing_mm}

    def volume(self, seed, index):
        """One volume `(L, H, W)` int16 in HU."""
        if isinstance(self.model, Vanilla3DGAN):
            return self.resized(seed, index)
        z = self.model.sample_latents((seed, index), (seed, index))
        chunks = -(-z.shape[0] // self.chunk)
        padded = tf.pad(z, [[0, chunks * self.chunk - z.shape[0]], [0, 0]])
        thin = tf.map_fn(
            lambda part: self.to_hu(self.model.decode(part)),
            tf.reshape(padded, (chunks, self.chunk, z.shape[-1])),
            fn_output_signature=tf.int16,
            parallel_iterations=1,
        )
        return assemble(tf.reshape(thin, (-1, *thin.shape[2:]))[: z.shape[0]])

    def resized(self, seed, index):
        """A volume of the 3D GAN, resized trilinearly as `tfmed.data.preprocess.resample` does."""
        small = self.model.generate_small(seed, index)
        for axis, size in enumerate(self.model.config.volume_shape):
            small = linear_resize(small, axis, size)
        return self.to_hu(small)

    def to_hu(self, values):
        return tf.cast(tf.round(self._window().invert(values)), tf.int16)

    def signatures(self):
        return {"serving_default": self.sample, "sample": self.sample}
