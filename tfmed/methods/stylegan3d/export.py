"""The generator as a SavedModel: sampling, mapping and synthesis, each a signature."""

import tensorflow as tf

from tfmed import compat
from tfmed.engine.exporting import ExportModule
from tfmed.methods.stylegan3d.model import to_unit


class Sampler(ExportModule):
    """Signatures of the averaged networks.

    `sample(seed, n)`: n `volumes` `(n, d, h, w)` float32 in [0, 1], the same as `Run.sample` gives for that seed (there
    turned to RAS), and their `affine`. `map(z)`: `w` `(n, latent)`. `synthesise(w, seed)`: `volumes` of w
    `(n, layers, latent)`, one w per style layer, with the noise of (seed, 0).

    Args:
        model: a StyleGAN3D.
        affine: of the volumes.
    """

    def __init__(self, model, affine):
        super().__init__(model)
        used = (*model.average_mapping.weights, *model.average_synthesis.weights, model.w_average)
        self.held = [compat.tensor_variable(variable) for variable in used]
        self.affine = tf.constant(affine, tf.float32)
        layers, latent = model.layers_w, model.config.latent_size
        seed = tf.TensorSpec((), tf.int64, "seed")
        self._signatures = {
            "sample": tf.function(self.sample, [seed, tf.TensorSpec((), tf.int32, "n")]),
            "map": tf.function(self.map, [tf.TensorSpec((None, latent), tf.float32, "z")]),
            "synthesise": tf.function(self.synthesise, [tf.TensorSpec((None, layers, latent), tf.float32, "w"), seed]),
        }

    def sample(self, seed, n):
        def one(index):
            index = tf.cast(index, tf.int64)
            w = self.model.average_mapping(self.model.latent(seed, index))
            noise = self.model.noise_maps(seed, index)
            return to_unit(self.model.average_synthesis(self.model.styles(w), noise))[0, ..., 0]

        signature = tf.TensorSpec(self.model.config.volume_shape, tf.float32)
        volumes = tf.map_fn(one, tf.range(n), fn_output_signature=signature, parallel_iterations=1)
        return {"affine": self.affine, "volumes": volumes}

    def map(self, z):
        return {"w": self.model.average_mapping(z), "w_average": tf.identity(self.model.w_average)}

    def synthesise(self, w, seed):
        noise = [tf.repeat(noise, tf.shape(w)[0], axis=0) for noise in self.model.noise_maps(seed, 0)]
        return {"volumes": to_unit(self.model.average_synthesis(w, noise))[..., 0]}

    def signatures(self):
        return {"serving_default": self._signatures["sample"], **self._signatures}
