"""A learning rate that falls where training goes no further."""

from typing import Any

import keras
import tensorflow as tf

from tfmed.training.model import assign


class Plateau(keras.layers.Layer):
    """What a learning rate is multiplied by: `factor` times less after each epoch that ends a plateau.

    An epoch's value is the mean over its steps. One that is not above the best by more than `least` is bad; after
    `patience` bad epochs in a row the next one lowers the rate, and counting begins anew. All of that is state of the
    model (a layer of it without inputs), so that a resumed run goes on alike; the arithmetic is a graph's.

    Args:
        steps: of an epoch.
        factor: of the rate, below 1.
        patience: bad epochs that change nothing.
        least: by which a value must be greater than the best.

    Example:
        >>> plateau = Plateau(steps=1, patience=0)
        >>> for step, accuracy in enumerate([0.5, 0.6, 0.6]):
        ...     plateau.observe(tf.constant(accuracy), tf.constant(step, tf.int64))
        >>> float(plateau.scale)
        0.5
    """

    def __init__(
        self, steps: int, factor: float = 0.5, patience: int = 1, least: float = 1e-4, name: str = "plateau"
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.steps, self.factor, self.patience, self.least = steps, factor, patience, least

        def state(name: str, value: float) -> Any:
            start = keras.initializers.Constant(value)
            return self.add_weight(name=name, shape=(), dtype="float32", initializer=start, trainable=False)

        self.scale, self.best = state("scale", 1.0), state("best", -1e30)
        self.bad, self.total = state("bad", 0.0), state("total", 0.0)
        self.built = True

    def rate(self, base: Any) -> "Scaled":
        """The learning rate (a number or a schedule) as it is by now, for an optimizer."""
        return Scaled(base, self)

    def observe(self, value: tf.Tensor, step: tf.Tensor) -> None:
        """Take a step's value, a scalar that all replicas have alike, and its number, int64."""
        total = self.total + tf.cast(value, tf.float32)
        ends = (step + 1) % self.steps == 0
        mean = total / self.steps
        better = mean > self.best + self.least
        bad = tf.where(better, 0.0, self.bad + 1.0)
        lower = ends & (bad > self.patience)
        assign(self.scale, tf.where(lower, self.scale * self.factor, self.scale))
        assign(self.best, tf.where(ends & better, mean, self.best))
        assign(self.bad, tf.where(lower, 0.0, tf.where(ends, bad, self.bad)))
        assign(self.total, tf.where(ends, 0.0, total))


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate times a plateau's `scale`.

    Args:
        base: a number, or a schedule.
        plateau: a `Plateau`.
    """

    def __init__(self, base: Any, plateau: Plateau) -> None:
        self.base, self.plateau = base, plateau

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        base = self.base(step) if callable(self.base) else self.base
        return base * tf.convert_to_tensor(self.plateau.scale)

    def get_config(self) -> dict[str, Any]:
        return {"base": self.base, "plateau": self.plateau}
