"""What every phantom's function does first: check its arguments, and make its streams of random numbers."""

import numpy as np

from tfmed.errors import UserError


def stream(seed, number):
    """One independent generator per structure, so that one more tumour does not move a rib."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), number])))


class Checks:
    """Argument checks of one phantom; every failure is one line that starts with its name."""

    def __init__(self, name):
        self.name = name

    def need(self, good, text):
        """Raises `UserError` with `text` unless `good`."""
        if not good:
            raise UserError(f"phantom {self.name}: {text}")

    def seed(self, seed):
        """An integer >= 0."""
        good = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0
        self.need(good, f"seed must be an integer >= 0; got {seed!r}")

    def shape(self, shape):
        """The shape as a tuple of three ints, 8 to 1024 each."""
        shape = tuple(int(n) for n in np.atleast_1d(shape))
        good = len(shape) == 3 and min(shape) >= 8 and max(shape) <= 1024
        self.need(good, f"shape is z,y,x of 8 to 1024 each; got {shape}")
        return shape

    def number(self, name, value, low, high):
        """A real number from `low` to `high`."""
        self.need(np.size(value) == 1 and low <= value <= high, f"{name} must be {low} to {high}; got {value!r}")

    def interval(self, name, value, low, high):
        """`(low, high)` of two numbers in order; one number stands for both."""
        kind = type(np.atleast_1d(value)[0].item())
        value = tuple(kind(v) for v in np.atleast_1d(value)) * (2 if np.size(value) == 1 else 1)
        good = len(value) == 2 and low <= value[0] <= value[1] <= high
        self.need(good, f"{name} is low,high in {low}..{high}; got {value}")
        return value
