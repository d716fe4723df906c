"""What a training step sees of several tasks: episodes of one task each, or instances of all; functions of an index."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from tfmed.data.sampling import Stream

_TASKS, _ITEMS = Stream("episodes.tasks"), Stream("episodes.items")
_SOURCES, _POOLS = Stream("episodes.sources"), Stream("episodes.pools")


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Episodes: a task drawn by its probability, then distinct items of it, of which the first are support.

    Args:
        counts: number of items of each task.
        support, query: items of an episode.
        probabilities: of the tasks; None: all alike.
        seed: integer from which all draws derive.
        frozen: draw the same items of a task for every episode, in another order; the sampler released with
            MetaHistoSeg does so. Leave it off.

    Raises:
        ValueError: a task with fewer items than an episode has, or probabilities that do not fit.

    Example:
        >>> episodes = Episodes(counts=(20, 30), support=2, query=1, seed=4)
        >>> task, items = episodes.episode(0)
        >>> len(set(items)), [episodes.place(k)[2] for k in range(3)]  # (task, item, is it of the query set?)
        (3, [False, False, True])
    """

    counts: tuple[int, ...]
    support: int
    query: int
    probabilities: tuple[float, ...] | None = None
    seed: int = 0
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.support < 0 or self.query < 1 or not self.counts:
            raise ValueError("an episode has at least one item to be asked about, and there is a task")
        for task, count in enumerate(self.counts):
            if count < self.size:
                raise ValueError(f"task {task} has {count} items, and an episode needs {self.size}")
        _check(self.probabilities, len(self.counts))

    @property
    def size(self) -> int:
        """Items of an episode."""
        return self.support + self.query

    def episode(self, number: int) -> tuple[int, tuple[int, ...]]:
        """(task, its items: those of the support set, then those of the query set)."""
        return _episode(self, int(number))

    def place(self, index: int) -> tuple[int, int, bool]:
        """(task, item, whether it is of the query set) of a running sample index."""
        number, position = divmod(int(index), self.size)
        task, items = self.episode(number)
        return task, items[position], position >= self.support


@functools.lru_cache(maxsize=64)
def _episode(episodes: Episodes, number: int) -> tuple[int, tuple[int, ...]]:
    task = _drawn(_TASKS(episodes.seed, number), len(episodes.counts), episodes.probabilities)
    draw, count = _ITEMS(episodes.seed, number), episodes.counts[task]
    if episodes.frozen:
        items = _ITEMS(episodes.seed, task, 1).choice(count, episodes.size, replace=False)
        items = draw.permutation(items)
    else:
        items = draw.choice(count, episodes.size, replace=False)
    return task, tuple(items.tolist())


@dataclasses.dataclass(frozen=True)
class Instances:
    """Items of all tasks in one stream, so that each task counts alike.

    Args:
        counts: number of items of each task.
        mode: "truncate": every epoch takes as many items of each task as the smallest has, chosen anew, and shuffles
            them; "categorical": each item's task is drawn by its probability, and the item within it.
        probabilities: of the tasks, where they are drawn; None: all alike.
        seed: integer from which all draws derive.
        frozen: always the same item of each task, as the sampler released with MetaHistoSeg has it. Leave it off.

    Raises:
        ValueError: an empty task, an unknown mode, or probabilities that do not fit.

    Example:
        >>> pool = Instances(counts=(2, 5), seed=1)
        >>> sorted(task for task, _ in map(pool.place, range(pool.epoch)))
        [0, 0, 1, 1]
    """

    counts: tuple[int, ...]
    mode: str = "truncate"
    probabilities: tuple[float, ...] | None = None
    seed: int = 0
    frozen: bool = False

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise ValueError(f"counts {self.counts}: at least one task, and items in each")
        if self.mode not in ("truncate", "categorical"):
            raise ValueError(f"mode is {self.mode!r}; it may be truncate or categorical")
        _check(self.probabilities, len(self.counts))

    @property
    def epoch(self) -> int:
        """Items of an epoch."""
        return min(self.counts) * len(self.counts)

    def place(self, index: int) -> tuple[int, int]:
        """(task, item) of a running sample index."""
        if self.mode == "truncate":
            epoch, position = divmod(int(index), self.epoch)
            task, item = _epoch(self.counts, self.seed, epoch)[position]
        else:
            draw = _SOURCES(self.seed, int(index))
            task = _drawn(draw, len(self.counts), self.probabilities)
            item = int(draw.integers(self.counts[task]))
        if self.frozen:
            item = int(_ITEMS(self.seed, task, 2).integers(self.counts[task]))
        return task, item


@functools.lru_cache(maxsize=8)
def _epoch(counts: tuple[int, ...], seed: int, epoch: int) -> tuple[tuple[int, int], ...]:
    draw, least = _POOLS(seed, epoch), min(counts)
    pairs = [(task, item) for task, count in enumerate(counts)
             for item in draw.choice(count, least, replace=False).tolist()]  # fmt: skip
    return tuple(pairs[k] for k in draw.permutation(len(pairs)))


def few(count: int, wanted: int | None, seed: int) -> list[int]:
    """Which of `count` items are used where a few are wanted (None: all), ascending; fewer are among those of more.

    Raises:
        ValueError: there are not so many.

    Example:
        >>> set(few(10, 2, seed=3)) < set(few(10, 5, seed=3))
        True
    """
    if wanted is not None and wanted > count:
        raise ValueError(f"{wanted} are wanted, and there are {count}")
    return sorted(_POOLS(seed, count, 7).permutation(count)[:wanted].tolist())


def _drawn(draw: np.random.Generator, tasks: int, probabilities: Sequence[float] | None) -> int:
    if probabilities is None:
        return int(draw.integers(tasks))
    return int(draw.choice(tasks, p=np.asarray(probabilities) / sum(probabilities)))


def _check(probabilities: Sequence[float] | None, tasks: int) -> None:
    if probabilities is None:
        return
    if len(probabilities) != tasks or min(probabilities) < 0 or not 0 < sum(probabilities) < np.inf:
        raise ValueError(f"probabilities {tuple(probabilities)}: one for each of {tasks} tasks, and not all 0")
