"""Volumes to files: whole or not at all, and without anything about a patient."""

import contextlib
import gzip
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import BufferedIOBase

import nibabel
import numpy as np
import SimpleITK as sitk

from tfmed.errors import UserError
from tfmed.files import PathLike, expanded
from tfmed.io import dicom_write
from tfmed.io.itk import image_of, storable
from tfmed.io.volume import Volume

LONGEST_NIFTI1_AXIS = 32767
SUPPORTED = ".nii, .nii.gz, .nrrd, .mha, .mhd, or a folder (no suffix, or ending in /) for a DICOM series"


def write_volume(volume: Volume, path: PathLike) -> None:
    """Write a Volume so that `read_volume` gives back the same voxels, dtype and geometry.

    The suffix chooses the format: .nii, .nii.gz (nibabel), .nrrd, .mha, .mhd with .raw (SimpleITK); a path without a
    suffix, or one that ends in "/", becomes a folder with a DICOM CT series of int16 HU. Missing parent folders are
    made. Everything is written aside and renamed, so that no reader meets half a volume. Units are mm; bool voxels
    become uint8, float16 becomes float32 (the formats know neither); a channel axis of length 1 is dropped on reading.
    A DICOM series is read along the normal of its slices: a left-handed volume comes back with z turned round, each
    voxel in its old place in the world.

    Args:
        volume: array `(z, y, x)`, or `(z, y, x, channel)` except for DICOM; any real dtype.
        path: str or PathLike.

    Raises:
        UserError: unknown suffix, a volume that the format cannot hold, a DICOM folder that already holds files, or a
            disk that refuses. What stood at `path` before is then unchanged.
    """
    target = expanded(path)
    write = _writer(target, str(path).endswith(("/", os.sep)))
    if volume.array.dtype.kind not in "biuf" or volume.array.dtype.itemsize > 8:
        raise UserError(f"{path}: voxels of dtype {volume.array.dtype} cannot be written; convert them to real numbers")
    if volume.array.size == 0:
        raise UserError(f"{path}: a volume of shape {volume.array.shape} has no voxels; nothing was written")
    with _staged(target) as aside:
        try:
            write(volume, aside / target.name)
        except UserError as error:  # whoever writes knows only the private folder
            raise UserError(str(error).replace(str(aside / target.name), str(path))) from None
        _move(aside, target)


def _writer(target: pathlib.Path, is_folder: bool) -> Callable[[Volume, pathlib.Path], None]:
    name = target.name.lower()
    if is_folder or (not target.suffix and not name.startswith(".")):
        return dicom_write.write_series
    for suffix, write in ((".nii", _nifti), (".nii.gz", _nifti_gz), (".nrrd", _itk), (".mha", _itk), (".mhd", _itk)):
        if name.endswith(suffix) and name != suffix:
            return write
    raise UserError(f"{target}: no volume is written under this suffix; use {SUPPORTED}")


def _nifti(volume: Volume, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
        _put_nifti(volume, file)


def _nifti_gz(volume: Volume, path: pathlib.Path) -> None:
    # no file name and no time in the gzip header: the same volume gives the same bytes, and nothing leaks
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
        _put_nifti(volume, file)


def _put_nifti(volume: Volume, file: BufferedIOBase) -> None:
    array = storable(volume.array)
    disk = array if array.ndim == 3 else np.ascontiguousarray(np.moveaxis(array, -1, 0))
    kind = nibabel.Nifti1Header if max(array.shape) <= LONGEST_NIFTI1_AXIS else nibabel.Nifti2Header
    header = kind()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(disk.shape[::-1])
    header.set_xyzt_units("mm")
    header.set_zooms(volume.spacing[::-1] + (1.0,) * (array.ndim - 3))
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=0 if _sheared(volume.affine) else 1)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    file.write(header.binaryblock)
    file.write(b"\0" * (header.single_vox_offset - len(header.binaryblock)))
    file.write(disk.data.cast("B"))


def _sheared(affine: np.ndarray) -> bool:
    """Whether a qform, which is a rotation and voxel sizes, could not tell this affine."""
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(columns.T @ columns, np.eye(3), atol=1e-5)


def _itk(volume: Volume, path: pathlib.Path) -> None:
    try:
        sitk.WriteImage(image_of(volume), str(path), False)
    except RuntimeError as error:
        raise OSError(0, str(error).strip().splitlines()[-1]) from None
    # ITK does not notice a full disk
    written = sum(file.stat().st_size for file in path.parent.iterdir())
    if written < volume.array.nbytes:
        raise OSError(0, "the disk did not take all bytes")


@contextlib.contextmanager
def _staged(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A private folder beside `target`, gone afterwards whatever happened; OSError becomes one line."""
    aside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = pathlib.Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        yield aside
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{target}: cannot be written ({reason}); choose another folder or free some space") from None
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _move(aside: pathlib.Path, target: pathlib.Path) -> None:
    """Rename what was written; a header goes last, so that it never points at voxels of another volume."""
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target}: the folder already holds files; give a new or empty one")
    made = sorted(aside.iterdir(), key=lambda file: file.name == target.name)
    for file in made:
        _sync(file)
    if len(made) > 1:
        target.unlink(missing_ok=True)
    for file in made:
        os.replace(file, target.with_name(file.name))


def _sync(file: pathlib.Path) -> None:
    """Push a file's bytes to the disk, so that the rename cannot overtake them."""
    if file.is_file():
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
