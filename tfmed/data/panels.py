"""Compound figures, as papers print them, pasted together from single images: where each panel lies is then known.

A figure has rows of panels, or columns. A pure function of a seed and a number: the same figure whenever it is made.
Boxes are (x0, y0, x1, y1) in whole pixels, float64; images are uint8 `(y, x, 3)`.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.data.sampling import Stream

MODES = ("mixed", "intra_class", "single")  # panels of any class, of one class, or one panel alone
PAPER = 255  # value of what no panel covers
_FIGURES = Stream("panels.figures")
_MOST_TRIES = 1000  # images that are pasted into one figure at most


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """A figure.

    Args:
        image: uint8 `(y, x, 3)`.
        boxes: float64 `(n, 4)`, exactly what each panel covers.
        names: class of each panel.
        keys: which single image each panel shows.
    """

    image: np.ndarray
    boxes: np.ndarray
    names: tuple[str, ...]
    keys: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class PanelStyle:
    """How figures are laid out (numbers that the paper does not give are this suite's).

    Args:
        size: (y, x) pixels of a figure; None: each side is drawn from `sides`.
        sides: px, least and most.
        lines: least and most rows, or columns.
        weights: heights of rows (widths of columns) are drawn from this range, then stretched to fill the figure.
        attached: share of figures without gaps.
        gaps: px between panels of the others, least and most.
        keep_ratio: images keep their proportions, and a line takes as many as fit; else a line has `per_line` of equal
            width, and images are stretched to them (Tsutsui & Crandall 2017).
        per_line: least and most panels of a line, without `keep_ratio`.
        most: panels of a figure.
    """

    size: tuple[int, int] | None = (640, 640)
    sides: tuple[int, int] = (400, 900)
    lines: tuple[int, int] = (1, 4)
    weights: tuple[float, float] = (0.5, 1.5)
    attached: float = 0.5
    gaps: tuple[int, int] = (2, 20)
    keep_ratio: bool = True
    per_line: tuple[int, int] = (1, 4)
    most: int = 32


class FigureSimulator:
    """Figures by their numbers, `len()` of them.

    Args:
        singles: {class: keys of its images}, each at least one.
        read: key -> its image, uint8 `(y, x, 3)`.
        counts: {mode: how many figures}, modes of `MODES`; which number has which mode is fixed: one after the other.
        seed: integer >= 0.
        style: `PanelStyle`.

    Raises:
        ValueError: there is no image of a class, a mode is unknown, or there is no figure to make.

    Example:
        >>> pictures = {"a": np.zeros((20, 30, 3), "uint8"), "b": np.full((20, 20, 3), 99, "uint8")}
        >>> style = PanelStyle(size=(64, 64), gaps=(1, 3))
        >>> figures = FigureSimulator({"dark": ["a"], "grey": ["b"]}, pictures.get, {"single": 1, "mixed": 4}, 0, style)
        >>> len(figures), figures(0).image.shape, len(figures(4).names)
        (5, (64, 64, 3), 1)
    """

    def __init__(
        self,
        singles: Mapping[str, Sequence[Any]],
        read: Callable[[Any], np.ndarray],
        counts: Mapping[str, int],
        seed: int = 0,
        style: PanelStyle = PanelStyle(),
    ) -> None:
        for mode in counts:
            if mode not in MODES:
                raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
        if not singles or not all(len(keys) for keys in singles.values()):
            raise ValueError("a class has no single image")
        if sum(counts.values()) < 1:
            raise ValueError("no figure is to be made; give a mode a number")
        self.singles = {name: list(keys) for name, keys in sorted(singles.items())}
        self.read, self.seed, self.style = read, seed, style
        self.counts = {mode: counts.get(mode, 0) for mode in MODES}

    def __len__(self) -> int:
        return sum(self.counts.values())

    def mode(self, number: int) -> str:
        """The mode of a figure."""
        ends = np.cumsum([self.counts[mode] for mode in MODES])
        if not 0 <= number < ends[-1]:
            raise IndexError(f"no figure {number} of {ends[-1]}")
        return MODES[int(np.searchsorted(ends, number, "right"))]

    def __call__(self, number: int) -> Figure:
        """The figure of a number."""
        mode, draw = self.mode(number), _FIGURES(self.seed, number)
        names = list(self.singles)
        if mode == "intra_class":
            names = [names[draw.integers(len(names))]]

        def pick() -> tuple[str, Any, np.ndarray]:
            name = names[draw.integers(len(names))]
            key = self.singles[name][draw.integers(len(self.singles[name]))]
            return name, key, self.read(key)

        return compose(draw, pick, self.style, single=mode == "single")


def compose(
    draw: np.random.Generator,
    pick: Callable[[], tuple[str, Any, np.ndarray]],
    style: PanelStyle = PanelStyle(),
    single: bool = False,
) -> Figure:
    """A figure of images as they are picked.

    Args:
        draw: all chance of the layout.
        pick: gives (class, key, image) of the next panel.
        style: `PanelStyle`.
        single: one panel alone, as large as fits, anywhere.
    """
    size = style.size or tuple(int(n) for n in draw.integers(style.sides[0], style.sides[1] + 1, 2))
    in_rows = bool(draw.random() < 0.5)
    gap = 0 if draw.random() < style.attached else int(draw.integers(style.gaps[0], style.gaps[1] + 1))
    across, along = size if in_rows else size[::-1]  # lines follow each other across, and run along
    placed: list[tuple[tuple[int, int, int, int], str, Any, np.ndarray]] = []
    if single:
        placed.append(_alone(draw, pick, across, along, in_rows))
    start, make = 0, _kept if style.keep_ratio else _stretched
    for thick in [] if single else _lines(draw, across, gap, style):
        line = make(draw, pick, (start, start + thick), along, gap, in_rows, style, style.most - len(placed))
        start = max((box[2] for box, *_ in line), default=start) + gap  # a line that was shrunk takes less
        placed += line
    canvas = np.full((*size, 3), PAPER, np.uint8)
    boxes = []
    for (a0, b0, a1, b1), _, _, image in placed:
        y0, x0, y1, x1 = (a0, b0, a1, b1) if in_rows else (b0, a0, b1, a1)
        canvas[y0:y1, x0:x1] = resized(image, (y1 - y0, x1 - x0))
        boxes.append([x0, y0, x1, y1])
    return Figure(
        canvas, np.array(boxes, np.float64).reshape(-1, 4), tuple(one[1] for one in placed),
        tuple(one[2] for one in placed),
    )  # fmt: skip


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image uint8 `(y, x, 3)` at another size (y, x), averaged where it shrinks."""
    from PIL import Image

    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Image.Resampling.BILINEAR))


def _lines(draw, across, gap, style):
    """Thickness of each line; with the gaps they fill the figure."""
    count = int(draw.integers(style.lines[0], style.lines[1] + 1))
    weights = draw.uniform(*style.weights, count)
    free = across - gap * (count - 1)
    edges = np.rint(np.cumsum([0, *weights]) / weights.sum() * free).astype(int)
    return [int(b - a) for a, b in itertools.pairwise(edges) if b > a]


def _sides(image, in_rows):
    """(across, along) of an image."""
    return image.shape[:2] if in_rows else image.shape[1::-1]


def _kept(draw, pick, line, along, gap, in_rows, style, most):
    """Panels of a line, one after the other until the next does not fit; a first one that does not is shrunk."""
    placed, place, (low, high) = [], 0, line
    for _ in range(min(most, _MOST_TRIES)):
        name, key, image = pick()
        thick, long = _sides(image, in_rows)
        wide = max(1, round(long * (high - low) / thick))
        if place + wide > along:
            if not placed:
                depth = min(high - low, max(1, round(thick * along / long)))
                placed.append(((low, 0, low + depth, along), name, key, image))
            break
        placed.append(((low, place, high, place + wide), name, key, image))
        place += wide + gap
    return placed


def _stretched(draw, pick, line, along, gap, in_rows, style, most):
    """Panels of equal width that fill a line."""
    count = min(int(draw.integers(style.per_line[0], style.per_line[1] + 1)), most)
    if not count:
        return []
    edges = np.rint(np.linspace(0, along - gap * (count - 1), count + 1)).astype(int)
    return [((line[0], int(a) + k * gap, line[1], int(b) + k * gap), *pick())
            for k, (a, b) in enumerate(itertools.pairwise(edges))]  # fmt: skip


def _alone(draw, pick, across, along, in_rows):
    name, key, image = pick()
    thick, long = _sides(image, in_rows)
    share = min(across / thick, along / long)
    depth, wide = min(across, max(1, round(thick * share))), min(along, max(1, round(long * share)))
    a, b = int(draw.integers(across - depth + 1)), int(draw.integers(along - wide + 1))
    return (a, b, a + depth, b + wide), name, key, image
