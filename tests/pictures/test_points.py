"""Pictures of points: what they say, and that what they draw is where it should be."""

import numpy as np

from tfmed.io import Volume
from tfmed.pictures.points import (
    LandmarkErrors,
    PointedImage,
    PointedImages,
    PointedVolume,
    PointedVolumes,
    SuccessCurves,
)
from tfmed.pictures.style import digest


def picture(**changed):
    image = np.random.default_rng(0).random((20, 30, 3))
    options = dict(found=np.array([[5.0, 5], [20, 10]]), true=np.array([[6.0, 5], [1, 1]]), pairs=np.array([[0, 0]]))
    return PointedImages((PointedImage("frame 1", image, **{**options, **changed}),), 6.0)


def test_the_caption_tells_what_was_found():
    said = picture().caption
    assert "frame 1 (1 of 2 points found)" in said and "circles of 6 px" in said and "heatmap" not in said
    assert "heatmap over the image" in picture(heatmap=np.zeros((20, 30))).caption
    alone = picture(true=None, pairs=None).caption
    assert "frame 1 (2 points)" in alone and "True points" not in alone


def test_named_landmarks_belong_together_row_by_row():
    found, true = np.array([[5.0, 5], [np.nan] * 2, [1, 2]]), np.array([[6.0, 5], [1, 1], [np.nan] * 2])
    (one,) = picture(found=found, true=true, pairs=None).images
    assert one.matched.tolist() == [[0, 0]]


def test_segments_join_what_belongs_together():
    figure = picture(heatmap=np.full((20, 30), 0.5)).figure()
    left, right = figure.axes
    segments = [line for line in left.lines if len(line.get_xdata()) == 2]
    assert [list(line.get_xdata()) for line in segments] == [[5, 6]]
    assert len(left.patches) == 2 and left.patches[0].center == (6, 5) and left.patches[0].radius == 6
    assert len(right.images) == 2
    assert digest(picture()) == digest(picture()) != digest(picture(found=np.zeros((2, 2))))


def test_errors_are_shown_in_the_mean_shape():
    true = np.array([[[0.2, 0.3], [0.6, 0.6], [np.nan] * 2], [[0.4, 0.3], [0.6, 0.8], [np.nan] * 2]])
    found = true + [[[0.1, 0.0], [0.0, 0.3], [0, 0]], [[0.1, 0.0], [0.0, -0.1], [0, 0]]]
    picture = LandmarkErrors(("tip", "base", "apex"), true, found, 1.5)
    np.testing.assert_allclose(picture.mean_errors, [0.1, 0.2, np.nan])
    assert "2 images" in picture.caption and "mean error, base." in picture.caption
    axis = picture.figure().axes[0]
    circles = [(patch.center, patch.radius) for patch in axis.patches]
    np.testing.assert_allclose([centre for centre, _ in circles], [[0.3, 0.3], [0.6, 0.7]])
    np.testing.assert_allclose([radius for _, radius in circles], [0.1, 0.2])
    segments = [line.get_xydata() for line in axis.lines if len(line.get_xydata()) == 2 and line.get_marker() == "None"]
    np.testing.assert_allclose(segments, [[[0.3, 0.3], [0.4, 0.3]], [[0.6, 0.7], [0.6, 0.8]]])


def test_success_curves_say_where_failures_begin():
    picture = SuccessCurves(np.array([0.0, 0.05, 0.1]), {"one": np.array([0, 0.5, 1.0])}, "share", 0.05)
    assert "dashed line (0.05)" in picture.caption
    assert "dashed" not in SuccessCurves(picture.limits, picture.curves, "px").caption
    (curve, line) = picture.figure().axes[0].lines
    assert curve.get_ydata().tolist() == [0, 0.5, 1.0] and line.get_xdata()[0] == 0.05


def test_landmarks_in_volumes_lie_on_their_voxels():
    """Whatever the volume's orientation and voxel size: the marker lies where its bright voxel is drawn."""
    affine = np.array([[0, 2.0, 0, -9], [0, 0, -1.0, 40], [3.0, 0, 0, 5], [0, 0, 0, 1]])
    array, voxel = np.zeros((10, 12, 14)), (4, 7, 3)
    array[voxel] = 1
    point = affine[:3] @ [*voxel[::-1], 1]
    one = PointedVolume("scan", Volume(array, affine), point[None], np.full((1, 3), np.nan))
    picture = PointedVolumes((one,), ("tip",), (0.0, 1.0), reach_mm=8.0)
    for axis in picture.figure().axes:
        (marker,) = axis.lines
        column, row = marker.get_xdata()[0], marker.get_ydata()[0]
        image = axis.images[0].get_array()
        assert image[round(row), round(column)] == 1 and image.sum() == 1
        assert min(axis.get_xlim()) <= column <= max(axis.get_xlim())
    assert "scan (1 of 1 found)" in picture.caption and "circles" in picture.caption
