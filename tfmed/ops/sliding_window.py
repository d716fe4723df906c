"""Networks over volumes of any size: overlapping windows, blended; from memory or disk, or inside an exported graph.

A window's weights are a product of one profile per axis, and windows stand on a regular lattice, so the sum of all
weights at a voxel is a product as well. Each window is therefore weighted by its share of the whole (the shares of all
windows that cover a voxel add up to 1), and what is added up is the answer: there is no second array of weights and no
division at the end.
"""

import dataclasses
import functools
import itertools
import math
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, DTypeLike

from tfmed.ops.reflect import mirrored

SIGMA = 0.125  # of the gaussian profile, in window lengths: 0.03 % of the peak is left at the window's border


def sliding_window(
    model_fn: Callable[[np.ndarray], ArrayLike],
    volume: ArrayLike,
    window: int | Sequence[int],
    overlap: float | Sequence[float] = 0.25,
    blend: str = "gaussian",
    *,
    batch: int = 1,
    pad: float | str = "edge",
    flips: int | Sequence[int] = (),
    multiple: int | Sequence[int] = 1,
    margin: int | Sequence[int] = 0,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Run a network window by window over a volume that need not fit into it, or into memory.

    Args:
        model_fn: takes float32 windows `(n, *window, channels)` and gives floating-point values (probabilities,
            logits) `(n, *window, classes)`; n is `batch` or less.
        volume: array `(*size, channels)` or `(*size)` with 2 or 3 spatial axes, of any real dtype; only windows of it
            are read, so a memory map or an HDF5 data set streams from disk.
        window: its size, one number per spatial axis, or one number for all (then an array of 3 axes is `(z, y, x)`).
        overlap: the share of a window, from 0 to below 1, that its neighbour covers too; one number, or one per axis.
        blend: "gaussian" (the middle of a window counts more than its border), "constant", or "tiles": windows stand
            side by side from the first voxel on (`overlap` is 0), the last hang over the border, and each voxel is of
            one window; with a `margin` the middles of larger, overlapping patches.
        batch: windows per call of `model_fn`.
        pad: what surrounds a volume that is smaller than the window: "edge" (its border voxels), "reflect" (mirrored at
            its border voxels, again and again if need be) or a number. The volume lies in the middle.
        flips: spatial axes, e.g. (0, 2): the mean over all 2^k ways to flip each window along them.
        multiple: the window is enlarged to multiples of this (one number, or one per axis), as networks that halve
            their input several times need it.
        margin: so many voxels around each window (one number, or one per axis) that a network without padding reads and
            does not answer: `model_fn` then takes `(n, *(window + 2 * margin), channels)` and still gives
            `(n, *window, classes)`. They are the volume's own voxels; beyond its border there is `pad`.
        finish: applied to blended planes `(planes, *size[1:], classes)` as soon as no further window reaches them,
            e.g. `lambda planes: planes.argmax(-1).astype("uint8")`; only as many planes as a window is deep are then
            held for all classes. Must keep the spatial axes.
        out: array or memory map to write to, of the answer's shape. Written once from front to back if `finish` is
            given, otherwise added up in place.

    Returns:
        `out`, or a new float32 array (of what `finish` gives) `(*size, classes)`; a volume without channels and a
        network with one class give `(*size)`.

    Raises:
        ValueError: an argument, the volume or the network's answer is none of the above.

    Example:
        >>> volume = np.arange(60.0).reshape(3, 4, 5)
        >>> doubled = sliding_window(lambda windows: 2 * windows, volume, window=2)
        >>> doubled.shape, bool(np.allclose(doubled, 2 * volume))
        ((3, 4, 5), True)
    """
    volume = _as_array(volume)
    shape = tuple(volume.shape)
    lattice = _lattice(len(shape), window, overlap, blend, batch, pad, flips, multiple, margin)
    size, channels = _split(shape, lattice)
    _check_volume(volume, size, out)
    axes = [lattice.axis(axis, length) for axis, length in enumerate(size)]
    predict = functools.partial(_predict, _flipped(model_fn, lattice.flips, np.flip), lattice)
    squeeze = channels is None
    answer = _InPlace(size, axes, out, squeeze) if finish is None else _Planes(size, axes, out, finish)
    for group in answer.groups(lattice.batch):
        corners = [[axis.starts[k] for axis, k in zip(axes, place, strict=True)] for place in group]
        predictions = predict(_read(volume, size, channels, lattice, corners))
        for place, prediction in zip(group, predictions, strict=True):
            answer.add(place, [axis.box(k) for axis, k in zip(axes, place, strict=True)], prediction)
        del predictions, prediction
    return answer.result()


def window_graph(
    model_fn: Callable[[tf.Tensor], tf.Tensor],
    window: int | Sequence[int],
    overlap: float | Sequence[float] = 0.25,
    blend: str = "gaussian",
    *,
    batch: int = 1,
    pad: float | str = "edge",
    flips: int | Sequence[int] = (),
    multiple: int | Sequence[int] = 1,
    margin: int | Sequence[int] = 0,
    finish: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same as a function of tensors: windows, blending and `finish` in one graph, for volumes of any size.

    A `tf.function` or an exported signature calls it; with `finish=lambda planes: tf.argmax(planes, -1)` a SavedModel
    gives labels. The blended values of all classes are held for as many planes as a window is deep; beyond that there
    is what `finish` gives, or the answer (twice at the end, when its planes are joined).

    Args:
        model_fn: as for `sliding_window`, of tensors; traced once, without autograph (`tf.cond` and not `if` for what
            depends on values). Its number of classes must be known.
        window, overlap, blend, batch, pad, flips, multiple, margin: as for `sliding_window`, and give the same numbers.
        finish: as for `sliding_window`, of tensors.

    Returns:
        Function of a tensor `(*size, channels)` or `(*size)`, whose spatial axes may be unknown, that gives a tensor of
        the shape that `sliding_window` gives.

    Raises:
        ValueError: an argument is none of the above; the function raises it for a tensor or a network that does not
            fit.
    """
    rank = np.shape(window)[0] if np.shape(window) else 4
    _lattice(rank, window, overlap, blend, batch, pad, flips, multiple, margin)  # refused here, not in a trace

    def run(volume: tf.Tensor) -> tf.Tensor:
        volume = tf.convert_to_tensor(volume)
        if volume.shape.rank is None:
            raise ValueError("the number of the volume's axes must be known")
        lattice = _lattice(volume.shape.rank, window, overlap, blend, batch, pad, flips, multiple, margin)
        _, channels = _split(volume.shape.as_list(), lattice)
        if channels is None and volume.shape.rank > len(lattice.window):
            raise ValueError(f"the number of channels must be known; the volume has shape {volume.shape}")
        return _graph(model_fn, finish, lattice, volume, channels)

    return run


# --- where windows stand ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Lattice:
    """Checked arguments."""

    window: tuple[int, ...]
    steps: tuple[int, ...]
    blend: str
    batch: int
    pad: float | str
    flips: tuple[int, ...]
    margin: tuple[int, ...] = ()

    @property
    def seen(self) -> tuple[int, ...]:
        """What a network sees of a window, its margin with it."""
        return tuple(length + 2 * edge for length, edge in zip(self.window, self.margin, strict=True))

    def profile(self, axis: int) -> np.ndarray:
        """Weights along one axis of a window, float64."""
        length = self.window[axis]
        if self.blend != "gaussian":
            return np.ones(length)
        place = np.arange(length) - (length - 1) / 2
        return np.exp(-0.5 * (place / (SIGMA * length)) ** 2)

    def axis(self, axis: int, size: int) -> "_Axis":
        """Where windows start along an axis of this size, and their shares."""
        length, step = self.window[axis], self.steps[axis]
        if self.blend == "tiles":
            starts = list(range(0, size, length))
            return _Axis(size, length, starts, np.ones((len(starts), length), np.float32))
        if size <= length:
            return _Axis(size, length, [-((length - size) // 2)], np.ones((1, length), np.float32))
        starts = [min(k * step, size - length) for k in range(-(-(size - length) // step) + 1)]
        profile, total = self.profile(axis), np.zeros(size)
        for start in starts:
            total[start : start + length] += profile
        shares = np.stack([profile / total[start : start + length] for start in starts])
        return _Axis(size, length, starts, shares.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class _Axis:
    size: int
    length: int
    starts: list[int]
    shares: np.ndarray

    def box(self, k: int) -> slice:
        """The voxels of the volume that window k covers."""
        return slice(max(self.starts[k], 0), min(self.starts[k] + self.length, self.size))

    def inside(self, k: int) -> slice:
        """The part of window k that lies in the volume."""
        box = self.box(k)
        return slice(box.start - self.starts[k], box.stop - self.starts[k])

    def share(self, k: int) -> np.ndarray:
        return self.shares[k, self.inside(k)]

    def final(self, k: int) -> int:
        """The first voxel that windows after window k may still reach."""
        return self.starts[k + 1] if k + 1 < len(self.starts) else self.size


def _lattice(
    rank: int, window: Any, overlap: Any, blend: str, batch: int, pad: Any, flips: Any, multiple: Any, margin: Any = 0
) -> _Lattice:
    """The arguments of a call, checked: they may be anything."""
    if np.shape(window) and len(window) not in (2, 3):
        raise ValueError(f"window is {window!r}; give one number, or one for each of 2 or 3 spatial axes")
    if rank not in (2, 3, 4):
        raise ValueError(f"a volume has 2 or 3 spatial axes and perhaps channels; this one has {rank} axes")
    axes = len(window) if np.shape(window) else min(rank, 3)
    if rank not in (axes, axes + 1):
        raise ValueError(f"window {window!r} has {axes} axes, which does not fit a volume of {rank} axes")
    window = _per_axis("window", window, axes, lambda n: _whole(n) and n >= 1, "a whole number of voxels, 1 or more")
    multiple = _per_axis("multiple", multiple, axes, lambda n: _whole(n) and n >= 1, "a whole number, 1 or more")
    margin = _per_axis("margin", margin, axes, lambda n: _whole(n) and n >= 0, "a whole number of voxels, 0 or more")
    overlap = _per_axis("overlap", overlap, axes, lambda n: 0 <= n < 1, "a share from 0 to below 1")
    if blend not in ("gaussian", "constant", "tiles"):
        raise ValueError(f"blend is {blend!r}; 'gaussian', 'constant' and 'tiles' are available")
    if blend == "tiles" and any(overlap):
        raise ValueError(f"overlap is {overlap}; tiles do not overlap: set it to 0, or give a margin")
    if not _whole(batch) or batch < 1:
        raise ValueError(f"batch is {batch!r}; it must be a whole number, 1 or more")
    if pad not in ("edge", "reflect") and not (_real(pad) and math.isfinite(pad)):
        raise ValueError(f"pad is {pad!r}; give 'edge', 'reflect' or a finite number")
    flips = tuple(flips) if np.shape(flips) else (flips,)
    if not all(_whole(axis) and 0 <= axis < axes for axis in flips) or len(set(flips)) < len(flips):
        raise ValueError(f"flips is {flips!r}; give different spatial axes, of 0 to {axes - 1}")
    window = tuple(-(-int(n) // int(m)) * int(m) for n, m in zip(window, multiple, strict=True))
    steps = tuple(max(1, int(n * (1 - share) + 1e-9)) for n, share in zip(window, overlap, strict=True))
    margin = tuple(int(n) for n in margin)
    return _Lattice(window, steps, blend, int(batch), pad, tuple(int(axis) for axis in flips), margin)


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _real(value: object) -> bool:
    return _whole(value) or isinstance(value, (float, np.floating))


def _per_axis(name: str, value: Any, axes: int, allowed: Callable[[float], bool], wanted: str) -> tuple[float, ...]:
    values = tuple(value) if np.shape(value) else (value,) * axes
    if len(values) != axes or not all(_real(one) and allowed(one) for one in values):
        raise ValueError(f"{name} is {value!r}; give {wanted}, or one per spatial axis ({axes})")
    return values


def _split(shape: Sequence[int], lattice: _Lattice) -> tuple[Sequence[int], int | None]:
    """Spatial size and number of channels (None without a channel axis)."""
    axes = len(lattice.window)
    return shape[:axes], (shape[axes] if len(shape) > axes else None)


def _flipped(
    model_fn: Callable[[Any], Any], axes: tuple[int, ...], flip: Callable[[Any, tuple[int, ...]], Any]
) -> Callable[[Any], Any]:
    """The mean of `model_fn` over all flips along these axes of a window."""
    if not axes:
        return model_fn
    subsets = [tuple(axis + 1 for axis in chosen) for n in range(len(axes) + 1)
               for chosen in itertools.combinations(axes, n)]  # fmt: skip

    def mean(windows: Any) -> Any:
        total = model_fn(windows)
        for chosen in subsets[1:]:
            total = total + flip(model_fn(flip(windows, chosen)), chosen)
        return total / len(subsets)

    return mean


def _check_answer(
    shape: Sequence[int | None], floating: bool, dtype: object, lattice: _Lattice, count: int | None
) -> None:
    if len(shape) != len(lattice.window) + 2 or tuple(shape[:-1]) != (count, *lattice.window):
        raise ValueError(
            f"the network must answer windows {(count, *lattice.window)} with (*same, classes); it gave {tuple(shape)}"
        )
    if not floating:
        raise ValueError(f"the network gives {dtype}; windows are blended, so it must give probabilities or logits")


# --- arrays -----------------------------------------------------------------------------------------------------------


def _as_array(volume: ArrayLike) -> Any:
    """Itself, where it has a shape (an array, a memory map, an HDF5 data set); otherwise an array of it."""
    return volume if hasattr(volume, "shape") else np.asarray(volume)


def _check_volume(volume: np.ndarray, size: Sequence[int], out: np.ndarray | None) -> None:
    if min(volume.shape) < 1:
        raise ValueError(f"the volume is empty: shape {tuple(volume.shape)}")
    kind = getattr(volume.dtype, "kind", "f")
    if kind in "OSUMmc":
        raise ValueError(f"the volume has dtype {volume.dtype}; numbers (no complex ones) are needed")
    if out is not None and tuple(out.shape[: len(size)]) != tuple(size):
        raise ValueError(f"out has shape {tuple(out.shape)}; it must begin with the volume's size {tuple(size)}")
    if isinstance(volume, np.ndarray) and isinstance(out, np.ndarray) and np.may_share_memory(volume, out):
        raise ValueError("out lies in the volume's memory, which is still read while out is written; give another")


def _read(
    volume: np.ndarray, size: Sequence[int], channels: int | None, lattice: _Lattice, corners: Sequence[Sequence[int]]
) -> np.ndarray:
    """The windows that begin at these corners, with their margins, `(n, *seen, channels)` float32."""
    windows = np.empty((len(corners), *lattice.seen, channels or 1), np.float32)
    for window, corner in zip(windows, corners, strict=True):
        starts = [start - edge for start, edge in zip(corner, lattice.margin, strict=True)]
        box, widths = [], []
        for start, length, whole in zip(starts, lattice.seen, size, strict=True):
            box.append(slice(max(start, 0), min(start + length, whole)))
            widths.append((max(-start, 0), max(start + length - whole, 0)))
        crop = np.asarray(volume[tuple(box)])
        crop = crop[..., None] if channels is None else crop
        if np.any(widths):
            # What a mirror shows lies in the crop: where it ends at the border it is wider than what is missing.
            options = {"mode": lattice.pad} if isinstance(lattice.pad, str) else {"constant_values": lattice.pad}
            crop = np.pad(crop.astype(np.float32, copy=False), [*widths, (0, 0)], **options)
        window[...] = crop
    return windows


def _predict(model_fn: Callable[[np.ndarray], Any], lattice: _Lattice, windows: np.ndarray) -> np.ndarray:
    count = len(windows)
    answer = model_fn(windows)
    del windows
    if not hasattr(answer, "shape"):
        raise ValueError(f"the network must give one array; it gave a {type(answer).__name__}")
    answer = np.asarray(answer)
    floating = np.issubdtype(answer.dtype, np.floating) or answer.dtype.name == "bfloat16"
    _check_answer(answer.shape, floating, answer.dtype, lattice, count)
    return answer.astype(np.float32, copy=False)


def _add(target: np.ndarray, prediction: np.ndarray, shares: Sequence[np.ndarray]) -> None:
    """target += prediction * (product of the shares), plane by plane, so that nothing large is made."""
    plane = functools.reduce(np.multiply.outer, [*shares[1:], np.ones(prediction.shape[-1], np.float32)])
    weights = np.empty_like(plane)
    for into, values, share in zip(target, prediction, shares[0], strict=True):
        np.multiply(plane, share, out=weights)
        np.multiply(weights, values, out=weights)
        np.add(into, weights, out=into, casting="same_kind")


class _InPlace:
    """Windows are added up in the answer itself."""

    def __init__(
        self,
        size: Sequence[int],
        axes: Sequence[_Axis],
        out: np.ndarray | None,
        squeeze: bool = False,
    ) -> None:
        self.size, self.axes, self.squeeze = size, axes, squeeze
        self.out: Any = out  # arrays from the first window on
        self.target: Any = None
        self.ready = 0

    def groups(self, batch: int) -> Iterator[list[tuple[int, ...]]]:
        return _grouped(itertools.product(*(range(len(axis.starts)) for axis in self.axes)), batch)

    def open(self, classes: int) -> None:
        given = self.out is not None
        squeeze = self.squeeze and classes == 1
        shape = (*self.size, *(() if squeeze else (classes,)))
        self.out = _opened(self.out, shape, np.float32)
        if not np.issubdtype(self.out.dtype, np.floating):
            raise ValueError(f"out has dtype {self.out.dtype}; blended values need a floating-point one")
        self.target = self.out[..., None] if squeeze else self.out
        self.ready = 0 if given else self.size[0]

    def add(self, place: tuple[int, ...], box: Sequence[slice], prediction: np.ndarray) -> None:
        if self.target is None:
            self.open(prediction.shape[-1])
        if box[0].stop > self.ready:
            self.target[self.ready : box[0].stop] = 0
            self.ready = box[0].stop
        inside = tuple(axis.inside(k) for axis, k in zip(self.axes, place, strict=True))
        shares = [axis.share(k) for axis, k in zip(self.axes, place, strict=True)]
        _add(self.target[tuple(box)], prediction[inside], shares)

    def result(self) -> np.ndarray:
        return self.out


class _Planes(_InPlace):
    """Windows are added up in a slab of planes; planes that no further window reaches are finished and written."""

    def __init__(
        self,
        size: Sequence[int],
        axes: Sequence[_Axis],
        out: np.ndarray | None,
        finish: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        super().__init__(size, axes, out)
        self.finish = finish
        self.slab: Any = None

    def groups(self, batch: int) -> Iterator[list[tuple[int, ...]]]:
        for k in range(len(self.axes[0].starts)):
            row = itertools.product([k], *(range(len(axis.starts)) for axis in self.axes[1:]))
            yield from _grouped(row, batch)
            self.write(k)

    def add(self, place: tuple[int, ...], box: Sequence[slice], prediction: np.ndarray) -> None:
        if self.slab is None:
            depth = min(self.axes[0].length, self.size[0])
            self.slab = np.zeros((depth, *self.size[1:], prediction.shape[-1]), np.float32)
        inside = tuple(axis.inside(k) for axis, k in zip(self.axes, place, strict=True))
        shares = [axis.share(k) for axis, k in zip(self.axes, place, strict=True)]
        _add(self.slab[(slice(box[0].stop - box[0].start), *box[1:])], prediction[inside], shares)

    def write(self, k: int) -> None:
        begin, end = self.axes[0].box(k).start, self.axes[0].final(k)
        count = end - begin
        planes = np.asarray(self.finish(self.slab[:count]))
        if planes.shape[: len(self.size)] != (count, *self.size[1:]):
            raise ValueError(f"finish made {planes.shape} of {self.slab[:count].shape}; it must keep the spatial axes")
        if k == 0:
            self.out = _opened(self.out, (*self.size, *planes.shape[len(self.size) :]), planes.dtype)
        self.out[begin:end] = planes
        kept = len(self.slab) - count
        for i in range(kept):  # plane by plane: source and target overlap
            self.slab[i] = self.slab[i + count]
        self.slab[kept:] = 0


def _grouped(places: Iterable[tuple[int, ...]], batch: int) -> Iterator[list[tuple[int, ...]]]:
    places = iter(places)
    while group := list(itertools.islice(places, batch)):
        yield group


def _opened(out: np.ndarray | None, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    if out is None:
        return np.zeros(shape, dtype)
    if tuple(out.shape) != tuple(shape):
        raise ValueError(f"out has shape {tuple(out.shape)}; the answer has {tuple(shape)}")
    return out


# --- tensors ----------------------------------------------------------------------------------------------------------


def _graph(
    model_fn: Callable[[tf.Tensor], tf.Tensor],
    finish: Callable[[tf.Tensor], tf.Tensor] | None,
    lattice: _Lattice,
    volume: tf.Tensor,
    channels: int | None,
) -> tf.Tensor:
    axes = len(lattice.window)
    squeeze = channels is None
    volume = tf.expand_dims(volume, -1) if squeeze else volume
    size = tf.shape(volume)[:axes]
    static = volume.shape[:axes].as_list()
    padded = _padded(tf.cast(volume, tf.float32), size, lattice)
    before = _before(lattice, size)
    network = tf.function(_flipped(model_fn, lattice.flips, tf.reverse), autograph=False)
    example = tf.TensorSpec((None, *lattice.seen, channels or 1), tf.float32)
    answer = network.get_concrete_function(example).structured_outputs
    if not isinstance(answer, (tf.Tensor, tf.TensorSpec)):
        raise ValueError(f"the network must give one tensor; it gave a {type(answer).__name__}")
    if answer.shape.rank is None or answer.shape[-1] is None:
        raise ValueError(f"the network's number of classes must be known; it gives {answer.shape}")
    _check_answer([None, *answer.shape[1:]], answer.dtype.is_floating, answer.dtype.name, lattice, None)
    classes = answer.shape[-1]
    squeeze = squeeze and classes == 1 and finish is None
    covered = _covered(lattice, size)  # by windows; margins lie around it
    places = [_places(lattice, axis, covered[axis]) for axis in range(axes)]

    def window_at(indices: Sequence[tf.Tensor]) -> tf.Tensor:
        """The window with these indices along each axis, and its margin."""
        corner = [starts[k] for (starts, _, _), k in zip(places, indices, strict=True)]
        return tf.slice(padded, [*corner, 0], (*lattice.seen, channels or 1))

    def predict(windows: tf.Tensor) -> tf.Tensor:
        windows = tf.ensure_shape(windows, example.shape)
        return tf.cast(network(windows), tf.float32)

    def level(axis: int, indices: list[tf.Tensor]) -> tf.Tensor:
        """The blend along `axis` and all later axes, `axis` first: (size of axis, windows of earlier axes, ...)."""
        starts, shares, ends = places[axis]
        rest = tf.concat([lattice.window[:axis], covered[axis + 1 :], [classes]], 0)
        shape = [*lattice.window[:axis], *[None] * (axes - axis - 1), classes]
        last, order = axis == axes - 1, _first(axis, axes)
        if last and lattice.batch > 1:
            row = _row(window_at, predict, indices, tf.size(starts), lattice.batch)

        def chunk(k: tf.Tensor) -> tf.Tensor:
            if last:
                return tf.transpose(row[k] if lattice.batch > 1 else predict(window_at([*indices, k])[None])[0], order)
            held = _first(axis + 1, axes)
            return tf.transpose(level(axis + 1, [*indices, k]), [held.index(a) for a in order])

        each = None
        if axis == 0:
            each = functools.partial(_crop, before=before, size=size, static=static, finish=finish)
        first = (before[0], size[0]) if axis == 0 else None
        return _overlap_add(starts, shares, ends, chunk, rest, shape, each, first)

    result = level(0, [])
    if finish is None:
        result = tf.ensure_shape(result, [*static, classes])
        return tf.squeeze(result, -1) if squeeze else result
    result.set_shape([static[0], *result.shape[1:]])
    return result


def _first(axis: int, axes: int) -> list[int]:
    """The order of axes (spatial ones, then classes) with `axis` in front."""
    return [axis, *(a for a in range(axes + 1) if a != axis)]


def _row(
    window_at: Callable[[Sequence[tf.Tensor]], tf.Tensor],
    predict: Callable[[tf.Tensor], tf.Tensor],
    indices: list[tf.Tensor],
    count: tf.Tensor,
    batch: int,
) -> tf.Tensor:
    """Predictions for all windows along the last axis, `batch` at a time."""
    calls = (count + batch - 1) // batch

    def body(call: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        chosen = tf.range(call * batch, tf.minimum((call + 1) * batch, count))
        windows = tf.map_fn(
            lambda k: window_at([*indices, k]), chosen, fn_output_signature=tf.float32, parallel_iterations=1
        )
        return call + 1, found.write(call, predict(windows))

    found = tf.TensorArray(tf.float32, calls, infer_shape=False)
    _, found = tf.while_loop(lambda call, _: call < calls, body, (0, found), parallel_iterations=1)
    return found.concat()


def _overlap_add(
    starts: tf.Tensor,
    shares: tf.Tensor,
    ends: tf.Tensor,
    chunk: Callable[[tf.Tensor], tf.Tensor],
    rest: tf.Tensor,
    shape: Sequence[int | None],
    each: Callable[[tf.Tensor], tf.Tensor] | None,
    first: tuple[tf.Tensor, tf.Tensor] | None,
) -> tf.Tensor:
    """Sum of chunks `(window, *rest)`, each times its share, along their first axis; what is complete is put away.

    Args:
        starts, shares, ends: where chunks start, their weights, and what is complete after each.
        chunk: function of the chunk's index.
        rest: size of the further axes, a tensor; `shape` is what is known of it.
        each: applied to complete slabs.
        first: (start, size) of the part of the first axis that is wanted; the whole of it by default.
    """
    length = shares.shape[1]
    count = tf.size(starts)
    signature = tf.TensorSpec((None, *shape), tf.float32)
    if each is not None:
        each = tf.function(each, autograph=False)
        signature = each.get_concrete_function(signature).structured_outputs
    done = tf.TensorArray(signature.dtype, count, infer_shape=False, element_shape=[None, *signature.shape[1:]])

    def body(k: tf.Tensor, carry: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        share = tf.reshape(shares[k], [-1] + [1] * len(shape))
        values, number = chunk(k), ends[k] - starts[k]
        complete = carry[:number] + values[:number] * share[:number]  # slices of one sum would keep all of it in memory
        still_open = carry[number:] + values[number:] * share[number:]
        if first is not None:
            low = tf.maximum(first[0] - starts[k], 0)
            complete = complete[low : tf.minimum(number, first[0] + first[1] - starts[k])]
        done = done.write(k, complete if each is None else each(complete))
        carry = tf.concat([still_open, tf.zeros(tf.concat([[number], rest], 0))], 0)
        carry.set_shape([length, *shape])
        return k + 1, carry, done

    carry = tf.zeros(tf.concat([[length], rest], 0))
    carry.set_shape([length, *shape])
    _, _, done = tf.while_loop(
        lambda k, *_: k < count, body, (0, carry, done), parallel_iterations=1,
        shape_invariants=(tf.TensorShape([]), carry.shape, tf.TensorShape(None)),
    )  # fmt: skip
    return done.concat()


def _crop(
    planes: tf.Tensor,
    before: tf.Tensor,
    size: tf.Tensor,
    static: Sequence[int | None],
    finish: Callable[[tf.Tensor], tf.Tensor] | None,
) -> tf.Tensor:
    """Complete planes without what was padded beside them, finished."""
    begin = tf.concat([[0], before[1:], [0]], 0)
    extent = tf.concat([[-1], size[1:], [-1]], 0)
    known = [None, *static[1:], planes.shape[-1]]
    planes = tf.slice(planes, begin, extent)
    planes.set_shape(known)
    if finish is None:
        return planes
    finished = tf.convert_to_tensor(finish(planes))
    if finished.shape.rank is None or not known[:-1] == finished.shape[: len(known) - 1].as_list():
        raise ValueError(f"finish made {finished.shape} of {planes.shape}; it must keep the spatial axes")
    return finished


def _covered(lattice: _Lattice, size: tf.Tensor) -> tf.Tensor:
    """How many voxels windows cover along each axis."""
    if lattice.blend == "tiles":
        return -(-size // lattice.window) * lattice.window
    return tf.maximum(size, lattice.window)


def _before(lattice: _Lattice, size: tf.Tensor) -> tf.Tensor:
    """How many of them lie before the volume."""
    return tf.zeros_like(size) if lattice.blend == "tiles" else (_covered(lattice, size) - size) // 2


def _padded(volume: tf.Tensor, size: tf.Tensor, lattice: _Lattice) -> tf.Tensor:
    """The volume, in the middle of more voxels where it is smaller than a window, and with margins."""
    missing, first = _covered(lattice, size) - size, _before(lattice, size)
    before, after = first + lattice.margin, missing - first + lattice.margin

    def enlarge() -> tf.Tensor:
        if not isinstance(lattice.pad, str):
            widths = tf.stack([before, after], 1)
            return tf.pad(volume, tf.concat([widths, [[0, 0]]], 0), constant_values=float(lattice.pad))
        result = volume
        for axis in range(len(lattice.window)):
            place = tf.range(size[axis] + before[axis] + after[axis]) - before[axis]
            edge = lattice.pad == "edge"
            inside = tf.clip_by_value(place, 0, size[axis] - 1) if edge else mirrored(place, size[axis])
            result = tf.gather(result, inside, axis=axis)
        return result

    result = tf.cond(tf.reduce_all(before + after == 0), lambda: volume, enlarge)
    result.set_shape([None] * len(lattice.window) + [volume.shape[-1]])
    return result


def _places(lattice: _Lattice, axis: int, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`_Lattice.axis` of a size known when the graph runs: starts, shares, and what is complete after each window."""
    length, step = lattice.window[axis], lattice.steps[axis]
    count = (size - length + step - 1) // step + 1
    starts = tf.minimum(tf.range(count) * step, size - length)
    profile = tf.constant(lattice.profile(axis), tf.float64)
    covered = starts[:, None] + tf.range(length)
    weights = tf.broadcast_to(profile, tf.shape(covered))
    total = tf.math.unsorted_segment_sum(tf.reshape(weights, [-1]), tf.reshape(covered, [-1]), size)
    shares = tf.cast(profile / tf.gather(total, covered), tf.float32)
    shares.set_shape([None, length])
    return starts, shares, tf.concat([starts[1:], [size]], 0)


class _CallableModule(types.ModuleType):
    """Lets `tfmed.ops.sliding_window(...)` be the function, whichever way this module was imported."""

    def __call__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return sliding_window(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
