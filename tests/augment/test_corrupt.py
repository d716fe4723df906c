"""Corrupted masks: what the card of label noise says must hold of each error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from tfmed.augment import corrupt
from tfmed.metrics.segmentation import dice

pytestmark = pytest.mark.one_stack


def disc(radius=20, side=129, centre=None):
    """A disc whose middle is a pixel, by default that of the image."""
    y, x = np.mgrid[:side, :side]
    a, b = (side // 2, side // 2) if centre is None else centre
    return ((y - a) ** 2 + (x - b) ** 2 <= radius**2).astype(np.uint8)


def draws(name, count):
    return (corrupt.generator(0, name, load) for load in range(count))


ERRORS = {
    "warp": lambda mask, draw: corrupt.warp(mask, 5, draw),
    "nodes": lambda mask, draw: corrupt.warp(mask, 5, draw, "interpolate_nodes"),
    "shift": lambda mask, draw: corrupt.shift(mask, int(draw.integers(-9, 10)), int(draw.integers(2))),
    "left": lambda mask, draw: corrupt.crop_left(mask, draw.random()),
    "rand_0": lambda mask, draw: corrupt.crop_rectangle(mask, draw),
    "rand_0.5": lambda mask, draw: corrupt.crop_rectangle(mask, draw, 0.5),
    "flip": lambda mask, draw: corrupt.flip(mask, 0.2, draw),
}
NOTHING = {
    "warp": lambda mask, draw: corrupt.warp(mask, 0, draw),
    "shift": lambda mask, draw: corrupt.shift(mask, 0),
    "left": lambda mask, draw: corrupt.crop_left(mask, 0),
    "flip": lambda mask, draw: corrupt.flip(mask, 0, draw),
}


# --- 1. of all errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTHING)
def test_an_error_of_size_nothing_changes_nothing(name):
    mask = disc(9, 40, (15, 22))
    np.testing.assert_array_equal(NOTHING[name](mask, corrupt.generator(0, name)), mask)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "float32"])
@pytest.mark.parametrize("name", ERRORS)
def test_masks_stay_binary_of_their_shape_and_dtype_and_empty_ones_empty(name, dtype):
    mask = disc(9, 40, (15, 22))[:, :37].astype(dtype)
    before = mask.copy()
    found = ERRORS[name](mask, corrupt.generator(3, name))
    assert found.shape == mask.shape and found.dtype == mask.dtype and set(np.unique(found)) <= {0, 1}
    assert (found != mask).any() and found is not mask
    np.testing.assert_array_equal(mask, before)
    assert not ERRORS[name](np.zeros_like(mask), corrupt.generator(3, name)).any()


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_no_mask_is_refused(name):
    with pytest.raises(ValueError, match="slices of a volume"):
        ERRORS[name](np.zeros((3, 8, 8), "uint8"), corrupt.generator(0, ""))
    with pytest.raises(ValueError, match="only 0 and 1"):
        ERRORS[name](np.full((8, 8), 2, "uint8"), corrupt.generator(0, ""))


# --- 2. warp ----------------------------------------------------------------------------------------------------------


def test_the_field_is_a_uniform_cubic_b_spline():
    """Against scipy's basis: 6 coefficients of 3 cells, whose weights sum to 1 everywhere."""
    size = 61
    field = corrupt.displacement((size, size), 1.0, corrupt.generator(0, "field"))
    place = np.linspace(0, 3, size)
    basis = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)
    weights = np.nan_to_num(basis(place[:, None] - np.arange(-1, 5)))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    control = corrupt.generator(0, "field").normal(0, 1, (6, 6, 2))
    np.testing.assert_allclose(field, np.einsum("yi,xj,ijc->yxc", weights, weights, control), atol=1e-5)


def test_how_far_pixels_move():
    fields = [corrupt.displacement((64, 96), 3.0, draw) for draw in draws("far", 600)]
    assert np.std(fields) == pytest.approx(0.48 * 3, rel=0.1)
    nodes = [corrupt.displacement((65, 97), 3.0, draw, "interpolate_nodes") for draw in draws("nodes", 600)]
    at = np.stack(nodes)[:, ::32, ::48]
    np.testing.assert_allclose(at.std(0), 3, rtol=0.15)
    control = corrupt.generator(0, "nodes", 0).normal(0, 3, (3, 3, 2))
    np.testing.assert_allclose(at[0], control, atol=1e-5)


@pytest.mark.parametrize("control, sigma, expected", [
    ("bspline_coeff", 2, 0.96), ("bspline_coeff", 5, 0.90), ("bspline_coeff", 20, 0.64),
    ("interpolate_nodes", 2, 0.93), ("interpolate_nodes", 5, 0.83), ("interpolate_nodes", 20, 0.36),
])  # fmt: skip
def test_how_much_of_a_disc_stays(control, sigma, expected):
    found = [dice(corrupt.warp(disc(), sigma, draw, control), disc()) for draw in draws("stays", 150)]
    assert np.mean(found) == pytest.approx(expected, abs=0.04)


def test_warped_discs_are_on_average_where_they_were():
    mean = np.mean([corrupt.warp(disc(), 5, draw) for draw in draws("centred", 500)], axis=0)
    centre = [(mean * axis).sum() / mean.sum() for axis in np.indices(mean.shape)]
    np.testing.assert_allclose(centre, 64, atol=0.5)
    assert dice(mean > 0.5, disc()) >= 0.97


def test_unknown_kinds_of_warp():
    with pytest.raises(ValueError, match="bspline_coeff, interpolate_nodes"):
        corrupt.displacement((8, 8), 1.0, corrupt.generator(0, ""), "other")
    with pytest.raises(ValueError, match="0 or more"):
        corrupt.displacement((8, 8), -1.0, corrupt.generator(0, ""))


# --- 3. shift ---------------------------------------------------------------------------------------------------------


@given(st.integers(-30, 30), st.sampled_from([0, 1]))
def test_a_shift_rolls_and_fills_with_nothing(pixels, axis):
    mask = np.random.default_rng(0).integers(0, 2, (20, 25)).astype("uint8")
    rolled = np.roll(mask, pixels, axis)
    gone = [slice(None), slice(None)]
    gone[axis] = slice(0, pixels) if pixels >= 0 else slice(pixels, None)
    rolled[tuple(gone)] = 0
    np.testing.assert_array_equal(corrupt.shift(mask, pixels, axis), rolled)


def test_a_shift_and_back_restores_what_did_not_reach_the_border():
    inside, outside = disc(5, 40, (20, 20)), disc(5, 40, (20, 36))
    for pixels in (9, -9):
        np.testing.assert_array_equal(corrupt.shift(corrupt.shift(inside, pixels), -pixels), inside)
    assert corrupt.shift(inside, 9).sum() == inside.sum()
    assert corrupt.shift(outside, 9).sum() < outside.sum() == corrupt.shift(outside, -9).sum()
    with pytest.raises(ValueError, match="whole pixels"):
        corrupt.shift(inside, 1.5)


# --- 4. and 5. crop ---------------------------------------------------------------------------------------------------


def gone(mask, corrupted):
    assert not (corrupted & ~mask.astype(bool)).any()  # crops never add
    return 1 - corrupted.sum() / mask.sum()


def test_left_takes_the_left_half():
    for radius in (17, 20, 31):  # a column in the middle cannot be halved
        found = corrupt.crop_left(disc(radius))
        assert gone(disc(radius), found) == pytest.approx(0.5, abs=0.03)
        assert not found[:, : 64 - 1].any() and found[:, 65:].sum() == disc(radius)[:, 65:].sum()
    assert gone(disc(), corrupt.crop_left(disc(), 0.25)) == pytest.approx(0.2, abs=0.03)
    assert not corrupt.crop_left(disc(), 1).any()


def test_components_are_cropped_on_their_own():
    """Each by its own box, even where another one lies within that box; parts two pixels apart are one."""
    two = disc(8, 80, (20, 20)) | disc(14, 80, (50, 55))
    apart = corrupt.crop_left(disc(8, 80, (20, 20))) | corrupt.crop_left(disc(14, 80, (50, 55)))
    np.testing.assert_array_equal(corrupt.crop_left(two), apart)
    ring = (disc(30, 81) - disc(26, 81)).astype("uint8")
    inner = disc(8, 81, (40, 40))
    both = corrupt.crop_left(ring | inner)
    np.testing.assert_array_equal(both, corrupt.crop_left(ring) | corrupt.crop_left(inner))
    near, far = (np.zeros((9, 30), "uint8") for _ in range(2))
    near[3:6, 2:6] = near[3:6, 8:12] = 1  # a gap of two pixels
    far[3:6, 2:6] = far[3:6, 9:13] = 1
    assert len(list(corrupt.components(near))) == 1 and len(list(corrupt.components(far))) == 2
    rectangles = [corrupt.crop_rectangle(two, draw)[:, 40:].sum() for draw in draws("own", 40)]
    assert len(set(rectangles)) > 20


@pytest.mark.parametrize(
    "least, slope, share", [(0.0, 1.8, 0.5), (0.5, -8.0, 0.54), (0.5, -4.0, 0.6), (0.5, 0.0, 0.66)]
)
def test_how_much_a_rectangle_takes_of_an_ellipse(least, slope, share):
    y, x = ((np.indices((60, 90)).T + 0.5) / (60, 90)).T * 2 - 1
    ellipse = np.pad(y**2 + x**2 <= 1, 3)
    found = [gone(ellipse, corrupt.crop_rectangle(ellipse, draw, least, slope)) for draw in draws("takes", 1000)]
    assert np.mean(found) == pytest.approx(share, abs=0.02)


def test_slopes_are_found_by_what_goes():
    masks = [disc(r, 51) for r in (9, 15, 22)] + [np.zeros((51, 51), "uint8")]
    found = corrupt.calibrated(masks, 0.0, draws=60)
    assert found.removed == pytest.approx(0.5, abs=0.01) and found.slope == pytest.approx(1.8, abs=0.5)
    real = [gone(masks[k % 3], corrupt.crop_rectangle(masks[k % 3], draw, 0.0, found.slope))
            for k, draw in enumerate(draws("found", 900))]  # fmt: skip
    assert np.mean(real) == pytest.approx(0.5, abs=0.03)
    limit = corrupt.calibrated([disc(60)], 0.5)
    assert limit.slope == pytest.approx(-8, abs=0.4) and limit.removed == pytest.approx(0.54, abs=0.02)
    assert corrupt.calibrated(masks, 0.0, target=0.3, draws=60).removed == pytest.approx(0.3, abs=0.01)
    assert corrupt.calibrated(masks, 0.0, slope=0.0).removed == pytest.approx(0.3, abs=0.04)
    with pytest.raises(ValueError, match="every mask is empty"):
        corrupt.calibrated([np.zeros((8, 8), "uint8")], 0.0)


@pytest.mark.parametrize("least, slope", [(0.0, 0.0), (0.0, 1.8), (0.5, -8.0), (0.5, 3.0), (0.2, 1.0)])
def test_edges_have_a_linear_density(least, slope):
    u = (np.arange(200_000) + 0.5) / 200_000
    edges = corrupt.edge(u, least, slope)
    assert edges.min() >= least and edges.max() <= 1
    heights, at = np.histogram(edges, 20, (least, 1), density=True)
    middle = (1 + least) / 2
    np.testing.assert_allclose(heights, 1 / (1 - least) + slope * ((at[1:] + at[:-1]) / 2 - middle), atol=0.02)


@pytest.mark.parametrize("least, slope", [(0.0, 2.1), (0.5, -8.1), (1.0, 0.0), (-0.1, 0.0)])
def test_densities_that_cannot_be(least, slope):
    with pytest.raises(ValueError, match="least"):
        corrupt.edge(0.5, least, slope)


def test_where_rectangles_take():
    """Removal maps: with edges of at least a half the middle always goes; of any length, three times in four."""
    mask = disc(20, 45)
    for least, centre, count in ((0.5, 1.0, 1000), (0.0, 0.75, 5000)):
        removed = np.mean([mask - corrupt.crop_rectangle(mask, draw, least) for draw in draws("maps", count)], axis=0)
        assert removed[22, 22] == pytest.approx(centre, abs=0 if least else 0.02)
        edges = [removed[22, 2:4], removed[22, 41:43], removed[2:4, 22], removed[41:43, 22]]  # the middles of the sides
        np.testing.assert_allclose(np.mean(edges, axis=1), 0.09 if least else 0.15, atol=0.03)


# --- 6. permutation ---------------------------------------------------------------------------------------------------


@given(st.integers(4, 60), st.floats(0, 1), st.integers(0, 50))
def test_a_permutation_moves_its_share_and_no_mask_is_lost(count, fraction, seed):
    wanted = round(fraction * count)
    for pairing in ("derangement", "reversed"):
        if pairing == "derangement" and wanted == 1:
            continue
        found = corrupt.permutation(count, fraction, corrupt.generator(seed, "permute"), pairing)
        assert sorted(found) == list(range(count))
        moved = np.flatnonzero(found != np.arange(count))
        own = wanted % 2 if pairing == "reversed" else 0
        assert len(moved) == wanted - own
        assert set(moved) <= set(corrupt.chosen(count, fraction, corrupt.generator(seed, "permute")))
        np.testing.assert_array_equal(
            found, corrupt.permutation(count, fraction, corrupt.generator(seed, "permute"), pairing)
        )


def test_permutations_that_cannot_be():
    with pytest.raises(ValueError, match="none to change with"):
        corrupt.permutation(10, 0.1, corrupt.generator(0, ""))
    with pytest.raises(ValueError, match="derangement or reversed"):
        corrupt.permutation(10, 0.5, corrupt.generator(0, ""), "swap")
    with pytest.raises(ValueError, match="between 0 and 1"):
        corrupt.permutation(10, 1.5, corrupt.generator(0, ""))
    np.testing.assert_array_equal(corrupt.permutation(7, 0, corrupt.generator(0, "")), np.arange(7))


def test_flips_come_as_often_as_they_should():
    mask = disc(20)
    changed = [corrupt.flip(mask, 0.1, draw) != mask for draw in draws("flips", 200)]
    assert np.mean(changed) == pytest.approx(0.1, abs=0.002)
    assert np.mean(changed, axis=0)[mask == 1].mean() == pytest.approx(0.1, abs=0.01)
    np.testing.assert_array_equal(corrupt.flip(mask, 1, corrupt.generator(0, "")), 1 - mask)


# --- 7. seeds ---------------------------------------------------------------------------------------------------------


def test_draws_differ_by_load_mask_and_seed():
    made = {
        corrupt.generator(seed, key, load).random()
        for seed in (0, 1)
        for key in ("a/1", "a/2")
        for load in (None, 0, 1)
    }
    assert len(made) == 12
    assert corrupt.generator(0, "a/1", 3).random() == corrupt.generator(0, "a/1", 3).random()


def test_draws_are_the_same_in_every_process():
    """Not keyed on Python's hash, which is salted: each test run has another salt."""
    assert corrupt.generator(7, "case/é", 2).random() == pytest.approx(0.0942855111227695, abs=1e-15)
