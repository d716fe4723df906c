"""What a network that learns from few labels may see beside what its targets are made of: other values, same places."""

import tensorflow as tf
from pydantic import Field

from tfmed.augment import intensity
from tfmed.config import Strict


class Appearance(Strict):
    """How the values of the images that a network learns from change, drawn once per crop; as they are by default.

    What makes targets of images without labels (a mean teacher, GBDL's latent model, EquiReg's plain prediction) sees
    them unchanged: strong views learn from weak ones.
    """

    gamma: tuple[float, float] | None = None  # bounds of the power, e.g. [0.7, 1.5]
    bias_field: float = Field(0.0, ge=0)  # a smooth field multiplies by e^-b .. e^b
    slices: float = Field(0.0, ge=0, lt=1)  # of volumes: brightness and contrast of each slice, factors 1 +- slices
    noise: float = Field(0.0, ge=0)  # largest standard deviation, in units of the image

    def altered(self, images: tf.Tensor, index: tf.Tensor, seed: int) -> tf.Tensor:
        """Images `(b, *size, channel)` of the samples `index` `(b,)`, changed by draws of (seed, index) alone."""
        seeds = tf.stack([tf.fill(tf.shape(index), tf.cast(seed, tf.int64)), tf.cast(index, tf.int64)], 1)
        if self.gamma is not None:
            images = intensity.gamma(images, seeds, self.gamma)
        if self.bias_field:
            images = intensity.bias_field(images, seeds, self.bias_field)
        if self.slices:
            images = intensity.slices(images, seeds, self.slices)
        if self.noise:
            images = intensity.noise(images, seeds, (0.0, self.noise))
        return images
