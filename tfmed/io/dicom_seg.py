"""A label map as a DICOM Segmentation object that refers to the series on which it lies.

This is the one place where patient and study go from a file to a file: a segmentation without them could not be filed.
They are copied as they stand, and named nowhere else.
"""

import datetime
import io
import os

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from tfmed.errors import UserError
from tfmed.files import atomic_path
from tfmed.io.addresses import dicom_address, file_of
from tfmed.io.dicom import geometry_from, ordered_slices
from tfmed.io.dicom_header import looks_like_dicom
from tfmed.io.dicom_write import decimals, new_uid, put
from tfmed.io.geometry import difference_of_grids, same_grid
from tfmed.startup import VERSION

COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)  # fmt: skip
TISSUE = ("85756007", "SCT", "Tissue")
MADE_BY = ("113076", "DCM", "Segmentation")
PURPOSE = ("121322", "DCM", "Source image for image processing operation")
MOST = 65535  # segments, by their number


def check_source(address):
    """Whether the image at an address can be one that a segmentation refers to.

    Raises:
        UserError: it is not a DICOM series.
    """
    path = file_of(address)
    if not os.path.isdir(path) and not looks_like_dicom(path):
        raise UserError(f"{address}: is no DICOM series, to which a DICOM segmentation refers; give a folder of slices")


def write_segmentation(labels, source, path, numbers=None, names=None, series_uid=None):
    """Write a label map as a binary DICOM Segmentation, one segment per number.

    Args:
        labels: Volume of whole numbers `(z, y, x)` on the grid of the series, as `read_volume(source)` gives it.
        source: address of the DICOM series: a folder, a file, or a piece of these.
        path: the file to write.
        numbers: of the segments, in their order; by default those in the label map but 0.
        names: {number: what it is called}; "label <number>" by default.
        series_uid: which series, where the folder holds several.

    Raises:
        UserError: no number but 0, numbers that are not whole, another grid than the series', or a disk that refuses.
        ImageIntegrityError: the series cannot be read.
    """
    check_source(source)
    slices = ordered_slices(*dicom_address(source, series_uid))
    grid = geometry_from(slices, source)
    if labels.array.ndim != 3 or not same_grid(labels, grid):
        raise UserError(f"{path}: the label map does not lie on the series ({difference_of_grids(labels, grid)} the "
                        "series)")  # fmt: skip
    if numbers is None:
        numbers = [number for number in np.unique(labels.array) if number != 0]
    if not 1 <= len(numbers) <= MOST or any(number != int(number) for number in numbers):
        raise UserError(f"{path}: a DICOM segmentation needs whole numbers other than 0; write .nii.gz instead")
    one = _object(slices, [(names or {}).get(int(number), f"label {int(number)}") for number in numbers])
    bits = np.stack([labels.array == number for number in numbers]).astype(np.uint8)
    put(one, NumberOfFrames=bits.shape[0] * bits.shape[1], PixelData=pack_bits(bits.reshape(-1, *bits.shape[2:])))
    one["PixelData"].VR = "OB"
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(file.getvalue())


def _object(slices, names):
    """All but the pixels."""
    first, now = slices[0], datetime.datetime.now()
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _copy(one, first)
    put(one, SOPClassUID=SegmentationStorage, SOPInstanceUID=new_uid(), Modality="SEG", SeriesInstanceUID=new_uid(),
        SeriesNumber=1, InstanceNumber=1, Manufacturer="tfmed", ManufacturerModelName="tfmed", DeviceSerialNumber="1",
        SoftwareVersions=VERSION, ContentDate=now.strftime("%Y%m%d"), ContentTime=now.strftime("%H%M%S"),
        ContentLabel="SEGMENTATION", ContentDescription="", ContentCreatorName="", ImageType=["DERIVED", "PRIMARY"],
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=first.size[0], Columns=first.size[1],
        BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0, LossyImageCompression="00",
        SegmentationType="BINARY", SegmentsOverlap="NO")  # fmt: skip
    one.SegmentSequence = [_segment(number, name) for number, name in enumerate(names, start=1)]
    instances = {piece.instance: piece for piece in slices}.values()
    one.ReferencedSeriesSequence = [
        _item(SeriesInstanceUID=first.series, ReferencedInstanceSequence=[_reference(piece) for piece in instances])
    ]
    _dimensions(one)
    one.SharedFunctionalGroupsSequence = [_shared(slices)]
    one.PerFrameFunctionalGroupsSequence = [
        _frame(number, place, piece)
        for number in range(1, len(names) + 1) for place, piece in enumerate(slices, start=1)
    ]  # fmt: skip
    return one


def _copy(one, first):
    """Patient, study and frame of reference of the series; empty where they are not told."""
    source = pydicom.dcmread(first.path, stop_before_pixels=True, specific_tags=list(COPIED), force=True)
    put(one, **{name: "" for name in COPIED if name != "SpecificCharacterSet" and not name.endswith("UID")})
    put(one, StudyInstanceUID=new_uid(), FrameOfReferenceUID=new_uid())
    for name in COPIED:
        tag = tag_for_keyword(name)
        if tag in source and source.get_item(tag).value:  # as bytes: what pydicom minds in a value, it repeats in full
            found = source.get_item(tag)
            one[tag] = found._replace(VR=dictionary_VR(tag)) if isinstance(found, RawDataElement) else found


def _dimensions(one):
    """Frames are ordered by segment, then by place."""
    own = new_uid()
    one.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=own)]
    pointers = ((0x0062000B, 0x0062000A, "Segment"), (0x00200032, 0x00209113, "Place"))
    one.DimensionIndexSequence = [
        _item(DimensionOrganizationUID=own, DimensionIndexPointer=pointer, FunctionalGroupPointer=group,
              DimensionDescriptionLabel=label)
        for pointer, group, label in pointers
    ]  # fmt: skip


def _segment(number, name):
    return _item(SegmentNumber=number, SegmentLabel=name[:64], SegmentAlgorithmType="AUTOMATIC",
                 SegmentAlgorithmName="tfmed", SegmentedPropertyCategoryCodeSequence=[_code(TISSUE)],
                 SegmentedPropertyTypeCodeSequence=[_code(TISSUE)])  # fmt: skip


def _shared(slices):
    first, second = slices[0], slices[min(1, len(slices) - 1)]
    step = float(np.linalg.norm(second.position - first.position)) or first.thickness
    size = decimals([first.thickness or step, step])
    measures = _item(PixelSpacing=decimals(first.spacing), SliceThickness=size[0], SpacingBetweenSlices=size[1])
    plane = _item(ImageOrientationPatient=decimals(first.axes.ravel()))
    return _item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[plane])


def _frame(number, place, piece):
    source = _reference(piece)
    put(source, PurposeOfReferenceCodeSequence=[_code(PURPOSE)])
    if piece.pixels.frames > 1:
        put(source, ReferencedFrameNumber=piece.frame + 1)
    return _item(
        FrameContentSequence=[_item(DimensionIndexValues=[number, place])],
        PlanePositionSequence=[_item(ImagePositionPatient=decimals(piece.position))],
        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=number)],
        DerivationImageSequence=[_item(DerivationCodeSequence=[_code(MADE_BY)], SourceImageSequence=[source])],
    )


def _reference(piece):
    return _item(ReferencedSOPClassUID=piece.sop_class, ReferencedSOPInstanceUID=piece.instance)


def _code(code):
    return _item(CodeValue=code[0], CodingSchemeDesignator=code[1], CodeMeaning=code[2])


def _item(**values):
    one = Dataset()
    put(one, **values)
    return one
