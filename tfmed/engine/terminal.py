"""What a person sees of a run: a live line in a terminal, log lines elsewhere."""

import contextlib
import logging
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

log = logging.getLogger("tfmed")
console = Console(stderr=True, highlight=False)
# Results, on standard output; a file or a pipe gets whole lines.
output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)


class _Stderr(logging.Handler):
    """Writes to whatever standard error is at that moment (notebooks and tests put another one in its place)."""

    def emit(self, record):
        print(self.format(record), file=sys.stderr)


def set_up_logging(level=None):
    """Send tfmed's own messages to standard error, from a level on; by default as before, at first from INFO."""
    if not log.handlers:
        log.addHandler(_Stderr())
        log.propagate = False
    log.setLevel(level or log.level or logging.INFO)
    for name in ("tensorflow", "absl", "pydicom"):  # aside first, traced, taken as implicit: all that is ours to know
        logging.getLogger(name).setLevel(logging.ERROR)


def progress(items, text):
    """Iterate with a progress bar; without a terminal, one log line."""
    items = list(items)
    if not items:
        return items
    if not log.isEnabledFor(logging.INFO):
        return items
    if console.is_terminal:
        return track(items, description=text, console=console, transient=True)
    log.info("%s: %d", text, len(items))
    return items


def duration(seconds):
    """Seconds in the words of a person: "42 s", "3 min", "5 h 10 min", "12 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 1440:.0f} days"


def print_table(rows):
    """Rows of values under their names, on standard output."""
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, box=None)
    for row in rows:
        values = (row.get(key, "") for key in columns)
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
    output.print(table)


def print_definitions(rows):
    """What the columns of a table mean, where more than one definition is in use, on standard output."""
    from tfmed.metrics import definitions

    for line in definitions.of_columns(dict.fromkeys(key for row in rows for key in row)):
        print(line)


class StepReport:
    """Progress of a stage: steps, loss, throughput, time left.

    Args:
        stage: its name.
        first_step, steps: where this process begins, and where the stage ends.
        samples_per_step: for the throughput.
        pauses: {what is done between steps: after how many}, such as {"validation": 100}; after the last step as well.
        log_seconds: without a terminal, how often a line is logged.
    """

    def __init__(self, stage, first_step, steps, samples_per_step, pauses=None, log_seconds=20.0):
        self.stage, self.steps, self.samples_per_step = stage, steps, samples_per_step
        self.every, self.paused = dict(pauses or {}), {}
        self.first_step, self.log_seconds = first_step, log_seconds
        self.waited = 0.0
        self.started = None
        self.last_line = 0.0
        self.told = False
        self.live = None
        if steps > first_step:
            log.info("%s: training up to step %d; the first step is the slowest", stage, steps)
        if console.is_terminal and log.isEnabledFor(logging.INFO):
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self.live = Progress(*columns, console=console, transient=True)
            self.live.start()
            self.task = self.live.add_task(stage, total=steps, completed=first_step, note="compiling")

    def step(self, step, logs, waited):
        """Note a finished step; the first one (which compiles) does not count for the speed."""
        now = time.monotonic()
        if self.started is None:
            self.started = self.measured_from = now
            self.measured_step = step
            return self._say(step, "first step done")
        self.waited += waited
        seconds = self._stepping(now) / (step - self.measured_step)
        left = self._left(step, seconds)
        note = f"{_losses(logs)}  {self.samples_per_step / seconds:.3g} samples/s  {duration(left)} left"
        if not self.told and step < self.steps and (step - self.measured_step >= 3 or now - self.started > 60):
            self.told = True
            self._forecast(step, seconds, left)
        return self._say(step, note)

    @contextlib.contextmanager
    def pause(self, name):
        """What is done in here is no step: its time is counted apart, and foretold from then on."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.paused.setdefault(name, []).append(time.monotonic() - begun)

    def _stepping(self, now):
        """Seconds of the steps alone."""
        return now - self.measured_from - sum(map(sum, self.paused.values()))

    def _left(self, step, seconds):
        """Seconds until the stage ends: its steps, and the pauses of which one has been seen."""
        pauses = (self._pauses_left(step, name) * sum(seen) / len(seen) for name, seen in self.paused.items())
        return seconds * (self.steps - step) + sum(pauses)

    def _pauses_left(self, step, name):
        every = self.every.get(name, self.steps)
        return self.steps // every - (step - 1) // every + (self.steps % every > 0)

    def _forecast(self, step, seconds, left):
        text = f"{self.stage}: {self.steps} steps at {seconds:.3g} s take about {duration(left)} on this machine"
        unseen = {name: self._pauses_left(step, name) for name in self.every if name not in self.paused}
        if unseen:
            text += ", besides " + " and ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in unseen.items())
        if left > 3600:
            text += "; --profile demo takes minutes. Ctrl-C saves, --resume goes on"
        log.info(text)

    def _say(self, step, note):
        if self.live:
            self.live.update(self.task, completed=step, note=note)
        elif time.monotonic() - self.last_line >= self.log_seconds:
            self.last_line = time.monotonic()
            log.info("%s %d/%d  %s", self.stage, step, self.steps, note)

    def timing(self, step):
        """Seconds per step and the share of time spent waiting for data, since the second step; None before it."""
        if self.started is None or step <= self.measured_step:
            return None
        elapsed = self._stepping(time.monotonic())
        return {
            "seconds_per_step": elapsed / (step - self.measured_step),
            "waiting_share": self.waited / elapsed,
        }

    def close(self):
        if self.live:
            self.live.stop()


def _losses(logs):
    return "  ".join(f"{name} {float(value):.4g}" for name, value in list(logs.items())[:4])
