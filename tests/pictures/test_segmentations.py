"""Pictures of segmentations say how large things are, which side is which, and how good the answer is."""

import dataclasses

import numpy as np
import pytest

from tfmed.io import Volume
from tfmed.metrics.segmentation import dice
from tfmed.pictures.segmentations import Case, Overlay

SPACING_MM = (2.0, 0.8, 0.5)


def case(shape=(20, 60, 80), spacing_mm=SPACING_MM, reference=True):
    """A box of classes 1 and 2, which the network puts two voxels aside."""
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    right = np.zeros(shape, "uint8")
    right[:, 20:40, 10:30], right[:, 20:40, 30:50] = 1, 2
    found = np.roll(right, 2, axis=2)
    image = np.random.default_rng(0).normal(size=shape).astype("float32")
    return Case("p7", *(Volume(array, affine) for array in (image, found, image * 0)),
                Volume(right, affine) if reference else None)  # fmt: skip


def words(figure):
    """What is written into each panel."""
    return [[axis.get_title(), *(text.get_text() for text in axis.texts)] for axis in figure.axes]


def test_scores_stand_by_their_names():
    shown = case()
    overlay = Overlay((shown,), (0, 3, 7), {7: "kidney"})
    scores = [dice(shown.labels.array == k, shown.reference.array == k) for k in (1, 2)]
    assert f"p7 (Dice: label 3 {scores[0]:.2f}, kidney {scores[1]:.2f})" in overlay.caption
    assert f"Dice {np.mean(scores):.2f}" in words(overlay.figure())[0][0]
    without = Overlay((dataclasses.replace(shown, reference=None),), (0, 3, 7))
    assert "Dice" not in without.caption and "Dice" not in words(without.figure())[0][0]


def test_a_class_that_neither_has_is_not_scored():
    assert case().dice([1, 2, 3]).keys() == {1, 2}


@pytest.mark.parametrize("plane, pixel_mm", [("axial", 0.5), ("coronal", 0.5), ("sagittal", 0.8)])
def test_the_bar_is_as_long_as_it_says(plane, pixel_mm):
    panel = Overlay((case(),), (0, 1, 2)).figure().axes[["axial", "coronal", "sagittal"].index(plane)]
    (said,) = [text.get_text() for text in panel.texts if "mm" in text.get_text()]
    (bar,) = panel.lines
    assert np.ptp(bar.get_xdata()) * pixel_mm == pytest.approx(float(said.removesuffix(" mm")))
    left, right = (text.get_text() for text in panel.texts if "mm" not in text.get_text())
    assert (left, right) == (("A", "P") if plane == "sagittal" else ("R", "L"))


def test_a_picture_has_neither_millimetres_nor_sides():
    overlay = Overlay((case((1, 60, 80), (1.0, 1.0, 1.0)),), (0, 1, 2))
    text = " ".join(sum(words(overlay.figure()), [overlay.caption]))
    assert "image, Dice" in text and not any(word in text for word in (" mm", "axial", "right", "lanes"))
