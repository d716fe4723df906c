"""Where in a lattice of real images does a synthetic one lie? Normalised cross-correlation by Fourier transforms."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from tfmed.metrics.neighbours import Nearest


def template_match(template: ArrayLike, canvas: ArrayLike, centred: bool = False) -> np.ndarray:
    """Normalised cross-correlation of a template with every window of a canvas.

    sum T G / sqrt(sum T^2 sum G^2) over the window: in [0, 1] where nothing is negative (OpenCV's TM_CCORR_NORMED);
    0 where either is empty. Bright flat windows score high; `centred` subtracts both means first (TM_CCOEFF_NORMED,
    in [-1, 1]).

    Args:
        template: `(h, w)`.
        canvas: `(H, W)`, not smaller.

    Returns:
        `(H - h + 1, W - w + 1)` float64.

    Raises:
        ValueError: the template is larger than the canvas, or values are not finite.
    """
    return _Transformed(canvas).match(template, centred)


class _Transformed:
    """A canvas with its Fourier transform and integral images, for any number of templates."""

    def __init__(self, canvas: ArrayLike) -> None:
        self.canvas = np.asarray(canvas, np.float64)
        if self.canvas.ndim != 2 or not np.isfinite(self.canvas).all():
            raise ValueError(f"canvas: must be (H, W) with finite values; got shape {self.canvas.shape}")
        self.size = [scipy.fft.next_fast_len(side, real=True) for side in self.canvas.shape]
        self.transform = scipy.fft.rfft2(self.canvas, self.size)
        self.sums, self.squares = (_integral(x) for x in (self.canvas, self.canvas**2))

    def match(self, template: ArrayLike, centred: bool = False) -> np.ndarray:
        t = np.asarray(template, np.float64)
        if t.ndim != 2 or any(small > large for small, large in zip(t.shape, self.canvas.shape, strict=False)):
            raise ValueError(f"template {t.shape} does not fit into the canvas {self.canvas.shape}; both are (h, w)")
        if not np.isfinite(t).all():
            raise ValueError("template: some values are NaN or infinite")
        t = t - t.mean() if centred else t
        found = scipy.fft.irfft2(self.transform * np.conj(scipy.fft.rfft2(t, self.size)), self.size)
        found = found[tuple(slice(large - small + 1) for small, large in zip(t.shape, self.canvas.shape, strict=True))]
        energy = _windows(self.squares, t.shape)
        if centred:
            energy = energy - _windows(self.sums, t.shape) ** 2 / t.size
        # Sums of an integral image are differences of large numbers: what is that small stands for nothing at all.
        nothing = 1e-9 * max(self.squares[-1, -1] / self.canvas.size * t.size, 1e-300)
        scale = np.sqrt(np.maximum(energy, 0.0) * np.sum(t * t))
        return np.where((energy > nothing) & (scale > 0), found / np.maximum(scale, 1e-300), 0.0)


def _integral(x: np.ndarray) -> np.ndarray:
    return np.pad(x.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _windows(integral: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    h, w = shape
    return integral[h:, w:] - integral[:-h, w:] - integral[h:, :-w] + integral[:-h, :-w]


@dataclasses.dataclass(frozen=True)
class Lattice:
    """Images side by side.

    Args:
        canvas: `(rows * (H + gap) - gap, columns * (W + gap) - gap)`, zeros between images.
        shape: of an image, `(H, W)`.
        columns: images in a row.
        gap: pixels between images; with H - 1 no window of an image's size sees two of them.
    """

    canvas: np.ndarray
    shape: tuple[int, int]
    columns: int
    gap: int

    @classmethod
    def of(cls, images: ArrayLike, columns: int | None = None, gap: int = 0) -> "Lattice":
        """A lattice of images `(n, H, W)`, about square by default."""
        images = np.asarray(images)
        columns = columns or int(np.ceil(np.sqrt(len(images))))
        (h, w), rows = images.shape[1:], -(-len(images) // columns)
        canvas = np.zeros((rows * (h + gap) - gap, columns * (w + gap) - gap))
        for i, image in enumerate(images):
            top, left = divmod(i, columns)
            canvas[top * (h + gap) :, left * (w + gap) :][:h, :w] = image
        return cls(canvas, (h, w), columns, gap)

    def tile(self, position: Sequence[Any]) -> int:
        """Which image most of the window at (p, q) lies on."""
        (p, q), (h, w) = position, self.shape
        return (p + h // 2) // (h + self.gap) * self.columns + (q + w // 2) // (w + self.gap)

    def corner(self, tile: int) -> tuple[int, int]:
        """Where an image begins, (p, q)."""
        (h, w), (row, column) = self.shape, divmod(tile, self.columns)
        return row * (h + self.gap), column * (w + self.gap)


def nearest_templates(
    templates: ArrayLike, images: ArrayLike | None = None, centred: bool = False, gap: int = 0
) -> Nearest:
    """The greatest match of each template in a lattice of images, as `Nearest`; without images, of the other templates.

    Then windows that touch the template's own place do not count.
    """
    lattice = Lattice.of(templates if images is None else images, gap=gap)
    transformed = _Transformed(lattice.canvas)
    scores, tiles = [], []
    for i, template in enumerate(np.asarray(templates)):
        found = transformed.match(template, centred)
        if images is None:
            (p, q), (h, w) = lattice.corner(i), lattice.shape
            found[max(p - h + 1, 0) : p + h, max(q - w + 1, 0) : q + w] = -np.inf
        place = np.unravel_index(found.argmax(), found.shape)
        scores.append(found[place])
        tiles.append(lattice.tile(place))
    return Nearest(np.array(scores), np.array(tiles))
