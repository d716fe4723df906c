"""A Volume as a DICOM CT series: int16 HU, new identifiers, no patient."""

import io
import uuid

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian

from tfmed.errors import UserError
from tfmed.io.itk import LPS_RAS

# Type 2 of the CT Image IOD: they stand empty where nothing is known
UNKNOWN = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "Laterality", "PositionReferenceIndicator", "PatientPosition", "Manufacturer",
    "AcquisitionNumber", "KVP",
)  # fmt: skip


def write_series(volume, folder):
    """Write one file per slice into the new `folder`: objects of the CT Image IOD.

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
    one = Dataset()
    put(
        one,
        **_shared(),
        Rows=stored.shape[1],
        Columns=stored.shape[2],
        PixelSpacing=decimals(sizes[1::-1]),
        ImageOrientationPatient=decimals(axes[:, :2].T.ravel()),
        SliceThickness=_decimal(sizes[2]),
        SpacingBetweenSlices=_decimal(sizes[2]),
        RescaleSlope=slope,
        RescaleIntercept=intercept,
    )
    folder.mkdir()
    for number, pixels in enumerate(stored, start=1):
        position = affine[:3, 3] + (number - 1) * affine[:3, 2]
        put(one, SOPInstanceUID=new_uid(), InstanceNumber=number, ImagePositionPatient=decimals(position),
             PixelData=pixels.tobytes())  # fmt: skip
        (folder / f"slice_{number:04d}.dcm").write_bytes(_file(one))


def put(one, **values):
    """Give a data set these elements, by their keywords."""
    for name, value in values.items():
        setattr(one, name, value)


def _file(one):
    """The file of one slice, as bytes: where a disk is full, pydicom raises errors of many lines."""
    one["PixelData"].VR = "OW"
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _shared():
    """What all slices have in common."""
    return {
        **dict.fromkeys(UNKNOWN, ""),
        "SOPClassUID": CTImageStorage,
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "Modality": "CT",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "Made from voxels and geometry alone",
        "StudyInstanceUID": new_uid(),
        "SeriesInstanceUID": new_uid(),
        "FrameOfReferenceUID": new_uid(),
        "SeriesNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleType": "HU",
    }


def _stored(volume, folder):
    """(little-endian int16 array of what is stored, slope, intercept), the latter two as they are written."""
    array = volume.array
    if array.ndim != 3:
        raise UserError(f"{folder}: a DICOM CT series has no channels; write each channel by itself, or .nii.gz")
    if max(array.shape[1:]) > 65535:
        raise UserError(f"{folder}: DICOM cannot hold slices of {array.shape[2]} x {array.shape[1]}; write .nii.gz")
    if not np.isfinite(array).all():
        raise UserError(f"{folder}: the volume has NaN or infinite voxels, which DICOM cannot hold; replace them")
    low, high = float(array.min()), float(array.max())
    fits = low >= -32768 and high <= 32767
    if fits and (array.dtype.kind in "biu" or (array == np.rint(array)).all()):
        return array.astype("<i2"), "1", "0"
    if array.dtype.kind in "iu":
        raise UserError(f"{folder}: integers from {low:g} to {high:g} do not fit into DICOM's int16; write .nii.gz")
    slope, intercept = _decimal((high - low) / 65534 or 1.0), _decimal((high + low) / 2)
    steps = np.rint((array.astype(np.float64) - float(intercept)) / float(slope))
    return np.clip(steps, -32768, 32767).astype("<i2"), slope, intercept


def new_uid():
    """An identifier that nothing else has."""
    return f"2.25.{uuid.uuid4().int}"


def decimals(values):
    """DICOM decimal strings, each of at most 16 characters."""
    return [_decimal(value) for value in values]


def _decimal(value):
    """A DICOM decimal string, of at most 16 characters."""
    for digits in range(17, 0, -1):
        text = f"{float(value) + 0.0:.{digits}g}"
        if len(text) <= 16:
            return text
    raise ValueError(f"{value} has no decimal string")
