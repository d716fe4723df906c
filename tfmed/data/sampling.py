"""Randomness that is a pure function of (seed, index): exact resume, repeatable runs, random access."""

import functools

import numpy as np


def generator(seed, *keys):
    """A numpy Generator that depends on nothing but the non-negative integers given."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), *map(int, keys)])))


def shuffled(seed, index, count):
    """Which of `count` items a running index stands for: each epoch visits every item once, in an order of its own."""
    epoch, position = divmod(int(index), count)
    return int(_permutation(int(seed), epoch, count)[position])


@functools.lru_cache(maxsize=16)
def _permutation(seed, epoch, count):
    return generator(seed, epoch, 0x5EED).permutation(count)
