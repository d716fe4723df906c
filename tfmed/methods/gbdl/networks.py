"""LRL, GBDL's latent representation learning: two encoders, a Gaussian per slice, two decoders."""

import math

import keras
import tensorflow as tf

from tfmed.nn.unet import unet_decoder, unet_encoder
from tfmed.ops import gaussians

FACTORS = (1, 2, 2)  # slices are never pooled


class LRL(keras.Model):
    """P(X, Y | Z) and Q(Z | X): what the green box of the paper's Figure 1 holds.

    Shapes: images `(b, n, height, width, channels)` with any number n of slices; latents z `(b, n, d)`. With default
    widths and slices of 128 x 128, three channels and two classes make 144,494,149 parameters.

    Args:
        config: the method's `Config`.
        channels, classes: of images, and of labels.
        norm: of the convolutions, "instance" or "none".
        seed: of the dropout, if `config.latent_dropout` says that there is any.
    """

    def __init__(self, config, channels, classes, norm="instance", seed=0, name="lrl"):
        super().__init__(name=name)
        self.kind, self.floor, self.shared = config.latent, config.latent_floor, config.share_encoder
        self.activation, self.classes = config.reconstruction, classes
        skips = len(config.latent_widths) - 1
        self.without_skips = 0 if config.image_skips is None else skips - config.image_skips
        size, units = (None, *config.patch[1:]), config.latent_size
        how = dict(factors=FACTORS, norm=norm, affine=False)
        if config.latent_dropout:
            how |= dict(dropout=config.latent_dropout, dropout_in="all")
        self.x_encoder = _encoder(channels, size, config.latent_widths, how | {"seed": 4 * seed}, "x_encoder")
        *skips, deepest = self.x_encoder.outputs
        self.mean = _per_slice(deepest.shape[1:], units, "mean")
        self.vector = _per_slice(deepest.shape[1:], units, "vector")
        self.z_features = _to_features(deepest.shape[1:], units, "z_features")
        features = self.z_features.outputs[0]
        self.reconstructs, self.one_decoder = config.lambda_mse > 0, config.share_decoder
        if self.reconstructs and not self.one_decoder:
            image = dict(head_kernel=3, without_skips=self.without_skips, seed=4 * seed, **how)
            self.x_decoder = unet_decoder([*skips, features], channels, **image)
        if not self.shared:
            self.y_encoder = _encoder(channels, size, config.latent_widths, how | {"seed": 4 * seed + 2}, "y_encoder")
        self.y_vector = _per_slice(deepest.shape[1:], units, "y_vector")
        self.y_features = _to_features(deepest.shape[1:], units, "y_features")
        both = keras.Input((*features.shape[1:-1], 2 * features.shape[-1]))
        outputs = classes + (channels if self.one_decoder else 0)
        self.y_decoder = unet_decoder([*skips, both], outputs, seed=4 * seed + 2, **how)
        self.built = True

    def posterior(self, deepest):
        """(mu, v) of q(z_i | x), `(b, n, d)` float32; of one latent for the whole volume `(b, 1, d)`.

        z_i is N(mu, A A) with A = v v^T + floor I, of independent components with A = diag(v^2) + floor I.
        """
        mean, vector = (tf.cast(layer(deepest), tf.float32) for layer in (self.mean, self.vector))
        if self.kind == "volume":
            mean, vector = (tf.reduce_mean(t, 1, keepdims=True) for t in (mean, vector))
        return mean, vector

    def draw(self, mean, vector, noise):
        """z_i of standard normal noise `(b, n, d)`; one latent of a volume takes the noise of the first slice."""
        noise = noise[:, : mean.shape[1]]
        if self.kind == "diagonal":
            return mean + (tf.square(vector) + self.floor) * noise
        return gaussians.draw_rank_one(mean, vector, self.floor, noise)

    def divergence(self, mean, vector):
        """L_KL (Eq. 6) of each volume, `(b,)`: of the normalised product of all slices' Gaussians, from N(0, I)."""
        if self.kind == "diagonal":
            deviations = tf.square(vector) + self.floor
            return gaussians.kl_to_standard_diagonal(*gaussians.product_of_diagonal(mean, deviations))
        return gaussians.kl_to_standard(*gaussians.product_of_rank_one(mean, vector, self.floor))

    def guide(self, images, features, training=False):
        """What the label's decoder sees beside z: (skips, F_x); a shared encoder has given it already."""
        *skips, deepest = features if self.shared else self.y_encoder(images, training=training)
        return skips, self.y_features(self.y_vector(deepest))

    def decode(self, images, features, z, training=False):
        """(logits of the label, the image float32 or None) that a latent stands for; one decoder may give both."""
        guide = self.guide(images, features, training)
        logits, values = tf.split(self._from_both(guide, features, z, training), [self.classes, -1], -1)
        if self.one_decoder:
            return logits, self._activated(values)
        return logits, self.reconstruct(features, z, training) if self.reconstructs else None

    def reconstruct(self, features, z, training=False):
        """The image that a latent stands for, float32."""
        inputs = [*features[self.without_skips : -1], self._spread(z, features)]
        values = self.x_decoder(inputs if len(inputs) > 1 else inputs[0], training=training)
        return self._activated(values)

    def segment(self, guide, features, z):
        """Logits of the label that a latent stands for, `(b, n, height, width, classes)` float32."""
        return self._from_both(guide, features, z)[..., : self.classes]

    def _from_both(self, guide, features, z, training=False):
        """What D_y makes of F_x and F_z."""
        skips, f_x = guide
        return self.y_decoder([*skips, tf.concat([f_x, self._spread(z, features)], -1)], training=training)

    def _activated(self, values):
        return tf.tanh(values) if self.activation == "tanh" else values

    def _spread(self, z, features):
        """F_z: slice i of it is made of z_i alone."""
        f_z = self.z_features(z)
        return tf.repeat(f_z, features[-1].shape[1], 1) if self.kind == "volume" else f_z

    def call(self, images, training=False):
        """Logits at the posterior's mean."""
        features = self.x_encoder(images)
        return self.segment(self.guide(images, features), features, self.posterior(features[-1])[0])

    def pseudo_labels(self, images, noise):
        """Class probabilities, averaged over latents: `(b, n, height, width, classes)` float32.

        Args:
            images: volumes.
            noise: standard normal, `(b, latents, n, d)`.
        """
        features = self.x_encoder(images)
        mean, vector = self.posterior(features[-1])
        guide = self.guide(images, features)

        def one(i):
            return tf.nn.softmax(self.segment(guide, features, self.draw(mean, vector, noise[:, i])))

        count = noise.shape[1]
        _, total = tf.while_loop(
            lambda i, _: i < count, lambda i, total: (i + 1, total + one(i)), (1, one(0)), parallel_iterations=1
        )
        return total / count


def _encoder(channels, size, widths, how, name):
    """Images -> features of all levels but the last, and the last one at half its size."""
    encoder = unet_encoder(channels, size, widths, **how)
    *skips, deepest = encoder.outputs
    down = keras.layers.Conv3D(widths[-1], (1, 3, 3), FACTORS, "same", name="down")(deepest)
    return keras.Model(encoder.inputs, [*skips, down], name=name)


def _per_slice(shape, units, name):
    """Features `(b, n, h, w, c)` -> `(b, n, units)`."""
    inputs = keras.Input(shape)
    flat = keras.layers.Reshape((-1, math.prod(shape[1:])), name="flat")(inputs)
    return keras.Model(inputs, keras.layers.Dense(units, kernel_initializer=_uniform(), name="dense")(flat), name=name)


def _to_features(shape, units, name):
    """`(b, n, units)` -> features `(b, n, 2 h, 2 w, c)`."""
    inputs = keras.Input((None, units))
    x = keras.layers.Dense(math.prod(shape[1:]), kernel_initializer=_uniform(), name="dense")(inputs)
    x = keras.layers.Reshape((-1, *shape[1:]), name="slices")(x)
    up = keras.layers.Conv3DTranspose(shape[-1], (1, 3, 3), FACTORS, "same", name="up")
    return keras.Model(inputs, up(x), name=name)


def _uniform():
    """Uniform on +-1 / sqrt(inputs), so that v v^T does not drown everything else at the start."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
