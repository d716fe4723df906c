"""One door to every format."""

import contextlib
import os
import pathlib
import stat
from typing import Any

from tfmed.files import PathLike, expanded
from tfmed.io.addresses import file_of, piece_of, read_piece, read_piece_geometry
from tfmed.io.analyze import read_analyze, read_analyze_geometry
from tfmed.io.dicom import read_dicom, read_dicom_geometry
from tfmed.io.dicom_files import DICOM_SUFFIXES, dicom_files
from tfmed.io.dicom_header import looks_like_dicom
from tfmed.io.errors import damage
from tfmed.io.geometry import Geometry
from tfmed.io.hdf5 import SUFFIXES as HDF5_SUFFIXES
from tfmed.io.itk import read_itk, read_itk_geometry
from tfmed.io.nifti import read_nifti, read_nifti_geometry
from tfmed.io.stack import SUFFIXES as IMAGE_SUFFIXES
from tfmed.io.stack import images_in
from tfmed.io.volume import Volume

READERS = {".nii": (read_nifti, read_nifti_geometry), ".nii.gz": (read_nifti, read_nifti_geometry),
           ".nrrd": (read_itk, read_itk_geometry), ".mha": (read_itk, read_itk_geometry),
           ".mhd": (read_itk, read_itk_geometry), ".hdr": (read_analyze, read_analyze_geometry)}  # fmt: skip


def read_volume(path: PathLike, series_uid: str | None = None, volume: int | None = None) -> Volume:
    """The Volume in a .nii, .nii.gz, .nrrd, .mha, .mhd or Analyze .hdr file, in a DICOM series, or in a piece of these.

    DICOM is a folder with the slices of a series, or one file that holds them all (enhanced CT and MR, segmentations).
    A piece is named behind `::`, such as channel 1 in `scan.nii.gz::1` or a dataset in `case.h5::image`; all kinds are
    listed in `tfmed.io.addresses`.

    Every checksum and size that the format has is compared, so that damaged voxels are an error and not data.
    (An uncompressed .nii, .nrrd or .mha has no checksum: there only a wrong length is noticed.)

    Args:
        path: str or PathLike, with or without a piece.
        series_uid: which DICOM series, where a folder holds several.
        volume: which volume of a DICOM series, where it holds several at the same places (time points, echoes,
            b-values, segments), counted from 0.

    Returns:
        A Volume: array `(z, y, x)` or `(z, y, x, channel)`, dtype as stored, float32 where a NIfTI header scales the
        voxels, int16 or float32 (HU) for DICOM; affine in mm, RAS+.

    Raises:
        ImageIntegrityError: the file is missing, damaged, incomplete or not a volume; one line says what and how to
            fix it.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from tfmed.io import Volume, write_volume
        >>> file = tempfile.mkdtemp() + "/scan.nii.gz"
        >>> write_volume(Volume(np.ones((20, 64, 64), "int16"), np.diag([0.75, 0.75, 2.5, 1.0])), file)
        >>> scan = read_volume(file)
        >>> scan.array.shape, str(scan.array.dtype), scan.spacing
        ((20, 64, 64), 'int16', (2.5, 0.75, 0.75))
    """
    return _read(path, series_uid, volume, 0)


def read_geometry(path: PathLike, series_uid: str | None = None, volume: int | None = None) -> Geometry:
    """The Geometry (shape, affine, dtype) that `read_volume` would return, from the headers alone.

    Raises:
        ImageIntegrityError: as `read_volume`, as far as a header shows it.
    """
    return _read(path, series_uid, volume, 1)


def _read(path: PathLike, series_uid: str | None, volume: int | None, which: int) -> Any:
    path = str(expanded(path)) if os.fsdecode(path).startswith("~") else path
    if piece_of(path):
        _refuse_special(file_of(path))
        read = (read_piece, read_piece_geometry)[which]
        return read(path, lambda file: _read(file, series_uid, volume, which), series_uid)
    dicom = (read_dicom, read_dicom_geometry)[which]
    if _is_folder(path):
        _refuse_images(path)
        return dicom(path, series_uid, volume)
    name = pathlib.Path(path).name.lower()
    for suffix, readers in READERS.items():
        if name.endswith(suffix):
            return readers[which](path)
    if name.endswith(DICOM_SUFFIXES) or looks_like_dicom(path):
        return dicom(path, series_uid, volume)
    raise damage(path, "its suffix is none that a volume has", _advice(name))


def _is_folder(path: PathLike) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = "there is no such file or folder" if isinstance(error, FileNotFoundError) else "it cannot be reached"
        raise damage(path, reason, "check the path and the permissions") from None
    _refuse_special(path)
    return stat.S_ISDIR(mode)


def _refuse_special(path: PathLike) -> None:
    """Who reads a FIFO waits for ever; a device has no end. What is missing is told by whoever reads it."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise damage(path, "it is neither a file nor a folder", "check the path")


def _refuse_images(folder: PathLike) -> None:
    if not dicom_files(folder) and (found := images_in(folder)):
        raise damage(folder, f"it holds images such as {found[0].name}, which do not tell their spacing",
                     "use tfmed.io.read_stack(folder, spacing=(z, y, x))")  # fmt: skip


def _advice(name: str) -> str:
    if name.endswith(IMAGE_SUFFIXES):
        return f"name it {name}::grey for one slice (a label map: ::numbers); read_stack reads several, in Python"
    if name.endswith(HDF5_SUFFIXES):
        return "name a dataset in it behind ::, such as case.h5::image"
    return f"give {', '.join(READERS)}, or a folder with a DICOM series"
