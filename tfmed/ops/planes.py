"""Planes through volumes at any angle: drawing them, sampling them, and predicting a volume along several views.

Coordinates are voxels in the order of the array's axes (z, y, x); 0 is the centre of the first voxel. A plane has a
centre and a frame, an orthonormal matrix of determinant +1 whose rows are its normal, the direction along which its
rows follow each other, and the direction along its rows. The frame of an axial slice is the identity. Voxels are taken
for cubes: an anisotropic volume is resampled first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

CANDIDATES = 512  # directions among which `spread_normals` looks for each next one

# --- directions and frames --------------------------------------------------------------------------------------------


def uniform_normals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors `(count, 3)`, uniform on the sphere: normal numbers, divided by their length (Muller 1959).

    Example:
        >>> found = uniform_normals(5, np.random.default_rng(0))
        >>> found.shape, bool(np.allclose((found**2).sum(1), 1))
        ((5, 3), True)
    """
    drawn = rng.standard_normal((count, 3))
    length = np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.where(length > 0, drawn / np.where(length > 0, length, 1), (1.0, 0.0, 0.0))


def spread_normals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors `(count, 3)` far from each other and from each other's opposites, the first one uniform.

    Each next one is that of many uniform ones whose smallest angle with the lines along those before is largest.
    """
    chosen = list(uniform_normals(min(count, 1), rng))
    while len(chosen) < count:
        candidates = uniform_normals(CANDIDATES, rng)
        nearest = np.abs(candidates @ np.array(chosen).T).max(1)
        chosen.append(candidates[nearest.argmin()])
    return np.array(chosen).reshape(count, 3)


def axis_normals(count: int) -> np.ndarray:
    """Unit vectors `(count, 3)` along z, y, x, z, ..."""
    return np.eye(3)[np.arange(count) % 3]


def frames(normals: ArrayLike, turns: ArrayLike = 0.0) -> np.ndarray:
    """The frames `(n, 3, 3)` of planes with these normals (Duff et al. 2017, without a branch and without a pole).

    Args:
        normals: unit vectors `(n, 3)`.
        turns: radians, one number or `(n,)`, by which the plane's own directions turn about the normal.

    Example:
        >>> frames([[1.0, 0.0, 0.0]])[0].tolist()  # an axial slice
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    normals = np.atleast_2d(np.asarray(normals, np.float64))
    first, y, x = normals.T
    sign = np.copysign(1.0, first)
    a = -1.0 / (sign + first)
    b = y * x * a
    rows = np.stack([-sign * y, 1.0 + sign * y * y * a, sign * b], -1)
    columns = np.stack([-x, b, sign + x * x * a], -1)
    cos, sin = (np.broadcast_to(f(np.asarray(turns, np.float64)), first.shape)[:, None] for f in (np.cos, np.sin))
    turned = np.stack([normals, cos * rows + sin * columns, cos * columns - sin * rows], 1)
    return turned + 0.0  # no negative zeros


# --- sampling ---------------------------------------------------------------------------------------------------------


def places(frame: ArrayLike, centre: ArrayLike, shape: Sequence[int], pitch: float = 1.0) -> tf.Tensor:
    """The voxel coordinates of the pixels of planes, float32 `(n, *shape, 3)`.

    Args:
        frame: `(n, 3, 3)`.
        centre: `(n, 3)`, where the middle of the plane lies.
        shape: pixels (rows, columns).
        pitch: voxels from one pixel to the next.
    """
    frame, centre = tf.cast(frame, tf.float32), tf.cast(centre, tf.float32)
    y, x = ((tf.range(side, dtype=tf.float32) - (side - 1) / 2) * pitch for side in shape)
    along = y[:, None] * frame[:, None, 1] + centre[:, None]
    return along[:, :, None] + x[:, None] * frame[:, None, None, 2]


def sample_planes(
    volume: tf.Tensor,
    frame: ArrayLike,
    centre: ArrayLike,
    shape: Sequence[int],
    pitch: float = 1.0,
    order: int = 1,
    fill: float = 0.0,
    compiled: bool = False,
) -> tf.Tensor:
    """Planes of a volume.

    Args:
        volume: tensor `(z, y, x, channel)`, of any dtype for order 0, floats for order 1. It is read where planes pass
            and never copied, so one tensor serves any number of calls.
        frame, centre, shape, pitch: of the planes, see `places`.
        order: 1, trilinear, or 0, nearest voxel (labels, masks; halves go up).
        fill: what lies outside of the volume; order 1 blends into it over one voxel, order 0 begins half a voxel
            behind the last voxel's centre.
        compiled: let XLA fuse it, several times as fast; each new shape is compiled once (parts of a second).

    Returns:
        Tensor `(n, *shape, channel)` of the volume's dtype. Differentiable with respect to the volume for order 1.

    Raises:
        ValueError: another order, a volume of other rank, or integers that are to be interpolated.

    Example:
        >>> ramp = tf.reshape(tf.range(27.0), (3, 3, 3, 1))
        >>> sample_planes(ramp, frames([[1.0, 0, 0]]), [[1.0, 1, 1]], (3, 3))[0, ..., 0].numpy().tolist()
        [[9.0, 10.0, 11.0], [12.0, 13.0, 14.0], [15.0, 16.0, 17.0]]
    """
    volume = tf.convert_to_tensor(volume)
    if order not in (0, 1):
        raise ValueError(f"order is {order!r}; 0 (nearest) and 1 (trilinear) are available")
    if volume.shape.rank != 4:
        raise ValueError(f"a volume is (z, y, x, channel); got shape {volume.shape}")
    if order == 1 and not volume.dtype.is_floating:
        raise ValueError(f"a volume of dtype {volume.dtype.name} cannot be interpolated; use order=0, or cast it first")
    frame, centre = tf.cast(frame, tf.float32), tf.cast(centre, tf.float32)
    read = _compiled_read() if compiled else _read
    return read(volume, frame, centre, tuple(shape), float(pitch), order, float(fill))


def _read(
    volume: tf.Tensor,
    frame: tf.Tensor,
    centre: tf.Tensor,
    shape: tuple[int, ...],
    pitch: float,
    order: int,
    fill: float,
) -> tf.Tensor:
    where = tf.unstack(places(frame, centre, shape, pitch), axis=-1)
    return _nearest(volume, where, fill) if order == 0 else _trilinear(volume, where, fill)


@functools.cache
def _compiled_read() -> Callable[..., tf.Tensor]:
    return tf.function(_read, jit_compile=True, autograph=False)


def _nearest(volume: tf.Tensor, where: Sequence[tf.Tensor], fill: float) -> tf.Tensor:
    size = tf.shape(volume)
    index, inside = tf.zeros((), tf.int32), tf.ones((), tf.bool)
    for axis, place in enumerate(where):
        voxel = tf.floor(place + 0.5)
        last = tf.cast(size[axis] - 1, tf.float32)
        inside &= (voxel >= 0) & (voxel <= last)
        index = index * size[axis] + tf.cast(tf.clip_by_value(voxel, 0, last), tf.int32)
    found = tf.gather(_voxels(volume), index)
    inside, found = (inside, found) if volume.shape[3] == 1 else (inside[..., None], found)
    found = tf.where(inside, found, tf.cast(fill, volume.dtype))
    found = found[..., None] if volume.shape[3] == 1 else found
    return tf.ensure_shape(found, [*where[0].shape, volume.shape[3]])


def _voxels(volume: tf.Tensor) -> tf.Tensor:
    """All voxels in a row: numbers where there is one channel, of which XLA makes simple loops, else rows of them."""
    return tf.reshape(volume, [-1] if volume.shape[3] == 1 else [-1, tf.shape(volume)[3]])


def _trilinear(volume: tf.Tensor, where: Sequence[tf.Tensor], fill: float) -> tf.Tensor:
    """Values at three arrays of coordinates; a neighbour outside of the volume counts as `fill`."""
    size = tf.shape(volume)
    voxels, single = _voxels(volume), volume.shape[3] == 1
    pairs = []  # per axis: (index, weight) of the two neighbours, weight 0 for one that lies outside
    total = tf.ones(())
    for axis, place in enumerate(where):
        last = tf.cast(size[axis] - 1, tf.float32)
        place = tf.clip_by_value(place, -1.0, last + 1)
        lower = tf.floor(place)
        share = place - lower
        below = tf.where((lower >= 0) & (lower <= last), 1 - share, 0.0)
        above = tf.where(lower + 1 <= last, share, 0.0)
        index = [tf.cast(tf.clip_by_value(i, 0, last), tf.int32) for i in (lower, lower + 1)]
        pairs.append(list(zip(index, (below, above), strict=True)))
        total *= below + above

    def blended(axis: int, index: tf.Tensor) -> tf.Tensor:
        if axis == 3:
            return tf.cast(tf.gather(voxels, index), tf.float32)
        (first, below), (second, above) = pairs[axis]
        below, above = (below, above) if single else (below[..., None], above[..., None])
        return (
            blended(axis + 1, index * size[axis] + first) * below
            + blended(axis + 1, index * size[axis] + second) * above
        )

    found = blended(0, tf.zeros((), tf.int32))
    found = (found[..., None] if single else found) + fill * (1 - total)[..., None]
    return tf.ensure_shape(tf.cast(found, volume.dtype), [*where[0].shape, volume.shape[3]])


# --- prediction along views -------------------------------------------------------------------------------------------


def along_views(
    model_fn: Callable[[tf.Tensor], tf.Tensor],
    volume: tf.Tensor,
    frame: ArrayLike,
    classes: int,
    weights: ArrayLike | None = None,
    fill: float = 0.0,
    multiple: int = 1,
    slices: int = 4,
) -> tf.Tensor:
    """What a 2-D network says of every voxel: the weighted sum, or mean, of its answers along several views.

    For each view the network sees all slices one voxel apart across the view's normal, large enough to hold the whole
    volume; a voxel's value is interpolated trilinearly between the slices that it lies between, so each voxel gets one
    value of each view. A few slices are held at a time: memory is that of the answer, and of what the network needs.

    Args:
        model_fn: planes `(n, rows, columns, channel)` -> `(n, rows, columns, classes)` float32; a traceable function.
        volume: float tensor `(z, y, x, channel)`; its size may be unknown.
        frame: `(views, 3, 3)`, see `frames`.
        classes: that the network tells.
        weights: `(views, classes)` of the sum; None: 1 / views, the mean.
        fill: what lies outside of the volume.
        multiple: of which the sides of planes are, padded with `fill`.
        slices: per call of the network.

    Returns:
        float32 tensor `(z, y, x, classes)`.

    Example:
        >>> volume = tf.random.stateless_normal((4, 5, 6, 1), (0, 0))
        >>> found = along_views(lambda planes: 2 * planes, volume, frames(np.eye(3)), classes=1)
        >>> bool(np.allclose(found, 2 * volume, atol=1e-5))
        True
    """
    volume = tf.cast(volume, tf.float32)
    frame = np.asarray(frame, np.float64)
    count = len(frame)
    weights = np.full((count, classes), 1 / count, np.float32) if weights is None else np.asarray(weights, np.float32)
    if frame.shape != (count, 3, 3) or weights.shape != (count, classes):
        raise ValueError(f"frames of shape {frame.shape} need weights {(count, classes)}; got {weights.shape}")
    spec = tf.TensorSpec((None, None, None, volume.shape[3]), tf.float32)
    network = tf.function(lambda planes: tf.cast(model_fn(planes), tf.float32), [spec], autograph=False)  # traced once
    size = tf.shape(volume)[:3]
    answer = tf.zeros([tf.reduce_prod(size), classes])
    for one, weight in zip(frame, weights, strict=True):
        answer = _add_view(network, volume, one, weight, answer, fill, multiple, slices)
    return tf.ensure_shape(tf.reshape(answer, tf.concat([size, [classes]], 0)), [*volume.shape[:3], classes])


def _add_view(
    model_fn: Callable[[tf.Tensor], tf.Tensor],
    volume: tf.Tensor,
    frame: np.ndarray,
    weight: np.ndarray,
    answer: tf.Tensor,
    fill: float,
    multiple: int,
    slices: int,
) -> tf.Tensor:
    """The answer `(voxels, classes)`, with that of one view added."""
    size = tf.shape(volume)[:3]
    last = tf.cast(size - 1, tf.float32)
    reach = tf.linalg.matvec(tf.constant(np.abs(frame), tf.float32), last)  # of the volume along the frame's directions
    extent = tf.cast(tf.math.ceil(reach - 1e-3), tf.int32) + 1  # slices, rows, columns
    sides = [-(-extent[k] // multiple) * multiple for k in (1, 2)]
    origin = last / 2 - tf.linalg.matvec(tf.constant(frame.T, tf.float32), reach / 2)  # of slice 0, row 0, column 0
    directions = tf.constant(frame, tf.float32)
    columns = _Columns(frame, size, origin)

    def planes(first: tf.Tensor, number: int) -> tf.Tensor:
        """What the network says of slices from `first` on."""
        k, y, x = (tf.cast(tf.range(n), tf.float32) for n in (number, *sides))
        k += tf.cast(first, tf.float32)
        k, y = k[:, None, None], y[:, None]
        where = [(k * directions[0, a] + origin[a]) + y * directions[1, a] + x * directions[2, a] for a in range(3)]
        return model_fn(_inside(volume, where, fill))

    def step(begin: tf.Tensor, before: tf.Tensor, answer: tf.Tensor) -> Any:
        new = planes(begin + 1, slices)
        block = tf.concat([before, new], 0)
        flat, where = columns.between(begin, slices, extent[0])
        found = _within(block, where) * weight
        return begin + slices, new[-1:], tf.tensor_scatter_nd_add(answer, flat[:, None], found)

    first = planes(tf.constant(0), 1)
    plane = tf.TensorShape([1, None, None, answer.shape[1]])
    _, _, answer = tf.while_loop(
        lambda begin, *_: begin < tf.maximum(extent[0] - 1, 1), step, (tf.constant(0), first, answer),
        shape_invariants=(tf.TensorShape([]), plane, answer.shape), parallel_iterations=1,
    )  # fmt: skip
    return answer


class _Columns:
    """The voxels of a volume in the order in which a view's slices pass them.

    Along the axis that is nearest to the view's normal neighbouring voxels lie 0.58 to 1 slices apart, so that those
    between two slices are found column by column.
    """

    def __init__(self, frame: np.ndarray, size: tf.Tensor, origin: tf.Tensor) -> None:
        self.main = int(np.abs(frame[0]).argmax())
        self.across = [axis for axis in range(3) if axis != self.main]
        self.frame = frame.astype(np.float32)
        self.size, self.origin = size, origin
        self.strides = [size[1] * size[2], size[2], tf.constant(1)]

    def between(self, begin: tf.Tensor, slices: int, count: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Of the voxels from slice `begin` up to `slices` further: (index in the volume, coordinates in the slices).

        Args:
            count: of all slices; voxels at the last one belong to the block before it.

        Returns:
            int32 `(n,)`; three float32 `(n,)`: slices behind `begin`, row, column.
        """
        u, v = (tf.range(self.size[axis]) for axis in self.across)
        start = self._along(0, tf.zeros((), tf.int32), u[:, None], v)  # in slices, of each column's first voxel
        per_voxel = self.frame[0, self.main]
        edges = [(tf.cast(begin + edge, tf.float32) - start) / per_voxel for edge in (0, slices)]
        first = tf.cast(tf.floor(tf.minimum(*edges)), tf.int32)
        most = int(np.ceil(slices / abs(per_voxel))) + 2
        voxel = first + tf.range(most)[:, None, None]
        height = self._along(0, voxel, u[:, None], v)
        below = tf.clip_by_value(tf.cast(tf.floor(height), tf.int32), 0, tf.maximum(count - 2, 0))
        here = (voxel >= 0) & (voxel < self.size[self.main]) & (below >= begin) & (below < begin + slices)

        which = tf.cast(tf.where(here), tf.int32)
        i, u, v = tf.gather_nd(voxel, which), which[:, 1], which[:, 2]
        flat = i * self.strides[self.main] + u * self.strides[self.across[0]] + v * self.strides[self.across[1]]
        where = [self._along(k, i, u, v) for k in range(3)]
        return flat, [where[0] - tf.cast(begin, tf.float32), *where[1:]]

    def _along(self, k: int, i: tf.Tensor, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """Voxels' coordinates along a direction of the frame; the same sum for a voxel in every block."""
        terms = {axis: self.frame[k, axis] * (tf.cast(index, tf.float32) - self.origin[axis])
                 for axis, index in zip([self.main, *self.across], (i, u, v), strict=True)}  # fmt: skip
        return (terms[self.across[0]] + terms[self.across[1]]) + terms[self.main]


def _inside(volume: tf.Tensor, where: Sequence[tf.Tensor], fill: float) -> tf.Tensor:
    """Planes `(n, rows, columns, channel)`: `_trilinear`, worked out at the pixels alone that the volume reaches."""
    size = tf.shape(volume)
    near = tf.ones((), tf.bool)
    for axis, place in enumerate(where):
        near &= tf.abs(place - tf.cast(size[axis] - 1, tf.float32) / 2) < tf.cast(size[axis] + 1, tf.float32) / 2
    which = tf.where(near)
    values = _trilinear(volume, [tf.gather_nd(place, which) for place in where], fill)
    shape = tf.concat([tf.shape(near), [size[3]]], 0)
    planes = tf.tensor_scatter_nd_update(tf.fill(shape, tf.constant(fill, tf.float32)), which, values)
    return tf.ensure_shape(planes, [None, None, None, volume.shape[3]])


def _within(block: tf.Tensor, where: Sequence[tf.Tensor]) -> tf.Tensor:
    """Values `(n, class)` of a block of slices at coordinates that lie in it, but for rounding."""
    size = tf.shape(block)
    values = tf.reshape(block, [-1, block.shape[3]])
    index, shares = tf.zeros((), tf.int32), []
    steps = []
    for axis, place in enumerate(where):
        last = tf.cast(size[axis] - 1, tf.float32)
        place = tf.clip_by_value(place, 0.0, last)
        lower = tf.minimum(tf.floor(place), tf.maximum(last - 1, 0.0))
        shares.append((place - lower)[:, None])
        steps.append(tf.minimum(size[axis] - 1, 1))  # no neighbour in an axis of one
        index = index * size[axis] + tf.cast(lower, tf.int32)
    steps = [steps[0] * size[1] * size[2], steps[1] * size[2], steps[2]]

    def blended(axis: int, index: tf.Tensor) -> tf.Tensor:
        if axis == 3:
            return tf.gather(values, index)
        lower = blended(axis + 1, index)
        return lower + shares[axis] * (blended(axis + 1, index + steps[axis]) - lower)

    return blended(0, index)
