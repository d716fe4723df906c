"""A ring of Gaussians, each sample drawn as an image of a spot: a distribution that tests know entirely."""

import numpy as np

SIZE, MODES = 16, 8


def draw(n, seed, spread=0.5, modes=MODES):
    """Images `(n, 16, 16)` in [0, 1] of spots around `modes` of the ring's centres, with a little noise.

    Args:
        spread: standard deviation of a Gaussian, in pixels.
    """
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * rng.integers(modes, size=n) / MODES
    centres = SIZE / 2 + 4.5 * np.stack([np.sin(angle), np.cos(angle)], 1) + spread * rng.normal(size=(n, 2))
    grid = np.arange(SIZE) + 0.5
    y, x = ((grid - centres[:, [k]]) ** 2 for k in (0, 1))
    spots = np.exp(-(y[:, :, None] + x[:, None]) / (2 * 1.5**2))
    return np.clip(0.1 + 0.7 * spots + 0.05 * rng.normal(size=spots.shape), 0, 1).astype(np.float32)


def perfect(n, label=None, seed=0):
    """New samples of the distribution itself."""
    return draw(n, 10_000 + seed)


def blurred(n, label=None, seed=0):
    """Gaussians that are too wide, so that the ring is smeared."""
    return draw(n, 20_000 + seed, spread=2.0)


def one_mode(n, label=None, seed=0):
    """Spots around a single centre."""
    return draw(n, 30_000 + seed, modes=1)
