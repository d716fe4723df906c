"""Volumes from and to files, with nothing silently wrong: NIfTI, DICOM series, NRRD, MetaImage, image stacks, HDF5."""

from tfmed.io.addresses import companions_of, file_of, piece_of
from tfmed.io.dicom import DicomSeries, list_dicom_series
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.geometry import Geometry
from tfmed.io.orientation import orientation, reorient
from tfmed.io.read import read_geometry, read_volume
from tfmed.io.stack import read_stack
from tfmed.io.volume import Volume
from tfmed.io.write import write_volume

__all__ = [
    "DicomSeries",
    "Geometry",
    "ImageIntegrityError",
    "Volume",
    "companions_of",
    "file_of",
    "list_dicom_series",
    "orientation",
    "piece_of",
    "read_geometry",
    "read_stack",
    "read_volume",
    "reorient",
    "write_volume",
]
