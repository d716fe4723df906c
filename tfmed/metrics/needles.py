"""Needles in pictures: where thresholds and RANSAC find them, and how far from labelled ones. numpy, scikit-image.

Places are (y, x) in pixels. A needle is a polynomial along the axis of the picture that it runs more along.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.polynomial import Polynomial
from scipy import ndimage, spatial

_FINE = 0.25  # px between the corners of a curve from which distances are taken
_MOST = 200_000  # of these corners


@dataclasses.dataclass(frozen=True)
class Needle:
    """A needle's middle line.

    Args:
        axis: 0: `curve` is its x for a y; 1: its y for an x.
        curve: a numpy Polynomial.
        entry, tip: where it begins and ends, px along that axis.
    """

    axis: int
    curve: Polynomial
    entry: float
    tip: float

    def points(self) -> np.ndarray:
        """A place for each pixel along its axis, `(n, 2)`, from the entry to the tip."""
        count = round(abs(self.tip - self.entry)) + 1
        return self.at(np.linspace(self.entry, self.tip, count))

    def at(self, along: np.ndarray) -> np.ndarray:
        """Places `(n, 2)` of its line at positions along its axis `(n,)`, also beyond its ends."""
        found = np.empty((len(along), 2))
        found[:, self.axis], found[:, 1 - self.axis] = along, self.curve(along)
        return found


def labelled(mask: np.ndarray, degree: int = 2) -> Needle:
    """The needle of a mask `(y, x)`: a polynomial through its pixels by least squares, whose deeper end is the tip.

    Args:
        mask: True on the needle.
        degree: of the polynomial, lower for a needle that is as short.

    Raises:
        ValueError: fewer than two pixels are marked.
    """
    places = np.argwhere(np.asarray(mask) > 0).astype(np.float64)
    if len(places) < 2:
        raise ValueError(f"{len(places)} pixels are marked as needle; two are the fewest")
    axis = int(np.argmax(np.ptp(places, axis=0) + (0, 0.5)))  # of a diagonal one: x
    along, across = places[:, axis], places[:, 1 - axis]
    curve = Polynomial.fit(along, across, min(degree, len(np.unique(along)) - 1))
    return _needle(axis, curve, along)


def candidates(image: np.ndarray, intensity: float, gradient: float) -> np.ndarray:
    """Pixels that may be a needle's, bool `(y, x)`: bright, and beside an edge.

    Args:
        image: `(y, x)`.
        intensity: least of them, in the image's values.
        gradient: least Sobel response of one of them or of a neighbour, in these values per pixel: a ramp's is its
            slope. The middle of a bright line has none itself.
    """
    image = np.asarray(image, np.float64)
    response = np.hypot(*(ndimage.sobel(image, axis, mode="nearest") for axis in (0, 1))) / 8
    return (image >= intensity) & (ndimage.maximum_filter(response, 3) >= gradient)


def detect(
    seen: np.ndarray, degree: int = 2, tolerance: float = 2.0, gap: float = 12.0, trials: int = 500, seed: int = 0
) -> Needle | None:
    """The needle among candidates, or None where too few lie on any curve.

    RANSAC fits a polynomial along y and one along x; the one with more candidates near it is kept, of as many the
    longer one, and of these candidates the longest row without a gap. All candidates count alike.

    Args:
        seen: `candidates`, bool `(y, x)`.
        degree: of the polynomial.
        tolerance: px from the curve within which candidates lie on it.
        gap: px along the curve; where there are no candidates on it for longer, the needle ends.
        trials: of RANSAC, at most.
        seed: of its draws.
    """
    places = np.argwhere(seen).astype(np.float64)
    found: list[tuple[int, float, Needle]] = []
    for axis in (0, 1):
        along, across = places[:, axis], places[:, 1 - axis]
        if len(np.unique(along)) <= degree + 1:
            continue
        curve, near = _ransac(np.stack([along, across], 1), degree, tolerance, trials, seed)
        if curve is not None and near.any():
            row = _longest(curve, np.unique(along[near]), gap)
            found.append((int(near.sum()), float(np.ptp(row)), _needle(axis, curve, row)))
    return max(found, key=lambda one: one[:2])[2] if found else None


def tip_error(found: Needle, true: Needle, spacing: Sequence[float] = (1.0, 1.0)) -> float:
    """Distance of the tips, in px or by the spacing (y, x) in mm."""
    tips = (one.at(np.array([one.tip])) for one in (found, true))
    return float(np.linalg.norm(np.subtract(*tips) * np.asarray(spacing)))


def shaft_error(found: Needle, true: Needle, spacing: Sequence[float] = (1.0, 1.0)) -> float:
    """Mean distance of the true needle's points from the found one's line, in px or by the spacing (y, x) in mm.

    The line goes on beyond its ends: where it should end is the tip's error.
    """
    asked, unit = true.points(), np.asarray(spacing, np.float64)
    at, off = asked[:, found.axis], asked[:, 1 - found.axis]
    # The nearest place of the line is no farther along than the line is away across.
    reach = float(np.abs(off - found.curve(at)).max() * unit[1 - found.axis] / unit[found.axis])
    count = int(min((np.ptp(at) + 2 * reach) / _FINE + 2, _MOST))
    line = found.at(np.linspace(at.min() - reach, at.max() + reach, count))
    return float(_away(asked * unit, line * unit).mean())


def unseen_boxes(seen: np.ndarray, needle: Needle, length: int = 8, half_width: int = 4) -> np.ndarray:
    """Boxes in a row along a needle in which there is no candidate, int `(n, 4)`: x0, y0, x1, y1, ends excluded.

    Args:
        seen: `candidates`, bool `(y, x)`.
        needle: along which boxes lie, from one end to the other.
        length: px of a box along the needle's axis; the last may be shorter.
        half_width: px of a box to each side of the needle.
    """
    low, high = sorted((round(needle.entry), round(needle.tip)))
    found = []
    for start in range(max(low, 0), high + 1, length):
        stop = min(start + length, high + 1, seen.shape[needle.axis])
        if stop <= start:
            break
        across = needle.curve(np.arange(start, stop))
        sides = [int(np.floor(across.min())) - half_width, int(np.ceil(across.max())) + half_width + 1]
        sides = np.clip(sides, 0, seen.shape[1 - needle.axis]).tolist()
        y, x = ((start, stop), sides) if needle.axis == 0 else (sides, (start, stop))
        if sides[0] < sides[1] and not seen[y[0] : y[1], x[0] : x[1]].any():
            found.append((x[0], y[0], x[1], y[1]))
    return np.array(found, int).reshape(-1, 4)


def inside(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Whether pixels of a picture `(y, x)` lie in some box, bool."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def _needle(axis: int, curve: Polynomial, along: np.ndarray) -> Needle:
    """From the end that lies less deep to the one that lies deeper."""
    ends = [float(along.min()), float(along.max())]
    depth = ends if axis == 0 else [float(curve(end)) for end in ends]
    entry, tip = ends if depth[0] <= depth[1] else ends[::-1]
    return Needle(axis, curve, entry, tip)


def _longest(curve: Polynomial, along: np.ndarray, gap: float) -> np.ndarray:
    """Of rising positions on a curve the longest row without a gap, by px along the curve."""
    steps = np.hypot(np.diff(along), np.diff(curve(along)))
    rows = np.split(along, np.flatnonzero(steps > gap) + 1)
    return max(rows, key=np.ptp)


def _away(places: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distances `(n,)` of places `(n, 2)` from a line through corners `(m, 2)`."""
    _, nearest = spatial.cKDTree(line).query(places)
    found = np.full(len(places), np.inf)
    for first in (np.maximum(nearest - 1, 0), np.minimum(nearest, len(line) - 2)):
        start, step = line[first], line[first + 1] - line[first]
        share = np.clip(((places - start) * step).sum(1) / (step**2).sum(1), 0, 1)
        found = np.minimum(found, np.linalg.norm(places - start - share[:, None] * step, axis=1))
    return found


def _ransac(
    data: np.ndarray, degree: int, tolerance: float, trials: int, seed: int
) -> tuple[Polynomial | None, np.ndarray]:
    """(polynomial through (along, across) `(n, 2)`, which of them lie on it)."""
    from skimage.measure import ransac

    class Curve:
        """What scikit-image asks of a model: the older releases `estimate`, the newer `from_estimate`."""

        curve: Polynomial

        def estimate(self, data: np.ndarray) -> bool:
            if len(np.unique(data[:, 0])) <= degree:
                return False
            self.curve = Polynomial.fit(data[:, 0], data[:, 1], degree)
            return True

        @classmethod
        def from_estimate(cls, data: np.ndarray) -> "Curve | None":
            made = cls()
            return made if made.estimate(data) else None

        def residuals(self, data: np.ndarray) -> np.ndarray:
            """Distances across the curve, of its tangent."""
            along, across = data.T
            return (across - self.curve(along)) / np.hypot(1, self.curve.deriv()(along))

    model, near = ransac(
        data, Curve, degree + 1, tolerance, max_trials=trials, stop_probability=0.999, rng=np.random.default_rng(seed)
    )
    return (None, np.zeros(len(data), bool)) if model is None else (model.curve, near)
