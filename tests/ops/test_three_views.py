"""Views along three axes: which slice is which, how they are put back, and where the centre of their product is."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.ops.three_views import centre_of_mass, centred_box, combined, slices_of, view_maps

pytestmark = pytest.mark.one_stack


def ramp(side=5):
    return np.random.default_rng(side).random((side,) * 3).astype("float32")


def test_slices_lie_in_cyclic_order():
    """Eq. 1: along k [i, j], along j [k, i], along i [j, k]: a cyclic permutation, so that none is a mirror image."""
    patch, (i, j, k) = ramp(4), (1, 2, 3)
    first, second, third = np.split(slices_of(patch).numpy(), 3)
    assert first[i, j, k] == second[j, k, i] == third[k, i, j] == patch[i, j, k]


@pytest.mark.parametrize("batch", [1, 4, 15, 16, 100])
def test_a_network_that_repeats_its_slice_gives_the_cube(batch):
    patch = ramp()
    seen = []

    def network(images):
        seen.append(images.shape)
        return images

    views = view_maps(network, tf.constant(patch), batch).numpy()
    np.testing.assert_array_equal(views, np.stack([patch] * 3))
    assert seen[0] == (min(batch, 15), 5, 5, 1)
    np.testing.assert_allclose(combined(views).numpy(), patch**3, rtol=1e-6)
    np.testing.assert_allclose(combined(views, "mean").numpy(), patch, rtol=1e-6)


def test_each_view_is_of_its_own_slices():
    """A network that shows where in a slice a pixel is tells rows and columns of each view apart."""
    side = 4
    rows = np.broadcast_to(np.arange(side, dtype="float32")[:, None, None], (side, side, 1))
    views = view_maps(lambda images: images * 0 + rows, tf.zeros((side,) * 3), 5).numpy()
    for axis, row_axis in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_array_equal(np.moveaxis(views[axis], row_axis, 0)[:, 0, 0], np.arange(side))
    for name, view in zip(("first", "second", "third"), views, strict=True):
        np.testing.assert_array_equal(combined(views, name), view)


def test_the_product_does_not_see_what_one_view_alone_sees():
    """The card's figure: six spurious blobs per view move the centre of the mean by voxels, and not the product's."""
    rng, side = np.random.default_rng(0), 32
    grid = np.stack(np.indices((side,) * 3), -1)

    def blob(centre):
        return np.exp(-((grid - centre) ** 2).sum(-1) / 8)

    true = np.array([15.0, 17, 14])
    views = np.stack([blob(true) + sum(blob(rng.uniform(2, 30, 3)) for _ in range(6)) for _ in range(3)])
    away = {how: np.linalg.norm(centre_of_mass(combined(tf.constant(views), how))[0] - true) for how in
            ("product", "mean", "first")}  # fmt: skip
    assert away["product"] < 0.5 and away["mean"] > 1.5 and away["first"] > 1.5


def test_centre_of_mass():
    one = np.zeros((5, 6, 7))
    one[4, 0, 3] = 0.25
    centre, mass = centre_of_mass(one)
    assert centre.numpy().tolist() == [4.0, 0.0, 3.0] and float(mass) == 0.25
    cloud = ramp(9)
    cloud[6:], cloud[:, 6:], cloud[..., 6:] = 0, 0, 0
    before, after = centre_of_mass(cloud)[0], centre_of_mass(np.roll(cloud, (1, 2, 3), (0, 1, 2)))[0]
    np.testing.assert_allclose(after - before, [1, 2, 3], atol=1e-5)
    middle, mass = centre_of_mass(np.zeros((5, 6, 7)))
    assert middle.numpy().tolist() == [2.0, 2.5, 3.0] and float(mass) == 0


def test_boxes_about_a_voxel():
    for side in (4, 5):
        for place in (7.0, 7.4, 7.6, -3.2):
            (start,) = centred_box([place], side)
            assert abs(start + (side - 1) / 2 - place) <= 0.5


def test_what_is_no_cube_is_refused():
    with pytest.raises(ValueError, match="cube"):
        view_maps(lambda images: images, tf.zeros((4, 4, 5)))
    with pytest.raises(ValueError, match="product or mean"):
        combined(tf.zeros((3, 2, 2, 2)), "median")
