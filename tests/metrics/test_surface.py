"""Surface distances: closed forms, brute force by definition, distance transforms, SimpleITK, empty masks, spacing."""

import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from tfmed.io import read_volume
from tfmed.metrics import surface as module
from tfmed.metrics.surface import SurfaceDistances, distances, distances_per_class, surface

pytestmark = pytest.mark.current

SEEDS = st.integers(0, 2**31 - 1)
SHAPES = st.lists(st.integers(1, 10), min_size=1, max_size=3).map(tuple)
SHARES = st.sampled_from([0.01, 0.1, 0.5, 0.95, 1.0])
SPACINGS = st.lists(st.sampled_from([0.01, 0.3, 1.0, 1.5, 2.0, 40.0]), min_size=3, max_size=3)


def masks(seed, shape, shares=(0.4, 0.4)):
    """Random masks, none of them empty."""
    rng = np.random.default_rng(seed)
    found = [rng.random(shape) < share for share in shares]
    for mask in found:
        mask[tuple(rng.integers(0, n) for n in shape)] = True
    return found


def ellipsoid(shape, centre, radii):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def pair(size=40):
    shape = (size,) * 3
    return ellipsoid(shape, (19, 20, 21), (11, 15, 13)), ellipsoid(shape, (21, 19, 20), (10, 16, 14))


def border(mask):
    """MedPy's border."""
    return mask ^ ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))


def by_brute_force(a, b, spacing):
    """All pairs of surface voxels."""
    points = [np.argwhere(border(mask)) * spacing for mask in (a, b)]
    table = cdist(*points)
    return table.min(axis=1), table.min(axis=0)


def by_transform(a, b, spacing):
    """As MedPy does it: distance transforms of whole volumes."""
    a, b = border(a), border(b)
    return [ndimage.distance_transform_edt(~y, sampling=spacing)[x] for x, y in ((a, b), (b, a))]


@settings(max_examples=150, deadline=None)
@given(SEEDS, SHAPES, st.tuples(SHARES, SHARES), SPACINGS)
def test_equals_brute_force(seed, shape, shares, spacing):
    a, b = masks(seed, shape, shares)
    spacing = spacing[: len(shape)]
    found = distances(a, b, spacing)
    for ours, theirs in zip((found.to_reference, found.to_prediction), by_brute_force(a, b, spacing), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)


@settings(max_examples=60, deadline=None)
@given(SEEDS, SHAPES, st.tuples(SHARES, SHARES), SPACINGS, st.sampled_from([1, 5, 40]), st.sampled_from([3, 1 << 17]),
       st.sampled_from([2, 1000]))  # fmt: skip
def test_every_way_of_searching_gives_the_same(seed, shape, shares, spacing, columns, points, sparse):
    """Few columns leave most to the k-d tree, few points make many blocks, a sparse box makes the tree do all."""
    a, b = masks(seed, shape, shares)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_COLUMNS", columns), ("_POINTS", points), ("_SPARSE", sparse)):
            patch.setattr(module, name, value)
        found = distances(a, b, spacing[: len(shape)])
    expected = by_brute_force(a, b, spacing[: len(shape)])
    np.testing.assert_allclose(found.both, np.concatenate(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (1, 2, 3), (0.7, 0.7, 5)])
def test_equals_the_transforms_of_whole_volumes(spacing):
    a, b = pair()
    to_reference, to_prediction = by_transform(a, b, spacing)
    both = np.hstack([to_reference, to_prediction])
    d = distances(a, b, spacing)
    np.testing.assert_allclose(d.to_reference, to_reference, rtol=1e-12)
    np.testing.assert_allclose(d.to_prediction, to_prediction, rtol=1e-12)
    assert d.hd == pytest.approx(both.max(), rel=1e-12)
    assert d.hd95 == pytest.approx(np.percentile(both, 95), rel=1e-12)
    assert d.hd95_max == pytest.approx(max(np.percentile(x, 95) for x in (to_reference, to_prediction)), rel=1e-12)
    assert d.asd == pytest.approx(to_reference.mean(), rel=1e-12)
    assert d.assd == pytest.approx((to_reference.mean() + to_prediction.mean()) / 2, rel=1e-12)
    assert d.msd == pytest.approx(both.mean(), rel=1e-12)
    assert d.nsd(2) == pytest.approx((both <= 2).mean(), rel=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (3.0, 0.5, 0.5)])
@pytest.mark.parametrize("seed", range(4))
def test_hausdorff_distance_of_simpleitk(seed, spacing):
    """SimpleITK's filter measures between whole masks, so it is given the surfaces."""
    a, b = masks(seed, (9, 11, 12), (0.05, 0.03)) if seed else pair()
    images = [sitk.GetImageFromArray(border(m).astype("uint8")) for m in (a, b)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    assert distances(a, b, spacing).hd == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-6)


def test_boxes_of_known_distance():
    """Two cubes, one shifted by 3 voxels along the first axis."""
    a, b = np.zeros((2, 20, 20, 20), bool)
    a[4:10, 5:11, 5:11] = True
    b[7:13, 5:11, 5:11] = True
    d = distances(a, b, (2.0, 1.0, 1.0))
    assert d.hd == 6.0 == d.hd_to_reference == d.hd_to_prediction
    assert d.asd == pytest.approx(d.asd_to_prediction) and d.assd == pytest.approx(d.msd)
    assert 0 < d.asd < 6
    assert d.nsd(0) < d.nsd(2) < d.nsd(6) == 1.0


def test_mean_distance_of_shifted_cubes_by_hand():
    """Of the 26 surface voxels of a 3^3 cube, moved by one voxel, one face of 9 leaves and one voxel lies inside."""
    a, b = np.zeros((2, 8, 8, 8), bool)
    a[2:5, 2:5, 2:5] = b[3:6, 2:5, 2:5] = True
    d = distances(a, b, (0.5, 1, 1))
    assert len(d.to_reference) == len(d.to_prediction) == 26
    assert d.asd == d.assd == d.msd == pytest.approx(0.5 * 10 / 26)
    assert d.hd == d.hd95 == d.hd95_max == 0.5
    assert d.nsd(0.4) == pytest.approx(16 / 26)


def test_points_of_known_distance():
    a, b = np.zeros((2, 30, 30, 30), bool)
    a[2, 3, 4] = True
    b[5, 7, 16] = b[29, 29, 29] = True
    d = distances(a, b, 1)
    assert d.to_reference.tolist() == [13.0] and d.hd_to_reference == d.asd == d.hd95_to_reference == 13.0
    far = np.sqrt(27**2 + 26**2 + 25**2)
    assert d.hd == pytest.approx(far)
    assert d.assd == pytest.approx((13 + (13 + far) / 2) / 2)
    assert d.msd == pytest.approx((13 + 13 + far) / 3)
    assert d.hd95 == pytest.approx(13 + (far - 13) * 0.9)  # place 0.95 * 2 = 1.9 of 13, 13, far
    assert d.hd95_max == d.hd95_to_prediction == pytest.approx(13 + (far - 13) * 0.95)
    assert d.percentile(100) == d.hd


def test_the_two_definitions_of_hd95_differ():
    a, b = pair()
    b = b & (np.arange(40) < 24)[:, None, None]
    d = distances(a, b, (2, 1, 1))
    assert d.hd95 < d.hd95_max <= d.hd
    assert "both directed sets" in module.DEFINITION


# --- empty masks ------------------------------------------------------------------------------------------------------

MEASURES = ["hd", "hd_to_reference", "hd_to_prediction", "hd95", "hd95_max", "hd95_to_reference",
            "hd95_to_prediction", "asd", "asd_to_prediction", "assd", "msd"]  # fmt: skip


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 5, 6)])
def test_empty_masks(measure, shape):
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    assert getattr(distances(empty, empty, 1), measure) == 0.0
    assert getattr(distances(empty, full, 1), measure) == float("inf")
    assert getattr(distances(full, empty, 1), measure) == float("inf")


def test_surface_dice_of_empty_masks():
    empty, full = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    assert distances(empty, empty, 1).nsd(1) == 1.0
    assert distances(empty, full, 1).nsd(1e9) == 0.0 == distances(full, empty, 1).nsd(1e9)
    assert distances(np.zeros((0, 5)), np.zeros((0, 5)), 1).hd == 0.0


# --- what must hold ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SEEDS, SHAPES, st.tuples(SHARES, SHARES))
def test_invariants(seed, shape, shares):
    a, b = masks(seed, shape, shares)
    spacing = np.random.default_rng(seed).uniform(0.5, 3, len(shape))
    d, back, own = distances(a, b, spacing), distances(b, a, spacing), distances(a, a, spacing)
    for measure in ("hd", "hd95", "hd95_max", "assd", "msd"):
        assert getattr(d, measure) == pytest.approx(getattr(back, measure), rel=1e-9, abs=1e-12)
        assert getattr(own, measure) == 0.0
    assert d.asd == pytest.approx(back.asd_to_prediction) and d.nsd(1) == pytest.approx(back.nsd(1))
    assert 0 <= d.asd <= d.hd and max(d.hd95, d.hd95_max) <= d.hd + 1e-12
    assert 0 <= d.nsd(0) <= d.nsd(1) <= d.nsd(d.hd) == 1.0 == own.nsd(0)
    # Axes may be turned and flipped with their spacings, and mm scale.
    turned = distances(a.T[::-1], b.T[::-1], spacing[::-1] * 2)
    assert turned.hd == pytest.approx(2 * d.hd) and turned.assd == pytest.approx(2 * d.assd)
    # What surrounds the masks does not matter, however thick.
    wide = [np.pad(m, 2) for m in (a, b)]
    assert distances(*wide, spacing).hd95 == pytest.approx(d.hd95)


@settings(max_examples=40, deadline=None)
@given(SEEDS, SHAPES)
def test_hausdorff_distance_obeys_the_triangle_inequality(seed, shape):
    a, b = masks(seed, shape)
    c, _ = masks(seed + 1, shape, (0.1, 0.1))
    assert distances(a, b, 1).hd <= distances(a, c, 1).hd + distances(c, b, 1).hd + 1e-9


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.lists(st.integers(0, 8), min_size=1, max_size=4).map(tuple), SHARES)
def test_surface(seed, shape, share):
    mask = np.random.default_rng(seed).random(shape) < share
    before = mask.copy()
    assert np.array_equal(surface(mask), border(mask) if mask.size else mask)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("kind", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_kinds_and_layouts(kind, order):
    a, b = pair()
    expected = distances(a, b, (2, 1, 1))
    found = distances(a.astype(kind, order=order), np.asarray(b, order=order), np.array([2, 1, 1], "float32"))
    assert np.array_equal(expected.both, found.both)
    view = distances(np.repeat(a, 2, axis=2)[:, :, ::2], b, (2, 1, 1))
    assert np.array_equal(expected.both, view.both)


def test_long_thin_masks_need_no_short_integers():
    line = np.zeros((1, 1, 40000), bool)
    a, b = line.copy(), line.copy()
    a[..., 0] = b[..., -1] = True
    assert distances(a, b, (1, 1, 0.5)).hd == pytest.approx(39999 / 2)
    a[..., ::300] = True
    assert distances(a, b, (1, 1, 0.5)).hd == pytest.approx(39999 / 2)


# --- label maps -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(SEEDS, SHAPES, st.sampled_from(["uint8", "int16", "int64"]))
def test_per_class_equals_masks(seed, shape, kind):
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([0, 1, 2, 3, 7], shape).astype(kind) for _ in range(2))
    b[b == 3] = 0
    found = dict(distances_per_class(a, b, 1.5))
    assert list(found) == sorted((set(a.ravel().tolist()) | set(b.ravel().tolist())) - {0})
    asked = dict(distances_per_class(a, b, 1.5, labels=[0, 9, 3]))
    assert list(asked) == [0, 9, 3] and asked[9].hd == 0.0
    for label, d in [*found.items(), *asked.items()]:
        assert np.array_equal(d.both, distances(a == label, b == label, 1.5).both)


def test_labels_out_of_the_ordinary():
    a, b = np.zeros((2, 9, 9), np.int64)
    a[2:5, 2:5] = b[3:6, 3:6] = -4
    a[7, 7] = b[8, 8] = 10**12
    found = dict(distances_per_class(a, b, 1))
    assert found[-4].hd == pytest.approx(distances(a == -4, b == -4, 1).hd)
    assert found[10**12].hd == pytest.approx(np.sqrt(2))


def test_memory_does_not_grow_with_the_number_of_classes():
    def peak(classes):
        a = np.zeros((64, 64, 64), np.uint8)
        centres = np.stack(np.meshgrid(*[range(8, 64, 16)] * 3, indexing="ij"), -1).reshape(-1, 3)
        for label, centre in enumerate(centres[:classes], 1):
            a[tuple(slice(c - 5, c + 5) for c in centre)] = label
        b = np.roll(a, 2, axis=0)
        tracemalloc.start()
        count = sum(d.hd == 2.0 for _, d in distances_per_class(a, b, 1))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == classes
        return most

    peak(1)
    assert peak(60) < peak(2) + 200_000


# --- wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction, spacing, words", [
    (np.ones((4, 5, 7)), (1, 1, 1), "different shapes"),
    (np.full((4, 5, 6), np.nan), (1, 1, 1), "prediction: some values are NaN"),
    (np.full((4, 5, 6), 3), (1, 1, 1), "only 0 and 1"),
    (np.ones((4, 5, 6)), (1, 1), "3 axes needs 3 spacings"),
    (np.ones((4, 5, 6)), (1, 0, 1), "above 0"),
    (np.ones((4, 5, 6)), (1, -1, 1), "above 0"),
    (np.ones((4, 5, 6)), (1, np.nan, 1), "finite"),
    (np.ones((4, 5, 6)), np.inf, "finite"),
])  # fmt: skip
def test_wrong_arguments(prediction, spacing, words):
    with pytest.raises(ValueError, match=words):
        distances(prediction, np.ones((4, 5, 6), bool), spacing)


def test_wrong_axes_labels_and_tolerances():
    with pytest.raises(ValueError, match="one to three axes"):
        distances(np.ones((2, 2, 2, 2)), np.ones((2, 2, 2, 2)), 1)
    with pytest.raises(ValueError, match="different shapes"):
        distances_per_class(np.ones((2, 2), int), np.ones((2, 3), int), 1)
    with pytest.raises(ValueError, match="integers"):
        distances_per_class(np.ones((2, 2)), np.ones((2, 2), int), 1)
    for tolerance in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="tolerance"):
            SurfaceDistances(np.zeros(1), np.zeros(1)).nsd(tolerance)


# --- a real mask ------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_atrium(real_data):
    labels = sorted((real_data / "la2018").rglob("*label*"))
    if not labels:
        pytest.skip("no left atrium here")
    volume = read_volume(labels[0])
    a = volume.array > 0
    b = ndimage.shift(a.astype(np.uint8), (1, -3, 2), order=0).astype(bool)
    spacing = tuple(volume.spacing)
    np.testing.assert_allclose(distances(a, b, spacing).both, np.hstack(by_transform(a, b, spacing)), rtol=1e-12)


@pytest.mark.parametrize("spacing", [0.7, 1.2, 2.4, 3.3])
def test_a_tolerance_of_one_voxel_reaches_the_next_one(spacing):
    """As NIfTI files hold it, in float32, a spacing of 1.2 mm is a little more than that."""
    ours, theirs = np.zeros((2, 9, 9, 9), bool)
    ours[2:6, 2:6, 2:6] = theirs[3:7, 2:6, 2:6] = True
    assert distances(ours, theirs, np.float32(spacing)).nsd(spacing) == 1.0
    both = distances(ours, theirs, spacing).both
    assert distances(ours, theirs, spacing).nsd(0.999 * spacing) == (both == 0).mean() < 1
