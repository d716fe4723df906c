"""The DICOM tags that are loaded, by their keywords: none of them is about the patient."""

from pydicom.datadict import dictionary_VR, tag_for_keyword

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# What tells volumes at the same places apart, the plainest first
DIMENSIONS = (
    "ReferencedSegmentNumber", "StackID", "TemporalPositionIdentifier", "TemporalPositionIndex",
    "TemporalPositionTimeOffset", "FrameReferenceTime", "EchoTime", "EffectiveEchoTime", "DiffusionBValue",
    "DiffusionGradientOrientation", "InversionTime", "FlipAngle", "NominalCardiacTriggerDelayTime", "TriggerTime",
    "KVP", "ConvolutionKernel", "ImageType", "FrameType", "AcquisitionNumber", "FrameAcquisitionNumber",
)  # fmt: skip
WANTED = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceNumber", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "LUTDescriptor",
    "LUTData", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "GantryDetectorTilt", *DIMENSIONS, *GROUPS,
)  # fmt: skip
TAGS = {name: tag_for_keyword(name) for name in WANTED}
NAMES = {tag: name for name, tag in TAGS.items()}
PRIVATE_TAGS = {"CSAImageHeaderInfo": 0x00291010}  # Siemens
PIXEL_DATA = 0x7FE0, 0x0010
SHORTS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FD": "d", "FL": "f"}
DEFLATED = "1.2.840.10008.1.2.1.99"


def described(name: str) -> str:
    """ "PixelSpacing (0028,0030)" """
    tag = TAGS.get(name) or tag_for_keyword(name) or PRIVATE_TAGS[name]
    return f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def kind_of(name: str) -> str:
    """The value representation of a keyword, for implicit files."""
    tag = TAGS.get(name)
    return dictionary_VR(tag)[:2] if tag else "US"
