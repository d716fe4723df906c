"""TrainingModel: the small base that custom training steps share (logging, noise, updates, averaged weights)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed import compat


class TrainingModel(keras.Model):
    """A Keras model with named optimizers, logged means, and noise that depends only on (seed, sample index).

    A subclass builds its networks, calls `finish_building`, and says by `objectives` what each optimizer lowers; it
    may write `train_step(batch)` too. A batch is a dict of tensors with an int64 `index` (see `tfmed.data.pipeline`).
    Steps become graphs without autograph: what depends on a tensor's value goes through `tf.cond` or `tf.where`, never
    through `if`.

    Args:
        seed: integer from which all noise of training is derived.
        per_step: samples in a step's global batch.
        gradient_accumulation: micro-batches into which each replica's batch is cut; their gradients are averaged.
    """

    def __init__(
        self, seed: int = 0, per_step: int = 1, gradient_accumulation: int = 1, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.noise_seed = seed
        self.per_step = per_step
        self.gradient_accumulation = gradient_accumulation
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def finish_building(
        self, optimizers: Mapping[str, tuple[keras.optimizers.Optimizer, Sequence[keras.Model]]], logged: Iterable[str]
    ) -> None:
        """Set optimizers and logged means up; call it last, inside the strategy's scope.

        Args:
            optimizers: name -> (optimizer, list of networks that it updates).
            logged: names of the values that `log` will be given.
        """
        float16 = compat.precision() == "mixed_float16"
        self.updaters = {}
        for name, (optimizer, networks) in optimizers.items():
            optimizer = compat.scaled_for_float16(optimizer) if float16 else optimizer
            # Slots made lazily inside a distributed function fail on Keras 3.
            optimizer.build([v for network in networks for v in network.trainable_variables])
            setattr(self, f"{name}_optimizer", optimizer)
            self.updaters[name] = (f"{name}_optimizer", tuple(networks))
        self.meters = {name: keras.metrics.Mean(name=name) for name in logged}
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.meters.values()) if hasattr(self, "meters") else []

    def log(self, values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Add scalars to the running means of their names; returns all running means."""
        for name, value in values.items():
            self.meters[name].update_state(value)
        return {name: meter.result() for name, meter in self.meters.items()}

    @property
    def objectives(self) -> dict[str, Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]]:
        """{optimizer's name: function of a batch (or micro-batch) -> (scalar mean loss, {name: scalar to log})}."""
        raise NotImplementedError

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update by each optimizer, in the order of `objectives`."""
        logs: dict[str, tf.Tensor] = {}
        for name, loss in self.objectives.items():
            logs |= self.update(name, loss, batch)
        return self.log(logs)

    def phases_of(self, step: int) -> tuple[str | None, ...]:
        """The phases of a training step (an int), in order: each is compiled once, and `train_step` is told its name.

        What runs on some steps only is such a phase: a branch within a compiled step could not update the weights of
        several replicas. `(None,)`: the step is whole, and `train_step` is told nothing.
        """
        return (None,)

    def step_of(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """The training step that a batch belongs to, int64 scalar."""
        return batch["index"][0] // self.per_step

    def noise(
        self,
        batch: dict[str, tf.Tensor],
        shape: Sequence[int],
        tag: int,
        draw: Callable[..., tf.Tensor] = tf.random.stateless_normal,
    ) -> tf.Tensor:
        """Noise `(samples, *shape)`, float32: the same for a sample however the batch is shared by replicas.

        Args:
            batch: the batch (or micro-batch) whose samples the noise is for.
            shape: shape per sample.
            tag: integer below 1024 that tells the draws within a step apart.
            draw: `tf.random.stateless_normal` or `stateless_uniform`.
        """
        seed = tf.stack([tf.constant(self.noise_seed, tf.int64), self.step_of(batch) * 1024 + tag])
        everyone = draw((self.per_step, *shape), seed, alg="philox")  # the default algorithm depends on the device
        return tf.gather(everyone, batch["index"] % self.per_step)

    def sum_over_replicas(self, value: tf.Tensor) -> tf.Tensor:
        """The sum over all replicas of a tensor that each of them has a share of, for losses that are no means.

        `update` averages gradients over replicas, so each replica's own share counts as often as there are replicas.
        """
        if self.replicas == 1:
            return value
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(value))
        own = value * self.replicas
        return own + tf.stop_gradient(total - own)

    def mean_over_replicas(self, value: tf.Tensor) -> tf.Tensor:
        """The mean over all replicas of a tensor, without gradient."""
        if self.replicas == 1:
            return tf.stop_gradient(value)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stop_gradient(value))

    def shared_mean(self, value: tf.Tensor) -> tf.Tensor:
        """The mean over all replicas of a tensor, for losses in which samples meet: gradients reach all replicas."""
        if self.replicas == 1:
            return value
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)

    def of_all_replicas(self, value: tf.Tensor) -> tf.Tensor:
        """All replicas' values one after the other along the first axis; gradients reach all replicas."""
        if self.replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_gather(value, axis=0)

    def update(
        self,
        name: str,
        loss: Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]],
        batch: dict[str, tf.Tensor],
        unconnected: str = "none",
    ) -> dict[str, tf.Tensor]:
        """Update the networks of one optimizer by the gradient of a loss averaged over the global batch.

        Args:
            name: the optimizer's name.
            loss: micro-batch -> (scalar mean loss, {name: scalar to log}).
            batch: this replica's batch.
            unconnected: "none" leaves variables that the loss does not depend on as they are; for the optimizer's
                running means, "zero" makes their gradient 0.

        Returns:
            The values to log, averaged over the micro-batches.
        """
        optimizer, variables = self._updater(name)

        def gradients(micro_batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
            with tf.GradientTape() as tape:
                value, logs = loss(micro_batch)
                scaled = self._scaled(optimizer, value)
            return tape.gradient(scaled, _tensors(variables), unconnected_gradients=unconnected), logs

        total, logs = _accumulate(gradients, batch, self.gradient_accumulation)
        compat.apply_gradients(optimizer, total, variables)
        return logs

    def update_in_turn(
        self,
        forward: Callable[[dict[str, tf.Tensor]], Any],
        losses: Mapping[str, Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]],
        batch: dict[str, tf.Tensor],
        judged_first: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Update several optimizers in turn by what one forward pass makes: critics, and then what they judge.

        A batch that is cut into micro-batches goes forward once for each optimizer, so that one of them is in memory at
        a time.

        Args:
            forward: micro-batch -> what was made of it, a tensor or a tuple of tensors.
            losses: optimizer's name -> loss, a function of (micro-batch, what was made of it) that returns what
                `update` asks for. Only the last one's gradient goes back through what was made.
            batch: this replica's batch.
            judged_first: update what is judged before the critics, which then see what it made before its update.

        Returns:
            The values to log.
        """
        *judges, judged = losses
        logs: dict[str, tf.Tensor] = {}
        if self.gradient_accumulation > 1:
            for name in [judged, *judges] if judged_first else losses:
                loss = losses[name]
                logs |= self.update(name, lambda micro_batch, loss=loss: loss(micro_batch, forward(micro_batch)), batch)
            return logs
        optimizer, variables = self._updater(judged)

        def judge(made: Any) -> None:
            for name in judges:
                logs.update(self.update(name, lambda one, loss=losses[name]: loss(one, made), batch))

        with tf.GradientTape() as tape:
            made = forward(batch)
            if not judged_first:
                with tape.stop_recording():
                    judge(made)
            value, own = losses[judged](batch, made)
            scaled = self._scaled(optimizer, value)
        compat.apply_gradients(optimizer, tape.gradient(scaled, _tensors(variables)), variables)
        if judged_first:
            judge(made)
        return logs | own

    def _updater(self, name: str) -> tuple[keras.optimizers.Optimizer, list[Any]]:
        """(optimizer, its variables)."""
        attribute, networks = self.updaters[name]
        return getattr(self, attribute), [v for network in networks for v in network.trainable_variables]

    def _scaled(self, optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
        """A replica's loss as it must be differentiated."""
        return compat.scale_loss(optimizer, tf.cast(loss, tf.float32) / (self.replicas * self.gradient_accumulation))


def _tensors(variables: Sequence[Any]) -> list[tf.Variable]:
    return [compat.tensor_variable(v) for v in variables]


def _accumulate(
    gradients: Callable[..., Any], batch: dict[str, tf.Tensor], count: int
) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
    """Sum of the gradients, and mean of the logs, over a batch's micro-batches, one of which is in memory at a time."""
    if count == 1:
        return gradients(batch)
    size = tf.shape(batch["index"])[0] // count

    def micro_batch(i: int | tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: value[i * size : (i + 1) * size] for name, value in batch.items()}

    def add(
        i: tf.Tensor, total: list[tf.Tensor], logs: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor], dict[str, tf.Tensor]]:
        more, more_logs = gradients(micro_batch(i))
        return i + 1, [a + b for a, b in zip(total, more, strict=True)], tf.nest.map_structure(tf.add, logs, more_logs)

    first, logs = gradients(micro_batch(0))
    first = [tf.convert_to_tensor(gradient) for gradient in first]
    logs = tf.nest.map_structure(tf.convert_to_tensor, logs)
    _, total, logs = tf.while_loop(lambda i, *_: i < count, add, (1, first, logs), parallel_iterations=1)
    return total, tf.nest.map_structure(lambda value: value / count, logs)


def move_average(average: keras.Model, network: keras.Model, decay: float | tf.Tensor, all_state: bool = False) -> None:
    """Moving average of weights, average <- decay * average + (1 - decay) * network; other state is copied.

    Counters (of dropout masks) are left alone: each network draws its own noise.

    Args:
        average, network: two networks of one architecture.
        decay: number or float32 scalar.
        all_state: average other state too, such as running statistics of a norm.
    """
    variables = zip(average.weights, network.weights, strict=True)
    pairs = [
        (compat.tensor_variable(target), compat.tensor_variable(source), all_state or source.trainable)
        for target, source in variables
        if tf.as_dtype(source.dtype).is_floating
    ]

    def move(target: tf.Variable, source: tf.Variable, trainable: bool) -> None:
        target.assign(decay * target + (1.0 - decay) * source if trainable else tf.convert_to_tensor(source))

    def on_all_replicas(strategy: tf.distribute.Strategy) -> None:
        for target, source, trainable in pairs:
            strategy.extended.update(target, move, args=(source, trainable))

    # Within a replica, mirrored variables may only be written by all replicas together.
    tf.distribute.get_replica_context().merge_call(on_all_replicas)


def assign(variable: Any, value: tf.Tensor) -> None:
    """Assign a value, the same on all replicas, from within a replica."""

    def on_all_replicas(strategy: tf.distribute.Strategy, value: tf.Tensor) -> None:
        strategy.extended.update(compat.tensor_variable(variable), lambda v, new: v.assign(new), args=(value,))

    tf.distribute.get_replica_context().merge_call(on_all_replicas, args=(value,))
