"""ImagePool: translations of earlier steps, which a critic is shown so that it does not forget them."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.errors import ConfigError
from tfmed.training.model import assign


class ImagePool(keras.layers.Layer):
    """An image pool (Shrivastava et al. 2017, section 2.3): half of the images shown are replaced by older ones.

    Each place in a global batch has its own images, of `size // per_step` steps. While they are fewer, an image is kept
    and shown; afterwards it is, by the toss of a coin, shown alone, or kept in place of one that is shown.
    Which one and how the coin falls depend on (seed, step, place) only; the images are weights, so a resumed run
    goes on with the same ones.

    Images may be of several kinds, each with a pool of its own: of what kind a place's image is may then change from
    step to step, and a pool is full once it has been given `size` images.

    Args:
        size: images to keep, at least `model.per_step`.
        shape: shape of an image.
        model: the `TrainingModel` whose noise, samples per step and replicas it follows.
        tag: what tells its draws from the model's others.
        kinds: how many kinds of images there are.

    Raises:
        ConfigError: fewer images than a step makes; several replicas under gradient accumulation.
    """

    def __init__(self, size: int, shape: Sequence[int], model: Any, tag: int, kinds: int = 1, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        if size < model.per_step:
            raise ConfigError(f"model.history: {size} images are fewer than a step's {model.per_step}; "
                              f"set it to {model.per_step} or more, or to 0")  # fmt: skip
        if model.replicas > 1 and model.gradient_accumulation > 1:
            raise ConfigError("model.history: several devices cannot share it under gradient accumulation; "
                              "set train.gradient_accumulation=1 or model.history=0")  # fmt: skip
        self.steps, self.tag, self.kinds = size // model.per_step, tag, kinds
        places = kinds * model.per_step
        self.images = self.add_weight(
            name="images", shape=(self.steps * places, *shape), initializer="zeros", trainable=False
        )
        if kinds > 1:
            given = dict(shape=(places,), initializer="zeros", dtype="int64")
            self.given = self.add_weight(name="given", trainable=False, **given)
        self.built = True

    def shown(
        self, images: tf.Tensor, batch: dict[str, tf.Tensor], model: Any, kind: tf.Tensor | None = None
    ) -> tf.Tensor:
        """What a critic is shown for a batch's translations, both `(b, *shape)`, float32; keeps what is to be kept.

        Args:
            images: the translations.
            batch: the batch (or micro-batch) that they are of.
            model: as above.
            kind: of each image, integers `(b,)`, where there are several.
        """
        images = tf.stop_gradient(tf.cast(images, tf.float32))
        step, place = model.step_of(batch), batch["index"] % model.per_step
        draw = model.noise(batch, (2,), self.tag, tf.random.stateless_uniform)
        if kind is not None:
            place += tf.cast(kind, tf.int64) * model.per_step
            step = tf.gather(tensor_variable(self.given), place)
        filling = step < self.steps
        chosen = tf.cast(draw[:, 0] * self.steps, tf.int64)
        slots = tf.where(filling, step, chosen) * (self.kinds * model.per_step) + place
        kept = tensor_variable(self.images)
        older = tf.gather(kept, slots)
        each = [-1] + [1] * (len(images.shape) - 1)
        swap = tf.reshape((draw[:, 1] < 0.5) & ~filling, each)
        new = tf.where(swap | tf.reshape(filling, each), images, older)
        if model.replicas > 1:  # each replica keeps what all have made
            context = tf.distribute.get_replica_context()
            slots, new = context.all_gather(slots, 0), context.all_gather(new, 0)
            place = context.all_gather(place, 0)
        assign(self.images, tf.tensor_scatter_nd_update(kept, slots[:, None], new))
        if kind is not None:
            given = tensor_variable(self.given)
            assign(self.given, tf.tensor_scatter_nd_add(given, place[:, None], tf.ones_like(place)))
        return tf.where(swap, older, images)
