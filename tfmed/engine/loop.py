"""The training loop: one stage, from its newest checkpoint to its last step."""

import contextlib
import math
import signal
import time

import tensorflow as tf

from tfmed.engine.memory import check_step
from tfmed.engine.terminal import StepReport, log
from tfmed.errors import RunError, Stopped


class Interrupted(Exception):
    """A signal ended the run after its state was saved; `signum` is the signal, `path` the run directory."""

    def __init__(self, signum, path):
        super().__init__(signum, path)
        self.signum, self.path = signum, path


class Loop:
    """Trains one stage.

    Args:
        stage, stage_index: the Stage and its number.
        model: its model, built in the strategy's scope.
        settings: the run's.
        strategy: a `tf.distribute` strategy.
        worker: (index, count) of this machine.
        checkpoints: the run's Checkpoints.
        metrics, timing: Tables, or None on machines that do not write.
        observers: called as `observer(event, step, values)` with event "row", "preview" (values None) or "validation".
    """

    def __init__(
        self, stage, stage_index, model, settings, strategy, worker, checkpoints, metrics, timing, observers=()
    ):
        self.stage, self.stage_index, self.model = stage, stage_index, model
        self.settings, self.train = settings, settings.train
        self.strategy, self.worker, self.checkpoints = strategy, worker, checkpoints
        self.metrics, self.timing, self.observers = metrics, timing, observers
        self.best = {"value": None, "step": 0, "misses": 0}
        self.step = 0
        self.signum = None

    def resume(self, path, state):
        """Take up a checkpoint of this stage, and drop what was logged after it."""
        self.checkpoints.restore(self.model, path, state)
        self.step = state["step"]
        self.best = state["best_so_far"]

    @property
    def out_of_patience(self):
        """Whether the validation has not improved for as long as early stopping allows."""
        rule = self.train.early_stopping
        return rule is not None and self.best["misses"] >= rule.patience

    def run(self):
        """Train to the end of the stage."""
        samples = self.stage.train()
        pauses = {"preview": self.train.preview_every}
        if self.stage.validation is not None:
            pauses["validation"] = self.train.validate_every
        if self.stage.rounds is not None:
            pauses["round"] = self.stage.rounds.steps
        report = StepReport(self.stage.name, self.step, self.stage.steps, samples.per_step, pauses)
        try:
            with self._signals():
                self._steps(samples, report)
        except tf.errors.OpError as error:
            raise samples.failure or error from None
        finally:
            report.close()

    def ready(self, samples):
        """(the batches that are left, the step as a graph); nothing has been read.

        Raises:
            UserError: a batch, or the step, needs far more memory than there is.
        """
        dataset, step_function = self._dataset(samples), self._step_function()
        for phase in self.model.phases_of(self.step):
            check_step(step_function, (dataset.element_spec, phase), self.model, samples.shapes, self.settings)
        return dataset, step_function

    def _steps(self, samples, report):
        self._begin_round(report)
        dataset, step_function = self.ready(samples)
        self._saved_at = time.monotonic()
        while not self._round(samples, iter(dataset), step_function, report):
            self._begin_round(report)
            dataset = self._dataset(samples)
        self._begin_round(report, last=True)
        self.save(finished=True)
        if self.signum:
            raise Interrupted(self.signum, self.checkpoints.folder.parent)

    def _round(self, samples, batches, step_function, report):
        """Train on batches to the end of the round; True where that is the end of the stage, too."""
        end, stop = self._end_of_round(), False
        while self.step < end and not stop:
            before = time.monotonic()
            batch = next(batches)
            waited = time.monotonic() - before
            for phase in self.model.phases_of(self.step):
                logs = step_function(batch, phase)
            logs = {name: float(value) for name, value in logs.items()}
            self.step += 1
            self._check_finite(logs)
            report.step(self.step, logs, waited)
            if self._due(self.train.log_every):
                self._row(logs, report)
            # Before the validation, which may save: a run that is taken up there draws no picture of that step again.
            if self._due(self.train.preview_every):
                with report.pause("preview"):
                    self._tell("preview", None)
            if self._due(self.train.validate_every):
                with report.pause("validation"):
                    stop = self._validate()
            if not stop:
                self._save_now_and_then()
        # Read to the end: dropped before it, TensorFlow's iterator over several devices now and then waits forever
        # for its own thread.
        samples.end()
        while next(batches, None) is not None:
            pass
        return stop or self.step >= self.stage.steps

    def _save_now_and_then(self):
        if self.step >= self.stage.steps:
            return
        late = time.monotonic() - self._saved_at > 60 * self.train.checkpoint_every_minutes
        alone = self.worker[1] == 1  # several machines save together, so their clocks cannot decide
        if self.step % self.train.checkpoint_every_steps == 0 or (alone and late) or self.signum:
            self.save()
            self._saved_at = time.monotonic()
        if self.signum:
            raise Interrupted(self.signum, self.checkpoints.folder.parent)

    def _end_of_round(self):
        """The step at which the round of the next step ends."""
        steps = self.stage.rounds.steps if self.stage.rounds is not None else self.stage.steps
        return min((self.step // steps + 1) * steps, self.stage.steps)

    def _begin_round(self, report, last=False):
        """Let the stage look at its model; what it says is of the next step: a resume there decides it again."""
        if self.stage.rounds is None:
            return
        with report.pause("round") if report.started else contextlib.nullcontext():
            found = self.stage.rounds.begin(self.model, self.step, last)
        values = {name: float(value) for name, value in found.items()}
        if values and self.metrics is not None:
            step = min(self.step + 1, self.stage.steps)
            self.metrics.append({"stage": self.stage.name, "step": step, "split": "train"} | values)

    def save(self, finished=False):
        """Write a checkpoint; values that are not finite are never saved."""
        for variable in self.model.trainable_variables:
            if not bool(tf.reduce_all(tf.math.is_finite(tf.cast(tf.convert_to_tensor(variable), tf.float32)))):
                raise self._not_finite(f"weight {variable.name}")
        state = {
            "stage": self.stage.name,
            "stage_index": self.stage_index,
            "step": self.step,
            "finished": finished,
            "best_so_far": self.best,
        }
        best = self.best["step"] == self.step and self.best["value"] is not None
        # With the mark from the start: a kill before the next line leaves two of them, and the newer one is meant.
        self.checkpoints.save(self.model, state | ({"best": True} if best else {}))
        if best:
            self.checkpoints.mark_best(self.stage.name, self.step)

    def _due(self, every):
        return self.step % every == 0 or self.step == self.stage.steps

    def _dataset(self, samples):
        """The batches that are left of the round, shared by the replicas."""
        index, count = self.worker
        dataset = samples.batches(self.step, self._end_of_round(), index, count)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        dataset = dataset.with_options(options)
        if count > 1:
            local = self.strategy.num_replicas_in_sync // count
            dataset = dataset.unbatch().batch(samples.per_step // count // local, drop_remainder=True)
            return self.strategy.distribute_datasets_from_function(lambda _: dataset)
        return self.strategy.experimental_distribute_dataset(dataset)

    def _step_function(self):
        model, strategy = self.model, self.strategy
        if self.train.xla and not tf.config.list_physical_devices("GPU"):
            log.warning("train.xla: on a CPU, XLA makes 3D convolutions many times slower")

        # Steps branch by tf.cond alone: autograph would rewrite every function that they call, a fifth of the start.
        @tf.function(jit_compile=True if self.train.xla else None, autograph=False)
        def step(batch, phase):
            logs = strategy.run(model.train_step, args=(batch,) if phase is None else (batch, phase))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        return step

    def _check_finite(self, logs):
        for name, value in logs.items():
            if not math.isfinite(value):
                raise self._not_finite(name)

    def _not_finite(self, what):
        kept = self.checkpoints.latest(self.stage.name)
        last = f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint had been written yet"
        return RunError(
            f"{self.stage.name}: {what} is NaN or infinite at step {self.step}; {last}. Lower the learning rate, or "
            "look at the data with 'tfmed prepare'"
        )

    def _row(self, logs, report):
        for metric in self.model.metrics:
            metric.reset_state()
        timing = report.timing(self.step)
        if self.metrics is not None:
            self.metrics.append({"stage": self.stage.name, "step": self.step, "split": "train"} | logs)
            if timing:
                self.timing.append({"stage": self.stage.name, "step": self.step} | timing)
        self._tell("row", logs)

    def _validate(self):
        """Run the validation; True when training should stop early."""
        if self.stage.validation is None:
            return False
        values = {name: float(value) for name, value in self.stage.validation(self.model).items()}
        if self.metrics is not None:
            self.metrics.append({"stage": self.stage.name, "step": self.step, "split": "validation"} | values)
        self._tell("validation", values)
        rule = self.train.early_stopping
        return rule is not None and self._judge(values, rule)

    def _judge(self, values, rule):
        if rule.metric not in values:
            known = ", ".join(sorted(values))
            raise RunError(f"train.early_stopping.metric: no validation metric {rule.metric!r}; known: {known}")
        value, best = values[rule.metric], self.best["value"]
        better = best is None or (value < best if rule.mode == "min" else value > best)
        if better:
            self.best = {"value": value, "step": self.step, "misses": 0}
            self.save()
            return False
        self.best = self.best | {"misses": self.best["misses"] + 1}
        if not self.out_of_patience:
            return False
        log.info(
            "%s: %s has not improved since step %d; stopped early", self.stage.name, rule.metric, self.best["step"]
        )
        return True

    def _tell(self, event, values):
        for observer in self.observers:
            observer(event, self.step, values)

    @contextlib.contextmanager
    def _signals(self):
        """The first Ctrl-C (or SIGTERM) lets the step finish and saves; the second one stops at once."""

        def note(signum, frame):
            if self.signum:
                raise Stopped(signum)
            self.signum = signum
            log.info("stopping after this step; press Ctrl-C again to stop at once")

        try:
            before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: somebody else handles signals
            before = {}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
