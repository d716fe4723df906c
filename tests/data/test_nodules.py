"""Nodules: marks of several readers, places in the lungs, and pasting that changes nothing but what it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data import phantoms, sources
from tfmed.data.case import Case
from tfmed.data.nodules import VOI, Nodule, blend_weights, lung_points, merged, nodules_of
from tfmed.data.phantoms.chest_ct import LABELS, chest_ct, placed_nodules
from tfmed.errors import DataError

pytestmark = pytest.mark.current


def case(nodules=None, ct="scan.nii.gz"):
    return Case("a", "a", {"ct": ct}, None, {} if nodules is None else {"nodules": nodules})


def mark(centre, radius, reader=0):
    return {"centre_mm": centre, "radius_mm": radius, "reader": reader}


# --- where they are ---------------------------------------------------------------------------------------------------


def test_marks_of_four_readers_are_one_nodule_and_points_are_none():
    marks = [mark((10.0 + k, 20.0, 30.0), 4.0 + k, k) for k in range(4)] + [mark((80.0, 0.0, 0.0), 5.0)]
    found = nodules_of(case([*marks, mark((50.0, 0.0, 0.0), None, 2)]))
    assert found == [Nodule((11.5, 20.0, 30.0), 5.5), Nodule((80.0, 0.0, 0.0), 5.0)]
    assert nodules_of(case([])) == []


def test_a_table_of_nodules_is_taken_as_it_is():
    near = [{"centre_mm": (0.0, 0.0, float(k)), "radius_mm": 4.0} for k in range(2)]
    assert len(nodules_of(case(near))) == 2


@given(st.lists(st.tuples(*[st.integers(-40, 40)] * 3), min_size=1, max_size=8), st.randoms())
def test_merging_needs_no_order_and_parts_what_lies_apart(centres, random):
    nodules = [Nodule(tuple(map(float, c)), 3.0) for c in centres]
    mixed = list(nodules)
    random.shuffle(mixed)
    one, other = ({tuple(np.round(n.centre_mm, 6)) for n in merged(found)} for found in (nodules, mixed))
    assert one == other
    again = merged([Nodule(n.centre_mm, 1e-3) for n in merged(nodules)])
    assert len(again) <= len(nodules) and len(again) == len({n.centre_mm for n in merged(nodules)})


def test_phantoms_tell_where_their_nodules_are_without_being_made():
    made = chest_ct(3, (24, 24, 24), nodules=3, nodule_radius_mm=(4.0, 9.0), length_mm=300.0)
    assert made.nodules == placed_nodules(
        seed=3, shape=(24, 24, 24), nodules=3, nodule_radius_mm=(4.0, 9.0), length_mm=300.0
    )
    (one,) = sources.open("phantom_chest_ct", cases=1, seed=2, shape=(24, 24, 24), nodules=2)
    volume = phantoms.read(one.images["ct"])
    found = nodules_of(one)
    assert len(found) == 2
    expected = placed_nodules(**{k: v for k, v in phantoms.parse(one.images["ct"])[1].items() if k != "part"})
    for nodule, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(nodule.centre_zyx(volume.affine), wanted["centre_zyx"], atol=1e-9)


def test_a_source_without_nodules_is_told():
    for address in ("scan.nii.gz", "phantom:liver_ct?seed=0"):
        with pytest.raises(DataError, match="tells no nodules; use lidc_idri"):
            nodules_of(case(ct=address))


# --- where they could be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed, shape", [(0, (64, 64, 64)), (1, (96, 112, 112)), (5, (50, 80, 80))])
def test_places_lie_in_the_lungs_and_know_their_depth(seed, shape):
    made = chest_ct(seed, shape)
    spacing = made.volume.spacing
    places, depth = lung_points(made.volume.array, spacing, 400, np.random.default_rng(0))
    labels = made.labels.array[tuple(np.rint(places).astype(int).T)]
    assert len(places) == 400 and np.isin(labels, [LABELS["lungs"], LABELS["vessels"], LABELS["airway"]]).mean() > 0.97
    assert (labels == LABELS["airway"]).mean() < 0.05
    deep = places[depth > 18]
    ball = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 3)
    around = np.rint(deep[:, None] + ball * (12 / np.sqrt(3) / 2) / np.array(spacing)).astype(int)
    inside = np.isin(made.labels.array[tuple(np.moveaxis(around, -1, 0))], [2, 3, 4, 8])
    assert len(deep) > 20 and inside.mean() > 0.97
    again, _ = lung_points(made.volume.array, spacing, 400, np.random.default_rng(0))
    np.testing.assert_array_equal(places, again)


def test_an_image_without_lungs_has_no_places():
    places, depth = lung_points(np.zeros((16, 16, 16)), (4.0, 4.0, 4.0), 5, np.random.default_rng(0))
    assert places.shape == (0, 3) and depth.shape == (0,)


# --- cutting and pasting ----------------------------------------------------------------------------------------------

SHAPE = (12, 14, 16)
CENTRES = st.tuples(*[st.floats(-7, n + 6) for n in SHAPE])


@given(CENTRES, st.sampled_from([5, 6, 8]), st.floats(0.5, 9), st.floats(0, 4), st.integers(0, 99))
def test_pasting_changes_the_ball_and_nothing_else(centre, size, reach, blend, seed):
    rng = np.random.default_rng(seed)
    array, spacing = rng.normal(size=SHAPE).astype("float32"), (1.0, 1.5, 0.7)
    voi = VOI.around(centre, size, spacing)
    weights = blend_weights(voi.distance_mm, reach, blend)
    after = array.copy()
    voi.blended(array, np.full((size,) * 3, 9.0, np.float32), weights).paste(after)
    grid = np.stack(np.indices(SHAPE), -1)
    distance = np.sqrt((((grid - np.array(centre)) * spacing) ** 2).sum(-1))
    start = np.array(voi.start)
    cube = ((grid >= start) & (grid < start + size)).all(-1)
    np.testing.assert_array_equal(after[(distance >= reach + 1e-3) | ~cube], array[(distance >= reach + 1e-3) | ~cube])
    core = (distance < reach - blend - 1e-3) & cube
    np.testing.assert_allclose(after[core], 9.0, rtol=1e-6)
    between = cube & ~core
    assert (after[between] >= np.minimum(array[between], 9) - 1e-5).all()
    assert (after[between] <= np.maximum(array[between], 9) + 1e-5).all()


@given(CENTRES, st.sampled_from([5, 8]))
def test_what_is_cut_out_and_pasted_back_changes_no_bit(centre, size):
    array = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    voi, after = VOI.around(centre, size, (1.0, 1.0, 1.0)), array.copy()
    voi.blended(array, voi.cut(array), blend_weights(voi.distance_mm, 4.0, 2.0)).paste(after)
    np.testing.assert_array_equal(after, array)
    np.testing.assert_array_equal(voi.cut(array), np.pad(array, 16, "edge")[tuple(
        slice(s + 16, s + 16 + size) for s in voi.start)])  # fmt: skip


def test_weights_fall_smoothly_and_have_no_edge():
    d = np.linspace(0, 12, 1201)
    w = blend_weights(d, 10.0, 4.0)
    assert (w[d <= 6] == 1).all() and (w[d >= 10] == 0).all() and w[800] == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(w) <= 0).all() and np.abs(np.diff(w)).max() < 0.01 * np.pi / 8 + 1e-6
    assert abs(np.diff(w)[602]) < 1e-3 and abs(np.diff(w)[997]) < 1e-3


def test_a_cube_is_centred_and_knows_its_distances():
    for size in (4, 5):
        voi = VOI.around((10.2, 20.6, 30.0), size, (2.0, 1.0, 1.0))
        middle = np.array(voi.start) + (size - 1) / 2
        assert (np.abs(middle - (10.2, 20.6, 30.0)) <= 0.5).all()
        z = voi.start[0]
        expected = np.sqrt((2 * (z - 10.2)) ** 2 + (voi.start[1] - 20.6) ** 2 + (voi.start[2] - 30.0) ** 2)
        assert voi.distance_mm[0, 0, 0] == pytest.approx(expected, rel=1e-5)
