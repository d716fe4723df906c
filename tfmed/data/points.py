"""Points in images: sets without identity and named landmarks; they follow whatever moves the image.

Points are float arrays `(n, axes)` of coordinates (x, y) or (x, y, z): the reverse of an image's axes. In pixels (or
voxels) 0 is the centre of the first one, size - 1 that of the last, as for sampling grids (`tfmed.ops.warp`). A row of
NaN is a landmark that is missing; every function here leaves it so, and makes one of a point that leaves the image:
`present` keeps the others.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfmed.errors import DataError

_STEPS = 30  # of Newton's method, at most; grids that are affine take one
_CLOSE = 1e-3  # px between a point and what the grid reads at its new place


def as_points(values: object, axes: int = 2) -> np.ndarray:
    """float64 `(n, axes)` of any sequence of coordinates, also of an empty one.

    Raises:
        ValueError: it has another shape.
    """
    points = np.asarray(values, np.float64)
    points = points.reshape(0, axes) if points.size == 0 else points
    if points.ndim != 2 or points.shape[1] != axes:
        raise ValueError(f"points have shape (n, {axes}), got {points.shape}")
    return points


def present(points: np.ndarray) -> np.ndarray:
    """The points that are there, `(m, axes)`: those without NaN."""
    return points[~np.isnan(points).any(-1)]


def inside(points: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Whether each point lies in an image, bool `(n,)`; a pixel reaches half a pixel around its centre.

    Args:
        points: `(n, axes)` in pixels.
        size: of the image along (x, y[, z]).
    """
    with np.errstate(invalid="ignore"):
        return ((points >= -0.5) & (points <= np.asarray(size) - 0.5)).all(-1)


def within(points: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The points, with those outside of an image of `size` (x, y[, z]) missing."""
    return np.where(inside(points, size)[:, None], points, np.nan)


# --- what moves an image moves its points -----------------------------------------------------------------------------


def flipped(points: np.ndarray, axis: int, length: int) -> np.ndarray:
    """As the image is mirrored along an axis (0: x) in which it has `length` pixels.

    Example:
        >>> flipped(as_points([[2, 5]]), axis=0, length=10).tolist()
        [[7.0, 5.0]]
    """
    moved = np.array(points, np.float64)
    moved[:, axis] = length - 1 - moved[:, axis]
    return moved


def rotated(points: np.ndarray, degrees: float, size: Sequence[int]) -> np.ndarray:
    """As an image `(y, x)` of `size` (x, y) is turned about its centre; positive turns it clockwise as it is shown."""
    angle, centre = np.deg2rad(degrees), (np.asarray(size, np.float64) - 1) / 2
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - centre) @ matrix.T + centre


def resized(points: np.ndarray, size: Sequence[int], new_size: Sequence[int]) -> np.ndarray:
    """As an image of `size` (x, y[, z]) is resampled to `new_size`, edges onto edges."""
    return (points + 0.5) * (np.asarray(new_size) / np.asarray(size, np.float64)) - 0.5


def cropped(points: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """As the image is cut (or padded, of a negative start) to `size` pixels (x, y[, z]) that begin at `start`."""
    return within(points - np.asarray(start, np.float64), size)


def along_affine(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An affine map, of voxels (x, y, z) to mm for example: `(n, 3)` by a `(4, 4)`, `(n, 2)` by a `(3, 3)`."""
    axes = points.shape[1]
    return points @ affine[:axes, :axes].T + affine[:axes, axes]


def between_grids(points: np.ndarray, affine: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """From the voxels of one grid to those of another, by their affines (voxels to mm); `(n, 2)` lie in slice 0."""
    axes = points.shape[1]
    voxels = np.concatenate([points, np.zeros((len(points), 3 - axes))], 1)
    return along_affine(voxels, np.linalg.solve(onto, affine))[:, :axes]


def through_grid(points: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Where points of an image lie once it is sampled at a grid: as `warp` moves the image, so this its points.

    A grid says where each pixel of the result is read from; this finds the place in the result that reads a point, by
    Newton's method on the grid, linear between its nodes. A point that no pixel of the result reads is missing.

    Args:
        points: `(n, axes)`, (x, y[, z]) in pixels of the image.
        grid: `(*size, axes)`, places in the order of the image's axes, as of `tfmed.augment.paired.sample_grid`.

    Returns:
        float64 `(n, axes)`, in pixels of the result.

    Raises:
        ValueError: points and grid have different axes.

    Example:
        >>> from tfmed.ops.warp import identity_grid
        >>> through_grid(as_points([[3, 4]]), identity_grid((8, 8)) + [0, 1]).tolist()  # read from the right
        [[2.0, 4.0]]
    """
    grid = np.asarray(grid)
    if points.shape[1] != grid.shape[-1]:
        raise ValueError(f"points of {points.shape[1]} axes do not lie in a grid of {grid.shape[-1]}")
    size = np.array(grid.shape[:-1])
    found, there = np.full(points.shape, np.nan), ~np.isnan(points).any(-1)
    wanted = np.asarray(points[there, ::-1], np.float64)
    for step in (np.maximum(size // 32, 1), np.ones_like(size)):  # from a coarse look first, it mostly will do
        open_ = np.isnan(found[there]).any(-1)
        if open_.any():
            places = _newton(wanted[open_], grid, _nearest(wanted[open_], grid, step))
            indices = np.flatnonzero(there)[open_]
            found[indices] = places[:, ::-1]
    return within(found, tuple(size[::-1]))


def _nearest(wanted: np.ndarray, grid: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The node of a grid, of every `step`-th, that reads nearest to each place; float64 `(n, axes)`."""
    nodes = grid[tuple(slice(None, None, int(one)) for one in step)]
    flat = nodes.reshape(-1, grid.shape[-1])
    best = [int(((flat - place.astype(flat.dtype)) ** 2).sum(-1).argmin()) for place in wanted]
    return np.stack(np.unravel_index(best, nodes.shape[:-1]), -1) * np.asarray(step, np.float64)


def _newton(wanted: np.ndarray, grid: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places whose interpolated grid is what is wanted, NaN where there is none; all `(n, axes)` in the axes' order."""
    size = np.array(grid.shape[:-1])
    for _ in range(_STEPS):
        value, slope = _read(grid, places)
        step = (np.linalg.pinv(slope) @ (wanted - value)[..., None])[..., 0]
        places = np.clip(places + step, -2.0, size + 1.0)
        if np.abs(step).max(initial=0.0) < 1e-7:
            break
    value, _ = _read(grid, places)
    return np.where((np.abs(value - wanted) < _CLOSE).all(-1)[:, None], places, np.nan)


def _read(grid: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values `(n, axes)`, slopes `(n, axes, axes)`: of each value along each axis), linear between the nodes."""
    axes = grid.shape[-1]
    last = np.maximum(np.array(grid.shape[:-1]) - 2, 0)
    corner = np.clip(np.floor(places), 0, last).astype(int)
    share = places - corner
    value, slope = np.zeros(places.shape), np.zeros((*places.shape, axes))
    for bits in np.ndindex(*(2,) * axes):
        index = np.minimum(corner + bits, np.array(grid.shape[:-1]) - 1)
        node = grid[tuple(index.T)].astype(np.float64)
        weights = np.where(np.array(bits, bool), share, 1 - share)
        value += node * weights.prod(-1, keepdims=True)
        for axis in range(axes):
            others = np.delete(weights, axis, 1).prod(-1, keepdims=True)
            slope[..., axis] += node * others * (1 if bits[axis] else -1)
    return value, slope


# --- lists of different lengths, and names ----------------------------------------------------------------------------


def padded(points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(float32 `(most, axes)`, bool `(most,)`: which rows are points) of those that are there; the other rows are 0.

    Raises:
        DataError: there are more.
    """
    there = present(points)
    if len(there) > most:
        raise DataError(f"{len(there)} points where at most {most} are expected; allow as many")
    rows = np.zeros((most, points.shape[1]), np.float32)
    rows[: len(there)] = there
    return rows, np.arange(most) < len(there)


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Named points, some of which may be missing.

    Args:
        names: each once.
        points: float64 `(len(names), axes)`, NaN where one is missing.

    Raises:
        ValueError: a name stands twice, or there are not as many points.
    """

    names: tuple[str, ...]
    points: np.ndarray

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names) or len(self.points) != len(self.names):
            raise ValueError(f"{len(self.points)} points for the names {', '.join(self.names)}; give each name one")

    @classmethod
    def of(cls, places: Mapping[str, Sequence[float]], names: Sequence[str], axes: int = 2) -> "Landmarks":
        """Those of `names`, in this order, out of {name: coordinates}; what is not there is missing."""
        rows = [places.get(name, (np.nan,) * axes) for name in names]
        return cls(tuple(names), as_points(rows, axes))

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that are missing."""
        gone = np.isnan(self.points).any(-1)
        return tuple(name for name, one in zip(self.names, gone, strict=True) if one)

    def moved(self, points: np.ndarray) -> "Landmarks":
        """The same names at other places."""
        return Landmarks(self.names, points)

    def mirrored(self, length: int, pairs: Sequence[tuple[str, str]] = (), axis: int = 0) -> "Landmarks":
        """As the image is mirrored along an axis (0: x) in which it has `length` pixels.

        Args:
            pairs: names that then stand for each other, such as those of the left and of the right hip. Others keep
                theirs: those on the midline, and all of a hand, whose thumb stays a thumb.

        Raises:
            ValueError: a pair names a landmark that is not there.
        """
        other = swapped(self.names, pairs)
        return self.moved(flipped(self.points, axis, length)[other])


def swapped(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """int `(len(names),)`: of each landmark the row of the one whose place it takes when an image is mirrored.

    Raises:
        ValueError: a pair names a landmark that is not there, or one stands in two pairs.

    Example:
        >>> swapped(("left hip", "sacrum", "right hip"), [("left hip", "right hip")]).tolist()
        [2, 1, 0]
    """
    places = {name: row for row, name in enumerate(names)}
    other = np.arange(len(names))
    for one in pairs:
        for name in one:
            if name not in places:
                raise ValueError(f"{name} is no landmark; there are {', '.join(names)}")
            if other[places[name]] != places[name] or one[0] == one[1]:
                raise ValueError(f"{name} stands in more than one pair; give each landmark one other")
        first, second = (places[name] for name in one)
        other[first], other[second] = second, first
    return other


def mean_shape(shapes: np.ndarray) -> np.ndarray:
    """The mean place of each landmark over the images that have it, `(landmarks, axes)`; NaN where none has it.

    Args:
        shapes: `(images, landmarks, axes)`, NaN where one is missing.
    """
    there = ~np.isnan(shapes).any(-1, keepdims=True)
    total, count = np.where(there, shapes, 0.0).sum(0), there.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
