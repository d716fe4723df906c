"""Stacks of PNG, JPEG, TIFF or BMP slices, and single images in which all slices lie."""

import os
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import SimpleITK as sitk

from tfmed.errors import UserError
from tfmed.files import PathLike, atomic_path
from tfmed.io.errors import damage
from tfmed.io.geometry import volume_of
from tfmed.io.itk import LPS_RAS, TYPES, quiet
from tfmed.io.picture_header import check_picture
from tfmed.io.volume import Volume

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def read_stack(source: PathLike | Iterable[PathLike], spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Volume:
    """A Volume from images of equal size, one per slice.

    Images have no place in the world: rows are taken to run to the left and columns to the back (as axial slices are
    shown), the first slice is the lowest. PNG carries checksums; JPEG and TIFF do not, there only truncation shows.

    Args:
        source: a folder (its images in natural order: 2 before 10), a sequence of paths (in that order), or one
            multi-page TIFF.
        spacing: mm along `(z, y, x)`, which the files do not tell.

    Returns:
        A Volume `(z, y, x)`, or `(z, y, x, channel)` for colour; dtype as stored.

    Raises:
        ImageIntegrityError: a file is damaged, or differs from the first in size, channels or dtype.
        UserError: `spacing` is not three positive numbers.
    """
    sizes = np.asarray(spacing, np.float64)
    if sizes.shape != (3,) or not np.isfinite(sizes).all() or (sizes <= 0).any():
        raise UserError(f"spacing {spacing!r} is not three positive numbers (z, y, x) in mm")
    paths = _paths(source)
    slices = [_image(path) for path in paths]
    for path, one in zip(paths, slices, strict=True):
        if one.shape != slices[0].shape or one.dtype != slices[0].dtype:
            raise damage(path, f"it is {one.dtype} {one.shape}, unlike {slices[0].dtype} {slices[0].shape} of "
                               f"{paths[0].name}", "give images of one size and type")  # fmt: skip
    array = np.concatenate(slices)
    return volume_of(array, LPS_RAS @ np.diag([*sizes[::-1], 1.0]), paths[0])


def write_picture(array: np.ndarray, path: PathLike) -> None:
    """Write a slice `(y, x)` as a grey PNG, or `(y, x, 3)` as one in colour, in one piece.

    Args:
        array: uint8 or uint16.
        path: ends in .png.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 3), str(temporary))


def images_in(folder: PathLike) -> list[pathlib.Path]:
    """The image files in a folder, in natural order."""
    found = [path for path in pathlib.Path(folder).iterdir()
             if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]  # fmt: skip
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> list[int | str]:
    """A key that sorts names as people do: 2 before 10."""
    return [int(run) if run.isdecimal() else run for run in re.split(r"(\d+)", name)]


def _paths(source: PathLike | Iterable[PathLike]) -> list[pathlib.Path]:
    if not isinstance(source, str | os.PathLike):
        paths = [pathlib.Path(path) for path in source]
    elif pathlib.Path(source).is_dir():
        paths = images_in(source)
    else:
        paths = [pathlib.Path(source)]
    if not paths:
        raise damage(source, "there is no image", f"give files that end in {', '.join(SUFFIXES)}")
    return paths


def _image(path: pathlib.Path) -> np.ndarray:
    """One file as `(z, y, x[, channel])`."""
    if path.suffix.lower() not in SUFFIXES:
        raise damage(path, "it is not an image by its name", f"give files that end in {', '.join(SUFFIXES)}")
    check_picture(path)
    with quiet(path):
        image = sitk.ReadImage(str(path))
    if image.GetPixelID() not in TYPES:
        raise damage(path, "its pixels are not real numbers", "convert it")
    array = sitk.GetArrayFromImage(image)
    return array[None] if image.GetDimension() == 2 else array
