"""Sampling at a grid: exact where it must be, as scipy elsewhere, differentiable, and free of Python in the graph."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import tfmed.ops
from tfmed.ops.warp import identity_grid, warp, warp_array

pytestmark = pytest.mark.one_stack

SHAPES = [(9, 12), (6, 7, 8)]
MODES = {0.0: "grid-constant", "edge": "nearest"}


def picture(shape, channels=2, batch=2, seed=0):
    return np.random.default_rng(seed).random((batch, *shape, channels), np.float32)


def places(shape, batch=2, seed=1, spread=2.0):
    """Places all over the image and beyond its border, none of them halfway between two voxels."""
    jitter = np.random.default_rng(seed).normal(0, spread, (batch, *shape, len(shape)))
    grid = (identity_grid(shape) + jitter).astype("float32")
    return np.where(np.abs(grid - np.floor(grid) - 0.5) < 1e-3, grid + 0.01, grid).astype("float32")


def by_scipy(image, grid, order, fill):
    """The same by `scipy.ndimage.map_coordinates`, sample by sample and channel by channel."""
    mode, value = MODES.get(fill, "grid-constant"), 0 if fill == "edge" else fill
    one = [[map_coordinates(i[..., c], np.moveaxis(g, -1, 0), order=order, mode=mode, cval=value)
            for c in range(i.shape[-1])] for i, g in zip(image, grid, strict=True)]  # fmt: skip
    return np.moveaxis(np.array(one), 1, -1)


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_identity_is_exact(shape, order, compiled):
    image = picture(shape) * 1e4
    grid = np.stack([identity_grid(shape)] * 2)
    np.testing.assert_array_equal(warp(image, grid, order, -7.0, compiled), image)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips_and_whole_shifts_move_voxels_exactly(shape, order):
    image, grid = picture(shape, batch=1), identity_grid(shape)[None]
    for axis in range(len(shape)):
        flipped = grid.copy()
        flipped[..., axis] = shape[axis] - 1 - flipped[..., axis]
        np.testing.assert_array_equal(warp(image, flipped, order), np.flip(image, axis + 1))
        shifted = grid.copy()
        shifted[..., axis] -= 2
        expected = np.roll(image, 2, axis + 1)
        np.moveaxis(expected, axis + 1, 0)[:2] = 5.0
        np.testing.assert_array_equal(warp(image, shifted, order, 5.0), expected)


def test_fill_per_channel_and_edge():
    """A constant lies around the image, also one per channel; "edge" continues the border."""
    image, grid = picture((4, 5), batch=1), identity_grid((4, 5))[None] + np.float32([100, 0])
    for order in (0, 1):
        filled = warp(image, grid, order, (100.0, -100.0)).numpy()
        np.testing.assert_array_equal(filled, np.broadcast_to(np.float32([100, -100]), filled.shape))
        np.testing.assert_array_equal(warp(image, grid, order, "edge"), np.broadcast_to(image[:, -1:], image.shape))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "bool", "float16", "float64"])
def test_labels_keep_dtype_and_values(dtype):
    labels = (np.random.default_rng(0).integers(0, 4, (2, 9, 12, 1))).astype(dtype)
    moved = warp(labels, places((9, 12)), 0, 3).numpy()
    assert moved.dtype == labels.dtype and set(np.unique(moved)) <= {*np.unique(labels), labels.dtype.type(3)}
    np.testing.assert_array_equal(moved, by_scipy(labels.astype("int32"), places((9, 12)), 0, 3).astype(dtype))


def test_an_image_equal_to_its_label_stays_so():
    labels = np.random.default_rng(0).integers(0, 4, (2, 9, 12, 1))
    image = labels.astype("float32")
    np.testing.assert_array_equal(warp(image, places((9, 12)), 0), warp(labels, places((9, 12)), 0))


def test_probabilities_still_sum_to_one_and_softmax_commutes():
    logits = tf.constant(picture((9, 12), 4) * 8)
    grid = places((9, 12), spread=4.0)
    moved = warp(tf.nn.softmax(logits), grid, 1, (1.0, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(tf.reduce_sum(moved, -1), np.ones((2, 9, 12)), atol=1e-6)
    by_logits = tf.nn.softmax(warp(logits, grid, 0, (100.0, -100.0, -100.0, -100.0)))
    np.testing.assert_allclose(by_logits, warp(tf.nn.softmax(logits), grid, 0, (1.0, 0.0, 0.0, 0.0)), atol=1e-6)


@given(st.sampled_from(SHAPES), st.integers(0, 2), st.integers(0, 9), st.sampled_from([0, 1]))
@settings(max_examples=15, deadline=None)
def test_flipping_twice_is_the_identity(shape, axis, seed, order):
    axis %= len(shape)
    image, grid = picture(shape, batch=1, seed=seed), identity_grid(shape)[None]
    grid[..., axis] = shape[axis] - 1 - grid[..., axis]
    np.testing.assert_array_equal(warp(warp(image, grid, order), grid, order), image)


@given(st.integers(2, 9), st.integers(0, 9), st.sampled_from([0, 1]))
@settings(max_examples=15, deadline=None)
def test_four_quarter_turns_are_the_identity(size, seed, order):
    image, grid = picture((size, size), batch=1, seed=seed), identity_grid((size, size))[None]
    turn = np.stack([grid[..., 1], size - 1 - grid[..., 0]], -1)
    once = warp(image, turn, order)
    np.testing.assert_array_equal(once, np.rot90(image, 1, (1, 2)))
    np.testing.assert_array_equal(warp(warp(warp(once, turn, order), turn, order), turn, order), image)


# --- as scipy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("fill", [0.0, -3.5, "edge"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_scipy(shape, order, fill, compiled):
    image, grid = picture(shape), places(shape)
    np.testing.assert_allclose(warp(image, grid, order, fill, compiled), by_scipy(image, grid, order, fill), atol=1e-5)


@given(st.lists(st.integers(1, 6), min_size=4, max_size=6), st.sampled_from([0, 1]), st.sampled_from([2.0, "edge"]))
@settings(max_examples=20, deadline=None)
def test_any_size_and_another_size_of_result(sizes, order, fill):
    """Axes of one voxel too; the result's size is the grid's."""
    rank = len(sizes) // 2
    shape, new = sizes[:rank], sizes[rank : 2 * rank]
    image, grid = picture(shape, 1, 1), places(new, 1)
    moved = warp(image, grid, order, fill)
    assert moved.shape == (1, *new, 1)
    np.testing.assert_allclose(moved, by_scipy(image, grid, order, fill), atol=1e-5)


# --- on the host ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [-3.5, "edge"])
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_are_warped_as_tensors_are(shape, fill):
    """Images as `warp` and scipy have them, labels the same to the voxel, in their own dtype."""
    image, grid = picture(shape, batch=1), places(shape, 1)
    moved = warp_array(image[0], grid[0], 1, fill)
    assert isinstance(moved, np.ndarray) and moved.dtype == np.float32
    np.testing.assert_allclose(moved, warp(image, grid, 1, fill)[0], atol=1e-6)
    np.testing.assert_allclose(moved, by_scipy(image, grid, 1, fill)[0], atol=1e-5)
    for dtype in ("bool", "uint8", "int16", "int64", "float64"):
        label = (image * 4).astype(dtype)
        other = fill if fill == "edge" else 1
        moved = warp_array(label[0], grid[0].astype("float64"), 0, other)
        assert moved.dtype == label.dtype
        np.testing.assert_array_equal(moved, warp(label, grid, 0, other)[0])


def test_arrays_from_several_threads():
    """New shapes are compiled in whichever thread comes first; a result can be written to."""
    grids = [places((5 + i % 3, 7), 1, seed=i)[0] for i in range(12)]
    image = picture((6, 9), batch=1)[0]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda grid: warp_array(image, grid), grids))
    for moved, grid in zip(found, grids, strict=True):
        np.testing.assert_allclose(moved, warp(image[None], grid[None])[0], atol=1e-6)
        moved[...] = 0


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cannot be interpolated"):
        warp_array(np.zeros((4, 5, 1), "int32"), identity_grid((4, 5)))
    with pytest.raises(ValueError, match="2 or 3 spatial axes"):
        warp_array(np.zeros((4, 5, 1), "float32"), identity_grid((4, 5, 6)))


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("fill", [0.5, "edge"])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)])
def test_gradients_are_those_of_finite_differences(shape, fill, compiled):
    image = picture(shape, 2, 1)
    fraction = np.random.default_rng(2).uniform(0.1, 0.9, (1, *shape, len(shape)))  # away from the kinks
    grid = (np.floor(places(shape, 1)) + fraction).astype("float32")
    weight = picture(shape, 2, 1, seed=5)

    def loss(i, g):
        return tf.reduce_sum(warp(i, g, 1, fill, compiled) * weight)

    with tf.GradientTape() as tape:
        i, g = tf.constant(image), tf.constant(grid)
        tape.watch([i, g])
        value = loss(i, g)
    slopes = tape.gradient(value, [i, g])
    random = np.random.default_rng(3)
    for which, (at, slope, step) in enumerate([(image, slopes[0], 0.1), (grid, slopes[1], 0.02)]):
        for _ in range(8):
            move = np.zeros_like(at)
            move[tuple(random.integers(0, s) for s in at.shape)] = step
            ends = [loss(*([at + m, grid] if which == 0 else [image, at + m])) for m in (move, -move)]
            estimate = (float(ends[0]) - float(ends[1])) / (2 * step)
            assert float(tf.reduce_sum(slope * move)) / step == pytest.approx(estimate, abs=2e-3)


def test_the_nearest_voxel_has_gradients_of_the_image_alone():
    image, grid = tf.constant(picture((4, 5))), tf.constant(places((4, 5)))
    with tf.GradientTape() as tape:
        tape.watch([image, grid])
        total = tf.reduce_sum(warp(image, grid, 0))
    slopes = tape.gradient(total, [image, grid])
    assert slopes[1] is None and float(tf.reduce_sum(slopes[0])) > 0


# --- in a graph -------------------------------------------------------------------------------------------------------


def test_unknown_sizes_and_no_python_in_the_graph():
    unknown = [tf.TensorSpec((None, None, None, None, 2)), tf.TensorSpec((None, None, None, None, 3))]
    graph = tf.function(lambda image, grid: warp(image, grid, 1, "edge")).get_concrete_function(*unknown)
    names = {node.op for node in graph.graph.as_graph_def().node}
    assert "GatherV2" in names and not any("PyFunc" in name or "Stateful" in name for name in names)
    assert graph.structured_outputs.shape[-1] == 2
    for shape in [(4, 5, 6), (3, 2, 7)]:
        image, grid = picture(shape), places(shape)
        np.testing.assert_allclose(graph(image, grid), by_scipy(image, grid, 1, "edge"), atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_two_replicas_equal_one(compiled):
    """Values and the gradient of a shared image, with the batch shared by two replicas."""
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(2)])
    image, grid = picture((9, 12), 3, 4), places((9, 12), 4)
    with strategy.scope():
        scale = tf.Variable(2.0)

    @tf.function
    def step(part, where):
        with tf.GradientTape() as tape:
            moved = warp(part * scale, where, 1, 0.25, compiled)
            loss = tf.reduce_sum(moved**2)
        return moved, tape.gradient(loss, scale)

    @tf.function
    def both(halves):
        return strategy.run(lambda half: step(*half), (halves,))

    cut = [(image[:2], grid[:2]), (image[2:], grid[2:])]
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(map(tf.constant, cut[context.replica_id_in_sync_group]))
    )
    moved, slopes = both(halves)
    alone, slope = step(tf.constant(image), tf.constant(grid))
    np.testing.assert_allclose(np.concatenate(strategy.experimental_local_results(moved)), alone, atol=1e-6)
    assert float(sum(strategy.experimental_local_results(slopes))) == pytest.approx(float(slope), rel=1e-5)


def test_half_precision_is_interpolated_in_float32():
    image, grid = picture((9, 12)).astype("float16"), places((9, 12)) + 0.3
    moved = warp(image, grid, 1)
    assert moved.dtype == tf.float16
    exact = by_scipy(image.astype("float32"), grid, 1, 0.0)
    np.testing.assert_allclose(moved.numpy(), exact, atol=5e-4)


# --- calls ------------------------------------------------------------------------------------------------------------


def test_the_name_in_the_package_is_the_function():
    image, grid = picture((4, 5)), np.stack([identity_grid((4, 5))] * 2)
    np.testing.assert_array_equal(tfmed.ops.warp(image, grid, 1, 0), image)
    assert tfmed.ops.warp.identity_grid is identity_grid and tfmed.ops.warp.warp is warp


@pytest.mark.parametrize("change, words", [
    ({"order": 3}, "order is 3"), ({"fill": "reflect"}, "'edge'"), ({"fill": (1.0, 2.0, 3.0)}, "3 numbers for 2"),
    ({"image": np.zeros((2, 4, 5, 2), int), "order": 1}, "cannot be interpolated"),
    ({"image": np.zeros((4, 5, 2), "float32")}, "shapes"), ({"grid": np.zeros((2, 4, 5, 3), "float32")}, "shapes"),
    ({"grid": np.zeros((3, 4, 5, 2), "float32")}, "2 images cannot be moved by 3 grids"),
])  # fmt: skip
def test_wrong_calls_say_what_is_wrong(change, words):
    call = {"image": picture((4, 5)), "grid": places((4, 5)), "order": 1, "fill": 0.0} | change
    with pytest.raises(ValueError, match=words):
        warp(**call)
