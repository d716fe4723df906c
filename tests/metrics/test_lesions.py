"""Lesions found and missed: both rules of a hit against loops, FROC against a loop over thresholds, closed forms."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.metrics import lesions
from tfmed.metrics.lesions import (
    Froc,
    Match,
    by_size,
    centres,
    equivalent_diameters,
    false_positives_per_case,
    froc,
    froc_of_maps,
    match,
    match_points,
    sensitivity,
)

pytestmark = pytest.mark.current


def looped(prediction, reference, connectivity):
    """(tp, fp, fn) as the rule is told, component by component."""
    structure = ndimage.generate_binary_structure(prediction.ndim, connectivity)
    truth, lesion_count = ndimage.label(reference, structure)
    found, count = ndimage.label(prediction, structure)
    hit, false = set(), 0
    for number in range(1, count + 1):
        centre = ndimage.center_of_mass(found == number)
        at = truth[tuple(int(np.floor(c + 0.5)) for c in centre)]
        if at:
            hit.add(at)
        else:
            false += 1
    return len(hit), false, lesion_count - len(hit)


def blobs(rng, shape, share):
    """A mask of blobs of many sizes."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    return smooth > np.quantile(smooth, 1 - share)


@pytest.mark.parametrize("shape", [(40,), (20, 24), (12, 14, 16)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_match_is_the_loop(shape, share, monkeypatch):
    rng = np.random.default_rng(len(shape))
    for connectivity in range(1, len(shape) + 1):
        for _ in range(4):
            prediction, reference = blobs(rng, shape, share), blobs(rng, shape, 0.1)
            wanted = looped(prediction, reference, connectivity)
            one = match(prediction, reference, connectivity)
            assert (one.tp, one.fp, one.fn) == wanted
            with monkeypatch.context() as patch:  # large masks are labelled densely
                patch.setattr(lesions, "_MOST_IN_GRAPH", 3)
                other = match(prediction, reference, connectivity)
            np.testing.assert_array_equal(one.hits, other.hits)


def test_two_parts_in_one_lesion_are_one_hit():
    """Card, 9.7."""
    reference = np.zeros((9, 9, 9), bool)
    reference[1:8, 1:8, 1:8] = True
    prediction = np.zeros_like(reference)
    prediction[2, 2, 2] = prediction[6, 6, 6] = True
    one = match(prediction, reference)
    assert (one.tp, one.fp, one.fn, one.sensitivity) == (1, 0, 0, 1.0)


def test_a_centre_outside_is_a_false_positive_and_a_miss():
    """Card, 9.7: overlap alone is no hit; nor is the centre of a ring around the lesion a miss."""
    reference = np.zeros((1, 9, 20), bool)
    reference[0, 4, 4:6] = True
    long = np.zeros_like(reference)
    long[0, 4, 4:20] = True
    one = match(long, reference)
    assert (one.tp, one.fp, one.fn) == (0, 1, 1)
    ring = np.zeros_like(reference)
    ring[0, 2:7, 2:8], ring[0, 3:6, 3:7] = True, False
    one = match(ring, reference)
    assert (one.tp, one.fp, one.fn) == (1, 0, 0)


def test_neighbours_by_corners_and_across_no_border():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert [len(centres(mask, connectivity)) for connectivity in (1, 2, 3, None)] == [2, 2, 1, 1]
    mask = np.zeros((2, 3, 4), bool)  # the end of a row and the beginning of the next one are neighbours in memory
    mask[0, 0, 3] = mask[0, 1, 0] = mask[1, 0, 0] = True
    assert len(centres(mask)) == 2


def test_many_edges_between_two_parts_are_one_joint():
    """256 pairs of neighbours across edges join two parts once."""
    mask = np.zeros((2, 2, 256), bool)
    mask[0, 0] = mask[1, 1] = True
    assert [len(centres(mask, connectivity)) for connectivity in (1, 2, 3)] == [2, 1, 1]


def test_centres_and_diameters():
    rng = np.random.default_rng(0)
    mask = blobs(rng, (12, 20, 16), 0.1)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    index = range(1, count + 1)
    np.testing.assert_allclose(centres(mask), ndimage.center_of_mass(mask, labels, index))
    volumes = ndimage.sum(mask, labels, index) * 0.5 * 0.4 * 0.3
    np.testing.assert_allclose(np.pi / 6 * equivalent_diameters(mask, (0.5, 0.4, 0.3)) ** 3, volumes)
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    ball = z**2 + y**2 + x**2 <= 15**2
    assert equivalent_diameters(ball, (0.5, 0.5, 0.5))[0] == pytest.approx(15, rel=0.01)
    assert equivalent_diameters(ball[20], (0.5, 0.5))[0] == pytest.approx(15, rel=0.01)
    assert equivalent_diameters(np.zeros((3, 3, 3)), (1, 1, 1)).shape == (0,)


def test_points_hit_within_the_radius():
    """ADAM: in mm, the surface included; several hits count once; a hit inside is never a false positive."""
    points = [[0, 0, 2.0], [0, 1.0, 0], [0, 0, 2.1], [10, 0, 0], [50, 0, 0]]
    one = match_points(points, [[0, 0, 0], [10, 0, 1], [30, 0, 0]], [2.0, 1.0, 5.0])
    assert one.found.tolist() == [True, True, False] and (one.tp, one.fp, one.fn) == (2, 2, 1)
    assert one.false.tolist() == [False, False, True, False, True]
    aside = match_points(points, [[0, 0, 0]], [2.0], ignored=[True, False, True, False, False])
    assert (aside.tp, aside.fp) == (1, 2)  # one hits although it is ignored
    empty = match_points([], np.zeros((0, 3)), [])
    assert (empty.tp, empty.fp, empty.fn) == (0, 0, 0) and np.isnan(empty.sensitivity)
    assert match_points([], [[0, 0, 0]], [1]).fn == 1 and match_points([[0, 0, 0]], [], []).fp == 1


def test_points_are_the_loop():
    rng = np.random.default_rng(3)
    for _ in range(20):
        points, places, radii = rng.uniform(0, 9, (12, 3)), rng.uniform(0, 9, (5, 3)), rng.uniform(0, 4, 5)
        hit = [any(np.linalg.norm(p - c) <= r for p in points) for c, r in zip(places, radii, strict=True)]
        false = sum(all(np.linalg.norm(p - c) > r for c, r in zip(places, radii, strict=True)) for p in points)
        one = match_points(points, places, radii)
        assert (one.tp, one.fp) == (sum(hit), false)


def test_both_rules_agree_on_spheres():
    """Card, 7: up to voxels. The centre of mass lies clearly inside of a sphere, or clearly outside."""
    rng = np.random.default_rng(1)
    grid = np.moveaxis(np.indices((24, 24, 24)), 0, -1)
    for _ in range(10):
        centre, radius = rng.uniform(8, 16, 3), rng.uniform(3, 6)
        ball = np.linalg.norm(grid - centre, axis=-1) <= radius
        away = radius * rng.choice([0.5, 1.6]) * np.array([0, 0.6, 0.8])
        spot = np.zeros_like(ball)
        spot[tuple(np.rint(centre + away).astype(int))] = True
        assert match(spot, ball).tp == match_points(centres(spot), [centre], [radius]).tp


# --- many cases -------------------------------------------------------------------------------------------------------


def case(found, missed, false=0):
    hits = np.concatenate([np.eye(found, found + missed, dtype=bool), np.zeros((false, found + missed), bool)])
    return Match(hits, np.zeros(len(hits), bool))


def test_means_over_cases_and_pooled():
    matches = [case(1, 0, 2), case(1, 3, 0), case(0, 0, 1)]
    assert sensitivity(matches) == pytest.approx((1 + 1 / 4) / 2)
    assert sensitivity(matches, pooled=True) == pytest.approx(2 / 5)
    assert false_positives_per_case(matches) == 1.0
    assert np.isnan(sensitivity([case(0, 0, 1)])) and np.isnan(false_positives_per_case([]))


def test_classes_of_size():
    """A diameter on an edge belongs to the class that begins there."""
    classes = by_size([case(2, 1), case(1, 0)], [[1.0, 3.0, 4.9], [7.0]], edges=(3, 5))
    assert [(one.low, one.high, one.lesions, one.found) for one in classes] == [
        (0, 3, 1, 1), (3, 5, 2, 1), (5, np.inf, 1, 1)]  # fmt: skip
    assert [one.sensitivity for one in classes] == [1, 0.5, 1]
    assert all(np.isnan(one.sensitivity) for one in by_size([], [], edges=()))


@pytest.mark.parametrize("pooled", [False, True])
def test_froc_of_scores_is_a_loop_over_thresholds(pooled):
    rng = np.random.default_rng(5)
    matches, scores = [], []
    for number in range(7):
        lesion_count, count = (0 if number == 3 else int(rng.integers(1, 4))), int(rng.integers(0, 9))
        hits = rng.random((count, lesion_count)) < 0.25
        matches.append(Match(hits, rng.random(count) < 0.1))
        scores.append(rng.integers(0, 6, count) / 5)  # with ties
    curve = froc(matches, scores, pooled)
    assert (np.diff(curve.thresholds) < 0).all()
    for k, threshold in enumerate(curve.thresholds):
        kept = [Match(m.hits[s >= threshold], m.ignored[s >= threshold]) for m, s in zip(matches, scores, strict=True)]
        assert curve.sensitivity[k] == pytest.approx(sensitivity(kept, pooled))
        assert curve.false_positives[k] == pytest.approx(false_positives_per_case(kept))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_froc_of_maps_is_a_loop_over_thresholds(dtype, monkeypatch):
    rng = np.random.default_rng(2)
    maps = [ndimage.gaussian_filter(rng.random((10, 14, 12)), 1.0) for _ in range(4)]
    maps = [((m - m.min()) / np.ptp(m)).astype(dtype) for m in maps]
    references = [blobs(rng, m.shape, share) for m, share in zip(maps, (0.05, 0.02, 0.0, 0.05), strict=True)]
    thresholds = [0.3, 0.9, 0.6, 0.75, float(maps[0].max()), 1.0, 1.1]
    curve = froc_of_maps(maps, references, thresholds)
    assert curve.thresholds.tolist() == sorted(set(thresholds), reverse=True)
    for k, threshold in enumerate(curve.thresholds):
        masks = [m.astype(np.float64) >= threshold for m in maps]
        matches = [match(a, b) for a, b in zip(masks, references, strict=True)]
        assert [(m.tp, m.fp, m.fn) for m in matches] == [
            looped(a, b, 3) for a, b in zip(masks, references, strict=True)
        ]
        assert curve.sensitivity[k] == pytest.approx(sensitivity(matches))
        assert curve.false_positives[k] == pytest.approx(false_positives_per_case(matches))
    assert ((curve.sensitivity >= 0) & (curve.sensitivity <= 1)).all() and (curve.false_positives >= 0).all()
    monkeypatch.setattr(lesions, "_MOST_IN_GRAPH", 3)
    dense = froc_of_maps(maps, references, thresholds)
    np.testing.assert_array_equal(curve.sensitivity, dense.sensitivity)
    np.testing.assert_array_equal(curve.false_positives, dense.false_positives)


def test_thresholds_are_met_exactly():
    """0.7 is not a float32: a voxel that holds the float32 nearest to it, below, does not reach it."""
    below, above = np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))
    assert float(below) < 0.7 < float(above)
    lesion = np.ones((1, 1, 1), bool)
    for value, found in ((below, 0.0), (above, 1.0)):
        assert froc_of_maps([np.full((1, 1, 1), value)], [lesion], [0.7]).sensitivity[0] == found


def test_perfect_and_empty_maps():
    lesion = np.zeros((6, 6, 6), bool)
    lesion[2:4, 2:4, 2:4] = True
    perfect = froc_of_maps([lesion.astype(np.float32)] * 2, [lesion] * 2, [0.5])
    assert perfect.cpm() == perfect.area(1) == perfect.area(8) == 1.0 and perfect.best() == 0
    nothing = froc_of_maps([np.zeros((6, 6, 6))], [lesion], [0.5])
    assert nothing.cpm() == nothing.area(8) == 0.0
    healthy = froc_of_maps([lesion.astype(float)], [np.zeros_like(lesion)], [0.5])
    assert np.isnan(healthy.sensitivity).all() and healthy.false_positives[0] == 1


def test_curve_in_closed_form():
    """From (0, 0) to (1, 0.5) and on to (3, 1): by hand."""
    curve = Froc(np.array([0.9, 0.5, 0.1]), np.array([0.5, 1.0, 0.8]), np.array([1.0, 3.0, 4.0]))
    np.testing.assert_allclose(curve.at([0, 0.5, 1, 2, 3, 9]), [0, 0.25, 0.5, 0.75, 1, 1])
    assert curve.cpm() == pytest.approx((1 / 16 + 1 / 8 + 1 / 4 + 1 / 2 + 3 / 4 + 1 + 1) / 7)
    assert curve.area(1) == pytest.approx(0.25)
    assert curve.area(2) == pytest.approx((0.25 + 0.625) / 2)
    assert curve.area(8) == pytest.approx((0.25 + 1.5 + 5) / 8)
    step = Froc(np.array([0.9, 0.5]), np.array([0.6, 1.0]), np.array([0.0, 1.0]))
    assert step.at(0) == pytest.approx(0.6) and step.area(1) == pytest.approx(0.8)
    assert step.best() == 0 and curve.best() == 0


def test_merging_components_are_no_fault():
    """Card, 9.6: at a lower threshold a bridge joins both lesions, and the centre lies between them."""
    values = np.full((1, 1, 9), 0.0)
    values[0, 0, [0, 1, 7, 8]], values[0, 0, 2:7] = 0.9, 0.4
    lesion = np.zeros((1, 1, 9), bool)
    lesion[0, 0, [0, 1, 7, 8]] = True
    curve = froc_of_maps([values], [lesion], [0.3, 0.8])
    assert curve.sensitivity.tolist() == [1.0, 0.0] and curve.false_positives.tolist() == [0.0, 1.0]
    assert curve.at(1) == 1.0


@pytest.mark.parametrize("call, said", [
    (lambda: match(np.zeros((2, 2)), np.zeros((2, 3))), "different shapes"),
    (lambda: match(np.full((2, 2), 2), np.zeros((2, 2))), "prediction: a mask holds only 0 and 1"),
    (lambda: match(np.zeros((2, 2)), np.full((2, 2), 0.5)), "reference: a mask holds only 0 and 1"),
    (lambda: match(np.zeros((2, 2)), np.zeros((2, 2)), 3), "connectivity: must be 1 to 2"),
    (lambda: match_points([[0, 0]], [], []), "points: must be"),
    (lambda: match_points([], [[0, 0, 0]], [-1]), "radii: 1 centres"),
    (lambda: match_points([], [[0, 0, 0]], []), "radii: 1 centres"),
    (lambda: match_points([[0, 0, 0]], [], [], ignored=[]), "ignored: 1 points"),
    (lambda: equivalent_diameters(np.ones((2, 2, 2)), (1, 1)), "spacing: a mask of 3 axes"),
    (lambda: by_size([case(1, 0)], [[]]), "diameters: each case"),
    (lambda: by_size([], [], (3, 3)), "edges: must rise"),
    (lambda: froc([case(1, 0)], [[]]), "scores: each case"),
    (lambda: froc([case(1, 0)], [[np.nan]]), "NaN"),
    (lambda: froc_of_maps([np.zeros((2, 2))], [np.zeros((2, 3))], [0.5]), "different shapes"),
    (lambda: froc_of_maps([np.full((2, 2), np.nan)], [np.zeros((2, 2))], [0.5]), "map 0: some values are NaN"),
    (lambda: froc_of_maps([], [], [0.5]), "at least one case"),
    (lambda: froc_of_maps([], [], []), "thresholds: at least one"),
    (lambda: Froc(*np.zeros((3, 1))).area(0), "most: "),
])  # fmt: skip
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


# --- scores of components, several cases ------------------------------------------------------------------------------


def test_the_greatest_value_of_each_component_is_scipys():
    rng = np.random.default_rng(4)
    mask, values = blobs(rng, (14, 16, 12), 0.1), rng.random((14, 16, 12))
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    found = lesions.greatest(mask, values)
    np.testing.assert_array_equal(found, ndimage.maximum(values, labels, range(1, count + 1)))
    np.testing.assert_allclose(centres(mask), ndimage.center_of_mass(mask, labels, range(1, count + 1)))
    assert len(lesions.greatest(np.zeros((2, 2)), np.ones((2, 2)))) == 0


def test_curves_of_single_cases_join_to_that_of_all():
    rng = np.random.default_rng(5)
    maps = [ndimage.gaussian_filter(rng.random((12, 14, 10)), 1) for _ in range(4)]
    references = [blobs(rng, (12, 14, 10), share) for share in (0.05, 0.0, 0.1, 0.03)]
    thresholds = np.quantile(maps, [0.5, 0.8, 0.9, 0.97])
    whole = froc_of_maps(maps, references, thresholds)
    one = lesions.joined([froc_of_maps([m], [r], thresholds) for m, r in zip(maps, references, strict=True)])
    np.testing.assert_allclose(one.sensitivity, whole.sensitivity)
    np.testing.assert_allclose(one.false_positives, whole.false_positives)
    healthy = lesions.joined([froc_of_maps(maps[:1], references[1:2], thresholds)])
    assert np.isnan(healthy.sensitivity).all() and healthy.false_positives.max() > 0
    with pytest.raises(ValueError, match="thresholds"):
        lesions.joined([whole, froc_of_maps(maps, references, thresholds[:2])])


def test_two_hits_of_one_lesion_and_one_beside_it():
    """1 true positive and no false one; a component whose centre lies outside is a false positive, and a miss."""
    truth = np.zeros((3, 3, 12), bool)
    truth[:, :, 2:8] = True
    twice = np.zeros_like(truth)
    twice[1, 1, [3, 6]] = True
    assert (match(twice, truth).tp, match(twice, truth).fp, match(twice, truth).fn) == (1, 0, 0)
    beside = np.zeros_like(truth)
    beside[1, 1, 7:12] = True
    assert (match(beside, truth).tp, match(beside, truth).fp, match(beside, truth).fn) == (0, 1, 1)


def test_the_middle_of_equally_good_thresholds():
    curve = Froc(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([0.0, 1.0, 1.0, 1.0, 1.0]), np.array([0, 0, 0, 0, 2.0]))
    assert curve.best() == 1 and curve.middle() == 2
