"""LIDC-IDRI in small: DICOM series with SimpleITK, and the readers' XML."""

import numpy as np
import SimpleITK as sitk

UID = "1.2.826.0.1.3680043.8.498."
NODULE = """<LidcReadMessage xmlns="http://www.nih.gov">
<ResponseHeader><SeriesInstanceUid>x</SeriesInstanceUid></ResponseHeader>
<readingSession><unblindedReadNodule><noduleID>Nodule 001</noduleID>
<characteristics><malignancy>3</malignancy></characteristics>{rois}</unblindedReadNodule>
<unblindedReadNodule><noduleID>small</noduleID><roi><imageZposition>-96.0</imageZposition><inclusion>TRUE</inclusion>
<edgeMap><xCoord>5</xCoord><yCoord>9</yCoord></edgeMap></roi></unblindedReadNodule>
<nonNodule><nonNoduleID>n</nonNoduleID><imageZposition>-96.0</imageZposition>
<locus><xCoord>1</xCoord><yCoord>1</yCoord></locus></nonNodule></readingSession>
<readingSession><unblindedReadNodule><noduleID>IL_7</noduleID>{rois}</unblindedReadNodule></readingSession></LidcReadMessage>
"""


def write_series(
    folder, uid, slices=4, modality="CT", date="20000102", kind="ORIGINAL\\PRIMARY\\AXIAL", value=0, array=None
):
    """A real DICOM series: 0.7 mm pixels, slices 2 mm apart, first voxel at LPS (-10, -20, -100).

    Its slices have 16 x 16 pixels of one value each, or are those of an int16 `array` `(z, y, x)`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    planes = [np.full((16, 16), value + k, np.int16) for k in range(slices)] if array is None else array
    for k, plane in enumerate(planes):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((0.7, 0.7, 2.0))
        tags = {
            "0008|0008": kind, "0008|0020": date, "0008|0060": modality, "0010|0010": "Doe^Jane",
            "0010|0020": "SECRET-7", "0020|000d": UID + "1",
            "0020|000e": uid, "0020|0013": str(k + 1), "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": f"-10\\-20\\{-100 + 2 * k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0018|0050": "2",
            "0028|1052": "0", "0028|1053": "1",
        }  # fmt: skip
        for tag, text in tags.items():
            image.SetMetaData(tag, text)
        writer.SetFileName(str(folder / f"{uid[-4:]}-{len(planes) - k:03d}.dcm"))
        writer.Execute(image)


def square(z, low, high, inclusion="TRUE"):
    corners = [(low, low), (high, low), (high, high), (low, high)]
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in corners)
    return f"<roi><imageZposition>{z}</imageZposition><inclusion>{inclusion}</inclusion>{edges}</roi>"


def rated(name, rois, **ratings):
    """A nodule of at least 3 mm as a reader's session has it."""
    told = "".join(f"<{key}>{value}</{key}>" for key, value in ratings.items())
    return (f"<unblindedReadNodule><noduleID>{name}</noduleID><characteristics>{told}</characteristics>{rois}"
            "</unblindedReadNodule>")  # fmt: skip


def readers_xml(*sessions):
    """The XML file of a scan: a list of `rated` nodules for each reader."""
    text = "".join(f"<readingSession>{''.join(nodules)}</readingSession>" for nodules in sessions)
    return f'<LidcReadMessage xmlns="http://www.nih.gov">{text}</LidcReadMessage>'
