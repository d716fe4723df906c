"""Heatmaps: rendering against the formula, decoding against brute force, scipy and scikit-image."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tfmed.ops.heatmaps import (
    POST,
    blob_points,
    component_points,
    counted_peaks,
    levels,
    otsu,
    peaks,
    quadratic_peaks,
    refined,
    render,
    soft_argmax,
    window_maxima,
)

SIZE = (24, 40)


def formula(points, size, sigma, overlap="max"):
    """Brute force, each Gaussian over the whole image."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)[..., ::-1]
    each = [np.exp(-((places - p) ** 2).sum(-1) / (2 * sigma**2)) for p in points]
    if not each:
        return np.zeros(size)
    return np.max(each, 0) if overlap == "max" else np.minimum(np.sum(each, 0), 1)


@pytest.mark.current
@pytest.mark.parametrize("overlap", ["max", "sum_clip"])
def test_rendering_is_the_formula(overlap):
    """Points on pixels, between them, near each other, beyond the border; in a graph; rows without points."""
    points = np.array([[[5, 6], [7.3, 6.4], [-1.5, 3], [39.4, 23]], [[20, 11.5], [99, 99], [0, 0], [0, 0]]], "float32")
    mask = np.array([[True] * 4, [True, False, False, False]])
    made = tf.function(lambda p, m: render(p, SIZE, 2.0, m, overlap))(points, mask).numpy()
    assert made.shape == (2, *SIZE, 1) and made.dtype == np.float32
    np.testing.assert_allclose(made[0, ..., 0], formula(points[0], SIZE, 2.0, overlap), atol=1e-5)
    np.testing.assert_allclose(made[1, ..., 0], formula(points[1, :1], SIZE, 2.0, overlap), atol=1e-5)
    assert made.max() <= 1 and made[0, 6, 5, 0] == 1


def test_no_points_no_map_and_mirrored_points_a_mirrored_map():
    assert not render(np.zeros((1, 3, 2)), SIZE, 2.0, np.zeros((1, 3), bool)).numpy().any()
    points = np.array([[[5.25, 6], [30, 20.5]]])
    plain, mirrored = (render(p, SIZE, 3.0).numpy() for p in (points, [[[SIZE[1] - 1 - x, y] for x, y in points[0]]]))
    np.testing.assert_allclose(mirrored, plain[:, :, ::-1], atol=1e-5)


def test_volumes_and_a_reach():
    points = np.array([[[3.0, 4.0, 5.0]]])  # x, y, z
    made = render(points, (8, 9, 10), 1.5)[0, ..., 0].numpy()
    np.testing.assert_allclose(made, formula(points[0], (8, 9, 10), 1.5), atol=1e-5)
    short = render(np.array([[[20.0, 12.0]]]), SIZE, 5.0, reach=3)[0, ..., 0].numpy()
    assert short[12, 23] > 0 and not short[12, 24:].any() and not short[:9].any()


@pytest.mark.parametrize("arguments", [dict(overlap="mean"), dict(size=(4, 4, 4))])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError):
        render(np.zeros((1, 1, 2)), **{"size": SIZE, "sigma": 1.0, **arguments})


@pytest.mark.current
def test_soft_argmax_of_a_sharp_map_is_its_peak_and_has_a_gradient():
    maps = render(np.array([[[11.0, 7.0]]]), SIZE, 2.0)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        found = soft_argmax(maps, beta=200.0)
    np.testing.assert_allclose(found[0, 0], [11, 7], atol=1e-3)
    assert np.isfinite(tape.gradient(found, maps)).all()
    np.testing.assert_allclose(soft_argmax(tf.zeros((1, *SIZE, 1)))[0, 0], [19.5, 11.5], atol=1e-4)


def blobs(seed, count=8, sigma=3.0, noise=0.03, size=(288, 512), near=(), apart=7.0):
    """(map, points): isolated Gaussians of at least 25 px distance, some with a partner near to them."""
    rng, points = np.random.default_rng(seed), []
    while len(points) < count:
        point = rng.uniform([20, 20], [size[1] - 20, size[0] - 20])
        if all(np.hypot(*(point - other)) > 40 for other in points):
            points.append(point)
    for k in near:
        angle = rng.uniform(0, 2 * np.pi)
        points.append(points[k] + apart * np.array([np.cos(angle), np.sin(angle)]))
    clean = render(np.array([points]), size, sigma)[0, ..., 0].numpy()
    return np.clip(clean + rng.normal(0, noise, size), 0, 1), np.array(points)


def between_variance(image, t):
    low, high = image[image <= t].astype(float), image[image > t].astype(float)
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_otsu_is_the_best_of_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    image = np.clip(np.r_[rng.normal(60, 20, 300), rng.normal(170, 30, 80)], 0, 255).astype("uint8")
    variances = [between_variance(image, t) for t in range(256)]
    assert otsu(image) == int(np.argmax(variances))


def test_otsu_does_not_mind_scale_and_offset():
    image, _ = blobs(0)
    image = np.round(image * 256) / 256  # so that neither arithmetic rounds
    first = levels(image) > otsu(levels(image))
    for a, b in ((0.25, 0.0), (2.0, 1.0), (0.5, 0.25)):
        scaled = levels(a * image + b)
        np.testing.assert_array_equal(scaled > otsu(scaled), first)
    assert not levels(np.full((3, 3), 7.0)).any() and otsu(np.full((3, 3), 7, np.uint8)) == 7


def test_components_are_scipy_s():
    mask = np.random.default_rng(1).random((40, 50)) < 0.3
    parts, count = scipy.ndimage.label(mask, np.ones((3, 3)))
    expected = np.array(scipy.ndimage.center_of_mass(mask, parts, range(1, count + 1)))[:, ::-1]
    np.testing.assert_allclose(component_points(mask), expected)
    assert component_points(np.zeros((4, 4))).shape == (0, 2)


def dumbbell():
    """Two discs of radius 4 that touch, 9 px apart along x, and three discs alone; as a mask."""
    y, x = np.mgrid[:60, :60]
    centres = ((15, 15), (15, 24), (45, 10), (45, 30), (45, 50))
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 <= 21 for cy, cx in centres], 0)


def test_a_dumbbell_is_cut_across_its_longer_side():
    for turn, mask in enumerate((dumbbell(), dumbbell().T)):
        whole, cut = component_points(mask), component_points(mask, 1.25)
        assert len(whole) == 4 and len(cut) == 5
        pair = cut[np.hypot(*(cut - [[19.5, 15], [15, 19.5]][turn]).T) < 8]
        assert len(pair) == 2
        assert abs(pair[0, 1 - turn] - pair[1, 1 - turn]) < 0.6  # nearly equal y of a horizontal one, x of a vertical
        assert abs(abs(pair[0, turn] - pair[1, turn]) - 9) < 1.5


def test_one_part_is_never_cut_and_none_gives_more_than_two():
    single = np.zeros((20, 40), bool)
    single[5:9, 3:37] = True
    assert len(component_points(single, 1.0)) == 1
    rng = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.45):
        mask = rng.random((40, 40)) < share
        assert len(component_points(mask)) <= len(component_points(mask, 1.0)) <= 2 * len(component_points(mask))


def test_a_map_that_is_nowhere_sure_has_no_points():
    noise = np.random.default_rng(0).uniform(0, 0.4, (40, 40))
    assert len(blob_points(noise)) == 0 and len(blob_points(noise, guard=0.0)) > 0
    assert len(blob_points(np.zeros((8, 8)))) == 0
    assert len(blob_points(noise, post="threshold", threshold=0.9)) == 0
    with pytest.raises(ValueError, match="known: threshold"):
        blob_points(noise, post="watershed")


def test_every_post_processing_finds_clean_blobs():
    image, points = blobs(3, noise=0.0)
    for post in POST:
        found = blob_points(image, post, cut_ratio=1.25)
        assert len(found) == len(points)
        near = np.linalg.norm(found[:, None] - points[None], axis=-1).min(0)
        assert near.max() < 0.5


@pytest.mark.parametrize("cut, near, expected", [
    (None, (), (1.0, 1.0)), (1.0, (), (0.66, 1.0)), (1.25, (), (1.0, 1.0)),
    (None, (0, 1, 2), (None, 0.73)), (1.0, (0, 1, 2), (1.0, 1.0)), (1.25, (0, 1, 2), (1.0, 1.0)),
    (1.5, (0, 1, 2), (None, 0.73)),
])  # fmt: skip
def test_the_card_s_table(cut, near, expected):
    """Section 6: (precision, sensitivity) of 8 blobs of sigma 3 with noise, alone or three with a partner 7 px away."""
    from tfmed.metrics.landmarks import Counts, match

    total = Counts()
    for seed in range(6):
        image, points = blobs(seed, near=near)
        post = "otsu+open" if cut is None else "otsu+open+cut"
        total += match(blob_points(image, post, cut or 1.0), points, 6.0).counts
    for found, wanted in zip((total.precision, total.sensitivity), expected, strict=True):
        assert wanted is None or found == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("distance", [1, 3])
def test_peaks_are_those_of_a_maximum_filter(distance):
    image, _ = blobs(1, size=(160, 240), count=4)
    image += np.random.default_rng(0).uniform(0, 1e-3, image.shape)  # no two alike
    found = peaks(image, 0.4, distance)
    largest = scipy.ndimage.maximum_filter(image, 2 * distance + 1, mode="constant", cval=-1)
    expected = np.argwhere((image == largest) & (image > 0.4))[:, ::-1]
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected.astype(float)))
    values = image[found[:, 1].astype(int), found[:, 0].astype(int)]
    assert (np.diff(values) <= 0).all()


def test_of_equal_pixels_the_first_is_the_peak_and_borders_count():
    flat = np.zeros((5, 6))
    flat[2, 2:4] = 1
    flat[0, 5] = flat[4, 0] = 0.9
    assert peaks(flat).tolist() == [[2, 2], [5, 0], [0, 4]]


def test_refinement_finds_the_place_between_pixels():
    point = np.array([20.3, 11.8])
    image = render(point[None, None], SIZE, 1.5)[0, ..., 0].numpy()
    rough = peaks(image)
    assert rough.tolist() == [[20, 12]]
    np.testing.assert_allclose(refined(image, rough, radius=5)[0], point, atol=0.02)
    assert refined(np.zeros(SIZE), np.array([[0.0, 0.0]])).tolist() == [[0, 0]]


# --- peaks that are counted -------------------------------------------------------------------------------------------


def separated(count, high=0.9, size=(60, 120)):
    """(a map whose `count` peaks are 15 px apart, falling from `high` by 0.01 each; their places (x, y))."""
    places = np.array([(8 + 15 * (k % 8), 8 + 15 * (k // 8)) for k in range(count)], float).reshape(-1, 2)
    faint = 1e-4 * np.random.default_rng(0).random(size)  # many low maxima all over
    maps = [(high - 0.01 * k) * formula(place[None], size, 1.5) for k, place in enumerate(places)]
    return np.max([faint, *maps], 0), places


def test_window_maxima_are_what_max_pooling_leaves():
    heatmap = np.random.default_rng(1).random((37, 53)).astype("float32")
    pooled = tf.nn.max_pool2d(heatmap[None, ..., None], 7, 1, "SAME")[0, ..., 0].numpy()
    y, x = np.nonzero(pooled == heatmap)
    found = window_maxima(heatmap, 7)
    assert sorted(map(tuple, found)) == sorted(zip(x, y, strict=True))
    values = heatmap[tuple(found.T[::-1].astype(int))]
    assert (np.diff(values) <= 0).all()
    with pytest.raises(ValueError, match="odd"):
        window_maxima(heatmap, 4)


def test_a_plateau_is_one_point_and_equal_peaks_are_two():
    assert window_maxima(np.full((20, 30), 0.3)).tolist() == [[0, 0]]
    assert not len(window_maxima(np.zeros((20, 30))))
    heatmap = np.zeros((20, 30))
    heatmap[4:7, 3:20] = 1.0  # saturated, wider than the window
    heatmap[6:12, 3] = 1.0
    heatmap[11, 25] = heatmap[14, 22] = 0.5
    assert window_maxima(heatmap).tolist() == [[3, 4], [25, 11], [22, 14]]
    assert len(peaks(heatmap, 0.1, 5)) < 3


@pytest.mark.parametrize("count", [0, 3, 7, 15, 32])
def test_rules_of_counting(count):
    """The card: exactly the peaks by the threshold; clip(count, 4, 10); at least 10; never above 30."""
    heatmap, places = separated(count)
    assert counted_peaks(heatmap, "threshold").tolist() == places[:30].tolist()
    for rule, expected in (("new", int(np.clip(count, 4, 10))), ("old", min(max(count, 10), 30))):
        found = counted_peaks(heatmap, rule)
        assert len(found) == expected
        assert found[:count].tolist() == places[:expected].tolist()
    assert len(counted_peaks(np.full((60, 120), 0.6), "old")) == 1
    with pytest.raises(ValueError, match="known: old, new"):
        counted_peaks(heatmap, "both")


def test_a_parabola_finds_peaks_between_pixels():
    true = np.array([[10.3, 8.0], [30.0, 11.6], [20.45, 16.2]])
    heatmap = formula(true, SIZE, 4.0)
    found = counted_peaks(heatmap, "threshold", threshold=0.9, subpixel="quadratic")
    ours = found[np.argsort(found[:, 0])]
    np.testing.assert_allclose(ours, true[np.argsort(true[:, 0])], atol=0.02)
    corner = np.zeros((5, 5))
    corner[0, 4] = 1
    assert quadratic_peaks(corner, np.array([[4.0, 0.0]])).tolist() == [[4, 0]]
    assert quadratic_peaks(corner, np.zeros((0, 2))).shape == (0, 2)
