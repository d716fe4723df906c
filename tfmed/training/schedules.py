"""Learning rates over the steps."""

import math
from typing import Any

import keras
import tensorflow as tf


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warm up linearly, hold, then decay to `final` times the base rate.

    Args:
        base: the learning rate itself.
        steps: updates over which the schedule runs.
        kind: "constant", "linear", "cosine", "polynomial" (with power 0.9), or "steps": a tenth of the base rate after
            2/3, a hundredth after 8/9 of the steps (Sohn et al. 2020), whatever the next two are.
        warmup_steps, decay_from, final: as in `ScheduleConfig`.
    """

    def __init__(
        self,
        base: float,
        steps: float,
        kind: str = "constant",
        warmup_steps: int = 0,
        decay_from: float = 0.0,
        final: float = 0.0,
    ) -> None:
        self.arguments: dict[str, Any] = dict(
            base=base, steps=steps, kind=kind, warmup_steps=warmup_steps, decay_from=decay_from, final=final
        )

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        a = self.arguments
        step = tf.cast(step, tf.float32)
        start = a["decay_from"] * a["steps"]
        progress = tf.clip_by_value((step - start) / max(a["steps"] - start, 1.0), 0.0, 1.0)
        left = {
            "constant": 1.0,
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1.0 + tf.cos(math.pi * progress)),
            "polynomial": (1.0 - progress) ** 0.9,
            "steps": 1.0,
        }[a["kind"]]
        factor = a["final"] + (1.0 - a["final"]) * left
        if a["kind"] == "steps":
            factor = tf.where(step < 2 / 3 * a["steps"], 1.0, tf.where(step < 8 / 9 * a["steps"], 0.1, 0.01))
        warm = tf.minimum(1.0, (step + 1.0) / a["warmup_steps"]) if a["warmup_steps"] else 1.0
        return a["base"] * factor * warm

    def scaled(self, rate: float, steps: float) -> "Schedule":
        """A schedule of the same shape with `rate` times the learning rate, over `steps` times as many updates."""
        a = self.arguments
        return Schedule(**a | {"base": a["base"] * rate, "steps": a["steps"] * steps})

    def get_config(self) -> dict[str, Any]:
        return self.arguments


def learning_rate(base: float, train: Any) -> float | Schedule:
    """The base rate, or a Schedule over the run when the `train` section asks for one."""
    schedule = train.schedule
    if schedule.kind == "constant" and not schedule.warmup_steps:
        return base
    return Schedule(base, train.steps, **schedule.model_dump())
