"""Planes of volumes: directions, frames, sampling against scipy, and predictions along views."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import kstest

from tfmed.ops import planes

pytestmark = pytest.mark.one_stack


def rng(seed=0):
    return np.random.default_rng(seed)


def smooth(shape=(20, 24, 22), sigma=3.0, seed=0):
    return gaussian_filter(rng(seed).normal(size=shape), sigma).astype("float32") * 50


def tilted(count, seed=1):
    return planes.frames(planes.uniform_normals(count, rng(seed)), rng(seed + 1).uniform(0, 6, count))


# --- directions -------------------------------------------------------------------------------------------------------


def test_directions_are_uniform_on_the_sphere():
    """Archimedes: each coordinate is uniform from -1 to 1."""
    found = planes.uniform_normals(20_000, rng())
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert np.abs(found.mean(0)).max() < 0.02 and np.abs(np.abs(found).mean(0) - 0.5).max() < 0.01
    for axis in range(3):
        assert kstest(found[:, axis], "uniform", (-1, 2)).pvalue > 1e-3


def test_frames_are_rotations_that_begin_with_the_normal():
    normals = np.concatenate([planes.uniform_normals(200, rng()), np.eye(3), -np.eye(3), [[-1 + 1e-9, 4e-5, 0]]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for turn in (0.0, rng(1).uniform(0, 6, len(normals))):
        found = planes.frames(normals, turn)
        np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.broadcast_to(np.eye(3), found.shape), atol=1e-8)
        np.testing.assert_allclose(np.linalg.det(found), 1)
        np.testing.assert_array_equal(found[:, 0], normals)
    np.testing.assert_array_equal(planes.frames([[1.0, 0, 0]])[0], np.eye(3))
    quarter = planes.frames([[1.0, 0, 0]], np.pi / 2)[0]
    np.testing.assert_allclose(quarter, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)


def test_spread_directions_are_farther_apart_than_drawn_ones():
    def nearest(found):
        angles = np.degrees(np.arccos(np.clip(np.abs(found @ found.T), 0, 1)))
        return angles[np.triu_indices(len(found), 1)].min()

    spread = [nearest(planes.spread_normals(6, rng(k))) for k in range(10)]
    drawn = [nearest(planes.uniform_normals(6, rng(k))) for k in range(10)]
    assert min(spread) > 38 > np.mean(drawn)
    assert planes.spread_normals(0, rng()).shape == (0, 3) and planes.spread_normals(1, rng()).shape == (1, 3)
    np.testing.assert_array_equal(planes.axis_normals(4)[[0, 3]], [[1, 0, 0], [1, 0, 0]])


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("order", [0, 1])
def test_planes_are_what_scipy_samples(order, compiled):
    volume = smooth()
    frames, centres = tilted(5), rng(3).uniform(-3, 25, (5, 3))
    found = planes.sample_planes(volume[..., None], frames, centres, (17, 30), 0.8, order, 7.0, compiled)[..., 0]
    for one, frame, centre in zip(found, frames, centres, strict=True):
        y, x = np.meshgrid((np.arange(17) - 8) * 0.8, (np.arange(30) - 14.5) * 0.8, indexing="ij")
        places = centre[:, None, None] + frame[1][:, None, None] * y + frame[2][:, None, None] * x
        expected = map_coordinates(volume, places, order=order, mode="grid-constant", cval=7.0)
        away = np.abs(one - expected)
        assert (away > 2e-3).mean() < (0.01 if order == 0 else 1e-9)  # halves are rounded differently


@pytest.mark.parametrize("axis", range(3))
def test_planes_across_an_axis_are_slices(axis):
    volume = rng().normal(size=(7, 7, 7)).astype("float32")
    frame = planes.frames(np.eye(3)[[axis]])
    centre = np.array([[3.0, 3, 3]])
    centre[0, axis] = 2
    found = planes.sample_planes(volume[..., None], frame, centre, (7, 7)).numpy()[0, ..., 0]
    expected = np.take(volume, 2, axis)
    if axis == 0:
        np.testing.assert_array_equal(found, expected)
    candidates = [np.rot90(one, k) for one in (expected, expected.T) for k in range(4)]
    assert any(np.allclose(found, one, atol=1e-6) for one in candidates)


def test_a_ramp_stays_a_ramp():
    z, y, x = np.meshgrid(*(np.arange(30.0),) * 3, indexing="ij")
    ramp = (2 * z - 3 * y + 0.5 * x + 1).astype("float32")
    frame, centre = tilted(1), [[14.0, 15.5, 13.2]]
    found = planes.sample_planes(ramp[..., None], frame, centre, (9, 11)).numpy()[0, ..., 0]
    slope = np.array([2, -3, 0.5])
    rows, columns = np.arange(9)[:, None] - 4, np.arange(11) - 5
    expected = slope @ centre[0] + 1 + rows * (slope @ frame[0, 1]) + columns * (slope @ frame[0, 2])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_labels_stay_labels_of_their_own_type():
    label = rng().choice([0, 3, 255], (9, 10, 11)).astype("uint8")
    found = planes.sample_planes(label[..., None], tilted(4), np.full((4, 3), 5.0), (8, 8), order=0, fill=255)
    assert found.dtype == tf.uint8 and set(np.unique(found)) == {0, 3, 255}
    outside = planes.sample_planes(label[..., None], tilted(1), [[99.0, 0, 0]], (4, 4), order=0, fill=7)
    assert (outside.numpy() == 7).all()


def test_graphs_take_volumes_of_any_size_and_gradients_flow():
    spec = tf.TensorSpec((None, None, None, 2), tf.float32)
    sample = tf.function(lambda v: planes.sample_planes(v, tilted(2), np.full((2, 3), 4.0), (5, 6)), [spec])
    for shape in ((8, 9, 10, 2), (12, 7, 9, 2)):
        volume = tf.constant(rng().normal(size=shape), tf.float32)
        eager = planes.sample_planes(volume, tilted(2), np.full((2, 3), 4.0), (5, 6))
        np.testing.assert_allclose(sample(volume), eager, atol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(volume)
        total = tf.reduce_sum(planes.sample_planes(volume, tilted(1), [[5.3, 3.4, 4.2]], (1, 1)))
    gradient = tape.gradient(total, volume).numpy()
    assert gradient.sum() == pytest.approx(2, abs=1e-5) and (gradient != 0).sum() == 16


@pytest.mark.parametrize("volume, order, said", [
    (np.zeros((3, 3, 3, 1), "uint8"), 1, "cannot be interpolated"), (np.zeros((3, 3, 3)), 1, "is \\(z, y, x, channel"),
    (np.zeros((3, 3, 3, 1)), 2, "order is 2"),
])  # fmt: skip
def test_bad_arguments_of_samples(volume, order, said):
    with pytest.raises(ValueError, match=said):
        planes.sample_planes(volume, tilted(1), [[1.0, 1, 1]], (2, 2), order=order)


# --- along views ------------------------------------------------------------------------------------------------------


def seen(volume, frames, model=lambda x: x, classes=1, **options):
    return planes.along_views(model, tf.constant(volume[..., None]), frames, classes, **options).numpy()


def test_one_view_along_an_axis_is_the_network_slice_by_slice():
    """With planes padded to multiples at their ends, and blocks that do not fit the number of slices."""
    volume = rng().normal(size=(7, 12, 10)).astype("float32")
    kernel = tf.constant(rng(1).normal(size=(3, 3, 1, 2)), tf.float32)

    def network(images):
        return tf.nn.conv2d(images, kernel, 1, "SAME")

    expected = network(tf.constant(volume[..., None])).numpy()
    for slices in (1, 4, 10):
        found = seen(volume, np.eye(3)[None], network, 2, slices=slices, multiple=4)
        np.testing.assert_allclose(found[:, :, :9], expected[:, :, :9], atol=1e-5)
    thrice = seen(volume, np.stack([np.eye(3)] * 3), network, 2, multiple=4)
    np.testing.assert_allclose(thrice, found, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 11, 10), (1, 6, 7), (5, 1, 3), (1, 1, 1), (2, 17, 3)])
def test_every_voxel_is_covered_once_by_each_view(shape):
    """A network that says one everywhere: sums of views count how often a voxel was told."""
    frames = np.concatenate([tilted(3), planes.frames(-np.eye(3)[:1])])
    for slices, frame in zip((1, 3, 4, 4), frames, strict=True):
        found = seen(np.zeros(shape, "float32"), frame[None], tf.ones_like, weights=[[1.0]], slices=slices)
        np.testing.assert_allclose(found, 1, atol=1e-6)
    mean = seen(np.zeros(shape, "float32"), frames[:2], lambda x: tf.ones_like(x) * 0.3)
    np.testing.assert_allclose(mean, 0.3, atol=1e-5)


def test_there_and_back_changes_a_smooth_volume_little():
    """And a network of single voxels says, but for interpolation, what it says voxel by voxel."""
    volume = smooth((24, 26, 22), 4.0)
    volume /= volume.std()
    inside = (slice(2, -2),) * 3
    found = seen(volume, tilted(3))[..., 0]
    assert np.abs(found - volume)[inside].max() < 0.06
    sigmoid = seen(volume, tilted(3), tf.sigmoid)[..., 0]
    assert np.abs(sigmoid - 1 / (1 + np.exp(-volume)))[inside].max() < 0.03


def test_a_linear_volume_is_exact_inside():
    """Interpolation there and back is exact on a ramp, which finds any slip of an index or a direction."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype="float32") for n in (12, 15, 13)), indexing="ij")
    ramp = z - 2 * y + 3 * x
    inside = (slice(2, -2),) * 3
    for frame in tilted(2, 8):
        np.testing.assert_allclose(seen(ramp, frame[None])[..., 0][inside], ramp[inside], atol=1e-3)


def test_weights_of_views_and_classes():
    volume = rng().normal(size=(6, 7, 8)).astype("float32")
    frames = planes.frames(np.eye(3))
    weights = rng(1).normal(size=(3, 2))
    found = seen(volume, frames, lambda x: tf.concat([x, 2 * x], -1), 2, weights=weights)
    np.testing.assert_allclose(found, volume[..., None] * (weights * [1, 2]).sum(0), atol=1e-5)
    with pytest.raises(ValueError, match="need weights"):
        seen(volume, frames, classes=2, weights=[[1.0, 1]])


def test_in_a_graph_of_unknown_size():
    spec = tf.TensorSpec((None, None, None, 1), tf.float32)
    graph = tf.function(lambda v: planes.along_views(lambda x: x, v, tilted(2), 1), [spec], autograph=False)
    for shape in ((6, 9, 8), (11, 5, 7)):
        volume = smooth(shape)
        np.testing.assert_allclose(graph(volume[..., None]), seen(volume, tilted(2)), atol=1e-4)
    for voxel in itertools.product((0, 5), (0, 4)):
        assert np.isfinite(graph(volume[..., None]).numpy()[voxel]).all()
