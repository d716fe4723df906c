"""Overlaps of masks: closed forms, empty masks, SimpleITK, and what must hold for any masks."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.metrics.segmentation import (
    GlobalDice,
    bridging_coefficient,
    confusion_matrix,
    dice,
    dice_per_class,
    equivariance_dice,
    hard_bce,
    jaccard,
    jaccard_per_class,
    mean_iou,
    mean_iou_per_image,
    precision,
    recall,
    relative_volume_error,
    threshold_sweep,
)

pytestmark = pytest.mark.current

OVERLAPS = [dice, jaccard, precision, recall]
SEEDS = st.integers(0, 2**31 - 1)
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
SHARES = st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0])


def masks(seed, shape, shares=(0.3, 0.5)):
    rng = np.random.default_rng(seed)
    return tuple(rng.random(shape) < share for share in shares)


def shifted_cubes():
    """Cubes of 1000 and 500 voxels, 250 of them in both."""
    a, b = np.zeros((2, 30, 30, 30), bool)
    a[5:15, 5:15, 5:15] = True
    b[10:15, 5:15, 10:20] = True
    return a, b


def test_closed_forms():
    a, b = shifted_cubes()
    assert (a.sum(), b.sum(), (a & b).sum()) == (1000, 500, 250)
    assert dice(a, b) == pytest.approx(500 / 1500)
    assert jaccard(a, b) == pytest.approx(250 / 1250)
    assert precision(a, b) == pytest.approx(0.25)
    assert recall(a, b) == pytest.approx(0.5)
    assert relative_volume_error(a, b) == pytest.approx(100.0)
    assert relative_volume_error(b, a) == pytest.approx(50.0)


@pytest.mark.parametrize("metric", OVERLAPS)
def test_empty_masks(metric):
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert metric(empty, empty) == 1.0
    assert metric(empty, full) == 0.0
    assert metric(full, empty) == 0.0
    assert metric(np.zeros((0, 3)), np.zeros((0, 3))) == 1.0


def test_volume_error_of_empty_masks():
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert relative_volume_error(empty, empty) == 0.0
    assert relative_volume_error(empty, full) == 100.0
    assert relative_volume_error(full, empty) == float("inf")


@settings(max_examples=60, deadline=None)
@given(SEEDS, SHAPES, st.tuples(SHARES, SHARES))
def test_what_holds_for_any_masks(seed, shape, shares):
    a, b = masks(seed, shape, shares)
    assert all(0 <= metric(a, b) <= 1 and metric(a, a) == 1 for metric in OVERLAPS)
    assert dice(a, b) == dice(b, a) and jaccard(a, b) == jaccard(b, a)
    assert precision(a, b) == recall(b, a)
    assert jaccard(a, b) == pytest.approx(dice(a, b) / (2 - dice(a, b)))
    if a.any() and b.any() and (a & b).any():
        assert dice(a, b) == pytest.approx(2 / (1 / precision(a, b) + 1 / recall(a, b)))
    grown = a | np.roll(a, 1, axis=0)
    assert recall(grown, b) >= recall(a, b) or not b.any()
    if a.any() or b.any():  # the Jaccard distance is a metric
        c, _ = masks(seed + 1, shape, shares)
        assert 1 - jaccard(a, b) <= (1 - jaccard(a, c)) + (1 - jaccard(c, b)) + 1e-12


@pytest.mark.parametrize("kind", ["bool", "uint8", "int8", "uint16", "int64", ">i2", "float16", "float32", "float64"])
def test_kinds_of_masks(kind):
    a, b = masks(0, (7, 8, 9))
    assert dice(a.astype(kind), b) == dice(a, b)
    assert jaccard(a, b.astype(kind)) == jaccard(a, b)
    assert dice(a.astype(kind).T[::-1, :, ::2], b.T[::-1, :, ::2]) == dice(a[::2], b[::2])


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_simpleitk(seed):
    a, b = masks(seed, (9, 10, 11))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(m.astype("uint8")) for m in (a, b)))  # the second is the reference
    assert dice(a, b) == pytest.approx(overlap.GetDiceCoefficient(1))
    assert jaccard(a, b) == pytest.approx(overlap.GetJaccardCoefficient(1))
    assert recall(a, b) == pytest.approx(1 - overlap.GetFalseNegativeError(1))
    assert precision(a, b) == pytest.approx(1 - overlap.GetFalseDiscoveryRate(1))


@pytest.mark.parametrize("metric", [*OVERLAPS, relative_volume_error, equivariance_dice])
@pytest.mark.parametrize("wrong, words", [
    (np.ones((4, 6)), "different shapes"),
    (np.ones((4, 5, 1)), "different shapes"),
    (np.full((4, 5), np.nan), "NaN"),
    (np.full((4, 5), np.inf), "infinite"),
    (np.full((4, 5), 0.5), "threshold"),
    (np.full((4, 5), 2), "only 0 and 1; found 2 to 2"),
    (np.full((4, 5), -1), "only 0 and 1"),
    (np.full((4, 5), "a"), "numbers or booleans"),
])  # fmt: skip
def test_wrong_masks(metric, wrong, words):
    with pytest.raises(ValueError, match=words):
        metric(np.ones((4, 5), bool), wrong)
    with pytest.raises(ValueError, match=words):
        metric(wrong, np.ones((4, 5), bool))


# --- label maps -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(SEEDS, SHAPES, st.integers(1, 6), st.sampled_from(["uint8", "int16", "int64", "float32"]))
def test_per_class_equals_masks(seed, shape, classes, kind):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, classes, shape).astype(kind) for _ in range(2))
    some = classes + 2  # two classes that nobody has
    assert dice_per_class(a, b, some) == pytest.approx([dice(a == c, b == c) for c in range(some)])
    assert jaccard_per_class(a, b, some) == pytest.approx([jaccard(a == c, b == c) for c in range(some)])
    assert (dice_per_class(a, b, some)[classes:] == 1).all()
    matrix = confusion_matrix(a, b, some)
    assert matrix.sum() == a.size and matrix.dtype == np.int64
    assert all(matrix[r, p] == ((b == r) & (a == p)).sum() for r in range(some) for p in range(some))


def test_counting_goes_over_blocks(monkeypatch):
    from tfmed.metrics import segmentation

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 13, 17))
    whole = confusion_matrix(a, b, 5)
    monkeypatch.setattr(segmentation, "_BLOCK", 7)
    assert np.array_equal(confusion_matrix(a, b, 5), whole)


@pytest.mark.parametrize("wrong, words", [
    (np.zeros((3, 5), int), "different shapes"),
    (np.full((3, 4), 3), "prediction: labels must be 0 to 2; found 3 to 3"),
    (np.full((3, 4), -1), "labels must be 0 to 2"),
    (np.full((3, 4), np.nan), "NaN"),
    (np.full((3, 4), 0.5), "fractions"),
    (np.full((3, 4), 1j), "whole numbers"),
])  # fmt: skip
def test_wrong_label_maps(wrong, words):
    for function in (confusion_matrix, dice_per_class, jaccard_per_class):
        with pytest.raises(ValueError, match=words):
            function(wrong, np.zeros((3, 4), int), 3)
    with pytest.raises(ValueError, match="at least 1"):
        confusion_matrix(np.zeros(3, int), np.zeros(3, int), 0)


# --- EquiReg ----------------------------------------------------------------------------------------------------------


def test_equivariance_dice_stacks_slices():
    slices = [masks(seed, shape) for seed, shape in enumerate([(6, 7), (6, 7), (9, 4)])]
    first, second = ([pair[side] for pair in slices] for side in (0, 1))
    stacked = [np.concatenate([m.ravel() for m in side]) for side in (first, second)]
    assert equivariance_dice(first, second) == pytest.approx(dice(*stacked))
    assert equivariance_dice(np.stack(first[:2]), np.stack(second[:2])) == pytest.approx(dice(first[:2], second[:2]))
    assert equivariance_dice(first, first) == 1.0
    assert equivariance_dice([], []) == 1.0
    assert equivariance_dice([np.zeros((3, 3))], [np.zeros((3, 3))]) == 1.0
    with pytest.raises(ValueError, match="3 warped predictions, but 2"):
        equivariance_dice(first, second[:2])


def test_a_threshold_commutes_with_a_flip():
    image = np.random.default_rng(0).random((5, 8, 8))

    def segment(x):
        return x > 0.5

    assert equivariance_dice(segment(image)[..., ::-1], segment(image[..., ::-1])) == 1.0
    assert equivariance_dice(segment(image)[..., ::-1], segment(image)) < 0.9


def test_bridging_coefficient():
    assert bridging_coefficient([0.7, 0.8], [0.65, 0.75], [0.8]) == pytest.approx(0.5)
    assert bridging_coefficient([0.8], [0.7], [0.8]) == pytest.approx(1)
    assert bridging_coefficient([0.7], [0.7], [0.8]) == pytest.approx(0)
    assert bridging_coefficient(0.6, 0.7, 0.8) == pytest.approx(-1)
    assert np.isnan(bridging_coefficient([0.7], [0.8], [0.8]))
    several = bridging_coefficient([[0.7, 0.8], [0.8, 0.8]], [[0.7], [0.7]], [[0.8], [0.9]])
    assert several == pytest.approx([0.5, 0.5])
    for wrong in ([], [np.nan], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="baseline: at least one score"):
            bridging_coefficient([0.5], wrong, [0.7])
    with pytest.raises(ValueError, match="further axes"):
        bridging_coefficient([[0.7, 0.8], [0.8, 0.8]], [0.7, 0.7], [[0.8], [0.9]])


# --- Dice of all slices together --------------------------------------------------------------------------------------


def test_global_dice_is_not_the_mean_and_the_same_in_any_portions():
    large, small = np.zeros((2, 8, 8), "uint8")
    large[:, :4], small[0, 0] = 1, 1
    found = np.stack([large, np.zeros_like(small)])
    right = np.stack([large, small])
    whole, parts = GlobalDice(), GlobalDice()
    whole.add(found, right)
    for ours, theirs in zip(found, right, strict=True):
        other = GlobalDice()
        other.add(ours, theirs)
        parts.join(other)
    assert whole == parts and whole.value() == pytest.approx(2 * 32 / 65) == dice(found, right)
    assert whole.value() != np.mean([dice(a, b) for a, b in zip(found, right, strict=True)])


def test_global_dice_of_probabilities_and_of_nothing():
    total = GlobalDice()
    assert total.value() == 1
    total.add(np.full((2, 2), 0.25), np.array([[1, 0], [0, 0]]))
    assert total.value() == pytest.approx(0.25) and total.value(smooth=1.0) == pytest.approx(0.5)
    for wrong in (np.full((2, 2), 1.5), np.full((2, 2), np.nan), np.zeros(3)):
        with pytest.raises(ValueError):
            total.add(wrong, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="only 0 and 1"):
        total.add(np.zeros((2, 2)), np.full((2, 2), 2))


def test_hard_bce_is_the_log_loss_of_a_mask():
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 500)) < 0.3
    probabilities = np.clip(ours.astype(float), 1e-15, 1 - 1e-15)
    assert hard_bce(ours, theirs) == pytest.approx(log_loss(theirs, probabilities), rel=1e-4)
    wrong = np.zeros(1000, bool)
    wrong[:31] = True
    assert hard_bce(wrong, np.zeros(1000)) == pytest.approx(1.07, abs=0.01)  # 3.1 % of wrong pixels
    assert hard_bce(theirs, theirs) == pytest.approx(0, abs=1e-12)


def test_a_sweep_is_dice_at_each_threshold():
    rng = np.random.default_rng(1)
    maps, references = rng.random((3, 9, 8)).round(1), rng.random((3, 9, 8)) < 0.4
    references[2] = False
    cuts = np.array([-1.0, 0.1, 0.35, 0.6, 1.0, 2.0])
    found = threshold_sweep(maps, references, cuts)
    want = [[dice(m >= cut, r) for cut in cuts] for m, r in zip(maps, references, strict=True)]
    np.testing.assert_allclose(found, want)
    with pytest.raises(ValueError, match="must increase"):
        threshold_sweep(maps, references, [0.5, 0.5])


def test_precision_and_recall_are_not_exchanged():
    ours, theirs = [1] * 8 + [0] * 4, [1] * 6 + [0] * 2 + [1] * 3 + [0]  # 6 right, 2 too many, 3 missed
    assert precision(ours, theirs) == pytest.approx(6 / 8)
    assert recall(ours, theirs) == pytest.approx(6 / 9)
    for score in (dice, precision, recall):
        assert score([0, 0], [0, 0]) == 1 and score([0, 1], [0, 0]) == 0 and score([0, 0], [0, 1]) == 0


# --- mean IoU ---------------------------------------------------------------------------------------------------------


def test_mean_iou_of_closed_forms():
    """Perfect: 1; all background where half is foreground: (1/2 + 0) / 2; classes that nobody has are left out."""
    half = np.repeat([0, 1], 8)
    assert mean_iou(confusion_matrix(half, half, 2)) == 1.0
    assert mean_iou(confusion_matrix(np.zeros(16, int), half, 2)) == 0.25
    assert mean_iou(confusion_matrix(half, half, 3)) == 1.0
    assert mean_iou(np.zeros((2, 2))) == 1.0


def test_pooled_and_per_image_differ_where_a_class_is_absent():
    """Two images, one without class 1, both perfect: 1 pooled; (1 + 1/2) / 2 per image as released."""
    matrices = [confusion_matrix(one, one, 2) for one in (np.array([0, 1]), np.array([0, 0]))]
    assert mean_iou(np.sum(matrices, 0)) == 1.0
    assert mean_iou_per_image(matrices) == 0.75
    with pytest.raises(ValueError, match="no image"):
        mean_iou_per_image([])


def test_mean_iou_against_counting_sets():
    rng = np.random.default_rng(0)
    found, right = rng.integers(0, 3, (2, 5, 40))
    ious = [((found == k) & (right == k)).sum() / ((found == k) | (right == k)).sum() for k in range(3)]
    np.testing.assert_allclose(mean_iou(confusion_matrix(found, right, 3)), np.mean(ious))
