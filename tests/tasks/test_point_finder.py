"""Files of points: what a folder of frames gives, and what two folders with frames of one name do."""

import numpy as np
import pytest
from PIL import Image

from tfmed.errors import UserError
from tfmed.io.itk import LPS_RAS
from tfmed.io.points import read_points_csv
from tfmed.io.volume import Volume
from tfmed.tasks.landmark_settings import PeakDecoding
from tfmed.tasks.point_finder import LandmarkFinder, PointFinder

pytestmark = pytest.mark.one_stack


def frames(folder):
    """Two videos, each with a frame 0001.png: one bright pixel at x 3 and at x 9."""
    found = []
    for video, x in (("left", 3), ("right", 9)):
        picture = np.zeros((8, 12), np.uint8)
        picture[4, x] = 255
        (folder / video).mkdir()
        found.append(folder / video / "0001.png")
        Image.fromarray(picture).save(found[-1])
    return found


def brightest(stack):
    """Its place (x, y)."""
    y, x = np.unravel_index(stack[0, ..., 0].argmax(), stack.shape[1:3])
    return np.array([[x, y]], float)


def test_frames_of_one_name_each_have_their_points(tmp_path):
    """In one table, and as files."""
    finders = [PointFinder(("image",), (), PeakDecoding(), lambda stack: stack[0, ..., 0] / 255),
               LandmarkFinder(("image",), (), ("tip",), brightest)]  # fmt: skip
    paths = frames(tmp_path)
    for finder in finders:
        out = tmp_path / type(finder).__name__
        written = list(finder.predict([str(path) for path in paths], out))
        assert len(set(written)) == len(written) == 5
        table = read_points_csv(out / finder.table)
        assert {name: points[0].round().tolist() for name, (_, points) in table.items()} == {
            "left_0001.png": [3, 4], "right_0001.png": [9, 4]}  # fmt: skip
        list(finder.predict([str(paths[0])], out))
        assert list(read_points_csv(out / finder.table)) == ["0001.png"]


def test_volumes_are_refused_and_no_input_is_overwritten(tmp_path):
    finder = LandmarkFinder(("image",), (), ("tip",), brightest)
    with pytest.raises(Exception, match="it has 2 slices"):
        finder([Volume(np.zeros((2, 4, 4), np.float32), LPS_RAS)])
    picture = tmp_path / "a_landmarks.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
    picture.rename(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "out" / "b.png")
    (tmp_path / "out" / "b_landmarks.png").symlink_to(tmp_path / "out" / "b.png")
    with pytest.raises(UserError, match="is an input that a result would overwrite"):
        list(finder.predict([str(tmp_path / "out" / "b.png")], tmp_path / "out"))
