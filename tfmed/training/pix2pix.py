"""pix2pix and pix2pixHD: translators of slices of any size, and the latter's training on pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.losses.adversarial import least_squares_critic, least_squares_generator
from tfmed.training.adversarial import SharedForwardModel


class SliceTranslator(SharedForwardModel):
    """A model whose `generator` translates slices with values in [-1, 1]; -1 is background.

    A subclass sets `generator`, images `(n, h, w, 1)` -> the same, and what sides must be a multiple of.
    """

    generator: keras.Model
    multiple = 1  # what the sides of the generator's images are a multiple of

    @tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.float32)], autograph=False)
    def translated(self, slices: tf.Tensor) -> tf.Tensor:
        """Translations of slices `(z, y, x)` in [-1, 1], any size: padded with background, and cut back."""
        size = tf.shape(slices)[1:]
        extra = -size % self.multiple
        before = extra // 2
        widths = tf.concat([[[0, 0]], tf.stack([before, extra - before], 1)], 0)
        padded = tf.pad(slices, widths, constant_values=-1.0)

        def one(image: tf.Tensor) -> tf.Tensor:
            return self.generator(image[None, ..., None], training=False)[0, ..., 0]

        made = tf.map_fn(one, padded, parallel_iterations=1)
        return made[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Translations of images `(n, h, w, 1)`."""
        return self.generator(images, training=training)


class Pix2PixHDModel(SliceTranslator):
    """pix2pixHD (Wang et al. 2018): critics see (source, translation) at full, half, ... size; least-squares losses.

    Feature matching takes the place of the L1 loss. The public code also compares features of a network that was
    trained on photographs, which needs a download: that term is left out.

    A subclass sets `generator` and `critics` (see `nn.translation.patch_critic`, with features), then finishes building
    with the optimizers "critic" and "generator".

    Args:
        source, target: names of the images in a batch, a pair, each `(b, h, w, 1)` in [-1, 1].
        feature_weight: of the feature matching.
    """

    critics: Sequence[keras.Model]
    logged = ("critic_loss", "generator_critic", "feature_matching")

    def __init__(self, source: str, target: str, feature_weight: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source, self.target, self.feature_weight = source, target, feature_weight

    def made(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Translations of a batch's sources."""
        return self.generator(batch[self.source], training=True)

    def judged(self, source: tf.Tensor, image: tf.Tensor) -> list[list[tf.Tensor]]:
        """What each scale's critic sees in (source, image): its blocks' activations, and the logits last."""
        pair, found = tf.concat([source, image], -1), []
        for critic in self.critics:
            found.append(critic(pair, training=True))
            pair = tf.nn.avg_pool2d(pair, 3, 2, "SAME")
        return found

    def critic_loss(self, batch: Mapping[str, tf.Tensor], fake: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Pairs against (source, translation), at every scale."""
        source = batch[self.source]
        scales = zip(self.judged(source, batch[self.target]), self.judged(source, fake), strict=True)
        loss = tf.add_n([tf.reduce_mean(least_squares_critic(real[-1], made[-1])) for real, made in scales])
        return loss, {"critic_loss": loss}

    def generator_loss(self, batch: Mapping[str, tf.Tensor], fake: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Fool the critics, and look to them like the target: mean distance of activations."""
        source = batch[self.source]
        seen, real = self.judged(source, fake), self.judged(source, batch[self.target])
        fooled = tf.add_n([2.0 * tf.reduce_mean(least_squares_generator(made[-1])) for made in seen])
        distances = [
            tf.reduce_mean(tf.abs(tf.stop_gradient(true) - own))
            for made, known in zip(seen, real, strict=True)
            for own, true in zip(made[:-1], known[:-1], strict=True)
        ]
        # Mean over scales; four times the mean over the blocks, as in the public code.
        matching = 4.0 * tf.reduce_mean(tf.stack(distances))
        total = fooled + self.feature_weight * matching
        return total, {"generator_critic": fooled, "feature_matching": matching}
