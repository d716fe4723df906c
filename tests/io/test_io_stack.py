"""Stacks of PNG, JPEG and TIFF slices."""

import numpy as np
import pytest
import SimpleITK as sitk

from tests.support.volumes import smooth
from tfmed.errors import UserError
from tfmed.io import ImageIntegrityError, orientation, read_stack

pytestmark = pytest.mark.current


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_stack_of_images_in_natural_order(tmp_path, volume, suffix):
    slices = (volume.array - volume.array.min()).astype("uint16")
    for index, pixels in enumerate(slices):
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / f"s{index + 3}{suffix}"))
    stack = read_stack(tmp_path, spacing=(3.0, 0.5, 0.4))
    np.testing.assert_array_equal(stack.array, slices)
    assert stack.spacing == (3.0, 0.5, 0.4) and orientation(stack) == "LPS"


def test_stack_of_colour_pages_and_pages_of_one_tiff(tmp_path, volume):
    colour = np.random.default_rng(1).integers(0, 255, (5, 6, 3)).astype("uint8")
    for index in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / f"{index}.png"))
    np.testing.assert_array_equal(read_stack(tmp_path).array, np.stack([colour, colour]))
    sitk.WriteImage(sitk.GetImageFromArray(volume.array), str(tmp_path / "pages.tif"))
    np.testing.assert_array_equal(read_stack(tmp_path / "pages.tif").array, volume.array)


@pytest.mark.parametrize(("suffix", "tail"), [(".png", 3), (".jpg", 3), (".tif", 300)])
def test_truncated_images_of_a_stack(tmp_path, suffix, tail, capfd):
    pixels = (smooth().array[0] + 128).astype("uint8")
    for index in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / f"{index}{suffix}"))
    intact = (tmp_path / f"1{suffix}").read_bytes()
    for length in (0, 5, len(intact) // 2, len(intact) - tail):
        (tmp_path / f"1{suffix}").write_bytes(intact[:length])
        with pytest.raises(ImageIntegrityError, match=rf"1\{suffix}: "):
            read_stack(tmp_path)
    sitk.WriteImage(sitk.GetImageFromArray(pixels[:-1]), str(tmp_path / f"1{suffix}"))
    with pytest.raises(ImageIntegrityError, match="unlike"):
        read_stack(tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, -1, 1), (1, np.nan, 1)])
def test_a_spacing_that_is_none(tmp_path, spacing):
    with pytest.raises(UserError, match="three positive numbers"):
        read_stack(tmp_path, spacing=spacing)


def test_an_empty_folder_and_foreign_files(tmp_path):
    with pytest.raises(ImageIntegrityError, match="there is no image"):
        read_stack(tmp_path)
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ImageIntegrityError, match="not an image by its name"):
        read_stack([tmp_path / "a.txt"])
