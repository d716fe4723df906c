"""Preprocessing as tensors equals preprocessing of files, and answers come back where they belong."""

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings

from tfmed.data import preprocess
from tfmed.data.preprocess import Crop, CropForeground, Equalize, Orient, PercentileScale, Resample, RobustScale, ZScore
from tfmed.errors import DataError
from tfmed.io import Volume
from tfmed.ops import grids
from tfmed.tasks.prediction import back

pytestmark = pytest.mark.one_stack

CODES = [x + y + z for x in "RL" for y in "AP" for z in "SI"]
CODES += ["".join(codes[i] for i in order) for codes in CODES for order in ((1, 0, 2), (2, 1, 0), (1, 2, 0))]
SPACINGS = st.sampled_from([0.5, 0.7, 1.0, 1.4, 3.0])
STEPS = st.one_of(
    st.builds(Orient, to=st.sampled_from(CODES)),
    st.builds(Resample, spacing_mm=st.tuples(*[st.none() | SPACINGS] * 3)),
    st.builds(Resample, shape=st.tuples(*[st.integers(1, 9)] * 3)),
    st.builds(Crop, shape=st.tuples(*[st.none() | st.integers(1, 9)] * 3), fill=st.sampled_from([0.0, -3.0])),
    st.builds(CropForeground, margin=st.integers(0, 2), axes=st.sampled_from(["z", "yx", "zyx"])),
    st.builds(ZScore, nonzero=st.booleans()),
)


@st.composite
def affines(draw):
    """Turned, flipped, anisotropic and askew, as scanners have them."""
    turn = np.eye(3)[:, draw(st.permutations(range(3)))] * draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    askew = draw(arrays.arrays(np.float64, (3, 3), elements=st.sampled_from([0.0, -0.125, 0.0625, 0.15])))
    matrix = np.eye(4)
    matrix[:3, :3] = (turn + askew) * draw(st.tuples(SPACINGS, SPACINGS, SPACINGS))
    matrix[:3, 3] = draw(st.tuples(*[st.integers(-200, 200)] * 3))
    return matrix


def prepared(steps, image, affine):
    """(images and affine of the recipe in Python, Grid of the same as tensors)"""
    volumes = [Volume(image[..., c], affine) for c in range(image.shape[-1])]
    images, _ = preprocess.run_together(steps, volumes)
    return volumes, images, preprocess.run_in_graph(steps, grids.of_image(tf.constant(image), tf.constant(affine)))


def picture(shape, seed, channels=2):
    values = np.random.default_rng(seed).normal(size=(*shape, channels)).astype(np.float32)
    values[values < -1] = 0
    values[tuple(n // 2 for n in shape)] = 3  # nothing is empty
    return values


@settings(max_examples=30, deadline=None)
@example([Resample(shape=(1, 4, 4))], np.eye(4), (2, 5, 6), 0)
@given(st.lists(STEPS, max_size=4), affines(), st.tuples(*[st.integers(1, 8)] * 3), st.integers(0, 2**31))
def test_a_recipe_as_tensors_equals_the_recipe_of_files(steps, affine, shape, seed):
    image = picture(shape, seed)
    try:
        volumes, images, grid = prepared(steps, image, affine)
    except DataError:  # the recipe's own refusal of an image that a crop left empty
        with pytest.raises(tf.errors.InvalidArgumentError):
            preprocess.run_in_graph(steps, grids.of_image(tf.constant(image), tf.constant(affine)))
        return
    np.testing.assert_allclose(grid.affine, images[0].affine, atol=1e-6)
    np.testing.assert_allclose(grid.image, np.stack([v.array for v in images], -1), atol=2e-4)

    answer = tf.nn.softmax(grid.image)
    wanted = back(images[0].replace(array=answer.numpy()), volumes[0]).array
    found = grids.brought_back(grid, answer, tf.identity, tf.float32)
    differ = np.abs(found - wanted).max(-1) > 1e-4
    assert differ.mean() <= on_borders(grid, shape), f"{differ.mean()}"


def on_borders(grid, shape):
    """Share of the input's voxels that lie on the border of the grid to rounding: they may be inside or outside."""
    order = np.argsort(grid.axes.numpy())
    undecided = np.zeros(shape, bool)
    for axis in range(3):
        here = order[axis]
        place = (np.arange(shape[axis]) - grid.offset.numpy()[here]) / grid.scale.numpy()[here]
        last = grid.image.shape[here] - 1
        near = (np.abs(place + 0.5) < 1e-6) | (np.abs(place - last - 0.5) < 1e-6)
        undecided |= near.reshape([-1 if i == axis else 1 for i in range(3)])
    return undecided.mean()


@pytest.mark.parametrize(
    "step", [PercentileScale(percentile=97.3, range=(-1, 2)), Equalize(), Equalize(bins=37), RobustScale()], ids=repr
)
@pytest.mark.parametrize("scale", [1, 300])
def test_intensities_as_tensors_equal_those_of_files(step, scale):
    image = picture((5, 9, 11), 3, 1) * scale
    wanted = step.apply(Volume(image[..., 0], np.eye(4))).array
    found = tf.function(step.graph)(tf.constant(image[..., 0])).numpy()
    assert np.abs(found - wanted).max() < 1e-5 or (np.abs(found - wanted) > 1e-5).mean() < 0.01
    assert np.abs(found - wanted).max() < 0.01  # a value on the edge of two bins may count to either


def test_steps_in_python_alone_stay_outside_and_so_does_what_comes_before_them():
    steps = [Orient(), preprocess.N4(), Resample(shape=(4, 4, 4)), ZScore()]
    assert preprocess.split_for_graph(steps) == (steps[:2], steps[2:])
    assert preprocess.split_for_graph(steps[2:]) == ([], steps[2:])
    assert preprocess.split_for_graph(steps[:2]) == (steps[:2], [])


@pytest.mark.parametrize(
    ("affine", "image", "message"),
    [
        (np.diag([1.0, 1, 0, 1]), 1.0, "affine: is no invertible"),
        (np.full((4, 4), np.nan), 1.0, "affine: is no invertible"),
        (np.eye(4), -1.0, "image: no voxel is above 0; it is empty"),
    ],
)
def test_what_cannot_be_is_refused_by_the_graph(affine, image, message):
    steps = [CropForeground(), PercentileScale()]
    run = tf.function(lambda image, affine: preprocess.run_in_graph(steps, grids.of_image(image, affine)).image)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(tf.fill((2, 3, 4, 1), image), tf.constant(affine))
    np.testing.assert_array_equal(run(tf.ones((2, 3, 4, 1)), tf.eye(4, dtype=tf.float64)), np.ones((2, 3, 4, 1)))
