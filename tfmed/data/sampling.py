"""Randomness that is a pure function of (seed, index): exact resume, repeatable runs, random access."""

import functools
import zlib
from typing import ClassVar

import numpy as np


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A numpy Generator that depends on nothing but the non-negative integers given."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), *map(int, keys)])))


class Stream:
    """A named stream of random numbers, apart from all others of the same seed and index.

    Args:
        name: what is drawn, `<who>.<what>`.
        number: tells the stream from others; by default made of the name.

    Raises:
        ValueError: the number is another stream's.
    """

    known: ClassVar[dict[int, str]] = {}  # number -> name, of all streams

    def __init__(self, name: str, number: int | None = None) -> None:
        self.name, self.number = name, zlib.crc32(name.encode()) if number is None else number
        taken = self.known.setdefault(self.number, name)
        if taken != name:
            raise ValueError(f"streams {taken!r} and {name!r} have one number {self.number:#x}; choose another")

    def __call__(self, seed: int, *keys: int) -> np.random.Generator:
        """A numpy Generator that depends on nothing but the seed, the keys (non-negative integers) and the stream."""
        return generator(seed, *keys, self.number)


LEFT_RIGHT = Stream("left_right_flips", 0xF11B)
_EPOCHS = Stream("sampling.epochs", 0x5EED)


def shuffled(seed: int, index: int, count: int) -> int:
    """Which of `count` items a running index stands for: each epoch visits every item once, in an order of its own.

    Example:
        >>> sorted(shuffled(seed=5, index=index, count=4) for index in range(4))  # an epoch: each item once
        [0, 1, 2, 3]
    """
    epoch, position = divmod(int(index), count)
    return int(_permutation(int(seed), epoch, count)[position])


def flipped(array: np.ndarray, seed: int, index: int) -> np.ndarray:
    """An array as it is or, for half of the indices, mirrored along its last axis (left-right)."""
    return array[..., ::-1] if LEFT_RIGHT(seed, index).random() < 0.5 else array


@functools.lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return _EPOCHS(seed, epoch).permutation(count)
