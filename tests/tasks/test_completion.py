"""Filling pictures on disk: which files go together, what is written, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from tfmed.data.preprocess import Resample
from tfmed.errors import DataError, UserError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.tasks import exported
from tfmed.tasks.completion import Completer, pairs

pytestmark = pytest.mark.one_stack


def compute(image, mask):
    """Three completions: 10, 20 and 30 in the holes."""
    assert image.dtype == mask.dtype == np.float32 and not any(side % 4 for side in image.shape)
    return np.stack([np.where(mask > 0, value, image + 1) for value in (10.0, 20.0, 30.0)])


def completer(seen_stays=True, steps=(), multiple=4):
    return Completer(steps, (0.0, 255.0), multiple, compute, seen_stays)


def picture(path, shape=(10, 13), value=200):
    array = (
        np.arange(np.prod(shape), dtype=np.uint8).reshape(shape) if value is None else np.full(shape, value, np.uint8)
    )
    Image.fromarray(array).save(path)
    return array


def hole(shape=(10, 13)):
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 3:8] = 255
    return mask


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "a.png", value=None)
    Image.fromarray(hole()).save(tmp_path / "a_mask.png")
    picture(tmp_path / "b.png", value=None)
    Image.fromarray(hole()).save(tmp_path / "b_mask.jpg", quality=95)  # masks are thresholded
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_of_pictures_with_masks(folder, tmp_path):
    out = tmp_path / "out"
    outputs = ["completion", "mean", "std", "samples", "picture"]
    files = list(completer().predict([str(folder)], out, outputs))
    assert [file.name for file in files] == [
        f"{name}_{kind}.{'nii.gz' if kind in ('std', 'samples') else 'png'}" for name in "ab" for kind in outputs
    ]
    before = np.asarray(Image.open(folder / "a.png"))
    for kind, value in (("completion", 10), ("mean", 20)):
        found = np.asarray(Image.open(out / f"a_{kind}.png"))
        np.testing.assert_array_equal(found, np.where(hole(), value, before))
    std = read_volume(out / "b_std.nii.gz").array
    np.testing.assert_allclose(std[0], np.where(hole(), np.std([10, 20, 30]), 0), rtol=1e-5)
    assert read_volume(out / "b_samples.nii.gz").array.shape == (3, 10, 13)
    assert Image.open(out / "a_picture.png").size[0] > 300


def test_seen_pixels_may_change_where_blending_asks_for_it(folder):
    image, mask = (Volume(one[None].astype(np.float32), np.eye(4)) for one in (np.eye(10, 13), hole()))
    assert completer(False)(image, mask)[0, 0, 0] == 2 and completer(True)(image, mask)[0, 0, 0] == 1


def test_completions_return_to_the_picture_s_grid():
    """Filled at half of the resolution, pasted into the full one."""
    image = Volume(np.arange(384, dtype=np.int16).reshape(1, 16, 24), np.eye(4))
    mask = np.zeros((1, 16, 24), np.uint8)
    mask[0, 4:12, 6:18] = 1
    found = completer(False, [Resample(spacing_mm=(None, 2.0, 2.0))])(image, Volume(mask, np.eye(4)))
    assert found.shape == (3, 16, 24) and (found[:, mask[0] == 0] == image.array[0, mask[0] == 0]).all()
    np.testing.assert_allclose(found[:, 8, 12], [10, 20, 30], atol=1e-4)


def test_which_files_go_together(folder):
    a, b = (
        (f"{folder}/{name}.png::grey", f"{folder}/{name}_mask.{end}::grey")
        for name, end in (("a", "png"), ("b", "jpg"))
    )
    assert pairs([str(folder)]) == [("a", *a), ("b", *b)]
    assert pairs([str(folder / "b.png")]) == [("b", *b)]
    assert pairs([f"image={folder}/a.png,mask={folder}/b_mask.jpg"]) == [("a", a[0], b[1])]


@pytest.mark.parametrize("mask, said", [
    (np.zeros((10, 13), np.uint8), "marks no pixel as missing; there is nothing to fill"),
    (np.ones((10, 13), np.uint8), "marks every pixel as missing; leave some to go by"),
    (hole((11, 13)), "give a mask of its pixels"),
])  # fmt: skip
def test_masks_that_cannot_be(folder, mask, said):
    Image.fromarray(mask).save(folder / "a_mask.png")
    with pytest.raises(DataError, match=said) as caught:
        list(completer().predict([str(folder / "a.png")], folder / "out"))
    assert "\n" not in str(caught.value) and "a.png" in str(caught.value)


def test_other_bad_input(folder):
    def line(word):
        with pytest.raises(UserError) as caught:
            list(completer().predict([word], folder / "out"))
        return str(caught.value)

    (folder / "a_mask.png").unlink()
    assert "has no mask of what is missing; give image=FILE,mask=FILE" in line(str(folder / "a.png"))
    assert "no such file" in line(str(folder / "c.png"))
    assert "no such file" in line(f"image={folder}/a.png,mask={folder}/none.png")
    for shape, said in (((2, 10, 13), "has 2 slices"), ((1, 10, 13, 3), "has 3 channels where one is needed")):
        for name in ("v", "v_mask"):
            write_volume(
                Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.eye(4)), folder / f"{name}.nii.gz"
            )
        assert said in line(str(folder / "v.nii.gz"))
    array = np.ones((1, 10, 13), np.float32)
    array[0, 0, 0] = np.nan
    write_volume(Volume(array, np.eye(4)), folder / "v.nii.gz")
    assert "NaN or infinite" in line(str(folder / "v.nii.gz"))


def test_a_saved_model_fills_as_its_note_says():
    def run(image, mask, count, seed):
        assert int(count) == 3 and int(seed) == 0
        return {"completions": exported.tf.constant(compute(image.numpy(), mask.numpy()))}

    note = completer().note(3)
    opened = exported._TASKS[note["task"]](note)(None, (), {"serving_default": run})
    image = Volume(np.eye(10, 13, dtype=np.float32)[None], np.eye(4))
    found = opened(image, Volume(hole()[None], np.eye(4)))
    np.testing.assert_array_equal(found, completer()(image, Volume(hole()[None], np.eye(4))))
