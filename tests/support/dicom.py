"""DICOM files made with pydicom, as scanners and archives write them."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, MR, ENHANCED_CT, ENHANCED_MR, SEG = (STORAGE + end for end in ("2", "4", "2.1", "4.1", "66.4"))
CAPTURE, REPORT, STATE, DOSE, PDF = (STORAGE + end for end in ("7", "88.11", "11.1", "88.67", "104.1"))


def base(sop_class, series="1.2.9", number=1, modality="CT"):
    """An object without content."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = sop_class, generate_uid()
    one.PatientName, one.PatientID = "Doe^Jane", "Patient-4711"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.3.4", series, "1.2.3.5"
    one.Modality, one.InstanceNumber, one.StudyDate = modality, number, "20200101"
    return one


def with_pixels(one, pixels, bits=16, signed=False):
    """`one` with the frames `(rows, columns)` or `(frames, rows, columns)`."""
    pixels = np.asarray(pixels)
    one.Rows, one.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        one.NumberOfFrames = len(pixels)
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = 8 if bits == 8 else 16
    one.BitsStored, one.HighBit, one.PixelRepresentation = bits, bits - 1, int(signed)
    one.PixelData = pixels.astype(f"<{'i' if signed else 'u'}{one.BitsAllocated // 8}").tobytes()
    one["PixelData"].VR = "OW"
    return one


def slice_of(k=0, pixels=None, series="1.2.9", z=None, sop_class=CT, modality="CT", bits=16, signed=False, **tags):
    """Slice `k` of a series: 4 x 6 pixels of 0.8 x 0.7 mm, 2.5 mm apart; `tags` replace, None removes."""
    pixels = np.arange(24).reshape(4, 6) + 100 * k if pixels is None else pixels
    one = with_pixels(base(sop_class, series, k + 1, modality), pixels, bits, signed)
    one.PixelSpacing, one.SliceThickness, one.ImageOrientationPatient = [0.8, 0.7], 2.5, [1, 0, 0, 0, 1, 0]
    one.ImagePositionPatient = [-10, 20, -50 + 2.5 * k if z is None else z]
    if modality == "CT":
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
    for name, value in tags.items():
        if value is None:
            delattr(one, name)
        else:
            setattr(one, name, value)
    return one


def save(one, path):
    """Write an object; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)
    return path


def series_in(folder, count=4, name="IM{:04d}.dcm", **options):
    """A series of `count` slices; returns its rescaled voxels (z, y, x) as pydicom reads them."""
    files = [save(slice_of(k, **options), folder / name.format(k)) for k in range(count)]
    return np.stack([rescaled(file) for file in files])


def rescaled(file):
    """Stored values as pydicom gives them, rescaled."""
    one = pydicom.dcmread(file)
    return one.pixel_array.astype(float) * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))


def item(**values):
    """A data set with these elements."""
    one = Dataset()
    for name, value in values.items():
        setattr(one, name, value)
    return one


def enhanced(pixels, positions, sop_class=ENHANCED_MR, modality="MR", frames=None, slope=None, **options):
    """A multi-frame object whose frames lie at `positions` (z); `frames` are further functional groups of each."""
    one = with_pixels(base(sop_class, modality=modality), pixels, **options)
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.8, 0.7], SliceThickness=2.5)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
    )
    own = []
    for k, z in enumerate(positions):
        frame = item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[-10, 20, z])]))
        if slope is not None:
            frame.PixelValueTransformationSequence = Sequence(
                [item(RescaleSlope=slope[k], RescaleIntercept=-5, RescaleType="US")]
            )
        for name, value in (frames[k] if frames else {}).items():
            setattr(frame, name, Sequence([value]))
        own.append(frame)
    one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(own)
    return one
