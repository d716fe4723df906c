"""Scans that are turned, resampled and cropped as tensors, and answers brought back onto the grid they came with.

Every step keeps axes apart: voxel i along an axis of the grid lies at `scale * i + offset` along one axis of the input.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfmed.ops.checks import checked


class Grid(NamedTuple):
    """An image and where its voxels lie in the input.

    Args:
        image: float32 `(z, y, x, channel)`.
        affine: float64 `(4, 4)`, voxels (x, y, z, 1) -> mm, directions R, A, S.
        axes: int32 `(3,)`: the input's axis (z, y, x) that each axis of the image lies along.
        scale, offset: float64 `(3,)`: voxel i is voxel `scale * i + offset` of the input.
        size: int32 `(3,)`, the input's voxels.
    """

    image: tf.Tensor
    affine: tf.Tensor
    axes: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor
    size: tf.Tensor

    @property
    def shape(self) -> tf.Tensor:
        return tf.shape(self.image)[:3]

    @property
    def spacing_mm(self) -> tf.Tensor:
        """Of voxels, float64 (z, y, x)."""
        return tf.norm(self.affine[:3, :3], axis=0)[::-1]

    def moved(self, image: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> "Grid":
        """The grid whose voxel i is voxel `scale * i + offset` of this one, along each axis (z, y, x)."""
        matrix = tf.linalg.diag(tf.concat([scale[::-1], [1.0]], 0))
        column = tf.concat([offset[::-1], [0.0]], 0)
        matrix += column[:, None] * tf.constant([0.0, 0, 0, 1], tf.float64)
        image = tf.ensure_shape(image, [None, None, None, self.image.shape[-1]])
        return self._replace(
            image=image,
            affine=self.affine @ matrix,
            scale=self.scale * scale,
            offset=self.scale * offset + self.offset,
        )


def of_image(image: tf.Tensor, affine: tf.Tensor) -> Grid:
    """The grid of an image as it is.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, if the affine is none.
    """
    affine = tf.cast(affine, tf.float64)
    columns = affine[:3, :3]
    usable = tf.reduce_all(tf.math.is_finite(affine)) & (tf.abs(tf.linalg.det(columns)) > 1e-12)
    message = "affine: is no invertible (4, 4) matrix from voxels (x, y, z, 1) to mm; give that of the image's file"
    affine = checked(affine, usable, message)
    ones = tf.ones(3, tf.float64)
    return Grid(image, affine, tf.range(3), ones, tf.zeros_like(ones), tf.shape(image)[:3])


def turned(grid: Grid, codes: str) -> Grid:
    """The grid with its axes permuted and flipped so that x, y and z run towards `codes`, such as "RAS"."""
    world, forward = _directions(grid.affine)
    wanted = [next(axis for axis, pair in enumerate(("LR", "PA", "IS")) if code in pair) for code in codes]
    ahead = tf.constant([code in "RAS" for code in codes])
    old = tf.stack([tf.argmax(tf.cast(world == axis, tf.int32), output_type=tf.int32) for axis in wanted])
    flipped = tf.gather(forward, old) != ahead  # all of these are in the order x, y, z
    order, flipped = 2 - old[::-1], flipped[::-1]  # from here on: z, y, x
    image = tf.transpose(grid.image, tf.concat([order, [3]], 0))
    last = tf.shape(image)[:3] - 1
    for axis in range(3):
        place = tf.range(last[axis] + 1)
        image = tf.gather(image, tf.where(flipped[axis], last[axis] - place, place), axis=axis)
    turn = tf.gather(tf.eye(4, dtype=tf.float64), tf.concat([old, [3]], 0), axis=1)
    grid = grid._replace(
        affine=grid.affine @ turn,
        axes=tf.gather(grid.axes, order),
        scale=tf.gather(grid.scale, order),
        offset=tf.gather(grid.offset, order),
    )
    sign = tf.where(flipped, tf.constant(-1.0, tf.float64), tf.constant(1.0, tf.float64))
    return grid.moved(image, sign, tf.where(flipped, tf.cast(last, tf.float64), tf.zeros(3, tf.float64)))


def _directions(affine: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The world's axis that each of x, y, z lies nearest to, int32 `(3,)`, and whether it runs along it, bool."""
    columns = affine[:3, :3]
    _, left, right = tf.linalg.svd(columns / tf.norm(columns, axis=0))
    rotation = left @ tf.linalg.matrix_transpose(right)
    nearest, forward = [], []
    for axis in range(3):
        column = rotation[:, axis]
        found = tf.argmax(tf.abs(column), output_type=tf.int32)
        nearest.append(found)
        forward.append(column[found] > 0)
        rotation *= 1 - tf.one_hot(found, 3, dtype=tf.float64)[:, None]  # no two axes along one
    return tf.stack(nearest), tf.stack(forward)


def spaced(grid: Grid, spacing_mm: Sequence[float | None]) -> Grid:
    """The grid resampled to a voxel size (z, y, x), linearly, over the same field of view; None: the axis stays."""
    wanted = tf.stack(
        [grid.spacing_mm[i] if new is None else tf.cast(new, tf.float64) for i, new in enumerate(spacing_mm)]
    )
    count = tf.cast(grid.shape, tf.float64) * grid.spacing_mm / wanted
    return resampled(grid, tf.cast(tf.maximum(tf.round(count), 1.0), tf.int32))


def resampled(grid: Grid, shape: tf.Tensor | Sequence[int]) -> Grid:
    """The grid resampled to a number of voxels (z, y, x), linearly, over the same field of view."""
    shape = tf.convert_to_tensor(shape, tf.int32)
    scale = tf.cast(grid.shape, tf.float64) / tf.cast(shape, tf.float64)
    offset = scale / 2 - 0.5
    image = grid.image
    for axis in range(3):
        place = scale[axis] * tf.cast(tf.range(shape[axis]), tf.float64) + offset[axis]
        image = interpolated(image, axis, place)
    return grid.moved(image, scale, offset)


def interpolated(array: tf.Tensor, axis: int, place: tf.Tensor) -> tf.Tensor:
    """Values between the entries along an axis, linearly; the border entries are continued.

    Args:
        array: float32 tensor.
        axis: of the array.
        place: float64 `(n,)`, in entries.
    """
    last = tf.shape(array)[axis] - 1
    whole = tf.equal(tf.size(place), last + 1) & tf.reduce_all(tf.abs(place - tf.round(place)) < 1e-9)
    place = tf.clip_by_value(place, 0.0, tf.cast(last, tf.float64))
    below = tf.cast(tf.floor(place), tf.int32)
    share = tf.cast(place - tf.floor(place), tf.float32)
    share = tf.reshape(share, [-1 if i == axis else 1 for i in range(array.shape.rank)])

    def between() -> tf.Tensor:
        low = tf.gather(array, below, axis=axis)
        return low + (tf.gather(array, tf.minimum(below + 1, last), axis=axis) - low) * share

    return tf.cond(whole, lambda: tf.gather(array, tf.cast(tf.round(place), tf.int32), axis=axis), between)


def boxed(grid: Grid, starts: tf.Tensor, shape: tf.Tensor, fill: float = 0.0) -> Grid:
    """The part of the grid that begins at voxel `starts` (z, y, x; may be negative) and is `shape` large."""
    image = grid.image
    inside = tf.ones(1, tf.bool)
    for axis in range(3):
        place = tf.range(shape[axis]) + starts[axis]
        here = (place >= 0) & (place < grid.shape[axis])
        inside &= tf.reshape(here, [-1 if i == axis else 1 for i in range(4)])
        image = tf.gather(image, tf.clip_by_value(place, 0, grid.shape[axis] - 1), axis=axis)
    image = tf.where(inside, image, tf.constant(fill, image.dtype))
    return grid.moved(image, tf.ones(3, tf.float64), tf.cast(starts, tf.float64))


def centred(grid: Grid, shape: Sequence[int | None], fill: float, most_cut: float) -> Grid:
    """The middle of the grid, cut or padded to a number of voxels (z, y, x); None leaves an axis as it is.

    Args:
        grid: a Grid.
        shape: voxels along each axis, or None.
        fill: value of padded voxels.
        most_cut: share of what is above `fill` that may be cut away.
    """
    wanted = tf.stack([grid.shape[axis] if size is None else tf.constant(size) for axis, size in enumerate(shape)])
    cut = grid.shape - wanted
    made = boxed(grid, tf.where(cut > 0, cut // 2, -(-cut // 2)), wanted, fill)
    if most_cut == 1:
        return made
    whole, kept = (
        tf.reduce_sum(tf.maximum(tf.cast(image, tf.float64) - fill, 0)) for image in (grid.image, made.image)
    )
    message = f"image: more than {100 * most_cut:g} % of it lies outside of the voxels that are kept; centre it first"
    return made._replace(image=checked(made.image, whole - kept <= most_cut * whole, message))


def letterboxed(grid: Grid, size: Sequence[int], fill: float) -> Grid:
    """The grid's slices resampled to fit into `size` (y, x) in their proportions, and padded with `fill`."""
    old = tf.cast(grid.shape[1:], tf.float64)
    share = tf.reduce_min(tf.constant(size, tf.float64) / old)
    inner = tf.clip_by_value(tf.cast(tf.round(old * share), tf.int32), 1, tf.constant(size))  # to even, as in Python
    return centred(resampled(grid, tf.concat([grid.shape[:1], inner], 0)), (None, *size), fill, 1.0)


def filled_box(grid: Grid, above: float, margin: int, axes: str) -> Grid:
    """The part of the grid that holds all voxels above a value in any channel.

    Args:
        grid: a Grid.
        above: a voxel is empty up to this value.
        margin: voxels kept around the box, as far as there are any.
        axes: along which to cut, of "zyx".
    """
    filled = tf.reduce_any(grid.image > above, -1)
    message = f"image: no voxel is above {above:g}; it is empty, or in other units than what the model was trained on"
    filled = checked(filled, tf.reduce_any(filled), message)
    starts, shape = [], []
    for axis, name in enumerate("zyx"):
        size = grid.shape[axis]
        along = tf.where(tf.reduce_any(filled, [i for i in range(3) if i != axis]))[:, 0]
        first, last = tf.cast(along[0], tf.int32), tf.cast(along[-1], tf.int32)
        start = tf.maximum(first - margin, 0) if name in axes else tf.zeros((), tf.int32)
        starts.append(start)
        shape.append(tf.minimum(last + 1 + margin, size) - start if name in axes else size)
    return boxed(grid, tf.stack(starts), tf.stack(shape))


def brought_back(
    grid: Grid, probabilities: tf.Tensor, finish: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType
) -> tf.Tensor:
    """What `finish` makes of probabilities on the input's own grid, plane by plane, so that nothing larger is made.

    Args:
        grid: of the network's input.
        probabilities: float32 `(z, y, x, class)` on that grid; class 0 where they do not reach.
        finish: function of planes float32 `(y, x, class)` of the input -> `(y, x, ...)`.
        dtype: of what it makes.
    """
    order = tf.math.invert_permutation(grid.axes)
    classes = probabilities.shape[-1]
    found = tf.transpose(probabilities, tf.concat([order, [3]], 0))
    scale, offset = tf.gather(grid.scale, order), tf.gather(grid.offset, order)
    places, reached = [], []
    for axis in range(3):
        place = (tf.cast(tf.range(grid.size[axis]), tf.float64) - offset[axis]) / scale[axis]
        last = tf.cast(tf.shape(found)[axis] - 1, tf.float64)
        places.append(place)
        reached.append((place > -0.5 - 1e-6) & (place < last + 0.5 + 1e-6))

    def plane(k: tf.Tensor) -> tf.Tensor:
        values = interpolated(found, 0, places[0][k : k + 1])[0]
        values = interpolated(interpolated(values, 0, places[1]), 1, places[2])
        here = reached[0][k] & reached[1][:, None] & reached[2]
        others = tf.where(here[..., None], values[..., 1:], 0.0)
        background = tf.maximum(1.0 - tf.reduce_sum(others, -1, keepdims=True), 0.0)
        return finish(tf.ensure_shape(tf.concat([background, others], -1), (None, None, classes)))

    made = tf.map_fn(plane, tf.range(grid.size[0]), fn_output_signature=dtype, parallel_iterations=1)
    return made
