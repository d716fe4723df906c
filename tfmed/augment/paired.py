"""Paired augmentation: one dense sampling grid per sample moves image, label and prediction in the same way.

`sample_grid` draws the grid from an integer seed (numpy, outside the training step); `tfmed.ops.warp` applies it, with
order 1 to an image, order 0 to a label, and inside a training step to a prediction. Pairing holds by construction.

Each transform is a function from places to places; a chain of them is run once over the coordinates of the result's
pixels, so that a chain of any length interpolates the image only once, flips and whole shifts stay exact, and places
beyond the border stay beyond it (`warp` decides what is found there). In 2-D the chain (which transforms, in which
order, how strong) is an imgaug pipeline; the transform that is run last is the first that the image undergoes.

Strengths in 2-D follow the EquiReg thesis (Lund, 2020): weak = flips and shifts; strong = 3 to 8 of the eight flip
left-right, flip up-down, shift x, shift y, rotate, shear, scale, elastic, in random order. The 3-D policies carry the
same transforms over to volumes.
"""

import dataclasses
import functools
import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfmed.compat import import_imgaug
from tfmed.ops import elastic


@dataclasses.dataclass(frozen=True)
class Policy:
    """How images `(H, W)` are moved; a range is (low, high), drawn uniformly, and None leaves a transform out.

    Args:
        flip: probability of the flip left-right, and of the flip up-down.
        shift: shift along x, and along y, as a fraction of the image's width, or height.
        rotate: degrees about the image's centre; positive turns the picture clockwise.
        shear: fraction of the height by which the bottom moves against the top, along x; 0.2 is 11.31 degrees.
        scale: magnification about the centre, the same for both axes.
        alpha, sigma: elastic: uniform noise on [-alpha, alpha] at every pixel, smoothed by a Gaussian of `sigma`
            pixels, is the displacement in pixels (standard deviation alpha / (6.14 sigma)). Without `alpha` left out.
            (imgaug's own operation cuts the Gaussian off at 1.3 sigma: 1.4 times as far, several times as rough.)
        chosen: (fewest, most) transforms of a sample; None for all of them.
    """

    flip: float | None = 0.5
    shift: tuple[float, float] | None = (-0.1, 0.1)
    rotate: tuple[float, float] | None = None
    shear: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None
    alpha: float | None = None
    sigma: float = 24.0
    chosen: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class VolumePolicy:
    """How volumes `(D, H, W)` are moved; a range is (low, high), drawn uniformly, and None leaves a transform out.

    Args:
        flip: probability of a flip, for each of the axes (z, y, x).
        shift: shift along each axis as a fraction of its size.
        rotate: degrees about the axes z, y and x through the centre, one draw each; one range, or one per axis.
        shear: fractions, one draw for each pair of axes.
        scale: magnification about the centre, the same for all axes.
        elastic: largest displacement of a control point along an axis, in voxels. Below 0.4 `knots` nothing folds.
        knots: distance between the control points of the cubic B-spline, in voxels, about.
        spacing: voxel size along (z, y, x), in mm or relative: rotations and shears then keep distances true.
        chosen: (fewest, most) transforms of a sample, out of the six above; None for all of them.
    """

    flip: tuple[float, float, float] | None = (0.5, 0.5, 0.5)
    shift: tuple[float, float] | None = (-0.1, 0.1)
    rotate: tuple[float, float] | tuple[tuple[float, float], ...] | None = None
    shear: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None
    elastic: float | None = None
    knots: float = 32.0
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    chosen: tuple[int, int] | None = None


WEAK = Policy()
STRONG = Policy(rotate=(-20, 20), shear=(-0.2, 0.2), scale=(0.9, 1.1), alpha=720.0, sigma=24.0, chosen=(3, 8))
WEAK_VOLUME = VolumePolicy()
STRONG_VOLUME = VolumePolicy(rotate=(-20, 20), shear=(-0.2, 0.2), scale=(0.9, 1.1), elastic=6.0, chosen=(3, 6))
POLICIES = {("weak", 2): WEAK, ("strong", 2): STRONG, ("weak", 3): WEAK_VOLUME, ("strong", 3): STRONG_VOLUME}


def sample_grid(seed: int, shape: Sequence[int], policy: str | Policy | VolumePolicy) -> np.ndarray:
    """The sampling grid of one sample: a pure function of its arguments.

    Args:
        seed: non-negative integer, the sample's own.
        shape: the image's size, (H, W) or (D, H, W).
        policy: "weak", "strong", a `Policy` (2-D) or a `VolumePolicy` (3-D).

    Returns:
        float32 array `(*shape, len(shape))`: the place (voxels, in the order of the axes) that each voxel of the
        result is read from; for `tfmed.ops.warp`, behind a batch axis.

    Raises:
        ValueError: no such policy, or a policy and a shape of different dimensions.

    Example:
        >>> grid = sample_grid(seed=7, shape=(64, 48), policy="strong")
        >>> grid.shape, bool((grid == sample_grid(7, (64, 48), "strong")).all())
        ((64, 48, 2), True)
        >>> from tfmed.ops.warp import warp_array
        >>> warp_array(np.ones((64, 48, 1), "uint8"), grid, order=0).shape  # a label: moved, and not blended
        (64, 48, 1)
    """
    shape = tuple(int(size) for size in shape)
    if isinstance(policy, str):
        if (policy, len(shape)) not in POLICIES:
            raise ValueError(f"no policy {policy!r} for shape {shape}; 'weak' and 'strong' exist in 2-D and 3-D")
        policy = POLICIES[policy, len(shape)]
    if int(seed) < 0:
        raise ValueError(f"the seed of a sample is a non-negative integer, got {seed}")
    if isinstance(policy, Policy) and len(shape) == 2:
        return _image_grid(int(seed), shape, policy)
    if isinstance(policy, VolumePolicy) and len(shape) == 3:
        return _volume_grid(int(seed), shape, policy)
    raise ValueError(f"a Policy moves (H, W), a VolumePolicy (D, H, W); got {type(policy).__name__} for shape {shape}")


def reflected(grid: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A sampling grid whose places beyond an image are folded back into it: `warp` then mirrors the image.

    Args:
        grid: float array `(..., len(shape))`, as of `sample_grid`.
        shape: size of the image that is read.
    """
    turn = np.maximum(np.asarray(shape, np.float32) - 1, 0)
    away = np.abs(grid) % np.maximum(2 * turn, 1)
    return np.minimum(away, 2 * turn - away).clip(0).astype(np.float32)


# --- images -----------------------------------------------------------------------------------------------------------


def _image_grid(seed: int, shape: tuple[int, ...], policy: Policy) -> np.ndarray:
    """The places of a chain of transforms: what is affine is kept as a matrix until something elastic needs places."""
    places, (matrix, offset) = None, _about_centre(shape, np.eye(2))
    for transform, strength in _drawn(seed, policy):
        if policy.alpha is not None and transform == "elastic":
            places = _moved(places, matrix, offset, shape)
            places += _elastic(policy.alpha, policy.sigma, places, strength)
            matrix, offset = _about_centre(shape, np.eye(2))
        else:
            step, shift = _AFFINE[transform](shape, strength)
            matrix, offset = step @ matrix, step @ offset + shift
    return _moved(places, matrix, offset, shape)


def _drawn(seed: int, policy: Policy) -> list[tuple[str, float]]:
    """[(transform, strength)] of a sample, in the order in which they are run: an imgaug pipeline draws them."""
    chain = _chain(policy)
    chain.seed_(seed)
    batch = importlib.import_module("imgaug.augmentables.batches")._BatchInAugmentation(images=[[]])
    return chain.augment_batch_(batch).images[0]


def _chain(policy: Policy) -> Any:
    """The imgaug pipeline of a policy, one per thread: seeding it for a sample is cheaper than building it."""
    chains = _THREAD.__dict__.setdefault("chains", {})
    if policy not in chains:
        augmenters = import_imgaug().augmenters
        if policy.chosen is None:
            chains[policy] = augmenters.Sequential(_moves(policy), random_order=True)
        else:
            chains[policy] = augmenters.SomeOf(policy.chosen, _moves(policy), random_order=True)
    return chains[policy]


_THREAD = threading.local()


def _moves(policy: Policy) -> list[Any]:
    """The transforms of a policy as imgaug augmenters, whose "image" is the list of what has been drawn."""
    move, parameters = _move_class(), import_imgaug().parameters
    moves = []
    if policy.flip is not None:
        moves += [move(name, parameters.Binomial(policy.flip)) for name in ("flip x", "flip y")]
    if policy.shift is not None:
        moves += [move(name, parameters.Uniform(*policy.shift)) for name in ("shift x", "shift y")]
    for name in ("rotate", "shear", "scale"):
        if (strengths := getattr(policy, name)) is not None:
            moves.append(move(name, parameters.Uniform(*strengths)))
    if policy.alpha is not None:
        moves.append(move("elastic", parameters.DiscreteUniform(0, 2**30)))  # the seed of its noise
    return moves


@functools.cache
def _move_class() -> type:
    augmenter: Any = import_imgaug().augmenters.Augmenter

    class Move(augmenter):
        """One transform, with a strength drawn by imgaug."""

        def __init__(self, transform: str, strength: Any) -> None:
            super().__init__(seed=0)  # the chain seeds its transforms
            self.transform, self.strength = transform, strength

        def seed_(self, entropy: Any = None, deterministic_too: bool = False) -> None:
            self.random_state = entropy  # the chain's derived generator; imgaug would copy it, which takes long

        def _augment_batch_(self, batch: Any, random_state: Any, parents: Any, hooks: Any) -> Any:
            strengths = self.strength.draw_samples((batch.nb_rows,), random_state=random_state)
            for drawn, strength in zip(batch.images, strengths, strict=True):
                drawn.append((self.transform, strength))
            return batch

        def get_parameters(self) -> list[Any]:
            return [self.strength]

    return Move


def _flip(axis: int, shape: tuple[int, ...], flipped: float) -> tuple[np.ndarray, np.ndarray]:
    matrix = np.eye(2)
    if flipped:
        matrix[axis, axis] = -1
    return _about_centre(shape, matrix)


def _shift(axis: int, shape: tuple[int, ...], fraction: float) -> tuple[np.ndarray, np.ndarray]:
    offset = np.zeros(2)
    offset[axis] = -fraction * shape[axis]
    return np.eye(2), offset


def _rotate(shape: tuple[int, ...], degrees: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _about_centre(shape, np.array([[cos, -sin], [sin, cos]]))


def _shear(shape: tuple[int, ...], fraction: float) -> tuple[np.ndarray, np.ndarray]:
    return _about_centre(shape, np.array([[1, 0], [-fraction, 1]]))


def _scale(shape: tuple[int, ...], factor: float) -> tuple[np.ndarray, np.ndarray]:
    return _about_centre(shape, np.eye(2) / factor)


_AFFINE: dict[str, Callable[[tuple[int, ...], float], tuple[np.ndarray, np.ndarray]]] = {
    "flip x": functools.partial(_flip, 1),
    "flip y": functools.partial(_flip, 0),
    "shift x": functools.partial(_shift, 1),
    "shift y": functools.partial(_shift, 0),
    "rotate": _rotate,
    "shear": _shear,
    "scale": _scale,
}  # (shape, strength) -> (matrix, offset), from places to places


def _about_centre(shape: tuple[int, ...], matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, offset) that leaves the centre of an image where it is."""
    centre = (np.array(shape) - 1) / 2
    return matrix, centre - matrix @ centre


def _moved(places: np.ndarray | None, matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """matrix @ place + offset, float32 `(*shape, axes)`; places None: at every voxel."""
    if places is None:
        return _affine_grid(matrix, offset, shape)
    if np.array_equal(matrix, np.eye(2)) and not offset.any():
        return places
    y, x = places[..., 0], places[..., 1]
    rows = zip(np.asarray(matrix, np.float32), np.asarray(offset, np.float32), strict=True)
    return np.stack([y * along_y + (x * along_x + shift) for (along_y, along_x), shift in rows], -1)


def _elastic(alpha: float, sigma: float, places: np.ndarray, seed: float) -> np.ndarray:
    shape = places.shape[:2]
    weights = [elastic.gaussian_weights(size, float(sigma)) for size in shape]
    generator = np.random.Generator(np.random.Philox(int(seed)))
    noise = generator.uniform(-alpha, alpha, (*(w.shape[1] for w in weights), 2)).astype(np.float32)
    pairs = np.empty(shape, np.complex64)  # both components in one access
    pairs.real, pairs.imag = (elastic.spread(axis[..., None], weights)[..., 0] for axis in np.moveaxis(noise, -1, 0))
    return _read(pairs, places)


def _read(pairs: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Pairs of numbers, as complex `(H, W)`, at places `(..., 2)`, bilinear, `(..., 2)`; the border is continued."""
    height, width = pairs.shape
    y, x = (np.clip(places[..., axis], 0, size - 1) for axis, size in enumerate((height, width)))
    top, left = y.astype(np.int32), x.astype(np.int32)
    y -= top
    x -= left
    here, right, below = top * width + left, (left < width - 1), (top < height - 1) * width
    upper, lower = (_between(pairs, index, index + right, x) for index in (here, here + below))
    lower -= upper
    lower *= y
    lower += upper
    return lower[..., None].view(np.float32)


def _between(pairs: np.ndarray, first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    start = pairs.take(first, mode="clip")
    mixed = pairs.take(second, mode="clip")
    mixed -= start
    mixed *= share
    mixed += start
    return mixed


# --- volumes ----------------------------------------------------------------------------------------------------------


def _volume_grid(seed: int, shape: tuple[int, ...], policy: VolumePolicy) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    names = [name for name in ("flip", "shift", "rotate", "shear", "scale", "elastic") if getattr(policy, name)]
    names = [names[i] for i in generator.permutation(len(names))]
    if policy.chosen is not None:
        names = names[: generator.integers(policy.chosen[0], policy.chosen[1], endpoint=True)]
    matrix, offset = np.eye(3), np.zeros(3)  # about the centre: place = matrix @ voxel + offset
    for name in names:
        if name != "elastic":
            step, shift = _volume_affine(name, generator, shape, policy)
            matrix, offset = step @ matrix, step @ offset + shift
    centre = (np.array(shape) - 1) / 2
    offset += centre - matrix @ centre
    grid = _affine_grid(matrix, offset, shape)
    if policy.elastic and "elastic" in names:
        # places = affine(voxel + displacement): what is affine acts on the few control points
        weights = [elastic.bspline_weights(size, max(4, int(np.ceil(size / policy.knots)) + 3)) for size in shape]
        control = generator.uniform(-policy.elastic, policy.elastic, (*(w.shape[1] for w in weights), 3))
        grid += elastic.spread(control @ matrix.T, weights)
    return grid


def _volume_affine(
    name: str, generator: np.random.Generator, shape: tuple[int, ...], policy: VolumePolicy
) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, offset) of one transform, from places to places about the centre."""
    strength = getattr(policy, name)
    if name == "flip":
        return np.diag(np.where(generator.random(3) < strength, -1.0, 1.0)), np.zeros(3)
    if name == "shift":
        return np.eye(3), -generator.uniform(strength[0], strength[1], 3) * shape
    if name == "scale":
        return np.eye(3) / generator.uniform(*strength), np.zeros(3)
    matrix = np.eye(3)
    if name == "shear":
        matrix[np.triu_indices(3, 1)] = generator.uniform(strength[0], strength[1], 3)
    else:
        ranges = np.broadcast_to(np.asarray(strength, float), (3, 2))
        for axis, angle in enumerate(np.deg2rad(generator.uniform(ranges[:, 0], ranges[:, 1]))):
            turn, (a, b) = np.eye(3), [i for i in range(3) if i != axis]
            turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
            matrix = turn @ matrix
    spacing = np.asarray(policy.spacing, float)
    return matrix * spacing / spacing[:, None], np.zeros(3)


def _affine_grid(matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """matrix @ voxel + offset at every voxel, float32, formed in float64 from one term per axis."""
    grid = np.empty((*shape, len(shape)), np.float32)
    terms = [np.arange(size)[:, None] * matrix[:, axis] for axis, size in enumerate(shape)]
    if len(shape) == 2:
        y, x = terms
        for axis in (0, 1):
            np.add(y[:, None, axis], x[:, axis] + offset[axis], out=grid[..., axis], casting="same_kind")
        return grid
    z, y, x = terms
    rows = (y[:, None] + x[None] + offset).reshape(shape[1], -1)
    plane = np.empty_like(rows)
    for into, first in zip(grid.reshape(shape[0], *rows.shape), z, strict=True):  # sums stay in the processor's cache
        np.add(rows, np.tile(first, shape[2]), out=plane)
        into[...] = plane
    return grid
