"""A Volume as a DICOM CT series: int16 HU, new identifiers, no patient."""

import locale
import uuid

import numpy as np
import SimpleITK as sitk

from tfmed.errors import UserError
from tfmed.io.itk import LPS_RAS

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def write_series(volume, folder):
    """Write one file per slice into the new `folder`.

    Integers within int16 (also those stored as float) are kept exactly; other float values are rounded to 65,535
    steps between the least and the greatest, which RescaleSlope and RescaleIntercept tell.

    Raises:
        UserError: the volume has channels, NaN, integers beyond int16, or sheared axes.
    """
    stored, slope, intercept = _stored(volume, folder)
    affine = LPS_RAS @ volume.affine
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / sizes
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise UserError(f"{folder}: DICOM cannot hold sheared axes; resample the volume, or write .nii.gz")
    shared = {**_series_tags(), "0020|0037": _decimals(axes[:, :2].T.ravel()), "0018|0050": _decimals(sizes[2:]),
              "0018|0088": _decimals(sizes[2:])}  # fmt: skip
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, pixels in enumerate(stored, start=1):
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing(sizes[:2].tolist())
        position = affine[:3, 3] + (number - 1) * affine[:3, 2]
        own = {"0008|0018": _uid(), "0020|0013": str(number), "0020|0032": _decimals(position),
               "0028|1052": _decimals([intercept]), "0028|1053": _decimals([slope])}  # fmt: skip
        for tag, value in {**shared, **own}.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"slice_{number:04d}.dcm"))
        _execute(writer, image)


def _execute(writer, image):
    before = locale.setlocale(locale.LC_ALL)  # ITK leaves "C" behind, in which Python reads text as ASCII
    try:
        writer.Execute(image)
    except RuntimeError as error:
        raise OSError(0, str(error).strip().splitlines()[-1]) from None
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _series_tags():
    """Type 2 patient fields stand empty, as the standard wants them where nothing is known."""
    empty = ("0008|0020", "0008|0030", "0008|0050", "0008|0090", "0010|0010", "0010|0020", "0010|0030", "0010|0040",
             "0020|0010")  # fmt: skip
    int16 = {"0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "1"}
    new = {tag: _uid() for tag in ("0020|000d", "0020|000e", "0020|0052")}
    kind = {"0008|0016": CT_IMAGE, "0008|0060": "CT", "0008|0008": "DERIVED\\SECONDARY", "0012|0062": "YES",
            "0020|0011": "1", "0028|1054": "HU"}  # fmt: skip
    return {**dict.fromkeys(empty, ""), **int16, **new, **kind}


def _stored(volume, folder):
    """(array of what is stored or of what ITK turns into it, slope, intercept)"""
    array = volume.array
    if array.ndim != 3:
        raise UserError(f"{folder}: a DICOM CT series has no channels; write each channel by itself, or .nii.gz")
    if not np.isfinite(array).all():
        raise UserError(f"{folder}: the volume has NaN or infinite voxels, which DICOM cannot hold; replace them")
    low, high = float(array.min()), float(array.max())
    fits = low >= -32768 and high <= 32767
    if fits and (array.dtype.kind in "biu" or (array == np.rint(array)).all()):
        return array.astype(np.int16), 1.0, 0.0
    if array.dtype.kind in "iu":
        raise UserError(f"{folder}: integers from {low:g} to {high:g} do not fit into DICOM's int16; write .nii.gz")
    return array.astype(np.float64), (high - low) / 65534 or 1.0, (high + low) / 2


def _uid():
    return f"2.25.{uuid.uuid4().int}"


def _decimals(values):
    """DICOM decimal strings, of at most 16 characters each."""
    return "\\".join(_decimal(float(value)) for value in values)


def _decimal(value):
    for digits in range(17, 0, -1):
        text = f"{value + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{value} has no decimal string")
