"""Pictures of points: what they say, and that what they draw is where it should be."""

import numpy as np

from tfmed.pictures.points import PointedImage, PointedImages
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
